"""How a pool's turns are kept: from when they count, what a member weighs today, and what an absence is worth.

Everything here is a function of its arguments, in whole numbers: made again elsewhere, it comes to the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

#: What weights and shares of them are counted in.
WHOLE = 1000
#: A rotation of a period that is over is kept so long, for turns that are given back late; then it is forgotten.
KEPT_FOR = timedelta(days=45)
#: The steps in which a rolling window moves.
STEP = timedelta(hours=1)


class Reset(StrEnum):
    """When accounts begin anew at zero (row F14)."""

    NEVER = "never"
    DAILY = "daily"
    WEEKLY = "weekly"  # on Monday
    MONTHLY = "monthly"
    ROLLING = "rolling"  # what is older than the window is taken out, hour by hour


class Absence(StrEnum):
    """What a member that was away is owed on its return (row F6)."""

    NONE = "none"
    CATCH_UP = "catch_up"  # so much of it a day
    FULL = "full"


class ByHand(StrEnum):
    """Which leads that a member got outside of its turn cost it one (row F10)."""

    MOVED = "moved"  # those taken from somebody who had paid a turn for them
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Ramp:
    """Up to this many days after a member joined it has this part of its weight (row F7)."""

    days: int
    percent: int


@dataclass(frozen=True, slots=True)
class Minimum:
    """Leads that every member is to get in a period; who is on the way to fewer is helped a little (row C11)."""

    leads: int
    per: Reset  # weekly or monthly
    boost: int  # thousandths of its weight
    ahead: timedelta = timedelta(days=7)  # so long before the period's end it is looked at


@dataclass(frozen=True, slots=True)
class Turning:
    """How the turns of a pool are kept."""

    reset: Reset = Reset.NEVER
    window: timedelta = timedelta(0)  # of reset=rolling
    zone: str = "UTC"  # whose midnight a period begins at
    halves_at_m: float | None = None  # in mode weighted_by_distance
    ramp: tuple[Ramp, ...] = ()  # days ascend
    absence: Absence = Absence.NONE
    percent_a_day: int = 100  # of absence=catch_up
    by_hand: ByHand = ByHand.MOVED
    minimum: Minimum | None = None

    @property
    def told(self) -> str:
        """The policy for absences, in words."""
        return told_of(str(self.absence) if self.absence is not Absence.CATCH_UP else {"catch_up": self.percent_a_day})

    @property
    def has_periods(self) -> bool:
        """Whether its accounts begin anew at times."""
        return self.reset not in {Reset.NEVER, Reset.ROLLING}

    @property
    def looks_at_the_clock(self) -> bool:
        """Whether a decision under these terms depends on when it is made."""
        return bool(self.ramp) or self.has_periods


# --- periods


def named(base: str, turning: Turning, now: datetime) -> str:
    """The rotation's name with its period, such as `installers@2026-11`: in the next one all begin at zero."""
    label = period(turning.reset, turning.zone, now)
    return f"{base}@{label}" if label else base


def base_of(rotation: str) -> str:
    """The rotation's name without its period."""
    return rotation.partition("@")[0]


def label_of(rotation: str) -> str:
    """Its period, such as `2026-11`; empty where its accounts are never begun anew."""
    return rotation.partition("@")[2]


def period(reset: Reset, zone: str, now: datetime) -> str:
    """The period of this moment: a day, an ISO week or a month of the zone's calendar."""
    if reset in {Reset.NEVER, Reset.ROLLING}:
        return ""
    here = now.astimezone(ZoneInfo(zone)).date()
    if reset is Reset.DAILY:
        return here.isoformat()
    if reset is Reset.WEEKLY:
        year, week, _ = here.isocalendar()
        return f"{year}-W{week:02}"
    return f"{here:%Y-%m}"


def span(reset: Reset, zone: str, now: datetime) -> tuple[datetime, datetime]:
    """From when to when the period of this moment lasts, half open; from midnight to midnight in the zone."""
    first = _first_day(reset, now.astimezone(ZoneInfo(zone)).date())
    return _midnight(first, zone), _midnight(_next_first(reset, first), zone)


def is_over(rotation: str, at: datetime) -> bool:
    """Whether the period of this name ended so long ago, wherever it did, that nobody needs its accounts any more."""
    last = _last_day(label_of(rotation))
    return last is not None and datetime.combine(last, time(), UTC) + KEPT_FOR < at


def _first_day(reset: Reset, day: date) -> date:
    if reset is Reset.WEEKLY:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if reset is Reset.MONTHLY else day


def _next_first(reset: Reset, first: date) -> date:
    if reset is Reset.MONTHLY:
        return (first + timedelta(days=32)).replace(day=1)
    return first + timedelta(days=7 if reset is Reset.WEEKLY else 1)


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def _last_day(label: str) -> date | None:
    if found := re.fullmatch(r"(\d{4})-W(\d\d)", label):
        return date.fromisocalendar(int(found[1]), int(found[2]), 7)
    if found := re.fullmatch(r"(\d{4})-(\d\d)", label):
        return _next_first(Reset.MONTHLY, date(int(found[1]), int(found[2]), 1)) - timedelta(days=1)
    return date.fromisoformat(label) if re.fullmatch(r"\d{4}-\d\d-\d\d", label) else None


# --- what a member weighs


def by_distance(weight: Ints, decimetres: Ints, halves_at_m: float) -> Ints:
    """Weights, each less the farther away: half at `halves_at_m`, a third at twice that, never less than one.

    weight * h / (h + distance) in whole decimetres, rounded down.
    """
    half = max(round(halves_at_m * 10), 1)
    weighed: Ints = np.maximum(weight * half // (half + decimetres), 1)
    return weighed


def local_day(zone: str, now: datetime) -> int:
    """The day in this zone, counted from 1970."""
    return now.astimezone(ZoneInfo(zone)).date().toordinal() - date(1970, 1, 1).toordinal()


def ramped(ramp: Sequence[Ramp], joined: Ints, day: int) -> Ints:
    """The part of its weight that each member has on this day, in thousandths; `joined` is a day as well."""
    parts = np.full(len(joined), WHOLE, dtype=np.int64)
    for step in reversed(ramp):
        parts[day - joined < step.days] = step.percent * WHOLE // 100
    return parts


def scaled(weight: Ints, thousandths: Ints) -> Ints:
    """Weights by a factor each, rounded down, never less than one."""
    found: Ints = np.maximum(weight * thousandths // WHOLE, 1)
    return found


# --- minimums


def projected(received: int, begun: datetime, end: datetime, now: datetime) -> float:
    """How many leads a member will have at the period's end, if it goes on at the pace so far."""
    passed = (now - begun) / (end - begun)
    return received / passed if passed > 0 else float(received)


def misses(minimum: Minimum, received: int, begun: datetime, end: datetime, now: datetime) -> bool:
    """Whether a member is on the way to miss its minimum; asked from `ahead` before the period's end on."""
    if received >= minimum.leads or not end - minimum.ahead <= now < end:
        return False
    return projected(received, begun, end, now) < minimum.leads


# --- absences


def told_of(absence: object) -> str:
    """The policy for absences as the document has it, in words: none, full, or so many percent a day."""
    if isinstance(absence, Mapping):
        return f"catch-up of {absence.get('catch_up')} % a day"
    return "full catch-up" if absence == "full" else "no catch-up"


def missed(weight: int, eligible: Mapping[int, int], member: int, *, turn: int) -> dict[int, int]:
    """What a member would have earned by one decision had it been there, and what everyone eligible less.

    `eligible`: their weights; in micro-turns that add up to zero.
    """
    without, total = max(sum(eligible.values()), 1), sum(eligible.values()) + weight
    less = {one: its * turn // total - its * turn // without for one, its in eligible.items() if one != member}
    return {**less, member: -sum(less.values())}


def part_of(deltas: Mapping[int, int], member: int, percent: int, number: int) -> dict[int, int]:
    """The `number`-th part (from 1) of what a member is owed, at so many percent a day; all parts are the whole."""

    def upto(delta: int, parts: int) -> int:
        return delta * min(parts * percent, 100) // 100

    parts = {
        one: upto(delta, number) - upto(delta, number - 1) for one, delta in deltas.items() if one != member and delta
    }
    return {**parts, member: -sum(parts.values())}


def parts_in(percent: int) -> int:
    """In how many parts it is paid."""
    return -(-100 // percent)


def summed(many: Sequence[Mapping[int, int]]) -> dict[int, int]:
    """All of them together, without those that come to nothing."""
    total: dict[int, int] = {}
    for one in many:
        for member, delta in one.items():
            total[member] = total.get(member, 0) + delta
    return {member: delta for member, delta in total.items() if delta}
