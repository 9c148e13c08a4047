"""How a person is told: in which order, when, and when not."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.delivery import (
    LONGEST,
    WEBHOOK_WAITS_S,
    Channel,
    Manners,
    Post,
    Quiet,
    Reach,
    Said,
    State,
    next_wait_s,
    rest_s,
    to_endpoints,
    to_person,
)
from routing.offer import Notice

PERSON, PHONE, LAPTOP, HOOK = (UUID(int=n) for n in range(1, 5))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALL = Manners(timedelta(minutes=5), channels=frozenset(Channel))
ANNA = Reach(PERSON, (PHONE, LAPTOP), sms=True, email=True)


def said(what: Notice = Notice.CREATED, hours: float = 4, *, hot: bool = False) -> Said:
    return Said(what, NOON, NOON + timedelta(hours=hours), hot)


def plan(posts: list[Post]) -> list[tuple[str, float]]:
    """Channel and minutes after noon."""
    return [(str(one.channel), (one.due_at - NOON).total_seconds() / 60) for one in posts]


def test_B3_an_offer_goes_to_every_device_at_once_and_by_the_next_channel_after_a_while() -> None:
    posts = to_person(said(), ANNA, ALL, NOON)
    assert plan(posts) == [("push", 0), ("push", 0), ("sms", 5), ("email", 10)]
    assert [one.target for one in posts] == [PHONE, LAPTOP, PERSON, PERSON]
    assert {one.until for one in posts} == {NOON + timedelta(hours=4)}


def test_B3_a_person_is_told_in_the_order_it_wishes() -> None:
    wished = Reach(PERSON, (PHONE,), sms=True, email=True, order=(Channel.EMAIL, Channel.PUSH))
    assert plan(to_person(said(), wished, ALL, NOON)) == [("email", 0), ("push", 5)]
    assert to_person(said(), Reach(PERSON, (PHONE,), order=()), ALL, NOON) == []


def test_channels_that_the_person_or_the_house_has_not_are_left_out() -> None:
    assert plan(to_person(said(), Reach(PERSON, email=True), ALL, NOON)) == [("email", 0)]
    assert plan(to_person(said(), ANNA, Manners(), NOON)) == [("push", 0), ("push", 0)]


def test_B3_nothing_falls_back_to_a_moment_after_the_deadline() -> None:
    assert plan(to_person(said(hours=0.15), ANNA, ALL, NOON)) == [("push", 0), ("push", 0), ("sms", 5)]


@pytest.mark.parametrize("what", [Notice.EXPIRED, Notice.TAKEN, Notice.WITHDRAWN])
def test_news_go_by_push_only_and_not_at_all_in_quiet_hours(what: Notice) -> None:
    assert plan(to_person(said(what), ANNA, ALL, NOON)) == [("push", 0), ("push", 0)]
    asleep = Reach(PERSON, (PHONE,), quiet=Quiet(time(11), time(13)))
    assert to_person(said(what), asleep, ALL, NOON) == []


@pytest.mark.parametrize("what", [Notice.ACCEPTED, Notice.REJECTED, Notice.COMPLETED, Notice.CHANGED])
def test_nobody_is_told_what_they_did_themselves_but_their_programs_are(what: Notice) -> None:
    assert to_person(said(what), ANNA, ALL, NOON) == []
    (post,) = to_endpoints(said(what), [HOOK], NOON)
    assert (post.channel, post.target, post.due_at, post.until) == (Channel.WEBHOOK, HOOK, NOON, NOON + LONGEST)


def test_B3_quiet_hours_put_an_offer_off_until_they_end() -> None:
    asleep = Reach(PERSON, (PHONE,), email=True, quiet=Quiet(time(11), time(13)))
    assert plan(to_person(said(), asleep, ALL, NOON)) == [("push", 60), ("email", 65)]


def test_B3_quiet_hours_that_outlast_the_deadline_leave_a_trace_and_disturb_nobody() -> None:
    asleep = Reach(PERSON, (PHONE,), email=True, quiet=Quiet(time(11), time(18)))
    (post,) = to_person(said(), asleep, ALL, NOON)
    assert (post.state, post.why) == (State.SKIPPED, "quiet hours last until its deadline")


def test_B3_hot_leads_break_quiet_hours_only_where_the_setting_says_so() -> None:
    asleep = Reach(PERSON, (PHONE,), quiet=Quiet(time(11), time(13)))
    rude = Manners(channels=frozenset(Channel), hot_breaks_quiet=True)
    assert plan(to_person(said(hot=True), asleep, rude, NOON)) == [("push", 0)]
    assert plan(to_person(said(hot=False), asleep, rude, NOON)) == [("push", 60)]
    assert plan(to_person(said(hot=True), asleep, ALL, NOON)) == [("push", 60)]


def test_a_fallback_that_would_come_in_quiet_hours_waits_for_their_end() -> None:
    early = Reach(PERSON, (PHONE,), email=True, quiet=Quiet(time(12, 3), time(13)))
    assert plan(to_person(said(), early, ALL, NOON)) == [("push", 0), ("email", 60)]


def test_quiet_hours_go_over_midnight_by_the_clock_of_the_person() -> None:
    night = Quiet(time(22), time(7), "America/New_York")
    late = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)  # 23:30 there
    assert night.ends(late) == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert night.ends(datetime(2026, 11, 23, 11, 59, tzinfo=UTC)) is not None
    assert night.ends(datetime(2026, 11, 23, 12, tzinfo=UTC)) is None
    assert Quiet(time(8), time(8)).ends(NOON) is None
    assert Quiet(time(11), time(13), "Nowhere/Such").ends(NOON) == NOON + timedelta(hours=1)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - a zone follows
    st.times(),
    st.times(),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", ""]),
)
def test_who_waits_for_the_end_of_quiet_hours_comes_when_they_are_over(
    at: datetime, start: time, end: time, zone: str
) -> None:
    quiet = Quiet(start, end, zone)
    over = quiet.ends(at)
    if over is not None:
        assert at < over <= at + timedelta(hours=26)
        there = over.astimezone(ZoneInfo(zone or "UTC"))
        moved = there.utcoffset() != at.astimezone(ZoneInfo(zone or "UTC")).utcoffset()
        assert moved or there.time() == end


@given(
    st.integers(0, 23),
    st.integers(0, 23),
    st.floats(0.01, 48),
    st.permutations(list(Channel)[1:]),
    st.booleans(),
)
def test_B3_no_plan_disturbs_a_sleeper_or_comes_too_late(
    start: int, end: int, hours: float, order: list[Channel], hot: bool
) -> None:
    quiet = Quiet(time(start), time(end), "Europe/Warsaw")
    reach = Reach(PERSON, (PHONE,), sms=True, email=True, order=tuple(order), quiet=quiet)
    posts = to_person(said(hours=hours, hot=hot), reach, ALL, NOON)
    going = [one for one in posts if one.state is State.PENDING]
    assert all(quiet.ends(one.due_at) is None and one.due_at < one.until for one in going)
    assert [one.channel for one in posts] == list(order)[: len(posts)]
    assert all(b.due_at - a.due_at >= ALL.fallback for a, b in pairwise(going))


def test_Z4_retries_follow_the_schedule_of_the_specification() -> None:
    waits = [next_wait_s(Channel.WEBHOOK, n) for n in range(1, 12)]
    assert waits == [*(float(n) for n in WEBHOOK_WAITS_S), None, None]
    assert 70 < sum(WEBHOOK_WAITS_S) / 3600 < 80
    assert next_wait_s(Channel.EMAIL, 4) is None


def test_an_endpoint_that_fails_is_left_alone_longer_each_time() -> None:
    assert [rest_s(n) for n in (1, 2, 3, 7, 50)] == [5, 10, 20, 300, 300]
