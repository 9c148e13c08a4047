"""Which leads go first when there is not room for all, which go to the best, and where the others overflow to."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing.lane import Lane
from tests.integration.routing.house import MARKET, House
from tests.integration.routing.test_special_cases import ruled, steps, when

PAST = datetime.now(UTC) - timedelta(days=1)
POINTS = [
    {"name": "score", "fact": "lead.score", "times": 1.0},
    {"name": "urgent", "when": "lead.product == 'outage'", "points": 50},
    {"name": "web", "when": "lead.source == 'Web'", "points": 5},
]
TIERS = [{"name": "gold", "weight": 1, "capacity": 10}, {"name": "silver", "weight": 1, "capacity": 10}]


def lead_of(house: House, number: int, minutes: int = 0, source: str = "", **attributes: Any) -> int:
    at = PAST + timedelta(minutes=minutes)
    return house.lead(f"00Q{number:015}", at=at, source=source, attributes=attributes)


def test_P1_with_capacity_scarce_higher_priority_leads_are_offered_first_equals_by_age(house: House) -> None:
    house.publish_document(ruled(priority={"points": POINTS}))
    house.member("only", capacity=1)
    lead_of(house, 1)
    house.work()
    cold_new, cold_old = lead_of(house, 2, 9), lead_of(house, 3, 1)
    web = lead_of(house, 4, 5, source="Web")
    scored = lead_of(house, 5, 7, score=30)
    outage = lead_of(house, 6, 8, product="outage")
    house.work()
    given = []
    for _ in range(5):
        house.overdue()
        house.tick()
        given.append(house.value("SELECT lead_id FROM offers WHERE state = 'offered'"))
        house.run("UPDATE leads SET moves = 9 WHERE state = 'offered'")  # its next end is its last
    assert given == [outage, scored, web, cold_old, cold_new]


def test_P1_a_batch_is_decided_in_the_order_of_priority(house: House) -> None:
    house.publish_document(ruled(when("key", "lead.source == 'Key'", priority=9, hot=True)))
    house.member("only", capacity=1)
    plain, key = lead_of(house, 1), lead_of(house, 2, 5, source="Key")
    house.work()
    assert house.holder(key) is not None
    assert house.state(plain) == ("waiting", "no_room")
    assert house.value("SELECT lane FROM leads WHERE id = :lead", lead=key) == Lane.HOT
    assert house.value("SELECT score FROM leads WHERE id = :lead", lead=key) == 9


def test_P3_a_lead_that_waited_long_goes_before_hot_ones_that_came_later(house: House) -> None:
    ageing = {"point_every": "1m", "longest_wait": "2h"}
    house.publish_document(ruled(priority={"points": POINTS, "ageing": ageing}))
    house.member("only", capacity=1)
    lead_of(house, 1)
    house.work()
    cold = lead_of(house, 2, 1)
    soon, late = lead_of(house, 3, 30, score=1000), lead_of(house, 4, 62, score=1000)
    house.work()
    given = []
    for _ in range(3):
        house.overdue()
        house.tick()
        given.append(house.value("SELECT lead_id FROM offers WHERE state = 'offered'"))
        house.run("UPDATE leads SET moves = 9 WHERE state = 'offered'")
    assert given == [soon, cold, late]


def test_P2_the_best_leads_go_to_the_best_tier_wherever_it_is_in_reach(house: House) -> None:
    made = ruled(priority={"points": POINTS, "best": {"at_least": 80}}) | {"tiers": TIERS}
    house.publish_document(made)
    silver = house.member("silver", tier="silver")
    gold = house.member("gold", 40.6, tier="gold", capacity=1)
    best, good, another = lead_of(house, 1, 1, score=90), lead_of(house, 2, 2, score=70), lead_of(house, 3, 3, score=95)
    house.work()
    assert house.holder(good) == silver
    assert [house.holder(best), house.holder(another)] == [silver, gold]  # the one place of gold to the better one
    inputs = house.value("SELECT inputs FROM decisions WHERE lead_id = :lead", lead=another)
    assert inputs["score"] == 95


def test_P2_a_share_cap_keeps_the_best_tier_from_getting_everything_and_both_are_explained(house: House) -> None:
    made = ruled(priority={"points": POINTS, "best": {"at_least": 80}}, limits=[{"share": 30, "per": "7d", "from": 10}])
    house.publish_document(made | {"tiers": TIERS})
    silver = [house.member(f"silver {n}", tier="silver", capacity=100) for n in range(4)]
    gold = house.member("gold", 40.6, tier="gold", capacity=100)
    leads = [lead_of(house, n, n, score=90 + n) for n in range(20)]
    house.work()
    given = [row.chosen for row in house.rows("SELECT chosen FROM decisions ORDER BY seq")]
    assert given[:3] == [gold] * 3
    assert given.count(gold) == 6  # 30 % of 20, though every one of them is for the best
    assert set(given) == {gold, *silver}
    fourth = house.rows("SELECT inputs, stops FROM decisions ORDER BY seq")[3]
    assert house.value("SELECT count(*) FROM decisions") == len(leads)
    assert fourth.inputs["score"] >= 80
    name, used, most, _ = fourth.stops[str(gold)]
    assert (name, used, most) == ("share-7d", 3, 3)


def test_P2_the_top_decile_is_counted_from_the_last_leads(house: House) -> None:
    made = ruled(priority={"points": POINTS, "best": {"percent": 10, "of_last": 100}}) | {"tiers": TIERS}
    house.publish_document(made)
    silver = house.member("silver", tier="silver", capacity=100)
    gold = house.member("gold", 40.6, tier="gold", capacity=100)
    for n in range(20):
        lead_of(house, n, n, score=n)
    house.work()
    middling, top = lead_of(house, 30, score=12), lead_of(house, 31, score=40)
    house.work()
    assert (house.holder(middling), house.holder(top)) == (silver, gold)
    assert house.value("SELECT inputs FROM decisions WHERE lead_id = :lead", lead=top)["best_above"] == 17


def full(house: House, **pool: Any) -> dict[str, int]:
    """A gold and a silver member near by, and one of each farther away; the near gold one has no room."""
    pools = pool.pop("pools", None)
    house.publish_document(ruled(pools=pools, tiers="ranked", **pool) | {"tiers": TIERS})
    return {
        "gold": house.member("gold", tier="gold", capacity=0),
        "silver": house.member("silver", tier="silver"),
        "far gold": house.member("far gold", 40.3, tier="gold"),
        "far silver": house.member("far silver", 40.3, tier="silver"),
    }


@pytest.mark.parametrize(
    ("overflow", "goes_to"), [(None, "silver"), ("next_tier", "silver"), ("next_ring", "far gold"), ("wait", None)]
)
def test_C9_a_pool_says_who_is_asked_next(house: House, overflow: str | None, goes_to: str | None) -> None:
    members = full(house, **({"overflow": overflow} if overflow else {}))
    lead = lead_of(house, 1)
    house.work()
    if goes_to is None:
        assert house.state(lead) == ("waiting", "no_room")
    else:
        assert house.holder(lead) == members[goes_to]
    assert house.story(lead)[-2:] != []


def test_C9_next_tier_goes_no_farther_than_the_ring(house: House) -> None:
    full(house, overflow="next_tier")
    house.member("silver", tier="silver", capacity=0)
    lead = lead_of(house, 1)
    house.work()
    assert house.state(lead) == ("waiting", "no_room")


@pytest.mark.parametrize(("overflow", "stands"), [("hold", ("waiting", "held")), ("review", ("review", "overflow"))])
def test_C9_a_pool_holds_leads_nobody_has_room_for_or_shows_them_to_a_person(
    house: House, overflow: str, stands: tuple[str, str]
) -> None:
    house.publish_document(ruled(overflow=overflow))
    house.member("full", capacity=0)
    lead = lead_of(house, 1)
    house.work()
    assert house.state(lead) == stands
    assert house.baskets.all() == ({"installers": 1} if overflow == "hold" else {})
    assert house.story(lead)[-1] in {"written", "waiting", "review"}


def test_C9_a_shared_pool_takes_what_another_has_no_room_for(house: House) -> None:
    shared = {"name": "shared", "market": MARKET, "countries": ["DE"], "rings": {"unit": "mi", "radii": [400]}}
    house.publish_document(ruled(pools=[shared], overflow={"pool": "shared"}))
    house.member("full", capacity=0)
    far = house.member("far", 44.0)
    lead = lead_of(house, 1)
    house.work()
    assert house.holder(lead) == far
    assert steps(house, lead, "overflowed") == [{"from": "installers", "to": "shared"}]
    assert house.value("SELECT pool FROM leads WHERE id = :lead", lead=lead) == "shared"
    house.member("far", 44.0, capacity=1)
    waits = lead_of(house, 2)
    house.work()
    assert house.state(waits) == ("waiting", "no_room")
    house.overdue(lead)
    house.tick()
    assert house.holder(waits) == far
