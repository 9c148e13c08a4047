"""A simulation from beginning to end: a stretch of history, a policy, and what would have come of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routing.policy import Policy
from routing.simulation.compared import Comparison, compare, summed
from routing.simulation.habits import Habits
from routing.simulation.outcome import Outcome, areas_beside, members_beside, of_history, of_world
from routing.simulation.past import Past, moment
from routing.simulation.script import script
from routing.simulation.world import World

AREAS = ("postal", "region", "ring")
#: Differences that a report lists one by one.
LISTED = 200


@dataclass(frozen=True, slots=True)
class Dot:
    """A lead on the map, and who was offered it first, then and under the draft."""

    lat: float
    lon: float
    then: int | None
    here: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a simulation came to; `then` is history, or another policy on the same leads, or nothing."""

    name: str
    past: Past
    here: Outcome
    then: Outcome | None
    habits: Habits
    beside: str = "history"  # what `then` is
    comparison: Comparison | None = None  # with history, decision by decision
    reused: int = 0  # offers that were answered as they had been
    assumed: int = 0  # offers that were answered by the stated assumption
    dots: Sequence[Dot] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        past, found = self.past, self.comparison
        made: dict[str, Any] = {
            "policy": self.name,
            "beside": self.beside if self.then else None,
            "from": moment(past.since).isoformat(),
            "to": moment(past.until).isoformat(),
            "leads": self.here.total.leads,
            "total": self.here.total.to_json(),
            "total_before": self.then.total.to_json() if self.then else None,
            "worst_turns": self.here.worst,
            "worst_turns_before": self.then.worst if self.then else None,
            "fairness": {name: one.to_json() for name, one in self.here.fairness.items()},
            "answers": {"reused": self.reused, "assumed": self.assumed, **self.assumption()},
            "members": [row.to_json() for row in members_beside(self.then, self.here, past.members)],
            "areas": {by: [row.to_json() for row in areas_beside(self.then, self.here, by)] for by in AREAS},
            "days": {day: dict(counts) for day, counts in sorted(self.here.days.items())},
            "days_before": {day: dict(n) for day, n in sorted(self.then.days.items())} if self.then else None,
            "notes": list(self.notes),
        }
        if found is not None:
            made["reproduction"] = {
                "decided": found.decided,
                "same": found.same,
                "share": round(found.share, 6),
                "causes": summed(found.differences),
                "differences": [
                    {"lead": d.lead, "attempt": d.attempt, "then": d.then, "here": d.here, "cause": d.cause,
                     "follows": d.follows}
                    for d in found.differences[:LISTED]
                ],
            }  # fmt: skip
        return made

    def assumption(self) -> dict[str, Any]:
        """How members answer where nobody saw it, as numbers."""
        habits = self.habits
        tiers = {tier or "(none)": habit.to_json() for tier, habit in habits.by_tier.items()}
        return {"tiers": tiers, "others": habits.overall.to_json(), "stated": dict(habits.stated), "seed": habits.seed}


def simulate(
    past: Past,
    policy: Policy | None,
    habits: Habits,
    *,
    name: str,
    beside: tuple[str, Policy] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Play the stretch under a policy; None: under what was in force, which must come out as history did.

    `beside`: with no history, another policy to play the same leads under, for comparison.
    """
    order = script(past)
    other = None
    if beside is not None:
        other = World(past, order, habits, beside[1], progress=progress)
        other.run()
    world = World(past, order, habits, policy, progress=progress)
    world.run()
    lived = bool(past.decisions)
    then = of_world(other) if other is not None else of_history(past) if lived else None
    return Report(
        name,
        past,
        of_world(world),
        then,
        habits,
        beside[0] if beside else "history",
        compare(past, world) if lived and policy is None else None,
        world.known,
        world.fresh,
        _dots(past, world, other),
        past.notes,
    )


def _dots(past: Past, world: World, other: World | None) -> list[Dot]:
    here = _first(world)
    then: Mapping[int, int] = _first(other) if other is not None else {}
    if other is None:
        then = {o.lead: o.member for o in sorted(past.offers, key=lambda o: -o.offered)}
    dots = ((one.lead.id, one.lead.place) for one in past.leads)
    return [Dot(at.lat, at.lon, then.get(i), here.get(i)) for i, at in dots if at is not None]


def _first(world: World) -> dict[int, int]:
    """Who was offered each lead first."""
    return {o.lead: o.member for o in sorted(world.ledger.offers.values(), key=lambda o: -o.offered)}
