"""The ladder of attempts, who is asked once more, and who goes before all others."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from routing.decision import Decision, Gate
from routing.lead import Precision, Reason
from routing.near import Near
from routing.offer import Kind
from routing.policy import Answering, Mode, PoorPlace, Rung, Tiers
from routing.verify import Past, Recount
from tests.unit.routing.test_plan import answered, lead, member, planned

GOLD_NEAR = Near(member(1, "gold"), 100.0, 0)
SILVER_NEAR = Near(member(2), 200.0, 0)
GOLD_FAR = Near(member(3, "gold"), 20_000.0, 1)
SILVER_FAR = Near(member(4), 40_000.0, 2)
EVERYONE = [GOLD_NEAR, SILVER_NEAR, GOLD_FAR, SILVER_FAR]
GOLD_FIRST = Answering(ladder=(Rung(frozenset({"gold"}), 1), Rung(frozenset({"gold"})), Rung()))
AGAIN = Answering(again_when_exhausted=True)


def asked(near: list[Near], answering: Answering, **over: object) -> list[int]:
    return [c.member for c in planned(near, lead(**over), answering=answering).candidates]


@pytest.mark.parametrize(("moves", "members"), [(0, [1]), (1, [1, 3]), (2, [1, 2, 3, 4]), (9, [1, 2, 3, 4])])
def test_O13_each_attempt_asks_the_tiers_and_rings_that_are_given_for_it(moves: int, members: list[int]) -> None:
    assert asked(EVERYONE, GOLD_FIRST, moves=moves, attempt=moves + 1) == members


def test_O13_the_decision_shows_how_far_was_looked_and_which_tiers_were_not_asked() -> None:
    decision = answered(planned(EVERYONE, answering=GOLD_FIRST)).decision
    assert decision.rings_m == (5 * 1609.344,)
    assert [(w.member, w.gate) for w in decision.weighed] == [(1, Gate.ELIGIBLE), (2, Gate.TIER)]


def test_a_rung_with_nobody_gives_way_to_the_next_one() -> None:
    made = planned([SILVER_NEAR, GOLD_FAR], answering=GOLD_FIRST)
    assert ([c.member for c in made.candidates], made.rung) == ([3], 1)
    assert planned([SILVER_FAR], answering=GOLD_FIRST).rung == 2


def test_a_rung_whose_members_are_full_is_waited_for() -> None:
    full = Near(member(1, "gold", capacity=0), 100.0, 0)
    assert answered(planned([full, SILVER_NEAR], answering=GOLD_FIRST)).reason is Reason.NO_ROOM


def test_where_only_tiers_that_are_not_asked_are_near_nobody_is_in_range() -> None:
    made = planned([SILVER_NEAR], answering=Answering(ladder=(Rung(frozenset({"gold"})),)))
    assert answered(made).reason is Reason.NO_PARTNER_IN_RANGE


def test_a_rung_of_one_ring_holds_for_a_poorly_known_place_too() -> None:
    made = planned(EVERYONE, lead(precision=Precision.CITY), answering=GOLD_FIRST,
                   poor_places={Precision.CITY: PoorPlace.WIDER_RING})  # fmt: skip
    assert made.rings_m == (5 * 1609.344,)


def test_O5_when_everyone_was_tried_who_let_it_expire_is_asked_once_more() -> None:
    near = [SILVER_NEAR, GOLD_FAR]
    tried = {"tried": frozenset({2, 3}), "attempt": 3}
    verdict = answered(planned(near, lead(lapsed=frozenset({3}), **tried), answering=AGAIN))
    assert (verdict.decision.chosen, verdict.decision.reason, verdict.kind) == (3, "chosen_again", Kind.SECOND)
    assert asked(near, AGAIN, **tried) == []
    assert asked(near, Answering(), lapsed=frozenset({3}), **tried) == []


def test_O5_nobody_is_asked_again_while_there_is_anybody_who_was_not_asked() -> None:
    assert asked([SILVER_NEAR, SILVER_FAR], AGAIN, tried=frozenset({2}), lapsed=frozenset({2}), attempt=2) == [4]


def test_O18_who_asked_for_another_chance_goes_before_all_others() -> None:
    one = lead(tried=frozenset({3, 4}), lapsed=frozenset({3, 4}), chances=(4, 3), attempt=3)
    made = planned(EVERYONE, one, all_rings=False)
    assert [[c.member for c in g.candidates] for g in made.groups] == [[4], [3], [1, 2]]
    verdict = answered(made)
    assert (verdict.decision.chosen, verdict.decision.reason, verdict.kind) == (4, "second_chance", Kind.SECOND)


def test_O18_another_chance_respects_capacity() -> None:
    full = Near(member(4, capacity=0), 40_000.0, 2)
    one = lead(tried=frozenset({4}), lapsed=frozenset({4}), chances=(4,), attempt=2)
    verdict = answered(planned([SILVER_NEAR, full], one))
    assert (verdict.decision.chosen, verdict.decision.reason, verdict.kind) == (2, "chosen", Kind.TURN)


def test_O18_a_chance_holds_on_rungs_that_do_not_ask_the_members_tier() -> None:
    one = lead(tried=frozenset({2}), lapsed=frozenset({2}), chances=(2,), attempt=2)
    assert planned(EVERYONE, one, answering=GOLD_FIRST).candidates[0].member == 2


# --- made again


def past(decision: Decision, seq: int) -> Past:
    columns: dict[str, Any] = {
        name: [getattr(w, field) for w in decision.weighed]
        for name, field in {"member_ring": "ring", **{n: n for n in ("member", "distance_m", "weight", "capacity",
                            "tier_rank", "gate", "open", "standing", "served")}}.items()
    }  # fmt: skip
    return Past(
        UUID(int=seq), decision.lead, decision.attempt, decision.at + timedelta(seconds=seq), decision.market,
        decision.pool, decision.rotation, decision.mode, decision.rings_m, decision.ring, 1, seq, decision.chosen,
        decision.reason, **columns,
    )  # fmt: skip


def checks(*pasts: Past) -> list[str]:
    recount = Recount()
    return [breach.check for one in pasts for breach in recount.add(one)]


def nearest_first(near: list[Near], answering: Answering, **over: object) -> Decision:
    made = planned(near, lead(**over), answering=answering, mode=Mode.NEAREST, tiers=Tiers.BLENDED)
    return answered(made).decision


def test_O13_decisions_on_the_ladder_are_made_again_exactly() -> None:
    one = past(nearest_first(EVERYONE, GOLD_FIRST), 1)
    assert checks(one) == []
    gates = [Gate.TIER if member == 1 else gate for member, gate in zip(one.member, one.gate, strict=True)]
    assert "choice" in checks(replace(one, gate=gates))


def test_O13_a_tier_left_out_for_some_of_its_members_only_is_found() -> None:
    near = [GOLD_NEAR, Near(member(5, "gold"), 300.0, 0), SILVER_NEAR]
    one = past(nearest_first(near, GOLD_FIRST), 1)
    gates = [Gate.TIER if member == 5 else gate for member, gate in zip(one.member, one.gate, strict=True)]
    assert checks(replace(one, gate=gates)) == ["gate"]


def test_O18_second_chances_are_made_again_exactly_and_third_ones_found() -> None:
    first = past(nearest_first([SILVER_NEAR, SILVER_FAR], AGAIN), 1)
    tried = {"tried": frozenset({2}), "lapsed": frozenset({2}), "attempt": 2}
    again = past(nearest_first([SILVER_NEAR], AGAIN, **tried), 2)
    chance = past(nearest_first([SILVER_NEAR, SILVER_FAR], Answering(), chances=(2,), **tried), 2)
    assert (checks(first, again), checks(first, chance)) == ([], [])
    assert checks(first, again, replace(chance, seq=3)) == ["gate"]
    assert checks(first, replace(chance, reason="chosen")) == ["gate"]
    assert checks(again) == ["gate"]
