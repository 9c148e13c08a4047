"""Planning one lead, and what the turnstile's answer means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.decision import Gate
from routing.lead import Lead, Point, Precision, Reason
from routing.member import Member, Roster
from routing.near import Index, Near
from routing.plan import Plan, Verdict, Versions, conclude_all, plan_all, reach_m, refusal, rotation, with_room
from routing.policy import METRES, Answering, Mode, Policy, Pool, PoorPlace, Rings, Scope, Tier, Tiers
from routing.ports import Snapshot
from tests.fakes.turnstile import FakeTurnstile
from tests.unit.routing.test_near import away

HOME = Point(40, -75)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RINGS = Rings("mi", (5, 15, 30, 50))
GOLD, SILVER = Tier("gold", 1, 10, 2000), Tier("silver", 2, 5, 1000)


def pool(**over: object) -> Pool:
    return Pool("installers", "main", frozenset(), RINGS, **over)  # type: ignore[arg-type]


def policy(one: Pool) -> Policy:
    return Policy(1, (one,), {"gold": GOLD, "silver": SILVER}, Tier("", 3, 4, 500))


def member(number: int, tier: str = "silver", **over: object) -> Member:
    return Member(number, f"m{number}", "", "main", tier, (Point(40, -75),), **over)  # type: ignore[arg-type]


def lead(**over: object) -> Lead:
    return Lead(1, NOON, place=Point(40, -75), **over)  # type: ignore[arg-type]


def standing_at(near: list[Near]) -> Index:
    """An index of these members, each where it is as far away as it says."""
    return Index(Roster("main", 1, [replace(n.member, places=(away(HOME, n.distance_m),)) for n in near]))


def planned(near: list[Near], one: Lead | None = None, *, all_rings: bool = True, **over: object) -> Plan:
    made = pool(**over)
    [found] = plan_all([(one or lead(), made)], policy(made), standing_at(near), all_rings=all_rings)
    return found


def answered(made: Plan, turnstile: FakeTurnstile | None = None) -> Verdict:
    if turnstile is None:
        turnstile = FakeTurnstile()
        turnstile.rebuild("main", Snapshot(1, 0, {}, {}, {}, {}))
    grants = turnstile.reserve("main", [made.ask(uuid4())], generation=1)
    return conclude_all([made], grants, Versions(1, 1, 1))[0]


def test_candidates_compete_ring_by_ring() -> None:
    made = planned([Near(member(1), 100.0, 0), Near(member(2), 9000.0, 1), Near(member(3), 200.0, 0)])
    assert [(g.ring, [c.member for c in g.candidates]) for g in made.groups] == [(0, [1, 3]), (1, [2])]


def test_the_first_ring_that_has_anybody_is_planned_and_the_others_only_when_it_is_full() -> None:
    near = [Near(member(1), 9000.0, 1), Near(member(2), 9500.0, 1), Near(member(3), 40000.0, 2)]
    first = planned(near, all_rings=False)
    assert ([g.ring for g in first.groups], first.more) == ([1], True)
    assert not first.ask(uuid4()).last
    tried = lead(tried=frozenset({1, 2}), attempt=3)
    second = planned(near, tried, all_rings=False)
    assert ([c.member for c in second.candidates], [w.member for w in second.tried]) == ([3], [1, 2])
    far = planned([near[2]], lead(country="DE"), rings_by_country={"DE": Rings("mi", (5, 30))}, all_rings=False)
    assert (far.more, far.ask(uuid4()).last) == (False, True)


def test_a_plan_has_room_while_anybody_in_it_may_hold_one_more() -> None:
    plans = [planned([Near(member(1), 1.0, 0), Near(member(2), 2.0, 0)]), planned([Near(member(2), 2.0, 0)])]
    assert with_room(plans, lambda: {1: 4, 2: 5}) == plans[:1]
    assert with_room(plans, lambda: {1: 5, 2: 4}) == plans
    assert with_room([], dict) == []


def test_ranked_tiers_are_asked_best_first_inside_each_ring() -> None:
    near = [Near(member(1), 1.0, 0), Near(member(2, "gold"), 2.0, 0), Near(member(3, "gold"), 9000.0, 1)]
    made = planned(near, tiers=Tiers.RANKED)
    assert [[c.member for c in g.candidates] for g in made.groups] == [[2], [1], [3]]
    assert [g.rotation for g in made.groups] == ["installers/tier1", "installers/tier2", "installers/tier1"]
    assert [g.ring for g in planned(near, all_rings=False, tiers=Tiers.RANKED).groups] == [0, 0]


def test_capacity_and_weight_come_from_the_tier_unless_the_member_has_its_own() -> None:
    made = planned([Near(member(1, "gold"), 1.0, 0), Near(member(2, "gold", capacity=1, weight=1), 1.0, 0),
                    Near(member(3, "unheard of"), 1.0, 0)])  # fmt: skip
    assert [(c.capacity, c.weight) for c in made.candidates] == [(10, 2000), (1, 1), (4, 500)]


@pytest.mark.parametrize(
    ("over", "ring", "tier", "name"),
    [
        ({}, 1, None, "installers"),
        ({"scope": Scope.POOL_RING}, 1, None, "installers/ring2"),
        ({"scope": Scope.POOL_RING}, 0, 3, "installers/ring1/tier3"),
        ({"scope": Scope.SHARED, "rotation": "all"}, 2, None, "all"),
    ],
)
def test_F4_a_rotation_is_named_by_what_shares_it(
    over: dict[str, object], ring: int, tier: int | None, name: str
) -> None:
    assert rotation(pool(**over), ring, tier) == name


def test_who_was_tried_is_seen_and_not_asked() -> None:
    made = planned([Near(member(1), 1.0, 0), Near(member(2), 2.0, 0)], lead(tried=frozenset({1}), attempt=2))
    assert [c.member for c in made.candidates] == [2]
    assert [(w.member, w.gate) for w in answered(made).decision.weighed] == [(2, Gate.ELIGIBLE), (1, Gate.TRIED)]


@pytest.mark.parametrize(
    ("near", "one", "reason", "waits"),
    [
        ([], lead(), Reason.NO_PARTNER_IN_RANGE, True),
        ([Near(member(1, capacity=0), 1.0, 0)], lead(), Reason.NO_ROOM, True),
        ([Near(member(1), 1.0, 0)], lead(tried=frozenset({1})), Reason.EVERYONE_TRIED, False),
        ([Near(member(1), 1.0, 0), Near(member(2, capacity=0), 1.0, 0)], lead(tried=frozenset({1})), Reason.NO_ROOM,
         True),
    ],
)  # fmt: skip
def test_who_finds_nobody_has_exactly_one_true_reason(near: list[Near], one: Lead, reason: Reason, waits: bool) -> None:
    verdict = answered(planned(near, one))
    assert (verdict.reason, verdict.waits, verdict.decision.chosen) == (reason, waits, None)
    assert verdict.decision.reason == reason


def test_a_decision_lists_everyone_looked_at_with_what_was_seen() -> None:
    near = [Near(member(1, capacity=0), 1.0, 0), Near(member(2), 9000.04, 1), Near(member(3), 40000.0, 2)]
    decision = answered(planned(near)).decision
    assert [(w.member, w.gate, w.distance_m) for w in decision.weighed] == [
        (1, Gate.FULL, 1.0), (2, Gate.ELIGIBLE, 9000.0),
    ]  # fmt: skip
    assert (decision.chosen, decision.ring, decision.reason) == (2, 1, "chosen")


def test_a_decision_names_its_offer_and_the_versions_it_was_made_under() -> None:
    made = planned([Near(member(1), 1.0, 0), Near(member(2), 9000.0, 1)])
    turnstile = FakeTurnstile()
    turnstile.rebuild("main", Snapshot(1, 0, {}, {}, {}, {}))
    offer = UUID(int=7)
    grants = turnstile.reserve("main", [made.ask(offer)], generation=1)
    decision = conclude_all([made], grants, Versions(3, 4, 1))[0].decision
    assert (decision.id, decision.chosen, decision.policy_version, decision.roster_version) == (offer, 1, 3, 4)


def test_a_batch_is_planned_and_concluded_like_each_lead_alone() -> None:
    made = pool()
    index = standing_at([Near(member(n), 3000.0 * n, 0) for n in range(1, 20)])
    leads = [Lead(n, NOON, place=away(HOME, 2500.0 * n), tried=frozenset({n})) for n in range(1, 30)]
    together = plan_all([(one, made) for one in leads], policy(made), index)
    alone = [plan_all([(one, made)], policy(made), index)[0] for one in leads]
    assert together == alone
    turnstiles = [FakeTurnstile(lambda: 0), FakeTurnstile(lambda: 0)]
    for one in turnstiles:
        one.rebuild("main", Snapshot(1, 0, {}, {}, {}, {}))
    asks = [p.ask(UUID(int=p.lead.id)) for p in together]
    grants = turnstiles[0].reserve("main", asks, generation=1)
    one_by_one = [
        conclude_all([p], turnstiles[1].reserve("main", [ask], generation=1), Versions(1, 1, 1))[0]
        for p, ask in zip(alone, asks, strict=True)
    ]
    assert conclude_all(together, grants, Versions(1, 1, 1)) == one_by_one


@pytest.mark.parametrize(
    ("one", "made", "reason"),
    [
        (lead(), None, Reason.UNKNOWN_COUNTRY),
        (lead(attempt=6, moves=3), pool(answering=Answering(reassignments=3)), None),
        (lead(attempt=6, moves=4), pool(answering=Answering(reassignments=3)), Reason.EXHAUSTED),
        (lead(precision=Precision.CITY), pool(poor_places={Precision.CITY: PoorPlace.REVIEW}), Reason.IMPRECISE_PLACE),
        (lead(precision=Precision.CITY), pool(poor_places={Precision.CITY: PoorPlace.CENTROID}), None),
        (lead(), pool(poor_places={Precision.EXACT: PoorPlace.REVIEW}), Reason.IMPRECISE_PLACE),
    ],
)
def test_G4_what_cannot_be_planned_has_a_reason(one: Lead, made: Pool | None, reason: Reason | None) -> None:
    assert refusal(one, made) is reason


def test_G4_a_poor_place_may_widen_the_first_ring() -> None:
    made = pool(poor_places={Precision.CITY: PoorPlace.WIDER_RING})
    assert reach_m(lead(precision=Precision.CITY), made) == RINGS.metres[1:]
    assert reach_m(lead(precision=Precision.STREET), made) == RINGS.metres


def test_G5_rings_differ_by_country_and_unit() -> None:
    made = pool(rings_by_country={"DE": Rings("km", (10, 25))})
    assert reach_m(lead(country="DE"), made) == (10_000.0, 25_000.0)
    assert reach_m(lead(country="US"), made)[0] == 5 * METRES["mi"]


@given(
    st.lists(st.tuples(st.floats(0, 80_000), st.sampled_from(["gold", "silver", "x"])), max_size=12),
    st.sampled_from(list(Mode)),
    st.sampled_from(list(Tiers)),
    st.sets(st.integers(1, 12)),
)
def test_everyone_in_reach_is_in_one_group_or_tried(
    near: list[tuple[float, str]], mode: Mode, tiers: Tiers, tried: set[int]
) -> None:
    found = [Near(member(n, tier), distance, 0) for n, (distance, tier) in enumerate(near, start=1)]
    made = planned(found, lead(tried=frozenset(tried)), mode=mode, tiers=tiers)
    asked = [c.member for c in made.candidates]
    assert sorted([*asked, *(w.member for w in made.tried)]) == [m.member.id for m in found]
    assert not {*asked} & tried
    assert all(a.ring <= b.ring for a, b in pairwise(made.groups))
    verdict = answered(made)
    assert (verdict.decision.chosen is None) == (not asked)
    assert verdict.decision.at - NOON > timedelta(days=-3650)
