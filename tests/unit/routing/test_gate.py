"""When the org may be called: never while it is unwell, never beyond the ceiling, and again by itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing import gate as rules
from routing.gate import FEW, LONGEST_PAUSE_S, LOOK_S, MOST, PROBE_S, Budget, Gate, Leave, Pause, Purpose

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NONE = Budget()


def after(seconds: float, gate: Gate) -> Gate:
    return replace(gate, now=gate.now + timedelta(seconds=seconds))


def leave(gate: Gate, budget: Budget = NONE, purpose: Purpose = Purpose.WRITE) -> Leave:
    found = rules.ask(gate, budget, purpose)
    assert isinstance(found, Leave), found
    return found


def pause(gate: Gate, budget: Budget = NONE, purpose: Purpose = Purpose.WRITE) -> Pause:
    found = rules.ask(gate, budget, purpose)
    assert isinstance(found, Pause), found
    return found


def broken(failures: int, gate: Gate = Gate(NOW)) -> Gate:  # noqa: B008 - frozen
    for _ in range(failures):
        asked = leave(gate)
        gate = rules.failed(rules.begun(gate, asked), asked, "503", 0, 1.0)
        gate = replace(gate, now=max(gate.now, gate.open_until or gate.now))
    return gate


def test_X3_a_well_org_takes_full_calls_from_everybody() -> None:
    assert leave(Gate(NOW)) == leave(rules.begun(Gate(NOW), Leave())) == Leave(MOST, 0.0, probe=False, failures=0)


def test_X3_after_a_failure_nobody_calls_then_one_tries_then_all_do() -> None:
    gate = Gate(NOW)
    gate = rules.failed(gate, leave(gate), "Salesforce is unwell: 503", 0, 0.5)
    assert pause(gate).because == "Salesforce is unwell: 503"
    gate = after(1, gate)
    probe = leave(gate)
    assert probe.probe
    gate = rules.begun(gate, probe)
    assert "somebody is trying" in pause(gate).because
    gate = rules.passed(gate, probe)
    assert not leave(gate).probe
    assert (gate.because, gate.since) == ("", None)


def test_X3_an_org_that_was_unwell_for_longer_is_tried_with_a_small_call() -> None:
    assert [leave(broken(n)).most for n in (1, 2, 3, 9)] == [MOST, MOST, FEW, FEW]


def test_X3_a_probe_nobody_hears_of_again_is_followed_by_another() -> None:
    gate = broken(1)
    gate = rules.begun(gate, leave(gate))
    pause(gate)
    assert leave(after(PROBE_S, gate)).probe


@given(st.integers(1, 60), st.floats(0, 1))
def test_X3_pauses_double_and_stay_short_enough_to_drain_in_time(failures: int, dice: float) -> None:
    gate = Gate(NOW, failures=failures - 1)
    after_it = rules.failed(gate, Leave(failures=failures - 1), "503", 0, dice)
    assert after_it.open_until is not None
    waits = (after_it.open_until - NOW).total_seconds()
    longest = min(2.0 ** (failures - 1), LONGEST_PAUSE_S)
    assert longest / 2 - 1e-6 <= waits <= longest + 1e-6


@given(st.floats(0, 7200), st.floats(0, 1))
def test_X3_the_org_is_left_alone_as_long_as_it_wishes_but_not_for_ever(wish: float, dice: float) -> None:
    gate = rules.failed(Gate(NOW), Leave(), "TotalRequests Limit exceeded.", wish, dice)
    assert gate.open_until is not None
    assert (gate.open_until - NOW).total_seconds() >= min(wish, 3600) - 1e-3
    assert (gate.open_until - NOW).total_seconds() <= 3960 + 1e-3


def test_X3_calls_that_fail_together_are_one_failure() -> None:
    gate = Gate(NOW)
    one, two = leave(gate), leave(gate)
    gate = rules.failed(gate, one, "503", 0, 0.5)
    again = rules.failed(gate, two, "503", 0, 1.0)
    assert (again.failures, again.open_until) == (1, gate.open_until)
    assert rules.passed(again, two) == again  # begun before it failed: says nothing of now


def test_I10_at_the_ceiling_writing_pauses_with_the_reason_and_looks_now_and_then() -> None:
    budget = Budget(share=0.8)
    assert leave(Gate(NOW, used=3999, allowed=5000, seen_at=NOW), budget).most == MOST
    full = Gate(NOW, used=4000, allowed=5000, seen_at=NOW)
    told = pause(full, budget)
    assert "4000 of its 5000" in told.because
    assert told.until == NOW + timedelta(seconds=LOOK_S)
    look = leave(after(LOOK_S, full), budget)
    assert look.probe
    pause(rules.begun(after(LOOK_S, full), look), budget)
    moved_on = replace(rules.passed(after(LOOK_S, full), look), used=100)
    assert not leave(moved_on, budget).probe


def test_I10_our_own_ceiling_counts_our_own_calls() -> None:
    budget = Budget(calls=100)
    leave(Gate(NOW, own=99), budget)
    assert "100 API calls in 24 hours of the 100 that SALESFORCE_API_CALLS allows" in (
        pause(Gate(NOW, own=100), budget).because
    )


def test_I10_reading_stops_before_writing_does() -> None:
    gate, budget = Gate(NOW, used=3650, allowed=5000, seen_at=NOW), Budget(share=0.8)
    leave(gate, budget, Purpose.WRITE)
    pause(gate, budget, Purpose.READ)


def test_I10_calls_wait_to_be_filled_when_the_budget_is_short() -> None:
    budget = Budget(share=0.8)
    lingers = [
        leave(Gate(NOW, used=n, allowed=5000, seen_at=NOW), budget).linger_s for n in (0, 1999, 2400, 3000, 3900)
    ]
    assert lingers == sorted(lingers)
    assert lingers[:2] == [0.0, 0.0]
    assert 0 < lingers[2] < lingers[4] < 120


@pytest.mark.parametrize(("allowed", "calls"), [(5_000, 0), (2_000, 0), (1_000_000, 300)])
def test_I10_a_lead_at_any_time_never_uses_up_the_day(allowed: int, calls: int) -> None:
    """There is always a new lead, for three days; calls age out after 24 hours."""
    budget, day, step = Budget(share=0.8, calls=calls), 86_400.0, 20.0
    made: list[float] = []
    due: float | None = None
    clock, first = 0.0, 0
    while clock < 3 * day:
        while first < len(made) and made[first] <= clock - day:
            first += 1
        due = clock if due is None else due
        used = len(made) - first
        gate = Gate(NOW, used=used, allowed=allowed, seen_at=NOW, own=used)
        if clock - due >= leave(gate, budget).linger_s:
            made.append(clock)
            due = None
        clock += step
    assert len(made) > 1.5 * min(allowed * 0.8, calls or allowed)
