"""What an explanation says, by the numbers of the decision."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from routing.decision import Gate
from routing.explained import GATES, canonical, explanation
from routing.policy import Mode
from routing.verify import Past

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DECISION = UUID(int=7)


def past(*candidates: dict[str, object], mode: Mode = Mode.FAIR, chosen: int | None = 1, **over: object) -> Past:
    """A decision among these; what is not said of a candidate is as usual."""
    usual: dict[str, object] = {
        "distance_m": 1609.3,
        "member_ring": 0,
        "weight": 1000,
        "capacity": 5,
        "tier_rank": 1,
        "gate": 0,
        "open": 0,
        "standing": 0,
        "served": 0,
    }
    rows = [{"member": n} | usual | one for n, one in enumerate(candidates, start=1)]
    columns = {name: [row[name] for row in rows] for name in ("member", *usual)}
    head = {
        "id": DECISION,
        "lead_id": 3,
        "attempt": 1,
        "at": NOON,
        "market": "us",
        "pool": "installers",
        "rotation": "installers",
        "mode": str(mode),
        "rings_m": [8046.72, 24140.16],
        "ring": None if chosen is None else 0,
        "generation": 1,
        "seq": 4,
        "chosen": chosen,
        "reason": "no_room" if chosen is None else "chosen",
    }
    return Past(**(head | columns | over))  # type: ignore[arg-type]  # put together by name


def test_E2_every_candidate_has_each_gate_the_numbers_and_the_reason() -> None:
    told = explanation(
        past(
            {"standing": 200_000},
            {},
            {"gate": Gate.FULL, "open": 5},
            {"gate": Gate.TRIED},
            {"gate": Gate.SKILL},
            inputs={"gates": {"5": "battery: 5 is wanted, has none"}},
        )
    )
    chosen, other, full, tried, unable = told["candidates"]
    assert (chosen["gate"], chosen["why"], chosen["share"]) == ("eligible", "chosen", 500_000)
    assert chosen["standing_after"] == 200_000 + 500_000 - 1_000_000
    assert (other["why"], other["standing_after"]) == ("another's turn", 500_000)
    assert (full["gates"]["full"], full["gates"]["quota"], full["why"]) == ("failed", "not looked at", "holds 5 of 5")
    assert (tried["gates"]["tried"], tried["gates"]["tier"]) == ("failed", "not looked at")
    assert (unable["gates"]["tier"], unable["gates"]["skill"]) == ("passed", "failed")
    assert (unable["why"], unable["numbers"]) == (
        "lacks a skill that the lead needs: battery: 5 is wanted, has none",
        {"because": "battery: 5 is wanted, has none"},
    )


def test_every_gate_has_its_place_in_the_order_of_looking() -> None:
    assert set(GATES) == set(Gate) - {Gate.ELIGIBLE}


@pytest.mark.parametrize(
    ("mode", "candidates", "step"),
    [
        (Mode.FAIR, [{"standing": 5}, {}], "highest standing after its share: +0.500, the next has +0.500"),
        (Mode.FAIR, [{"served": 3}, {"served": 4}], "tie (highest standing after its share): longest unserved"),
        (Mode.FAIR, [{}, {}], "tie (highest standing after its share, longest unserved): lowest id"),
        (Mode.FAIR, [{}], "the only one eligible"),
        (Mode.NEAREST, [{"distance_m": 100.0}, {"distance_m": 200.0}], "nearest: 100 m, the next is 200 m away"),
        (Mode.LEAST_RECENT, [{"served": 3}, {"served": 4}], "longest unserved"),
        (Mode.LEAST_RECENT, [{}, {}], "tie (longest unserved): lowest id"),
        (Mode.LEAST_LOADED, [{"open": 1}, {"open": 2}], "smallest part of its capacity in use: holds 1 of 5"),
        (
            Mode.LEAST_LOADED,
            [{"open": 1}, {"open": 2, "capacity": 10, "served": 1}],
            "tie (smallest part of its capacity in use): longest unserved",
        ),
        (Mode.CURSOR, [{}, {}], "next after the member served last"),
    ],
)  # fmt: skip
def test_E2_the_deciding_step_is_told_in_words(mode: Mode, candidates: list[dict[str, object]], step: str) -> None:
    assert explanation(past(*candidates, mode=mode))["step"] == step


def test_nobody_chosen_has_no_deciding_step() -> None:
    assert explanation(past({"gate": Gate.FULL, "open": 5}, chosen=None))["step"] == ""


def test_the_same_decision_is_always_written_in_the_same_bytes() -> None:
    one, other = past({}, {}, inputs={"b": 1, "a": 2}), past({}, {}, inputs={"a": 2, "b": 1})
    assert canonical(explanation(one)) == canonical(explanation(other))
    assert canonical(explanation(one)) != canonical(explanation(past({}, {"open": 1}, inputs={"b": 1, "a": 2})))
