"""The life of an offer, and the rules around its answers."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.answering import (
    BY_HAND,
    TAKEN,
    Allowance,
    Held,
    day_of,
    judge,
    month_of,
    reason_of,
    returns_allowed,
    work_times,
    zone_of,
)
from routing.errors import BadInput, Refused
from routing.offer import (
    LEGAL,
    OPEN,
    Actor,
    AlreadyAnswered,
    OfferExpired,
    OfferState,
    OfferTaken,
    OfferWithdrawn,
    UnknownOffer,
    WrongState,
    may_become,
)
from routing.policy import Answering, Hours

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANSWERS = [one for one in OfferState if one not in {OfferState.OFFERED, OfferState.EXPIRED, OfferState.VOID}]
ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia", "America/Havana", "Africa/Cairo"]


def held(state: OfferState = OfferState.OFFERED, *, reason: str | None = None, left: timedelta = HOUR) -> Held:
    ended = None if state in OPEN else NOON - HOUR
    accepted = None if state is OfferState.OFFERED else NOON - 2 * HOUR
    return Held(UUID(int=7), 1, 2, state, reason, 3, NOON + left, accepted, ended, NOON)


def outcome(one: Held, asked: OfferState, reason: str | None = None) -> str:
    """What an answer comes to, in a word."""
    try:
        done = judge(one, asked, reason, 2)
    except Refused as exc:
        return type(exc).__name__
    return "repeated" if done else "may be"


@given(st.sampled_from(OfferState), st.sampled_from(ANSWERS))
def test_O1_an_answer_may_be_made_exactly_where_the_life_of_offers_has_it(old: OfferState, asked: OfferState) -> None:
    said = outcome(held(old), asked)
    assert (said == "may be") == may_become(old, asked)
    assert (said == "repeated") == (old is asked)


@pytest.mark.parametrize(
    ("one", "asked", "refused"),
    [
        (held(OfferState.VOID), OfferState.ACCEPTED, UnknownOffer),
        (held(OfferState.REJECTED), OfferState.ACCEPTED, AlreadyAnswered),
        (held(OfferState.ACCEPTED), OfferState.REJECTED, AlreadyAnswered),
        (held(OfferState.COMPLETED), OfferState.ACCEPTED, AlreadyAnswered),
        (held(OfferState.EXPIRED), OfferState.ACCEPTED, OfferExpired),
        (held(OfferState.EXPIRED), OfferState.COMPLETED, OfferExpired),
        (held(left=timedelta(0)), OfferState.ACCEPTED, OfferExpired),
        (held(left=timedelta(0)), OfferState.REJECTED, OfferExpired),
        (held(OfferState.WITHDRAWN), OfferState.ACCEPTED, OfferWithdrawn),
        (held(OfferState.WITHDRAWN, reason=TAKEN), OfferState.ACCEPTED, OfferTaken),
        (held(), OfferState.COMPLETED, WrongState),
        (held(OfferState.REJECTED), OfferState.COMPLETED, WrongState),
        (held(OfferState.LOST), OfferState.COMPLETED, WrongState),
    ],
)
def test_O1_a_refusal_has_the_name_of_its_reason(one: Held, asked: OfferState, refused: type[Refused]) -> None:
    with pytest.raises(refused):
        judge(one, asked, None, 2)


def test_O1_whose_offer_it_is_not_hears_nothing_of_it() -> None:
    for state in OfferState:
        with pytest.raises(UnknownOffer):
            judge(held(state), OfferState.ACCEPTED, None, 3)
    with pytest.raises(UnknownOffer):
        judge(None, OfferState.ACCEPTED, None, None)


def test_a_deadline_counts_from_its_very_moment() -> None:
    assert outcome(held(left=timedelta(microseconds=1)), OfferState.ACCEPTED) == "may be"
    assert outcome(held(left=timedelta(0)), OfferState.ACCEPTED) == "OfferExpired"
    # who takes an offer back, or has accepted it, has no deadline of this kind
    assert outcome(held(left=-HOUR), OfferState.WITHDRAWN) == "may be"
    assert outcome(held(OfferState.ACCEPTED, left=-HOUR), OfferState.COMPLETED) == "may be"


def test_B5_the_same_answer_is_the_same_state_for_the_same_reason() -> None:
    rejected = held(OfferState.REJECTED, reason="too_far")
    assert outcome(rejected, OfferState.REJECTED, "too_far") == "repeated"
    assert outcome(rejected, OfferState.REJECTED, "other") == "AlreadyAnswered"


def test_offers_that_ended_stay_ended() -> None:
    assert {old for old in OfferState if old in LEGAL} == OPEN
    assert not any(may_become(old, new) for old in OfferState if old not in OPEN for new in OfferState)


def test_O3_a_reason_is_one_of_the_list_or_a_managers_word() -> None:
    assert reason_of("a", ["a", "b"], Actor.MEMBER) == "a"
    assert reason_of("a", {"a": 1}, Actor.LINK) == "a"
    assert reason_of(None, ["a"], Actor.MANAGER) == BY_HAND
    assert reason_of("complaint", ["a"], Actor.SALESFORCE) == "complaint"
    for said, actor in (
        (None, Actor.MEMBER),
        ("c", Actor.LINK),
        ("two words", Actor.MANAGER),
        ("x" * 65, Actor.MANAGER),
    ):
        with pytest.raises(BadInput) as wrong:
            reason_of(said, ["a", "b"], actor)
        assert wrong.value.field == "reason"


@pytest.mark.parametrize(
    ("accepted", "percent", "allowed"),
    [(0, 10, 0), (1, 10, 1), (19, 10, 1), (20, 10, 2), (29, 10, 2), (100, 10, 10), (5, 0, 0), (3, 100, 3)],
)
def test_O14_a_share_of_a_month_is_rounded_down_and_the_first_return_goes_by_itself(
    accepted: int, percent: int, allowed: int
) -> None:
    assert returns_allowed(accepted, percent) == allowed


@given(st.integers(-10_000 * 24 * 60, 5_000 * 24 * 60), st.sampled_from(ZONES))
def test_O15_a_day_and_a_month_are_those_of_the_members_own_calendar(minutes: int, name: str) -> None:
    zone, now = ZoneInfo(name), NOON + timedelta(minutes=minutes)
    for (start, end), same in (
        (day_of(now, zone), lambda a, b: a.date() == b.date()),
        (month_of(now, zone), lambda a, b: (a.year, a.month) == (b.year, b.month)),
    ):
        assert start <= now < end
        last = end - timedelta(microseconds=1)
        assert same(start.astimezone(zone), now.astimezone(zone))
        assert same(last.astimezone(zone), now.astimezone(zone))
        assert not same((start - timedelta(microseconds=1)).astimezone(zone), now.astimezone(zone))
        assert not same(end.astimezone(zone), now.astimezone(zone))


def test_O15_the_calendar_is_the_members_own_else_that_of_the_pools_hours_else_utc() -> None:
    worked = Answering(hours=Hours("Europe/Berlin", {0: ((480, 1020),)}))
    assert zone_of("America/Denver", worked).key == "America/Denver"
    assert zone_of("Nowhere/Land", worked).key == "Europe/Berlin"
    assert zone_of(None, Answering()).key == "UTC"
    assert zone_of("../../etc/passwd", Answering()).key == "UTC"
    assert zone_of(7, Answering()).key == "UTC"


def test_O15_what_is_left_never_falls_below_nothing() -> None:
    left = Allowance("installers", 2, 5, NOON, 20, 3, 2, NOON)
    assert (left.rejects_left, left.returns_left) == (0, 0)
    assert Allowance("installers", None, 5, NOON, 20, 1, 2, NOON).rejects_left is None


def test_O12_the_time_for_a_step_counts_as_the_pool_counts_time() -> None:
    assert work_times(NOON, Answering()) == (None, None)
    day = Answering(work_within=timedelta(hours=10), work_warning=80)
    assert work_times(NOON, day) == (NOON + timedelta(hours=10), NOON + timedelta(hours=8))
