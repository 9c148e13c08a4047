"""The auditor: finds whatever the turnstile holds that the ledger does not know, and mends it while both work."""

import random
import struct
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from uuid import uuid4

import pytest
import redis

from routing.auditor import Auditor
from routing.drift import Drift
from storage.postgres.truth import Truth
from storage.redis.audit import TurnstileAudit
from storage.redis.keys import MarketKeys
from tests.integration.routing.house import MARKET, House

KEYS = MarketKeys(MARKET)


class Told:
    """An auditor and what it told."""

    def __init__(self, house: House) -> None:
        self.drifts: list[Drift] = []
        self.inspected = TurnstileAudit(house.redis_url)
        self.auditor = Auditor(Truth(house.engine), self.inspected, lambda _market, found: self.drifts.append(found))

    def audit(self) -> dict[str, int] | None:
        """What was found and mended; None when nothing could be compared."""
        found = self.auditor.audit(MARKET)
        return None if found is None else {kind: n for kind, n in found.counts().items() if n}


@pytest.fixture
def told(house: House) -> Iterator[Told]:
    made = Told(house)
    yield made
    made.inspected.close()


@pytest.fixture
def server(house: House) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(house.redis_url) as client:
        yield client


def busy(house: House, leads: int = 12, members: int = 5, capacity: int = 4) -> list[int]:
    """Some offers made."""
    for n in range(members):
        house.member(f"m{n}", 40.01, capacity=capacity, weight=[1000, 1500, 333][n % 3])
    made = [house.lead(f"00Q000000000{n:06}") for n in range(leads)]
    house.work()
    return made


def held(house: House) -> dict[int, int]:
    return {row.id: row.open for row in house.rows("SELECT id, open FROM members WHERE open > 0")}


def as_the_ledger_says(house: House) -> bool:
    """Whether the turnstile is as a rebuild would make it."""
    before = [
        house.turnstile.open_counts(MARKET),
        house.turnstile.standings(MARKET, "installers"),
        house.turnstile.offers(MARKET),
    ]
    house.dispatcher.rebuild(MARKET)
    after = [
        house.turnstile.open_counts(MARKET),
        house.turnstile.standings(MARKET, "installers"),
        house.turnstile.offers(MARKET),
    ]
    return before == after


def test_G18_nothing_is_wrong_with_a_turnstile_that_was_left_alone(house: House, told: Told) -> None:
    leads = busy(house)
    assert told.audit() == {}
    house.overdue(*leads[:5])
    house.tick()
    assert told.audit() == {}
    assert told.drifts == []


def test_G18_a_market_never_built_is_not_compared(told: Told) -> None:
    assert told.audit() is None


def test_G18_a_place_held_by_an_offer_that_is_over_is_freed(house: House, told: Told, server: redis.Redis) -> None:
    busy(house)
    member = next(iter(held(house)))
    slot = told.inspected.look(MARKET).order.index(member)  # type: ignore[union-attr] # it is warm
    for _ in range(3):
        server.hset(KEYS.offers, uuid4().hex, member.to_bytes(4, "little") + slot.to_bytes(4, "little"))
    assert told.audit() == {"leaked": 3, "miscounted": 1}
    assert told.audit() == {}
    assert as_the_ledger_says(house)
    assert house.value("SELECT count(*) FROM audit WHERE action = 'turnstile.mended'") == 1


def test_C8_places_lost_and_counts_that_are_wrong_are_set_right(house: House, told: Told, server: redis.Redis) -> None:
    busy(house)
    lost = house.value("SELECT id FROM offers LIMIT 1")
    house.turnstile.release(MARKET, [lost])
    assert told.audit() == {"missing": 1}
    page = server.hget(KEYS.open, "0")
    assert isinstance(page, bytes)
    server.hset(KEYS.open, "0", (9).to_bytes(4, "little") + page[4:8] + (0).to_bytes(4, "little") + page[12:])
    assert told.audit() == {"miscounted": 2}
    assert told.audit() == {}
    assert house.turnstile.open_counts(MARKET) == held(house)
    assert as_the_ledger_says(house)


@pytest.mark.parametrize("seed", range(2))
def test_G18_whatever_is_made_wrong_is_found_and_mended(
    house: House, told: Told, server: redis.Redis, seed: int
) -> None:
    dice = random.Random(seed)
    busy(house, leads=18)
    for _ in range(4):
        key = dice.choice([KEYS.standing("installers"), KEYS.served("installers"), KEYS.open])
        found = server.hget(key, "0")
        assert isinstance(found, bytes)
        page = bytearray(found)
        at = dice.randrange(5) * (4 if key == KEYS.open else 8)
        value = int(dice.choice([0, 1, 3, 17]))
        if key == KEYS.open:
            page[at : at + 4] = value.to_bytes(4, "little")
        else:
            page[at : at + 8] = struct.pack("<d", value)
        server.hset(key, "0", bytes(page))
    server.hincrby(KEYS.ticks, "installers", dice.choice([-1, 2]))
    server.hset(KEYS.cursors, "installers", 1 + dice.randrange(3))
    assert told.audit()
    assert told.audit() == {}
    assert as_the_ledger_says(house)


def test_G18_turns_in_flight_are_no_drift(house: House, told: Told) -> None:
    busy(house)
    lead = house.lead("00Q000000000900001", 40.0)
    house.log.clear()
    reserve, seen = house.turnstile.reserve, []

    def reserve_and_audit(*args: object, **values: object) -> object:
        answer = reserve(*args, **values)  # type: ignore[arg-type]
        seen.append(told.audit())
        return answer

    house.turnstile.reserve = reserve_and_audit  # type: ignore[method-assign, assignment]
    house.dispatcher.route([lead])
    assert seen == [{}]
    assert told.audit() == {}


def test_C8_no_false_alarm_and_no_limit_passed_while_redis_is_flushed_under_load(
    house: House, told: Told, server: redis.Redis
) -> None:
    for n in range(8):
        house.member(f"m{n}", 40.01, capacity=6, weight=[1000, 1500, 333][n % 3])
    leads = [house.lead(f"00Q000000000{n:06}") for n in range(60)]
    house.log.clear()
    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(routes, house, leads[n::2]) for n in range(2)]
        auditing = pool.submit(audits, told, working)
        for _ in range(3):
            server.flushall()
            wait(working, timeout=0.2)
        for one in (*working, auditing):
            one.result()
    house.tick()
    assert [found for found in told.drifts if found] == []
    assert told.audit() == {}
    assert house.turnstile.open_counts(MARKET) == held(house)
    assert sorted(held(house).values()) == [6] * 8
    assert as_the_ledger_says(house)


def routes(house: House, leads: list[int]) -> None:
    """A worker of its own."""
    worker = House(house.database_url, house.redis_url)
    for at in range(0, len(leads), 3):
        worker.dispatcher.route(leads[at : at + 3])
    worker.close()


def audits(told: Told, working: list[Future[None]]) -> None:
    """Look again and again while others work."""
    while not all(one.done() for one in working):
        told.audit()
