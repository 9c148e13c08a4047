"""Limits as pure functions: windows on every kind of day, what is counted, whose number holds."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing import limits
from routing.decision import Ask, Candidate, Group
from routing.fairness import TURN, Book, decide, turn_of
from routing.lead import Lead
from routing.limits import Bound, Limit, Of, Per, checks_of, moment, own_limits
from routing.policy import Cost, Mode, Unit

NEW_YORK, SYDNEY = "America/New_York", "Australia/Sydney"
#: Days that are not of 24 hours: by an hour, by half of one, and where midnight is missing or comes twice.
CHANGES = [
    (NEW_YORK, date(2026, 3, 8), 23),
    (NEW_YORK, date(2026, 11, 1), 25),
    (SYDNEY, date(2026, 4, 5), 25),
    (SYDNEY, date(2026, 10, 4), 23),
    ("Pacific/Chatham", date(2026, 4, 5), 25),
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
    ("Africa/Cairo", date(2026, 4, 24), 23),
    ("Asia/Beirut", date(2026, 3, 29), 23),
    ("Asia/Beirut", date(2026, 10, 24), 25),
    ("America/Santiago", date(2026, 9, 6), 23),
    ("America/Havana", date(2026, 11, 1), 25),
    ("Asia/Kathmandu", date(2026, 11, 1), 24),
]


def minutes(start: datetime, count: int, step: int = 1) -> Iterator[datetime]:
    """Moments of real time, from a local midnight on."""
    begin = start.astimezone(UTC)
    return (begin + timedelta(minutes=n * step) for n in range(count))


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_C3_a_day_is_from_local_midnight_to_local_midnight_on_clock_change_days(
    zone: str, day: date, hours: float
) -> None:
    midnight = datetime.combine(day, time(), ZoneInfo(zone))
    before, first = moment(Per.DAY, midnight - timedelta(seconds=1), zone), moment(Per.DAY, midnight, zone)
    assert first.bucket == before.bucket + 1
    buckets = Counter(moment(Per.DAY, at, zone).bucket for at in minutes(midnight, 60 * 26, step=1))
    assert buckets[first.bucket] == hours * 60
    assert first.until == int((midnight.astimezone(UTC) + timedelta(hours=hours)).timestamp())


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_C3_every_hour_of_a_clock_change_day_is_an_hour_of_its_own(zone: str, day: date, hours: float) -> None:
    midnight = datetime.combine(day, time(), ZoneInfo(zone))
    buckets = Counter(moment(Per.HOUR, at, zone).bucket for at in minutes(midnight, round(hours * 60)))
    odd = [] if hours % 1 == 0 else [90 if hours > 24 else 30]  # the hour that is repeated, or left out, by half
    assert sorted(buckets.values()) == sorted([60] * (round(hours * 60) // 60 - len(odd) * (hours > 24)) + odd)


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_C3_weeks_and_months_keep_to_the_local_calendar_over_a_clock_change(zone: str, day: date, hours: float) -> None:
    local = ZoneInfo(zone)
    monday = datetime.combine(day - timedelta(days=day.weekday()), time(), local)
    week = {moment(Per.WEEK, at, zone).bucket for at in minutes(monday, round(7 * 24 * 6 + (hours - 24) * 6), step=10)}
    ended = moment(Per.WEEK, monday, zone).until
    assert len(week) == 1
    assert datetime.fromtimestamp(ended, local) == monday + timedelta(days=7)
    assert moment(Per.WEEK, datetime.fromtimestamp(ended, UTC), zone).bucket == min(week) + 1
    first = datetime.combine(day.replace(day=1), time(), local)
    month = moment(Per.MONTH, first, zone)
    last = datetime.fromtimestamp(month.until, UTC) - timedelta(microseconds=1)
    assert moment(Per.MONTH, last, zone).bucket == month.bucket
    assert last.astimezone(local).month == first.month
    assert moment(Per.MONTH, last + timedelta(microseconds=1), zone).bucket == month.bucket + 1


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia", "no such zone", ""])
def test_C3_windows_only_ever_move_on(zone: str) -> None:
    for per in Per:
        found = [moment(per, at, zone).bucket for at in minutes(datetime(2025, 12, 28, tzinfo=UTC), 400 * 4, step=360)]
        assert found == sorted(found)


@given(
    st.lists(st.integers(0, 7 * 24 * 3600), min_size=1, max_size=60).map(sorted),
    st.integers(1, 6),
    st.sampled_from([timedelta(hours=1), timedelta(hours=24), timedelta(days=3)]),
)
def test_C3_a_rolling_window_never_holds_more_than_its_limit(seconds: list[int], most: int, window: timedelta) -> None:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    limit, books, taken = Limit("roll", Of.MEMBER, window, most), dict[str, dict[int, int]](), list[datetime]()
    for at in (start + timedelta(seconds=one) for one in seconds):
        checks = checks_of(Bound(1), [limit], "pool", (), at)
        stop = limits.stopped(checks, 1, books)
        inside = [one for one in taken if one > at - window]
        if stop is None:
            limits.count(limits.use(checks, 1, books), 1, books)
            taken.append(at)
            assert len(inside) < most
        else:  # at most a step longer than the window
            assert len([one for one in taken if one > at - window - window / 24]) >= most


def test_C3_a_counter_forgets_what_no_window_reaches() -> None:
    books: dict[str, dict[int, int]] = {}
    limit = Limit("roll", Of.MEMBER, timedelta(days=1), 10)
    for hour in range(1000):
        checks = checks_of(Bound(1), [limit], "pool", (), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour))
        limits.count(limits.use(checks, 1, books), 1, books)
    assert [len(held) for held in books.values()] == [26]


def a_year(limit: Limit, a_day: int = 24) -> list[datetime]:
    """When a member may have leads that come evenly all through a year, by its own local time."""
    books, taken, zone = dict[str, dict[int, int]](), list[datetime](), ZoneInfo(NEW_YORK)
    at = datetime(2026, 1, 1, tzinfo=zone).astimezone(UTC)
    while at.astimezone(zone).year == 2026:
        checks = checks_of(Bound(1, NEW_YORK), [limit], "solar", (), at)
        if limits.stopped(checks, 1, books) is None:
            limits.count(limits.use(checks, 1, books), 1, books)
            taken.append(at.astimezone(zone))
        at += timedelta(days=1) / a_day
    return taken


def test_C10_a_paced_quota_never_yields_an_eleventh_lead_in_a_day_or_a_thirty_first_in_a_week() -> None:
    taken = a_year(Limit("m", Of.MEMBER, Per.MONTH, 100, pace=((Per.DAY, 10), (Per.WEEK, 30))))
    days, weeks = Counter(at.date() for at in taken), Counter(at.isocalendar()[:2] for at in taken)
    months = Counter(at.month for at in taken)
    assert (max(days.values()), max(weeks.values()), max(months.values())) == (10, 30, 100)
    assert min(months.values()) == 100


def test_C4_limits_of_pool_member_and_network_stack_and_each_has_a_counter_of_its_own() -> None:
    everywhere = [Limit("all", Of.MEMBER, Per.DAY, 5), Limit("net", Of.NETWORK, Per.WEEK, 9)]
    here = [Limit("here", Of.MEMBER, Per.DAY, 3), Limit("total", Of.POOL, Per.DAY, 50)]
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    mine = checks_of(Bound(7, network="north"), everywhere, "solar", here, now)
    assert [(c.limit, c.counter, c.most) for c in mine] == [
        ("all", "/all/day/m7", 5),
        ("net", "/net/week/nnorth", 9),
        ("here", "solar/here/day/m7", 3),
        ("total", "solar/total/day/all", 50),
    ]
    assert [c.limit for c in checks_of(Bound(8), everywhere, "solar", here, now)] == ["all", "here", "total"]


def test_C4_a_tiers_limit_goes_before_the_policys_and_a_members_own_number_before_both() -> None:
    policys, tiers = Limit("daily", Of.MEMBER, Per.DAY, 5), Limit("daily", Of.MEMBER, Per.DAY, 8)
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def numbers(member: Bound) -> list[int]:
        return [check.most for check in checks_of(member, [policys], "solar", (), now)]

    assert numbers(Bound(1)) == [5]
    assert numbers(Bound(1, tier=(tiers,))) == [8]
    assert numbers(Bound(1, tier=(tiers,), own={"daily": 2})) == [2]


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("daily=3; month = 20", {"daily": 3, "month": 20}),
        ({"daily": 3, "month": "20"}, {"daily": 3, "month": 20}),
        ("daily=many, month=4", {"month": 4}),
        ({"daily": -1, "flag": True, "half": 2.5}, {}),
        (None, {}),
        ("nonsense", {}),
    ],
)
def test_a_members_own_numbers_are_read_from_text_and_from_mappings(said: object, understood: dict[str, int]) -> None:
    assert own_limits(said) == understood


def test_C5_a_capacity_of_six_holds_three_leads_of_two_units() -> None:
    group = Group(0, "r", (Candidate(1, 10.0, 0, 1, 1000, 6),))
    held: Counter[int] = Counter()
    given = 0
    for lead in range(5):
        ask = Ask(lead, 1, uuid4(), Mode.FAIR, (group,), units=2)
        outcome = decide(ask, held, lambda _: Book())
        if outcome.verdict is not None:
            held[1] += 2
            given += 1
    assert (given, held[1]) == (3, 6)


@pytest.mark.parametrize(
    ("cost", "units", "value", "turns"),
    [
        (Cost(Unit.UNITS), 3, None, 3),
        (Cost(Unit.UNITS, most=2), 3, None, 2),
        (Cost(Unit.VALUE, "lead.amount", 10_000), 1, 25_000, 2.5),
        (Cost(Unit.VALUE, "lead.amount", 10_000), 1, 10**12, 100),
        (Cost(Unit.VALUE, "lead.amount", 10_000), 1, 0, 0.01),
        (Cost(Unit.VALUE, "lead.amount", 10_000), 1, -5, 0.01),
        (Cost(Unit.VALUE, "lead.amount", 10_000), 1, None, 1),
        (Cost(Unit.VALUE, "lead.amount", 10_000), 1, "much", 1),
        (Cost(Unit.VALUE, "lead.amount", 10_000), 1, float("nan"), 1),
    ],
)
def test_F12_a_lead_costs_turns_by_its_units_or_its_value(cost: Cost, units: int, value: object, turns: float) -> None:
    lead = Lead(1, datetime(2026, 6, 1, tzinfo=UTC), facts={} if value is None else {"lead.amount": value})
    assert turn_of(cost, units, lead) == round(turns * TURN)
