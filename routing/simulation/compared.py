"""A simulation beside history, decision by decision: what is the same, and why the rest is not."""

from collections.abc import Sequence
from dataclasses import dataclass

from routing.decision import Gate
from routing.simulation.past import Past, PastDecision
from routing.simulation.world import Made, World

_SEEN = frozenset({int(Gate.ELIGIBLE), int(Gate.FULL), int(Gate.QUOTA)})
Key = tuple[int, int]  # lead, attempt


@dataclass(frozen=True, slots=True)
class Difference:
    """One attempt of a lead that went otherwise; None: nobody was chosen, or there was no such attempt."""

    lead: int
    attempt: int
    then: int | None
    here: int | None
    cause: str
    follows: bool = False  # from an earlier difference: what the chooser saw was not the same any more


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many attempts were decided in history or here, how many alike, and every other one with its cause."""

    decided: int
    same: int
    differences: tuple[Difference, ...]

    @property
    def share(self) -> float:
        """Of attempts that were decided alike; 1 where there were none."""
        return self.same / self.decided if self.decided else 1.0


def compare(past: Past, world: World) -> Comparison:
    """Each attempt's last decision, then and here, in the order of history."""
    then = {(d.lead, d.attempt): d for d in past.decisions}
    here = {(m.lead, m.attempt): m for m in world.made}
    keys = sorted(then.keys() | here.keys(), key=lambda key: then[key].at if key in then else here[key].at)
    found: list[Difference] = []
    same = 0
    for key in keys:
        was, made = then.get(key), here.get(key)
        if was is not None and made is not None and was.chosen == made.chosen:
            same += 1
            continue
        cause, state = _cause(key, was, made, world)
        chosen = (was.chosen if was else None, made.chosen if made else None)
        found.append(Difference(*key, *chosen, cause, state and bool(found)))
    return Comparison(len(keys), same, tuple(found))


def _cause(key: Key, was: PastDecision | None, made: Made | None, world: World) -> tuple[str, bool]:
    """Why, in words; and whether it lies in what the chooser saw of accounts and places."""
    if made is None:
        row = world.ledger.leads.get(key[0])
        stands = f"{row.state}{f' ({row.reason})' if row.reason else ''}, attempt {row.attempt}" if row else "unknown"
        return f"not decided here: the lead is {stands}", True
    if was is None:
        return "decided only here: in history the lead went another way, or its time was over", True
    decision = made.verdict.decision
    for what, one, other in (
        ("policy version", was.policy_version, decision.policy_version),
        ("roster version", was.roster_version, decision.roster_version),
        ("pool", was.pool, decision.pool),
        ("mode", was.mode, str(decision.mode)),
    ):
        if one != other and not (what == "policy version" and world.policy is not None):
            return f"{what} {one} then, {other} here", False
    return _sights(was, made)


def _sights(was: PastDecision, made: Made) -> tuple[str, bool]:
    weighed = {w.member: w for w in made.verdict.decision.weighed}
    rows = zip(was.member, was.weight, was.capacity, was.gate, was.open, was.standing, was.served, strict=True)
    mine = {row[0]: row for row in rows}
    if missing := sorted(mine.keys() ^ weighed.keys()):
        return f"other candidates: member {missing[0]} and {len(missing) - 1} more in one and not in the other", False
    for member, weight, capacity, gate, open_, standing, served in mine.values():
        one = weighed[member]
        if (weight, capacity) != (one.weight, one.capacity):
            return (
                f"member {member}: weight and capacity {weight}, {capacity} then, {one.weight}, {one.capacity}",
                False,
            )
        if (gate in _SEEN) != (int(one.gate) in _SEEN):
            return f"member {member}: {Gate(gate).name.lower()} then, {one.gate.name.lower()} here", False
        if gate in _SEEN and open_ != one.open:
            return f"member {member} held {open_} then, {one.open} here", True
        if gate == Gate.ELIGIBLE and (standing, served) != (one.standing, one.served):
            return f"member {member} stood at {standing} (tick {served}) then, {one.standing} ({one.served}) here", True
    return "the same was seen and another was chosen", False


def summed(differences: Sequence[Difference]) -> dict[str, int]:
    """How often each kind of cause is named, numbers left out; what only follows is counted as one kind."""
    counts: dict[str, int] = {}
    for one in differences:
        kind = "follows from an earlier difference" if one.follows else one.cause.split(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return counts
