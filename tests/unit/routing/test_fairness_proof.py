"""Two short forms of `make proofs PROOFS=fairness`."""

from tests.proofs.fairness import PROMISED_TURNS, holds, run


def test_N1_nobody_is_two_turns_from_its_due_on_overlapping_areas_and_other_modes_are_far_worse() -> None:
    found = run(2_000)
    assert holds(found)
    fair, *others = found
    assert fair.decided > 1_900
    assert all(one.worst_turns > 4 * fair.worst_turns for one in others)


def test_N1_more_members_than_leads_can_even_out_stay_within_two_turns_as_well() -> None:
    [fair, *_] = run(600, members=200, seed=3)
    assert fair.always_zero
    assert fair.worst_turns <= PROMISED_TURNS
