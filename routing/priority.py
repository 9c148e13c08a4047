"""Which lead goes first when there is not room for all: its priority, and how it grows while it waits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from routing.admission import Holds
from routing.numbers import number_in

#: Ranks are counted from here, so that they stay small.
_DAY_ZERO = datetime(2020, 1, 1, tzinfo=UTC)
#: The ledger keeps ranks in eight bytes; no policy needs more.
MOST = 1_000_000_000
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Points:
    """What a lead's priority gains where a condition holds, or for each whole of a fact."""

    name: str
    points: int = 0
    when: Holds | None = None
    fact: str = ""  # such as lead.score: `times` for each whole of it
    times: float = 0.0

    def of(self, facts: Mapping[str, object]) -> int:
        """The points of a lead with these facts."""
        gained = self.points if self.when is not None and self.when.holds(facts) else 0
        number = number_in(facts.get(self.fact)) if self.fact else None
        return gained if number is None else gained + round(max(-MOST, min(MOST, number * self.times)))


@dataclass(frozen=True, slots=True)
class Ageing:
    """How waiting counts (row P3): after `point_every` a lead is worth a point more.

    However many points another has, it goes before only while it did not come more than half of `longest_wait` later:
    so where there is room for all in the long run, nobody waits longer than that, whatever else comes.
    """

    point_every: timedelta
    longest_wait: timedelta

    @property
    def head_start(self) -> timedelta:
        """No lead goes before others that came this much earlier."""
        return self.longest_wait / 2


@dataclass(frozen=True, slots=True)
class Best:
    """Which leads go to the best tiers first (row P2): from so much priority, or the best of the last ones."""

    at_least: float | None = None
    percent: float | None = None
    of_last: int = 1000


@dataclass(frozen=True, slots=True)
class Priority:
    """The policy's word on which leads go first."""

    points: tuple[Points, ...] = ()
    ageing: Ageing | None = None
    best: Best | None = None

    def score(self, own: int, facts: Mapping[str, object]) -> int:
        """A lead's priority: its own, and the points of the policy (row P1)."""
        return max(-MOST, min(MOST, own + sum(one.of(facts) for one in self.points)))

    def is_best(self, score: int, best_above: float | None) -> bool:
        """Whether a lead of this priority is one of the best; `best_above` is what the last leads say."""
        if self.best is None:
            return False
        least = self.best.at_least if self.best.at_least is not None else best_above
        return least is not None and score >= least

    def names(self) -> frozenset[str]:
        """The facts it looks at."""
        conditions = (name for one in self.points if one.when is not None for name in one.when.names)
        return frozenset((*conditions, *(one.fact for one in self.points if one.fact)))


PLAIN = Priority()


def rank(score: int, received_at: datetime, ageing: Ageing | None) -> int:
    """A number by which leads are put in order, the highest first, equals by age; it stays the same as they wait.

    Points that grow with waiting need not be counted again and again: all leads gain them alike, so who comes first of
    two never changes. A lead is as if it had come earlier by what its points are worth, bounded by the head start.
    """
    if ageing is None:
        return score
    most = ageing.head_start // ageing.point_every + 1  # points; more of them cannot make a lead older
    head_start = min(ageing.head_start, max(0, min(score, most)) * ageing.point_every)
    return -((received_at - head_start - _DAY_ZERO) // _MILLISECOND)
