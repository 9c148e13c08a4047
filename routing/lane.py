"""Which queue a lead goes by: hot, live, or bulk when its flow brings more than people do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

WINDOW_S = 60.0


class Lane(IntEnum):
    """The lower goes first; kept with every event and lead, so that a backlog of one never delays another."""

    HOT = 0
    LIVE = 1
    BULK = 2


@dataclass(slots=True)
class _Count:
    """How much a flow brought in this window and in the one before."""

    window: int
    now: int = 0
    before: int = 0

    def add(self, clock: float) -> float:
        """One more; about how many that makes within the last window's length."""
        window, share = divmod(clock, WINDOW_S)
        if window != self.window:
            self.before = self.now if window == self.window + 1 else 0
            self.window, self.now = int(window), 0
        self.now += 1
        return self.now + self.before * (1 - share / WINDOW_S)


@dataclass(slots=True)
class Flows:
    """Tells imports from people, by how many changes a flow brought within the last minute.

    A flow is what one user or program writes: committing user, change origin and lead source. Urgent leads are
    counted for themselves: a few of them in an import go first; an import that calls all of them urgent is an import.
    The counts are this process's own: without them the first of an import go by the live lane, no more.
    """

    per_minute: int
    hot_from: int  # the least priority that is urgent
    priority: Sequence[str]  # Salesforce fields, the first that is filled counts
    source: Sequence[str]
    clock: Callable[[], float]
    _counts: dict[tuple[str, str, str, bool], _Count] = field(default_factory=dict)

    def lane(self, commit_user: str, origin: str, body: Mapping[str, object]) -> Lane:
        """The lane of one more change of this flow."""
        hot = is_hot(_first(self.priority, body), self.hot_from)
        flow, now = (commit_user, origin, str(_first(self.source, body) or "")[:100], hot), self.clock()
        count = self._counts.get(flow)
        if count is None:
            self._forget(now)
            count = self._counts[flow] = _Count(int(now // WINDOW_S))
        if count.add(now) > self.per_minute:
            return Lane.BULK
        return Lane.HOT if hot else Lane.LIVE

    def _forget(self, now: float) -> None:
        """Drop the flows that have been quiet for two windows."""
        if len(self._counts) >= 1000:
            self._counts = {k: c for k, c in self._counts.items() if c.window >= now // WINDOW_S - 1}


def is_hot(priority: object, hot_from: int) -> bool:
    """Whether a lead of this priority goes before others."""
    return isinstance(priority, int | float) and not isinstance(priority, bool) and priority >= hot_from


def _first(names: Sequence[str], body: Mapping[str, object]) -> object:
    return next((body[name] for name in names if body.get(name) not in (None, "")), None)
