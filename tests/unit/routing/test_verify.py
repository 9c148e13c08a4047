import random
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import fairness
from routing.decision import Candidate, Gate
from routing.fairness import Book
from routing.policy import Mode
from routing.verify import Breach, Past, Recount, again

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def history(seed: int, length: int, modes: tuple[Mode, ...] = tuple(Mode)) -> list[Past]:
    """Decisions made by the rule, one rotation a mode, as the ledger would keep them."""
    dice, books = random.Random(seed), defaultdict[str, Book](Book)
    return [_past(dice, books, number, dice.choice(modes)) for number in range(1, length + 1)]


def _past(dice: random.Random, books: defaultdict[str, Book], seq: int, mode: Mode) -> Past:
    book = books[mode]
    seen = [
        (Candidate(member, dice.uniform(0, 8000), 0, 1, dice.choice([1000, 1500, 333]), 5), dice.randrange(7))
        for member in dice.sample(range(1, 13), dice.randint(1, 12))
    ]
    verdict = fairness.choose(mode, seen, book)
    past = Past(
        id=UUID(int=seq),
        lead_id=seq,
        attempt=1,
        at=NOON + timedelta(seconds=seq),
        market="us",
        pool="installers",
        rotation=str(mode) if verdict.chosen else "",
        mode=mode,
        rings_m=(8046.72, 24140.16),
        ring=0 if verdict.chosen else None,
        generation=1,
        seq=seq,
        chosen=verdict.chosen,
        reason="chosen" if verdict.chosen else "no_room",
        member=[c.member for c, _ in seen],
        distance_m=[c.distance_m for c, _ in seen],
        member_ring=[c.ring for c, _ in seen],
        weight=[c.weight for c, _ in seen],
        capacity=[c.capacity for c, _ in seen],
        tier_rank=[c.tier_rank for c, _ in seen],
        gate=[Gate.ELIGIBLE if fairness.is_eligible(c, open_) else Gate.FULL for c, open_ in seen],
        open=[open_ for _, open_ in seen],
        standing=[book.standing.get(c.member, 0) for c, _ in seen],
        served=[book.served.get(c.member, 0) for c, _ in seen],
    )
    fairness.apply(verdict, book)
    return past


def breaches(pasts: list[Past]) -> list[Breach]:
    recount = Recount()
    return [breach for past in pasts for breach in recount.add(past)]


@settings(max_examples=40, deadline=None)
@given(st.integers(), st.integers(1, 60))
def test_N4_decisions_of_every_mode_are_made_again_exactly(seed: int, length: int) -> None:
    assert breaches(history(seed, length)) == []


@settings(max_examples=40, deadline=None)
@given(st.integers())
def test_N4_a_choice_that_was_not_the_rules_is_found(seed: int) -> None:
    pasts = history(seed, 30)
    at = next((n for n, past in enumerate(pasts) if past.gate.count(Gate.ELIGIBLE) > 1), None)
    if at is None:
        return
    past = pasts[at]
    others = [m for m, gate in zip(past.member, past.gate, strict=True) if not gate and m != past.chosen]
    found = breaches([*pasts[:at], replace(past, chosen=others[0])])
    assert [breach.check for breach in found] == ["choice"]
    assert found[0].subject == f"decision {past.id}"


def test_a_decision_alone_is_enough_to_make_it_again() -> None:
    pasts = [past for past in history(7, 50, (Mode.FAIR, Mode.NEAREST, Mode.LEAST_LOADED)) if past.chosen]
    assert [again(past).chosen for past in reversed(pasts)] == [past.chosen for past in reversed(pasts)]


def eligible_one() -> Past:
    return next(past for past in history(1, 50, (Mode.FAIR,)) if past.chosen and len(past.member) > 3)


def with_first(past: Past, **over: Any) -> Past:
    """The decision with the entry of its chosen member changed."""
    at = list(past.member).index(past.chosen or 0)
    changed: dict[str, Any] = {
        name: [*getattr(past, name)[:at], value, *getattr(past, name)[at + 1 :]] for name, value in over.items()
    }
    return replace(past, **changed)


@pytest.mark.parametrize(
    ("over", "check"),
    [
        ({"open": 5}, "gate"),
        ({"gate": Gate.FULL}, "gate"),
        ({"gate": Gate.TRIED}, "gate"),
        ({"distance_m": 9000.0}, "ring"),
        ({"member_ring": 1}, "ring"),
        ({"standing": 999_999}, "standing"),
    ],
)
def test_each_wrong_entry_is_named(over: dict[str, Any], check: str) -> None:
    past = replace(eligible_one(), standing=[0] * len(eligible_one().member), seq=1)
    assert check in {breach.check for breach in breaches([with_first(past, **over)])}


def test_a_member_offered_the_lead_before_may_not_be_a_candidate_again() -> None:
    past = eligible_one()
    second = replace(past, id=UUID(int=10**9), attempt=2, seq=past.seq + 1, at=past.at + timedelta(seconds=1))
    assert "gate" in {breach.check for breach in breaches([past, second])}


def test_nobody_chosen_although_somebody_had_room_is_a_breach() -> None:
    past = replace(eligible_one(), chosen=None, ring=None, rotation="")
    assert [breach.check for breach in breaches([past])] == ["choice"]


def test_time_goes_forward_with_the_numbers() -> None:
    one, two = history(3, 2)
    assert "order" in {breach.check for breach in breaches([one, replace(two, at=NOON)])}


def test_what_was_seen_of_a_reservation_that_came_to_nothing_is_a_drift_not_a_breach() -> None:
    pasts = history(5, 40, (Mode.FAIR,))
    lost = next(n for n, past in enumerate(pasts) if past.chosen and len(past.member) > 5)
    recount = Recount()
    found = [breach for past in [*pasts[:lost], *pasts[lost + 1 :]] for breach in recount.add(past)]
    assert found == []
    assert recount.drifts > 0
    renumbered = [replace(past, seq=n) for past, n in zip([*pasts[:lost], *pasts[lost + 1 :]], count(1), strict=False)]
    assert {breach.check for breach in breaches(renumbered)} == {"standing"}


def test_F5_the_worst_deviation_is_counted_at_every_moment() -> None:
    recount, received, entitled, worst = Recount(), defaultdict[int, float](float), defaultdict[int, float](float), 0.0
    for past in history(11, 400, (Mode.FAIR,)):
        list(recount.add(past))
        if past.chosen is None:
            continue
        weights = {m: w for m, w, gate in zip(past.member, past.weight, past.gate, strict=True) if not gate}
        received[past.chosen] += 1
        for member, weight in weights.items():
            entitled[member] += weight / sum(weights.values())
        worst = max(worst, *(abs(received[m] - entitled[m]) for m in entitled))
    (pool,) = recount.worst()
    assert pool.worst_turns == pytest.approx(worst, abs=0.01)
    assert pool.worst_turns < 2
    assert (pool.pool, pool.mode, pool.members) == ("installers", "fair", 12)


def test_a_member_that_was_given_the_lead_by_hand_counts_as_tried() -> None:
    past = eligible_one()
    free = [m for m, gate in zip(past.member, past.gate, strict=True) if gate == Gate.ELIGIBLE]
    left_out = next(m for m in free if m != past.chosen)
    at = list(past.member).index(left_out)
    told = replace(past, gate=[Gate.TRIED if n == at else gate for n, gate in enumerate(past.gate)])
    unheard, heard = Recount(), Recount()
    heard.given([(past.lead_id, left_out)])
    assert any("left out as tried" in breach.detail for breach in unheard.add(told))
    assert not any("left out as tried" in breach.detail for breach in heard.add(told))
