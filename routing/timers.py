"""When an offer ends, and when its member is reminded."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from routing.hours import deadline, elapsed
from routing.lane import Lane
from routing.policy import Answering


@dataclass(frozen=True, slots=True)
class Times:
    """A deadline, and when it is time to say that it comes; None: nothing is to be said any more."""

    due: datetime
    remind_at: datetime | None


def to_answer(answering: Answering, made: datetime, lane: Lane) -> Times:
    """Until when an offer made at that moment may be answered; hot leads have a time of their own (rows O2, O11)."""
    hot = answering.hot_within if lane is Lane.HOT else None
    due = deadline(made, hot or answering.within, answering.hours)
    _, remind_at = reminders(answering, made, due, made)
    return Times(due, remind_at)


def reminders(answering: Answering, made: datetime, due: datetime, now: datetime) -> tuple[int, datetime | None]:
    """How many reminders of an offer are due by now, and when the next one is."""
    length = elapsed(made, due, answering.hours)
    moments = [_part(made, length, percent, answering) for percent in answering.reminders]
    ahead = [moment for moment in moments if moment > now]
    return len(moments) - len(ahead), min(ahead, default=None)


def _part(since: datetime, length: timedelta, percent: int, answering: Answering) -> datetime:
    return deadline(since, length * percent / 100, answering.hours)
