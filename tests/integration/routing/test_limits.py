"""Limits in a whole house: who has used one up is passed over, whoever decides, whatever Redis forgets."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis

from routing.auditor import Auditor
from routing.errors import TurnstileUnreachable
from storage.postgres.quotas import Quotas
from storage.postgres.truth import Truth
from storage.postgres.verify import Verify
from storage.redis.audit import TurnstileAudit
from storage.redis.keys import MarketKeys
from storage.redis.limited import packed_buckets
from tests.integration.routing.house import MARKET, House, document

PLENTY = 1000
NOBODY_LISTENS = "redis://127.0.0.1:1/0"
QUOTA = 4
QUOTA_OF_RACE = 5


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    yield made
    broken = made.breaches()
    report = Verify(made.engine).run()
    made.close()
    assert broken == {}
    assert report.breaches == ()


def publish(house: House, pool: Sequence[dict[str, Any]] = (), everywhere: Sequence[dict[str, Any]] = ()) -> None:
    made = document(limits=list(pool))
    house.publish_document(made | {"limits": list(everywhere)})


def give(house: House, count: int, first: int = 0, **body: Any) -> list[int | None]:
    """So many leads, one after the other; who got each."""
    leads = [house.lead(f"00Q000000000{n:06}", **body) for n in range(first, first + count)]
    house.work()
    return [house.holder(lead) for lead in leads]


def stops(house: House) -> list[Any]:
    return house.rows("SELECT id, gate, stops FROM decisions WHERE stops <> '{}' ORDER BY seq")


def test_C4_the_fourth_lead_of_a_pool_goes_elsewhere_while_other_pools_still_deliver(house: House) -> None:
    pools = document()["pools"]
    solar = pools[0] | {"name": "solar", "limits": [{"of": "member", "most": 3, "per": "day"}], "countries": ["US"]}
    heat = pools[0] | {"name": "heat", "countries": ["CA"]}
    house.publish_document(
        document() | {"pools": [solar, heat], "limits": [{"name": "all", "of": "member", "most": 5, "per": "day"}]}
    )
    near = house.member("near", capacity=PLENTY)
    far = house.member("far", lat=40.3, capacity=PLENTY)
    assert give(house, 5) == [near, near, near, far, far]
    assert give(house, 4, 10, country="CA") == [near, near, far, far]
    row = stops(house)[0]
    assert row.stops[str(near)][:3] == ["member-day", 3, 3]
    assert QUOTA in row.gate


def test_C4_a_network_has_one_quota_for_all_of_its_members(house: House) -> None:
    publish(house, everywhere=[{"of": "network", "most": 3, "per": "week"}])
    one = house.member("one", capacity=PLENTY, attributes={"network": "north"})
    two = house.member("two", capacity=PLENTY, attributes={"network": "north"})
    other = house.member("other", lat=40.3, capacity=PLENTY)
    given = give(house, 5)
    assert {one, two} == set(given[:3])
    assert given[3:] == [other, other]


def test_C4_a_pool_that_has_given_all_of_its_total_lets_leads_wait_until_the_window_ends(house: House) -> None:
    publish(house, [{"of": "pool", "most": 2, "per": "24h"}])
    house.member("one", capacity=PLENTY)
    house.member("two", capacity=PLENTY)
    assert give(house, 3)[2] is None
    lead = house.id_of("00Q000000000000002")
    assert house.state(lead) == ("waiting", "no_room")
    due = house.value("SELECT next_try_at - clock_timestamp() FROM leads WHERE id = :id", id=lead)
    assert timedelta(0) < due <= timedelta(hours=1)  # the window moves in steps of an hour


def test_C10_a_months_quota_is_paced_by_the_day(house: House) -> None:
    publish(house, [{"most": 30, "per": "month", "pace": {"day": 10, "week": 30}}])
    near = house.member("near", capacity=PLENTY)
    far = house.member("far", lat=40.3, capacity=PLENTY)
    assert give(house, 4) == [near, near, near, far]
    assert stops(house)[0].stops[str(near)][:3] == ["member-month/day", 3, 3]


def test_C3_a_member_sees_what_is_left_of_its_own_quotas(house: House) -> None:
    publish(house, [{"most": 3, "per": "day"}, {"of": "pool", "most": 50, "per": "day"}], [{"most": 9, "per": "week"}])
    one = house.member("one", capacity=PLENTY)
    give(house, 2)
    left = Quotas(house.engine).left(house.ledger.published(), one)
    assert [(q.pool, q.limit, q.used, q.most, q.left) for q in left] == [
        ("", "member-week", 2, 9, 7),
        ("installers", "member-day", 2, 3, 1),
    ]


def test_C3_a_members_own_number_goes_before_the_policys(house: House) -> None:
    publish(house, [{"name": "daily", "most": 1, "per": "day"}])
    one = house.member("one", capacity=PLENTY, attributes={"limits": "daily=3", "timezone": "Australia/Sydney"})
    two = house.member("two", lat=40.3, capacity=PLENTY)
    assert give(house, 5) == [one, one, one, two, None]


def test_C3_what_is_not_kept_is_given_back_where_the_limit_says_so(house: House) -> None:
    publish(house, [{"most": 1, "per": "month", "counts": "kept"}])
    one = house.member("one", capacity=PLENTY)
    two = house.member("two", lat=40.3, capacity=PLENTY)
    assert give(house, 1) == [one]
    house.desk.reject(house.offer(house.id_of("00Q000000000000000")), "too_far", member=one)
    house.work()
    assert house.holder(house.id_of("00Q000000000000000")) == two
    assert give(house, 2, 5) == [one, None]
    assert house.turnstile.uses(MARKET) == used(house)


def test_C3_what_was_offered_counts_for_good_by_default(house: House) -> None:
    publish(house, [{"most": 1, "per": "month"}])
    one = house.member("one", capacity=PLENTY)
    assert give(house, 1) == [one]
    house.desk.reject(house.offer(house.id_of("00Q000000000000000")), "too_far", member=one)
    house.work()
    assert give(house, 1, 5) == [None]


def used(house: House) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for row in house.rows("SELECT counter, bucket, used FROM quota_uses WHERE used > 0"):
        found.setdefault(row.counter, {})[row.bucket] = row.used
    return found


def test_C3_a_flush_of_redis_never_lets_a_quota_be_passed(house: House, redis_url: str) -> None:
    publish(house, [{"most": 3, "per": "day"}])
    one = house.member("one", capacity=PLENTY)
    assert give(house, 2) == [one, one]
    redis.Redis.from_url(redis_url).flushdb()
    assert give(house, 3, 5) == [one, None, None]
    assert house.turnstile.uses(MARKET) == used(house)


def test_C3_a_turnstile_that_forgot_its_counters_is_refused_by_the_ledger_and_mended(
    house: House, redis_url: str
) -> None:
    publish(house, [{"most": 2, "per": "day"}])
    one = house.member("one", capacity=PLENTY)
    assert give(house, 2) == [one, one]
    generation = house.turnstile.mark(MARKET).generation
    redis.Redis.from_url(redis_url).delete(MarketKeys(MARKET).uses)
    assert give(house, 1, 5) == [None]
    assert house.turnstile.mark(MARKET).generation == generation + 1
    assert house.turnstile.uses(MARKET) == used(house)
    assert house.turnstile.open_counts(MARKET) == {one: 2}


def test_C4_the_auditor_finds_what_the_turnstile_forgot_or_made_up_of_limits(house: House, redis_url: str) -> None:
    publish(house, [{"most": 9, "per": "day"}, {"most": 9, "per": "24h", "counts": "kept"}, {"share": 50, "per": "7d"}])
    one = house.member("one", capacity=PLENTY)
    assert give(house, 4) == [one] * 4
    house.desk.reject(house.offer(house.id_of("00Q000000000000000")), "too_far", member=one)
    found: list[dict[str, int]] = []
    auditor = Auditor(
        Truth(house.engine), TurnstileAudit(redis_url), lambda _market, drift: found.append(drift.counts())
    )
    assert not auditor.audit(MARKET)  # the rejected offer's place and use are on their way
    house.work()
    assert not auditor.audit(MARKET)
    server, key = redis.Redis.from_url(redis_url), MarketKeys(MARKET).uses
    day, rolling, share = (next(name for name in used(house) if per in name) for per in ("/day/", "kept/", "/7d/m"))
    bucket = next(iter(used(house)[day]))
    server.hset(key, day, packed_buckets({bucket: 1}))
    server.hdel(key, rolling, share)
    assert auditor.audit(MARKET)
    assert found[0]["limit"] == 3
    assert house.turnstile.uses(MARKET) == used(house)
    assert not auditor.audit(MARKET)


def test_C4_the_ledger_alone_keeps_to_limits_and_hands_them_back(house: House, database_url: str) -> None:
    publish(house, [{"most": 3, "per": "day"}])
    one = house.member("one", capacity=PLENTY)
    assert give(house, 1) == [one]
    alone = House(database_url, NOBODY_LISTENS)
    try:
        with pytest.raises(TurnstileUnreachable):
            alone.turnstile.mark(MARKET)
        leads = [alone.lead(f"00Q0000000009{n:05}") for n in range(3)]
        alone.work()
        assert [alone.holder(lead) for lead in leads] == [one, one, None]
    finally:
        alone.close()
    assert house.dispatcher.come_back(MARKET)
    assert house.turnstile.uses(MARKET) == used(house)
    assert give(house, 1, 20) == [None]


def test_F13_nobody_gets_more_than_its_share_of_a_pool(house: House) -> None:
    publish(house, [{"share": 40, "per": "7d", "from": 10}])
    heavy = house.member("heavy", weight=9000, capacity=PLENTY)
    house.member("one", capacity=PLENTY)
    house.member("two", capacity=PLENTY)
    given = give(house, 40)
    assert None not in given
    assert all(given[:upto].count(heavy) <= 40 * max(upto, 10) // 100 for upto in range(1, 41))
    assert given.count(heavy) >= 15
    row = stops(house)[-1]
    name, held, most, _ = row.stops[str(heavy)]
    assert name == "share-7d"
    assert held + 1 > most


def test_F13_a_share_is_kept_over_a_flush_and_by_the_ledger_alone(
    house: House, redis_url: str, database_url: str
) -> None:
    publish(house, [{"share": 30, "per": "7d", "from": 10}])
    heavy = house.member("heavy", weight=9000, capacity=PLENTY)
    for n in range(4):
        house.member(f"m{n}", capacity=PLENTY)
    give(house, 11)
    redis.Redis.from_url(redis_url).flushdb()
    give(house, 12, 20)
    alone = House(database_url, NOBODY_LISTENS)
    try:
        leads = [alone.lead(f"00Q0000000009{n:05}") for n in range(12)]
        alone.work()
        assert None not in [alone.holder(lead) for lead in leads]
    finally:
        alone.close()
    assert house.dispatcher.come_back(MARKET)
    give(house, 12, 40)
    given = [row.chosen for row in house.rows("SELECT chosen FROM decisions ORDER BY generation, seq")]
    assert len(given) == 47
    assert len({row.generation for row in house.rows("SELECT generation FROM decisions")}) == 4
    for upto in range(1, len(given) + 1):
        assert given[:upto].count(heavy) <= 30 * max(upto, 10) // 100
    assert given.count(heavy) == 14  # all that it may have


def test_limits_lowered_below_what_was_given_give_nothing_new(house: House) -> None:
    publish(house, [{"name": "daily", "most": 5, "per": "day"}])
    one = house.member("one", capacity=PLENTY)
    assert give(house, 3) == [one, one, one]
    publish(house, [{"name": "daily", "most": 1, "per": "day"}])
    assert give(house, 1, 5) == [None]


def test_C3_two_hundred_workers_and_a_flush_never_pass_a_quota(house: House, redis_url: str) -> None:
    publish(house, [{"most": QUOTA_OF_RACE, "per": "day"}, {"of": "pool", "most": 22, "per": "24h"}])
    members = [house.member(f"m{n}", 40.01, capacity=PLENTY) for n in range(5)]
    house.journey.intake(
        house.store(
            house.change(f"00Q000000000000{n:03}", body={"lat": 40.0, "lon": -75.0, "country": "US", "city": "T"})
            for n in range(60)
        )
    )
    house.log.clear()
    command = [sys.executable, "-m", "tests.integration.routing.process", "route", house.database_url, redis_url, "50"]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    try:
        last = time.monotonic() + 120
        flushed = False
        while house.value("SELECT count(*) FROM leads WHERE state = 'new'"):
            assert time.monotonic() < last
            assert all(one.poll() is None for one in workers)
            if not flushed and house.value("SELECT count(*) FROM offers") > 5:
                redis.Redis.from_url(redis_url).flushdb()
                flushed = True
            time.sleep(0.05)
    finally:
        for one in workers:
            one.communicate(timeout=60)
    assert [one.returncode for one in workers] == [0] * len(workers)
    assert flushed
    assert house.value("SELECT count(DISTINCT generation) FROM decisions") > 1  # offers before the flush, and after it
    counts = {row.member_id: row.n for row in house.rows("SELECT member_id, count(*) AS n FROM offers GROUP BY 1")}
    assert counts.keys() == set(members)
    assert max(counts.values()) <= QUOTA_OF_RACE
    assert sum(counts.values()) == 22
    assert house.turnstile.uses(MARKET) == used(house)
