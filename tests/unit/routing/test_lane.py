"""Imports told from people, by how much a flow brings."""

from hypothesis import given
from hypothesis import strategies as st

from routing.lane import WINDOW_S, Flows, Lane, is_hot


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def flows(clock: Clock, per_minute: int = 10) -> Flows:
    return Flows(per_minute=per_minute, hot_from=5, priority=["P", "Q"], source=["S"], clock=clock)


def lanes(made: Flows, count: int, user: str = "ann", **body: object) -> list[Lane]:
    return [made.lane(user, "", body) for _ in range(count)]


def test_what_goes_beyond_the_limit_within_a_minute_is_bulk() -> None:
    assert lanes(flows(Clock()), 13) == [Lane.LIVE] * 10 + [Lane.BULK] * 3


def test_flows_are_told_apart_by_user_and_by_source() -> None:
    made = flows(Clock())
    lanes(made, 20, S="Import")
    assert lanes(made, 1, S="Web") == [Lane.LIVE]
    assert lanes(made, 1, user="bob", S="Import") == [Lane.LIVE]


def test_a_few_urgent_leads_of_an_import_go_first_but_not_an_import_that_calls_all_urgent() -> None:
    made = flows(Clock())
    lanes(made, 20)
    assert lanes(made, 12, P=9) == [Lane.HOT] * 10 + [Lane.BULK] * 2


def test_a_flow_that_calms_down_is_live_again() -> None:
    clock = Clock()
    made = flows(clock)
    lanes(made, 50)
    clock.now += 2 * WINDOW_S
    assert lanes(made, 1) == [Lane.LIVE]


def test_the_first_priority_field_that_is_filled_counts() -> None:
    made = flows(Clock())
    assert lanes(made, 1, P=None, Q=7) == [Lane.HOT]
    assert lanes(made, 1, P=1, Q=7) == [Lane.LIVE]


@given(st.one_of(st.none(), st.booleans(), st.text(), st.floats(allow_nan=True), st.lists(st.integers())))
def test_whatever_stands_in_the_priority_is_told_hot_or_not(priority: object) -> None:
    assert is_hot(priority, 5) == (isinstance(priority, float) and priority >= 5)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_a_steady_flow_below_the_limit_is_never_bulk(pauses: list[float]) -> None:
    clock = Clock()
    made = flows(clock)
    for pause in pauses:
        clock.now += max(pause, WINDOW_S / 9)
        assert lanes(made, 1) == [Lane.LIVE]


def test_flows_long_gone_are_forgotten() -> None:
    clock = Clock()
    made = flows(clock)
    for n in range(1500):
        lanes(made, 1, user=f"user {n}")
    clock.now += 3 * WINDOW_S
    for n in range(10):
        lanes(made, 1, user=f"new {n}")
    assert len(made._counts) <= 1000
