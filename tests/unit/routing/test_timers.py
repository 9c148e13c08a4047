"""The deadlines of offers and of accepted leads, and the reminders before them."""

from datetime import UTC, datetime, timedelta

from routing.answering import work_times
from routing.lane import Lane
from routing.policy import Answering, Hours
from routing.timers import reminders, to_answer

MADE = datetime(2026, 11, 20, 16, tzinfo=UTC)  # a Friday
HOURS = Hours("UTC", dict.fromkeys(range(5), ((8 * 60, 17 * 60),)))


def after(**time: float) -> datetime:
    return MADE + timedelta(**time)


def test_O2_an_offer_may_be_answered_for_as_long_as_the_policy_says() -> None:
    assert to_answer(Answering(within=timedelta(hours=4)), MADE, Lane.LIVE).due == after(hours=4)


def test_O2_working_time_leaves_the_weekend_out() -> None:
    times = to_answer(Answering(within=timedelta(hours=4), hours=HOURS), MADE, Lane.LIVE)
    assert times.due == datetime(2026, 11, 23, 11, tzinfo=UTC)


def test_O2_hot_leads_have_a_shorter_time() -> None:
    answering = Answering(within=timedelta(hours=4), hot_within=timedelta(minutes=30))
    assert to_answer(answering, MADE, Lane.HOT).due == after(minutes=30)
    assert to_answer(answering, MADE, Lane.LIVE).due == after(hours=4)
    assert to_answer(answering, MADE, Lane.BULK).due == after(hours=4)


def test_hot_leads_are_as_others_where_the_policy_says_nothing() -> None:
    assert to_answer(Answering(within=timedelta(hours=4)), MADE, Lane.HOT).due == after(hours=4)


def test_O11_the_first_reminder_comes_at_half_of_the_time() -> None:
    assert to_answer(Answering(within=timedelta(hours=4)), MADE, Lane.LIVE).remind_at == after(hours=2)


def test_O11_the_second_reminder_comes_at_four_fifths_and_none_after() -> None:
    answering, due = Answering(), after(hours=4)
    assert reminders(answering, MADE, due, after(hours=2)) == (1, after(hours=3.2))
    assert reminders(answering, MADE, due, after(hours=3.2)) == (2, None)


def test_O11_reminders_count_working_time_as_the_deadline_does() -> None:
    answering = Answering(within=timedelta(hours=4), hours=HOURS)
    due = datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert reminders(answering, MADE, due, MADE) == (0, datetime(2026, 11, 23, 9, tzinfo=UTC))


def test_a_policy_without_reminders_has_none() -> None:
    assert to_answer(Answering(reminders=()), MADE, Lane.LIVE).remind_at is None


def test_O12_an_accepted_lead_may_rest_for_a_time_and_its_member_is_warned_before() -> None:
    due, warn_at = work_times(MADE, Answering(work_within=timedelta(hours=10), hours=HOURS))
    assert due == datetime(2026, 11, 23, 17, tzinfo=UTC)
    assert warn_at == datetime(2026, 11, 23, 15, tzinfo=UTC)


def test_O12_without_a_time_an_accepted_lead_may_rest_for_ever() -> None:
    assert work_times(MADE, Answering()) == (None, None)
