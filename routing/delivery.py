"""How members are told of a notice: by which channels, when, and until when it is worth telling.

Plain reckoning; times come in and go out with a zone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from routing.offer import Notice


class Channel(StrEnum):
    """A way to a member: a program's address, or one of a person's."""

    WEBHOOK = "webhook"
    PUSH = "push"
    SMS = "sms"
    EMAIL = "email"


class State(StrEnum):
    """Of a delivery; only a pending one changes."""

    PENDING = "pending"
    SENT = "sent"  # the other side has taken it
    FAILED = "failed"  # it will not take it
    EXPIRED = "expired"  # it was not delivered while it was worth something
    SKIPPED = "skipped"  # it became needless: opened elsewhere, answered, or quiet hours last too long


#: In this order a person is told, unless it wishes otherwise.
ORDER = (Channel.PUSH, Channel.SMS, Channel.EMAIL)
#: Somebody should act: these go by one channel after the other until one of them was opened.
CALLS = frozenset({Notice.CREATED, Notice.REMINDER, Notice.WARNING, Notice.OPENED})
#: Good to know at once for who has the page at hand; never by mail, never in quiet hours.
NEWS = frozenset({Notice.EXPIRED, Notice.WITHDRAWN, Notice.TAKEN})
#: The retries of Standard Webhooks, in seconds after the try before; some 75 hours in all.
WEBHOOK_WAITS_S = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
MESSAGE_WAITS_S = (10, 60, 300)
#: What has no deadline is tried for so long.
LONGEST = timedelta(days=4)
#: After failures an endpoint is left alone: doubled each time, so that a dead one costs next to nothing.
REST_S, LONGEST_REST_S = 5.0, 300.0
#: An endpoint that has failed for so long without one success is disabled.
FAILING = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Quiet:
    """When a person is not to be disturbed, by the clock of its zone; it may begin on one day and end on the next."""

    start: time
    end: time
    zone: str = ""  # IANA; empty or unknown: UTC

    def ends(self, at: datetime) -> datetime | None:
        """When the quiet hours end that `at` lies in; None when it lies in none."""
        if self.start == self.end:
            return None
        zone = _zone(self.zone)
        here = at.astimezone(zone)
        for day in (here.date() - timedelta(days=1), here.date()):
            begins = _moment(day, self.start, zone)
            over = _moment(day + timedelta(days=self.end < self.start), self.end, zone)
            if begins <= at < over:
                return over
        return None


@dataclass(frozen=True, slots=True)
class Reach:
    """Where one person can be reached, and how it wants to be."""

    person: UUID
    devices: tuple[UUID, ...] = ()
    sms: bool = False
    email: bool = False
    order: tuple[Channel, ...] = ORDER
    quiet: Quiet | None = None

    def targets(self, channel: Channel) -> tuple[UUID, ...]:
        """Devices for push; for the rest the person itself, where it has such an address."""
        if channel is Channel.PUSH:
            return self.devices
        return (self.person,) if {Channel.SMS: self.sms, Channel.EMAIL: self.email}.get(channel) else ()


@dataclass(frozen=True, slots=True)
class Said:
    """A notice, as far as it matters for telling it."""

    what: Notice
    at: datetime
    ends: datetime | None = None  # the deadline it is about
    hot: bool = False

    @property
    def until(self) -> datetime:
        """After that it is not told any more."""
        return self.ends if self.ends and self.what in CALLS else self.at + LONGEST


@dataclass(frozen=True, slots=True)
class Post:
    """One thing to deliver."""

    channel: Channel
    target: UUID
    person: UUID | None
    step: int
    due_at: datetime
    until: datetime
    state: State = State.PENDING
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Manners:
    """The installation's wishes."""

    fallback: timedelta = timedelta(minutes=5)  # a call not opened for so long goes by the next channel
    hot_breaks_quiet: bool = False
    channels: frozenset[Channel] = frozenset({Channel.PUSH})  # those it can use for people


def to_endpoints(said: Said, endpoints: Iterable[UUID], now: datetime) -> list[Post]:
    """Programs are told everything at once, at any hour."""
    return [Post(Channel.WEBHOOK, one, None, 0, now, said.until) for one in endpoints]


def to_person(said: Said, reach: Reach, manners: Manners, now: datetime) -> list[Post]:
    """The channels one after the other, each a while after the one before, outside quiet hours, before the deadline.

    Later steps are made out at once, and skipped when an earlier one was opened. What quiet hours leave no time for is
    made out as skipped, so that it can be seen.
    """
    ways = [c for c in reach.order if c in manners.channels and reach.targets(c)]
    quiet = None if said.hot and manners.hot_breaks_quiet else reach.quiet
    if said.what in NEWS:
        ways = [] if quiet and quiet.ends(now) else [c for c in ways if c is Channel.PUSH]
    elif said.what not in CALLS:
        return []
    posts: list[Post] = []
    at = now
    for step, channel in enumerate(ways):
        due, state, why = (quiet and quiet.ends(at)) or at, State.PENDING, None
        if due >= said.until and step:
            break
        if due >= said.until:
            state, why = State.SKIPPED, "quiet hours last until its deadline" if due > at else "its deadline is past"
        to = reach.targets(channel)
        posts += [Post(channel, one, reach.person, step, due, said.until, state, why) for one in to]
        if state is State.SKIPPED:
            break
        at = due + manners.fallback
    return posts


def next_wait_s(channel: Channel, attempts: int) -> float | None:
    """How long to wait after so many tries that failed; None when that was the last one."""
    waits: Sequence[int] = WEBHOOK_WAITS_S if channel is Channel.WEBHOOK else MESSAGE_WAITS_S
    return float(waits[attempts - 1]) if attempts <= len(waits) else None


def rest_s(failures: int) -> float:
    """How long an endpoint is left alone after so many failures in a row."""
    return float(min(REST_S * 2.0 ** min(failures - 1, 20), LONGEST_REST_S))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """A time of the clock on a day; of two in the night the clock goes back, the first."""
    return datetime.combine(day, at, zone).astimezone(UTC)
