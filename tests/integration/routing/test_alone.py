"""Redis away: the ledger decides alone by the same rule, and gives the turnstile back its place."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from routing.errors import GiveUp, TurnstileUnreachable
from storage.postgres.verify import Verify
from tests.integration.routing.house import MARKET, House
from tests.integration.routing.own_valkey import OwnValkey, own_valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    with own_valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def house(database_url: str, valkey: OwnValkey) -> Iterator[House]:
    made = House(database_url, valkey.url)
    try:
        made.publish()
        yield made
        assert made.breaches() == {}
        assert Verify(made.engine).run().breaches == ()
    finally:
        made.close()


def is_alone(house: House) -> bool:
    return bool(house.value("SELECT alone_since IS NOT NULL FROM markets WHERE name = :m", m=MARKET))


def by_ledger(house: House) -> int:
    found: int = house.value(
        "SELECT count(*) FROM timeline WHERE what IN ('offered', 'waiting') AND detail ->> 'by' = 'ledger'"
    )
    return found


def unread(house: House, count: int, first: int = 0) -> list[int]:
    """Leads ready to be routed."""
    made = [house.lead(f"00Q000000000{n:06}") for n in range(first, first + count)]
    house.log.clear()
    house.wanted.clear()
    return made


def killed(server: OwnValkey) -> Callable[[], None]:
    server.kill()
    return server.start


def frozen(server: OwnValkey) -> Callable[[], None]:
    server.freeze()
    return server.thaw


def full(server: OwnValkey) -> Callable[[], object]:
    server.client.config_set("maxmemory", "1")
    return lambda: server.client.config_set("maxmemory", "0")


def read_only(server: OwnValkey) -> Callable[[], object]:
    server.client.replicaof("127.0.0.1", "1")
    return lambda: server.client.replicaof("NO", "ONE")


@pytest.mark.parametrize("away", [killed, frozen, full, read_only], ids=lambda f: f.__name__)
def test_X4_while_redis_is_away_the_ledger_decides_and_afterwards_the_turnstile_again(
    house: House, valkey: OwnValkey, away: Callable[[OwnValkey], Callable[[], object]]
) -> None:
    members = [house.member(f"m{n}", 40.01, capacity=4) for n in range(3)]
    leads = unread(house, 9)
    house.dispatcher.route(leads[:4])
    back = away(valkey)
    for at in range(4, 9):
        house.dispatcher.route(leads[at : at + 1])
    assert is_alone(house)
    assert by_ledger(house) == 5
    assert house.tick().get("offered", 0) == 0  # the relay goes on without the turnstile
    back()
    house.tick()
    assert not is_alone(house)
    house.dispatcher.route(unread(house, 6, first=9))
    assert by_ledger(house) == 5
    assert sorted(house.rows("SELECT id, open FROM members")) == [(m, 4) for m in members]
    assert house.turnstile.open_counts(MARKET) == dict.fromkeys(members, 4)
    assert house.value("SELECT count(*) FROM leads WHERE state = 'waiting'") == 3
    standings = house.turnstile.standings(MARKET, "installers")
    assert {m: one.served for m, one in standings.items()} == {m: 10 + n for n, m in enumerate(members)}


def test_X4_a_process_that_starts_while_redis_is_away_works_from_its_first_lead(
    house: House, valkey: OwnValkey
) -> None:
    valkey.kill()
    house.member("near", 40.01)
    lead = unread(house, 1)[0]
    house.dispatcher.route([lead])
    assert house.state(lead) == ("offered", None)
    valkey.start()


def test_a_redis_that_refuses_us_holds_no_lead_up_and_the_relay_says_so(house: House, valkey: OwnValkey) -> None:
    house.member("near", 40.01)
    first, second = unread(house, 2)
    house.dispatcher.route([first])
    valkey.may("-hmget")
    house.dispatcher.route([second])
    assert house.state(second) == ("offered", None)
    with pytest.raises(GiveUp, match="ACL"):
        house.dispatcher.come_back(MARKET)
    valkey.may("+hmget")
    assert house.dispatcher.come_back(MARKET)


def test_a_place_freed_while_redis_is_away_goes_to_the_lead_that_waits(house: House, valkey: OwnValkey) -> None:
    near, other = house.member("near", 40.01, capacity=1), house.member("other", 40.02, capacity=1)
    first, second, third = unread(house, 3)
    house.dispatcher.route([first, second])
    valkey.kill()
    house.dispatcher.route([third])
    assert house.state(third) == ("waiting", "no_room")
    holder = house.holder(first)
    house.overdue(first)
    house.tick()
    assert house.holder(third) == holder
    assert house.state(first) == ("waiting", "no_room")
    valkey.start()
    house.tick()
    assert house.turnstile.open_counts(MARKET) == {near: 1, other: 1}


def test_only_the_first_batch_waits_for_a_redis_that_says_nothing(
    house: House, valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.member("near", 40.01, capacity=100)
    leads = unread(house, 5)
    house.dispatcher.route(leads[:1])
    valkey.freeze()
    asked: list[str] = []
    reserve = house.turnstile.reserve

    def counted(market: str, *args: object, **values: object) -> object:
        asked.append(market)
        return reserve(market, *args, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(house.turnstile, "reserve", counted)
    for lead in leads[1:]:
        house.dispatcher.route([lead])
    assert asked == [MARKET]
    assert house.value("SELECT count(*) FROM offers") == 5
    with pytest.raises(TurnstileUnreachable):
        house.turnstile.probe(MARKET)
    assert not house.dispatcher.come_back(MARKET)
    valkey.thaw()
    assert house.dispatcher.come_back(MARKET)


def test_several_workers_that_decide_alone_at_once_keep_every_limit_and_the_fair_turn(
    house: House, valkey: OwnValkey
) -> None:
    members = [house.member(f"m{n}", 40.01, capacity=15) for n in range(6)]
    leads = unread(house, 100)
    valkey.kill()
    houses = [house, *(House(house.database_url, valkey.url) for _ in range(2))]
    together = threading.Barrier(6)
    failed: list[Exception] = []

    def work(one: House, mine: list[int]) -> None:
        together.wait()
        for at in range(0, len(mine), 5):
            try:
                one.dispatcher.route(mine[at : at + 5])
            except Exception as exc:  # noqa: BLE001 - shown below
                failed.append(exc)

    threads = [threading.Thread(target=work, args=(houses[n % 3], leads[n::6])) for n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for other in houses[1:]:
        other.close()
    assert failed == []
    assert house.rows("SELECT id, open FROM members ORDER BY id") == [(m, 15) for m in members]
    assert house.value("SELECT count(*) FROM leads WHERE state = 'waiting'") == 10
    valkey.start()
    assert house.dispatcher.come_back(MARKET)
    assert house.turnstile.open_counts(MARKET) == dict.fromkeys(members, 15)
