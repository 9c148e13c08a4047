"""Members' own working hours, as they write them."""

from datetime import UTC, datetime, timedelta

import pytest

from routing.open_hours import FARTHEST, open_until_or_from, week_of
from routing.policy import Hours

#: A Sunday, noon in UTC.
SUNDAY = datetime(2026, 11, 22, 12, tzinfo=UTC)
OFFICE = "mon-fri 08:00-12:00, 13:00-17:00; sat 09:00-12:00"


@pytest.mark.parametrize(
    "written",
    [
        OFFICE,
        " MON - FRI 8:00-12:00,13:00-17:00 ;Sat 9:00-12:00;",
        {"mon-fri": ["08:00-12:00", "13:00-17:00"], "sat": "09:00-12:00"},
    ],
)
def test_a_week_is_read_from_text_or_from_days(written: object) -> None:
    day = ((480, 720), (780, 1020))
    assert week_of(written) == {**dict.fromkeys(range(5), day), 5: ((540, 720),)}


def test_a_range_of_days_may_go_over_the_weekend() -> None:
    assert week_of("fri-mon 10:00-24:00") == dict.fromkeys((4, 5, 6, 0), ((600, 1440),))


@pytest.mark.parametrize(
    "nonsense", [None, "", 7, "always", "mon", "mon 8-17", "mon 17:00-08:00", "lun 08:00-17:00", {"mon": 7}]
)
def test_what_cannot_be_read_is_no_week(nonsense: object) -> None:
    assert week_of(nonsense) is None


@pytest.mark.parametrize(
    ("at", "open_now", "change"),
    [
        (SUNDAY, False, SUNDAY.replace(day=23, hour=13)),  # Monday at 8 in New York
        (SUNDAY.replace(day=23, hour=13), True, SUNDAY.replace(day=23, hour=17)),
        (SUNDAY.replace(day=23, hour=17), False, SUNDAY.replace(day=23, hour=18)),
    ],
)
def test_it_is_told_whether_somebody_works_and_until_when(at: datetime, open_now: bool, change: datetime) -> None:
    hours = Hours("America/New_York", week_of(OFFICE) or {})
    assert open_until_or_from(hours, at) == (open_now, change)


def test_times_that_overlap_are_one() -> None:
    hours = Hours("UTC", week_of("sun 08:00-14:00, 09:00-10:00, 13:00-18:00") or {})
    assert open_until_or_from(hours, SUNDAY) == (True, SUNDAY.replace(hour=18))


def test_who_always_works_or_never_is_looked_at_no_farther_than_two_months() -> None:
    always, never = Hours("UTC", dict.fromkeys(range(7), ((0, 1440),))), Hours("UTC", {})
    works, until = open_until_or_from(always, SUNDAY)
    assert works
    assert until - SUNDAY <= FARTHEST + timedelta(days=1)
    assert open_until_or_from(never, SUNDAY) == (False, SUNDAY + FARTHEST)
