"""Made-up leads and made-up answers, at rates that are given (row W4): the same seed makes the same ones."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from routing.errors import BadInput
from routing.lead import Point
from routing.simulation.habits import Habit, Habits

#: How a day goes, hour by hour: people ask in the evening more than at night. It adds up to 24.
DAY_SHAPE = (
    0.25, 0.15, 0.10, 0.10, 0.15, 0.30, 0.60, 0.95, 1.25, 1.40, 1.45, 1.45,
    1.40, 1.40, 1.40, 1.40, 1.40, 1.45, 1.55, 1.70, 1.60, 1.20, 0.85, 0.50,
)  # fmt: skip
FLAT = (1.0,) * 24
#: In a hundred years.
MOST_HOURS = 100 * 365 * 24
#: Points at which a distribution of delays is written down.
_POINTS = 2_000
_DEGREE_MI = 69.0


@dataclass(frozen=True, slots=True)
class Made:
    """One lead that nobody sent."""

    number: int
    received_at: datetime
    place: Point


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How members are to answer: shares of one, and how long an answer takes on average."""

    accept: float = 0.65
    reject: float = 0.20
    delay: timedelta = timedelta(minutes=45)
    hold: timedelta = timedelta(days=3)  # from accepting to the end, on average
    complete: float = 0.6
    lose: float = 0.3

    def __post_init__(self) -> None:
        for name, value in (("accept", self.accept), ("reject", self.reject), ("complete", self.complete)):
            if not 0 <= value <= 1:
                raise BadInput(f"{value:g} is no share", field=name, fix="Give a number from 0 to 1.")
        for name, one, other in (("reject", self.accept, self.reject), ("lose", self.complete, self.lose)):
            if one + other > 1 + 1e-9:
                raise BadInput(f"{one:g} and {other:g} are more than all", field=name, fix="Give less.")
        for name, length in (("delay", self.delay), ("hold", self.hold)):
            if length <= timedelta(0):
                raise BadInput("takes no time", field=name, fix="Give more than nothing, such as 45m.")

    def habits(self, seed: int = 1) -> Habits:
        """Every tier behaves so; delays and holds are exponential."""
        after = _exponential(self.delay)
        ends = {"completed": self.complete, "lost": self.lose}
        habit = Habit(0, self.accept, self.reject, after, after, ends, _exponential(self.hold), ("other",))
        stated = {"accept": self.accept, "reject": self.reject, "delay_s": self.delay.total_seconds()}
        return Habits({}, habit, seed, stated)


def leads(
    count: int,
    per_hour: float,
    begin: datetime,
    around: Sequence[Point],
    *,
    seed: int = 1,
    within_mi: float = 20.0,
    shape: Sequence[float] = DAY_SHAPE,
) -> Iterator[Made]:
    """So many leads as a Poisson process, with a day's shape, each somewhere around one of the places.

    Arrivals are those of a process of rate one, with the clock stretched by the rate (D. R. Cox and V. Isham, "Point
    Processes", 1980): exact for a rate that is constant within an hour. Of all such processes it is one that has just
    so many leads in the time in which so many are expected, so the rate is met by few leads as by many.
    """
    if count < 1:
        raise BadInput(f"{count} leads", field="--leads", fix="Give a number from 1.")
    if not math.isfinite(per_hour) or per_hour <= 0:
        raise BadInput(f"{per_hour:g} an hour", field="--rate", fix="Give how many come in an hour, more than none.")
    if count / per_hour > MOST_HOURS:
        raise BadInput(f"{per_hour:g} an hour", field="--rate", fix="Give more: all come within a hundred years.")
    if not around:
        raise BadInput("there are no places", field="--members", fix="Name a file of members with lat and lon.")
    dice = random.Random(seed)  # noqa: S311 - to be repeatable
    at = begin
    for number, gap in enumerate(_gaps(count, seed), start=1):
        at = _later(at, gap, per_hour, shape)
        yield Made(number, at, _near(around[dice.randrange(len(around))], within_mi, dice))


def _gaps(count: int, seed: int) -> Iterator[float]:
    """Of a process of rate one that has so many in so long: the gaps, with the one after the last, add up to it."""
    first, again = (random.Random(f"{seed} gaps") for _ in range(2))  # noqa: S311 - the same twice
    whole = sum(first.expovariate(1.0) for _ in range(count + 1))
    return (again.expovariate(1.0) * count / whole for _ in range(count))


def _later(at: datetime, amount: float, per_hour: float, shape: Sequence[float]) -> datetime:
    """When so much of the rate has passed."""
    while True:
        rate = per_hour * shape[at.hour] / 3600
        left_s = 3600 - at.minute * 60 - at.second - at.microsecond / 1e6
        if amount <= rate * left_s:
            return at + timedelta(seconds=amount / rate)
        amount -= rate * left_s
        at = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _near(place: Point, within_mi: float, dice: random.Random) -> Point:
    """Somewhere in the circle, every square mile as likely as another."""
    away, way = within_mi * math.sqrt(dice.random()), 2 * math.pi * dice.random()
    lat = max(-89.9, min(89.9, place.lat + away * math.cos(way) / _DEGREE_MI))
    lon = place.lon + away * math.sin(way) / (_DEGREE_MI * max(0.01, math.cos(math.radians(place.lat))))
    return Point(round(lat, 5), round((lon + 180) % 360 - 180, 5))


def _exponential(mean: timedelta) -> list[int]:
    """The lengths of an exponential distribution, ascending, in microseconds."""
    microseconds = mean / timedelta(microseconds=1)
    made = [-math.log(1 - (n + 0.5) / _POINTS) * microseconds for n in range(_POINTS)]
    stretch = microseconds / (sum(made) / _POINTS)  # what the last point leaves out
    return [max(1, round(one * stretch)) for one in made]
