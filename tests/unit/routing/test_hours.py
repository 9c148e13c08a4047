"""Working time: deadlines never early, exact over clock changes both ways, holidays and zones."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from routing.hours import deadline, elapsed
from routing.policy import Hours

MINUTE = timedelta(minutes=1)
WEEK = dict.fromkeys(range(5), ((8 * 60, 12 * 60), (13 * 60, 17 * 60)))
NEW_YORK = Hours("America/New_York", WEEK)


def at(text: str, zone: str = "America/New_York", fold: int = 0) -> datetime:
    """A wall-clock time of the zone, as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def test_without_hours_every_minute_counts() -> None:
    start = at("2026-11-20 16:00")
    assert deadline(start, timedelta(hours=40), None) == start + timedelta(hours=40)
    assert elapsed(start, start + timedelta(days=3), None) == timedelta(days=3)


def test_O2_four_working_hours_from_friday_afternoon_end_on_monday() -> None:
    assert deadline(at("2026-11-20 16:00"), timedelta(hours=4), NEW_YORK) == at("2026-11-23 11:00")


def test_the_lunch_break_does_not_count() -> None:
    assert deadline(at("2026-11-18 11:30"), timedelta(hours=1), NEW_YORK) == at("2026-11-18 13:30")


def test_what_begins_at_night_begins_to_count_in_the_morning() -> None:
    assert deadline(at("2026-11-18 02:00"), timedelta(minutes=30), NEW_YORK) == at("2026-11-18 08:30")


def test_a_deadline_may_be_the_very_end_of_a_day() -> None:
    assert deadline(at("2026-11-18 16:00"), timedelta(hours=1), NEW_YORK) == at("2026-11-18 17:00")


def test_a_holiday_is_left_out() -> None:
    closed = Hours("America/New_York", WEEK, frozenset({date(2026, 11, 26)}))
    assert deadline(at("2026-11-25 16:30"), timedelta(hours=1), closed) == at("2026-11-27 08:30")


def test_a_holiday_is_one_of_the_zone_and_not_of_utc() -> None:
    sydney = Hours("Australia/Sydney", dict.fromkeys(range(7), ((0, 24 * 60),)), frozenset({date(2026, 1, 26)}))
    start = at("2026-01-25 23:00", "Australia/Sydney")
    assert deadline(start, timedelta(hours=2), sydney) == at("2026-01-27 01:00", "Australia/Sydney")


def test_an_hour_that_the_clock_leaves_out_counts_nothing() -> None:
    nights = Hours("America/New_York", {6: ((0, 6 * 60),)})  # clocks go forward on 2026-03-08 at 02:00
    assert elapsed(at("2026-03-08 00:00"), at("2026-03-08 06:00"), nights) == timedelta(hours=5)
    assert deadline(at("2026-03-08 00:00"), timedelta(hours=3), nights) == at("2026-03-08 04:00")


def test_an_hour_that_the_clock_repeats_counts_twice() -> None:
    nights = Hours("America/New_York", {6: ((0, 6 * 60),)})  # clocks go back on 2026-11-01 at 02:00
    assert elapsed(at("2026-11-01 00:00"), at("2026-11-01 06:00"), nights) == timedelta(hours=7)
    assert deadline(at("2026-11-01 00:00"), timedelta(hours=2), nights) == at("2026-11-01 01:00", fold=1)


def test_a_span_within_the_repeated_hour_comes_twice() -> None:
    odd = Hours("America/New_York", {6: ((75, 105),)})
    begin = at("2026-11-01 01:15")
    assert deadline(begin, timedelta(minutes=45), odd) == at("2026-11-01 01:30", fold=1)


def test_a_day_that_a_zone_skipped_is_skipped() -> None:
    apia = Hours("Pacific/Apia", dict.fromkeys(range(7), ((9 * 60, 10 * 60),)))  # had no 30 December 2011
    start = at("2011-12-29 09:00", "Pacific/Apia")
    assert deadline(start, timedelta(minutes=90), apia) == at("2011-12-31 09:30", "Pacific/Apia")


def test_a_clock_put_back_just_after_midnight_counts_the_late_evening_twice() -> None:
    saint_johns = Hours("America/St_Johns", dict.fromkeys(range(7), ((23 * 60, 24 * 60),)))
    day = at("2010-11-06 12:00", "America/St_Johns"), at("2010-11-07 12:00", "America/St_Johns")
    assert elapsed(*day, saint_johns) == timedelta(minutes=60 + 59)  # at 00:01 it was 23:01 again


def test_no_time_needs_no_working_time() -> None:
    sunday = at("2026-11-22 12:00")
    assert deadline(sunday, timedelta(0), NEW_YORK) == sunday
    assert elapsed(sunday, sunday - timedelta(days=9), NEW_YORK) == timedelta(0)


def test_working_time_that_never_comes_is_said_so() -> None:
    with pytest.raises(OverflowError, match="never pass"):
        deadline(datetime(9999, 12, 1, tzinfo=UTC), timedelta(days=90), NEW_YORK)


ZONES = st.sampled_from(
    [
        "America/New_York",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        "America/St_Johns",
        "Africa/Casablanca",
    ]
)


@st.composite
def hours(draw: st.DrawFn) -> Hours:
    cuts = st.lists(st.integers(0, 24 * 60), min_size=2, max_size=6, unique=True).map(sorted)
    days = {
        day: tuple(zip(found[::2], found[1::2], strict=False))
        for day in draw(st.sets(st.integers(0, 6), min_size=1, max_size=7))
        for found in [draw(cuts)]
    }
    holidays = draw(st.frozensets(st.dates(date(2026, 3, 1), date(2026, 11, 30)), max_size=3))
    return Hours(draw(ZONES), days, holidays)


#: Around the days on which clocks are changed, and elsewhere.
MOMENTS = st.one_of(
    st.timedeltas(timedelta(days=65), timedelta(days=95)),
    st.timedeltas(timedelta(days=275), timedelta(days=306)),
    st.timedeltas(timedelta(days=-365 * 19), timedelta(days=365 * 5)),
).map(lambda since: datetime(2026, 1, 1, tzinfo=UTC) + since)
LENGTHS = st.timedeltas(timedelta(0), timedelta(hours=8))


@settings(deadline=None, max_examples=50)
@given(hours(), MOMENTS, LENGTHS)
def test_O2_a_deadline_is_never_early_and_never_late(week: Hours, start: datetime, length: timedelta) -> None:
    end = deadline(start, length, week)
    assert elapsed(start, end, week) == length
    if length:
        assert elapsed(start, end - timedelta(microseconds=1), week) < length


@settings(deadline=None, max_examples=50)
@given(hours(), MOMENTS, LENGTHS, st.timedeltas(timedelta(0), timedelta(days=9)))
def test_who_begins_later_ends_no_earlier(week: Hours, start: datetime, length: timedelta, later: timedelta) -> None:
    if length:
        assert deadline(start, length, week) <= deadline(start + later, length, week)
    assert deadline(start, length, week) <= deadline(start, length + later / 10, week)


@settings(deadline=None, max_examples=50)
@given(hours(), MOMENTS, LENGTHS, LENGTHS)
def test_two_lengths_one_after_the_other_are_their_sum(
    week: Hours, start: datetime, a: timedelta, b: timedelta
) -> None:
    assert deadline(deadline(start, a, week), b, week) == deadline(start, a + b, week)


@settings(deadline=None, max_examples=50)
@given(hours(), MOMENTS, st.timedeltas(timedelta(0), timedelta(days=4)))
@example(NEW_YORK, datetime(2026, 11, 1, tzinfo=UTC), timedelta(days=2))
def test_elapsed_agrees_with_a_count_minute_by_minute(week: Hours, start: datetime, span: timedelta) -> None:
    start = start.replace(second=0, microsecond=0)
    minutes = int(span / MINUTE)
    zone = ZoneInfo(week.zone)
    count = 0
    for n in range(minutes):
        wall = (start + n * MINUTE).astimezone(zone)
        now = 60 * wall.hour + wall.minute
        spans = () if wall.date() in week.holidays else week.days.get(wall.weekday(), ())
        count += any(first <= now < last for first, last in spans)
    assert elapsed(start, start + minutes * MINUTE, week) == count * MINUTE
