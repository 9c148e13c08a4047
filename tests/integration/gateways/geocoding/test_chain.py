"""The chain on real servers: cache in Postgres, rate in Valkey, a Nominatim on loopback that counts (rows G1-G4)."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa

from gateways.geocoding.address import digest
from gateways.geocoding.chain import Chain, Provider, providers
from gateways.geocoding.offline import Offline
from routing.errors import GiveUp, TryLater
from routing.lead import Address, Located, Point, Precision
from storage.postgres.engine import connect
from storage.postgres.geocodes import Geocodes
from storage.postgres.tables import geocodes
from storage.redis.limiter import RateLimiter

OFFLINE = Offline(15000)
ALBANY = Address(street="12 Main St", city="Albany", state="NY", postal_code="12207", country="US")


@dataclass
class Nominatim:
    """Speaks Nominatim's JSON; knows every address but those with `nowhere`; counts, and can be made unwell."""

    domain: str = ""
    status: int = 200
    hangs: threading.Event = field(default_factory=threading.Event)
    slow_s: float = 0.0
    times: list[float] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        question = parse_qs(urlsplit(handler.path).query)["q"][0]
        with self.lock:
            self.times.append(time.monotonic())
            self.asked[question] += 1
        if self.hangs.is_set():
            self.closing.wait(20)
        self.closing.wait(self.slow_s)
        place = {"lat": "42.65", "lon": "-73.75", "display_name": "Albany", "class": "place", "addresstype": "building"}
        body = json.dumps([] if "nowhere" in question.lower() else [place]).encode()
        with suppress(ConnectionError):  # whoever asked may have gone
            handler.send_response(self.status)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)


def serve() -> Iterator[Nominatim]:
    stub = Nominatim()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.domain = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield stub
        stub.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def nominatim() -> Iterator[Nominatim]:
    yield from serve()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    yield engine
    engine.dispose()


@cache
def the_providers(domain: str, names: tuple[str, ...]) -> list[Provider]:
    """Made once: each brings a TLS context of its own, and the city list is long."""
    made = providers(names, user_agent="test", timeout_s=3.0, nominatim_domain=domain)
    return [OFFLINE if isinstance(provider, Offline) else provider for provider in made]


def a_chain(
    stub: Nominatim, engine: sa.Engine, redis_url: str, *names: str, rate: float = 1000.0, timeout_s: float = 3.0
) -> Chain:
    """What one worker has; several share the database and Valkey."""
    return Chain(
        the_providers(stub.domain, names or ("nominatim",)),
        Geocodes(engine),
        RateLimiter(redis_url),
        timeout_s=timeout_s,
        rate_per_s=rate,
    )


@pytest.mark.long
def test_G1_an_address_gets_a_point_a_precision_and_the_name_of_the_provider(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    chain = a_chain(nominatim, engine, redis_url)
    assert chain.locate([ALBANY]) == [Located(Point(42.65, -73.75), Precision.EXACT, "nominatim")]
    assert chain.locate([]) == []


@pytest.mark.long
def test_G2_on_an_error_the_next_in_the_chain_answers_and_is_named(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    for status in (500, 429, 403):
        nominatim.status = status
        [found] = a_chain(nominatim, engine, redis_url, "nominatim", "offline").locate([ALBANY])
        assert found is not None
        assert (found.provider, found.precision) == ("offline", Precision.POSTAL)
    assert len(nominatim.times) == 3


def test_G2_a_provider_that_hangs_is_left_for_the_next_within_three_seconds_and_rests(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    nominatim.hangs.set()
    chain = a_chain(nominatim, engine, redis_url, "nominatim", "offline", timeout_s=1.0)
    OFFLINE.find(Address(postal_code="10001", country="US"))  # loads the ZIP codes, once a process
    started = time.monotonic()
    found = chain.locate([ALBANY, Address(postal_code="10001", country="US")])
    assert [place and place.provider for place in found] == ["offline", "offline"]
    assert time.monotonic() - started < 3
    assert len(nominatim.times) == 1
    assert "Main" not in caplog.text


def test_G2_without_a_next_the_error_says_to_try_later_and_nothing_is_remembered(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    nominatim.status = 503
    with pytest.raises(TryLater) as caught:
        a_chain(nominatim, engine, redis_url).locate([ALBANY])
    assert "Main St" not in repr(caught.value)
    assert caught.value.__cause__ is None
    nominatim.status = 200
    assert a_chain(nominatim, engine, redis_url).locate([ALBANY])[0] is not None


def test_G2_a_refused_key_is_for_a_person_to_mend(nominatim: Nominatim, engine: sa.Engine, redis_url: str) -> None:
    nominatim.status = 401
    with pytest.raises(GiveUp, match="nominatim refuses the key"):
        a_chain(nominatim, engine, redis_url).locate([ALBANY])


@pytest.mark.long
def test_one_failing_address_leaves_the_others_of_its_batch_their_places(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    a_chain(nominatim, engine, redis_url).locate([ALBANY])
    nominatim.status = 500
    known, failed = a_chain(nominatim, engine, redis_url).locate_each([ALBANY, Address(city="Troy", country="US")])
    assert isinstance(known, Located)
    assert isinstance(failed, TryLater)


@pytest.mark.long
def test_G3_the_same_address_twice_causes_one_call_with_fifty_workers(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    nominatim.slow_s = 0.2
    spellings = [ALBANY, Address("12, MAIN ST.", "albany", "ny", "12207", "USA")]
    chains = [a_chain(nominatim, engine, redis_url, timeout_s=20.0) for _ in range(50)]
    with ThreadPoolExecutor(50) as workers:
        found = list(workers.map(lambda i: chains[i].locate([spellings[i % 2]]), range(50)))
    assert {place.provider for [place] in found if place} == {"nominatim"}
    assert sum(nominatim.asked.values()) == 1


@pytest.mark.long
def test_G3_the_provider_never_sees_more_than_the_set_rate_with_fifty_workers(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    chains = [a_chain(nominatim, engine, redis_url, rate=10.0, timeout_s=60.0) for _ in range(50)]
    streets = [Address(street=f"{i} Main St", country="US") for i in range(50)]
    with ThreadPoolExecutor(50) as workers:
        found = list(workers.map(lambda i: chains[i].locate([streets[i]])[0], range(50)))
    assert all(found)
    times = sorted(nominatim.times)
    assert len(times) == 50
    # A busy machine delivers some calls late and the next on time: two more in a second are its doing.
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[12:], strict=False))


@pytest.mark.long
def test_G3_an_address_without_a_free_slot_is_for_later(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    chain = a_chain(nominatim, engine, redis_url, rate=0.01)
    first, second = chain.locate_each([ALBANY, Address(city="Troy", country="US")])
    assert isinstance(first, Located)
    assert isinstance(second, TryLater)
    assert len(nominatim.times) == 1


@pytest.mark.long
def test_G3_an_address_nobody_knows_is_asked_for_once_until_that_is_too_long_ago(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    nowhere = Address(city="Nowhere", country="US")
    for _ in range(3):
        assert a_chain(nominatim, engine, redis_url).locate([nowhere]) == [None]
    assert len(nominatim.times) == 1
    with engine.begin() as connection:
        connection.execute(sa.update(geocodes).values(found_at=geocodes.c.found_at - timedelta(days=8)))
    assert a_chain(nominatim, engine, redis_url).locate([nowhere]) == [None]
    assert len(nominatim.times) == 2


@pytest.mark.long
def test_G3_an_address_whose_asker_died_is_asked_for_again(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    assert Geocodes(engine).claim(digest(ALBANY), ["nominatim"])
    with pytest.raises(TryLater):
        a_chain(nominatim, engine, redis_url, timeout_s=0.3).locate([ALBANY])
    with engine.begin() as connection:
        connection.execute(sa.update(geocodes).values(found_at=geocodes.c.found_at - timedelta(minutes=1)))
    assert a_chain(nominatim, engine, redis_url).locate([ALBANY])[0] is not None


@pytest.mark.long
def test_G4_a_place_known_by_its_city_only_is_marked(nominatim: Nominatim, engine: sa.Engine, redis_url: str) -> None:
    [found] = a_chain(nominatim, engine, redis_url, "offline").locate([Address(city="Munich", country="DE")])
    assert found is not None
    assert (found.precision, found.provider) == (Precision.CITY, "offline")


@pytest.mark.long
def test_G4_a_place_known_by_its_region_only_waits_for_somebody_who_knows_better(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    chain = a_chain(nominatim, engine, redis_url, "offline", "nominatim")
    better, best_there_is = chain.locate(
        [Address(city="Nova Hamlet", state="NY", country="US"), Address(city="Nowhere", state="NY", country="US")]
    )
    assert better is not None
    assert (better.provider, better.precision) == ("nominatim", Precision.EXACT)
    assert best_there_is is not None
    assert (best_there_is.provider, best_there_is.precision) == ("offline", Precision.REGION)


@pytest.mark.long
def test_the_cache_keeps_no_address_and_forgets_providers_that_are_no_longer_asked(
    nominatim: Nominatim, engine: sa.Engine, redis_url: str
) -> None:
    cache = Geocodes(engine)
    place = Located(Point(1, 2), Precision.STREET, "nominatim")
    cache.put_many({digest(ALBANY): place, b"x" * 32: None}, ["nominatim"])
    cache.put_many({digest(ALBANY): place, b"x" * 32: None}, ["nominatim"])
    assert cache.get_many([digest(ALBANY), b"x" * 32], ["nominatim"]) == {digest(ALBANY): place, b"x" * 32: None}
    assert cache.get_many([digest(ALBANY), b"x" * 32], ["google"]) == {}
    assert cache.claim(digest(ALBANY), ["google"])
    assert not cache.claim(digest(ALBANY), ["google"])
    cache.abandon(digest(ALBANY))
    assert cache.claim(digest(ALBANY), ["google"])
    with engine.begin() as connection:
        assert "Albany" not in repr(connection.execute(sa.select(geocodes)).all())
