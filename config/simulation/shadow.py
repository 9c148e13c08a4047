"""A draft beside live (row N9): it follows what comes in, with turns and places of its own, and changes nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from config import wiring
from routing.errors import BadInput, FairturnError, TryLater
from routing.explained import explanation
from routing.policy import Policy
from routing.reexecute import past_of
from routing.simulation.checkpoint import taken
from routing.simulation.compared import compare
from routing.simulation.habits import Habits
from routing.simulation.past import Past, PastDecision, moment
from routing.simulation.script import script
from routing.simulation.world import World
from routing.verify import Past as Kept
from storage.postgres.past import PastReader
from storage.postgres.shadows import Divergence, Shadow, Shadows

#: What was decided is surely committed by then.
BEHIND = timedelta(seconds=10)
#: Live is followed in steps of at most this.
STEP = timedelta(hours=6)

Parse = Callable[[Mapping[str, Any], int], Policy]


@dataclass(frozen=True, slots=True)
class Follower:
    """Goes on with the draft that runs; safe to run twice, and after any restart."""

    shadows: Shadows
    reader: PastReader
    parse: Parse
    explained: Callable[[int, int], Kept | None]  # what live decided for an attempt of a lead

    def follow(self, *, now: datetime | None = None) -> dict[str, int]:
        """Bring the draft up to date; how many attempts were decided, and how many alike."""
        shadow = self.shadows.running()
        until = (now or self.shadows.clock()) - BEHIND
        if shadow is None or until <= shadow.upto:
            return {}
        until = min(until, shadow.upto + STEP)
        try:
            return self._step(shadow, until)
        except TryLater:
            raise
        except FairturnError as exc:
            self.shadows.failed(shadow, str(exc))
            return {"failed": 1}

    def _step(self, shadow: Shadow, until: datetime) -> dict[str, int]:
        policy = self.parse(shadow.document, 0)
        try:
            past = self.reader.read(shadow.upto, until)
        except BadInput:  # nothing has come in yet
            return {}
        habits = Habits.seen(past.offers, {one.id: one.tier for one in past.members.values()})
        world = World(past, script(past), habits, policy, told=shadow.state)
        world.run()
        found = compare(past, world)
        apart = [self._apart(past, world, one.lead, one.attempt, one.cause) for one in found.differences]
        counts = found.decided, found.same
        if not self.shadows.went_on(shadow, until, taken(world), counts, apart):
            return {}
        return {"decided": found.decided, "same": found.same}

    def _apart(self, past: Past, world: World, lead: int, attempt: int, cause: str) -> Divergence:
        was = next((d for d in reversed(past.decisions) if (d.lead, d.attempt) == (lead, attempt)), None)
        made = next((m for m in reversed(world.made) if (m.lead, m.attempt) == (lead, attempt)), None)
        kept = self.explained(lead, attempt) if was is not None else None
        return Divergence(
            lead,
            attempt,
            moment(_moment(was) if was is not None else made.at if made else past.since),
            was.chosen if was else None,
            made.chosen if made else None,
            cause,
            explanation(kept) if kept is not None else None,
            explanation(past_of(made.verdict.decision, {})) if made is not None else None,
        )


@cache
def shadows() -> Shadows:
    return Shadows(wiring.engine())


@cache
def follower() -> Follower:
    reader = PastReader(wiring.engine(), wiring.ledger().policy)
    return Follower(shadows(), reader, wiring.parse_policy, shadows().decided)


def _moment(was: PastDecision) -> int:
    return was.at
