"""Which lead goes first: points, and how waiting counts."""

import heapq
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.priority import MOST, Ageing, Best, Points, Priority, rank

START = datetime(2026, 11, 1, tzinfo=UTC)
LONGEST = timedelta(hours=24)
AGEING = Ageing(timedelta(minutes=1), LONGEST)
HOT = 1000


def arrivals(dice: random.Random, rate_s: float, hot: float) -> Iterator[tuple[datetime, int]]:
    """Leads as they come, most of them hot, for ever."""
    at = START
    while True:
        at += timedelta(seconds=dice.expovariate(rate_s))
        yield at, HOT if dice.random() < hot else 0


def waits(ageing: Ageing | None, *, load: float, leads: int, service: timedelta, places: int) -> dict[int, timedelta]:
    """The longest wait of cold and of hot leads, where so many places are free again after `service`."""
    dice, worst = random.Random(5), {0: timedelta(0), HOT: timedelta(0)}
    source = arrivals(dice, load * places / service.total_seconds(), hot=0.95)
    free = [START] * places
    queue: list[tuple[int, datetime, int]] = []
    upcoming = next(source)
    for _ in range(leads):
        now = heapq.heappop(free)
        while upcoming[0] <= now or not queue:
            at, score = upcoming
            heapq.heappush(queue, (-rank(score, at, ageing), at, score))
            upcoming = next(source)
            now = max(now, at) if len(queue) == 1 else now
        _, at, score = heapq.heappop(queue)
        worst[score] = max(worst[score], now - at)
        heapq.heappush(free, now + service)
    return worst


def test_P3_with_endless_hot_leads_at_90_percent_load_no_cold_lead_waits_longer_than_the_most_allowed() -> None:
    allowed = timedelta(hours=12)
    ageing = Ageing(timedelta(minutes=1), allowed)
    aged = waits(ageing, load=0.9, leads=40_000, service=timedelta(minutes=30), places=3)
    plain = waits(None, load=0.9, leads=40_000, service=timedelta(minutes=30), places=3)
    assert plain[0] > allowed
    assert aged[0] <= allowed
    assert aged[HOT] <= allowed / 2


def test_P3_without_ageing_cold_leads_starve_when_there_are_more_hot_ones_than_places() -> None:
    setting = {"leads": 20_000, "service": timedelta(minutes=30), "places": 3}
    starved = waits(None, load=1.04, **setting)[0]  # type: ignore[arg-type]
    aged = waits(Ageing(timedelta(minutes=1), timedelta(hours=4)), load=1.04, **setting)[0]  # type: ignore[arg-type]
    assert starved > 2 * aged


@given(st.lists(st.tuples(st.integers(-MOST, MOST), st.integers(0, 10_000)), min_size=2, max_size=30))
def test_P3_who_came_half_the_longest_wait_earlier_always_goes_first(leads: list[tuple[int, int]]) -> None:
    made = [(START + timedelta(minutes=late), score) for score, late in leads]
    order = sorted(made, key=lambda one: (-rank(one[1], one[0], AGEING), one[0]))
    for place, (at, _) in enumerate(order):
        assert all(at - earlier <= AGEING.head_start for earlier, _ in order[place + 1 :])


@given(st.integers(-MOST, MOST), st.integers(-MOST, MOST), st.booleans())
def test_P1_of_two_that_came_together_the_higher_goes_first(one: int, other: int, aged: bool) -> None:
    ageing = AGEING if aged else None
    if one >= other:
        assert rank(one, START, ageing) >= rank(other, START, ageing)


@given(st.integers(-1000, 1000), st.integers(1, 10_000), st.booleans())
def test_P1_of_two_of_the_same_priority_the_older_goes_first(score: int, minutes: int, aged: bool) -> None:
    ageing, later = AGEING if aged else None, START + timedelta(minutes=minutes)
    assert (-rank(score, START, ageing), START) < (-rank(score, later, ageing), later)


@pytest.mark.parametrize(
    ("facts", "score"),
    [
        ({}, 1),
        ({"lead.score": 7}, 8),
        ({"lead.score": "2.4"}, 3),
        ({"lead.score": "many"}, 1),
        ({"lead.score": 1e300}, MOST),
    ],
)
def test_points_are_counted_from_a_fact_and_what_is_no_number_counts_nothing(
    facts: dict[str, object], score: int
) -> None:
    assert Priority((Points("score", fact="lead.score", times=1.0),)).score(1, facts) == score


def test_P3_no_number_of_points_is_too_many() -> None:
    slow = Ageing(timedelta(days=365), timedelta(days=1))
    assert rank(1_000_000_000, START, slow) == rank(1, START, slow) > rank(0, START, slow)
    assert rank(-1_000_000_000, START, slow) == rank(0, START, slow)
    assert Points("score", fact="lead.score", times=1.0).of({"lead.score": 10**400}) == 0


def test_P2_a_lead_is_one_of_the_best_by_a_threshold_or_by_the_last_leads() -> None:
    assert Priority(best=Best(at_least=80)).is_best(80, None)
    assert not Priority(best=Best(at_least=80)).is_best(79, 0)
    assert Priority(best=Best(percent=10)).is_best(40, 40)
    assert not Priority(best=Best(percent=10)).is_best(40, None)
    assert not Priority().is_best(100, 0)
