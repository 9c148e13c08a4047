"""Why a decision came out as it did: every candidate, every gate with its numbers, and the step that decided.

A pure function of what the ledger keeps of a decision: the same decision made again elsewhere explains itself in the
same bytes.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import orjson

from routing.decision import Gate
from routing.fairness import TURN, Verdict
from routing.given import SET_BY, WORDS
from routing.limits import read_stops
from routing.policy import Mode
from routing.verify import Past, again

#: In which order a candidate's gates are looked at: the plan's, then the turnstile's. The first that fails counts.
GATES = (
    Gate.TRIED,
    Gate.TIER,
    Gate.SKILL,
    Gate.CERTIFICATE,
    Gate.CONDITION,
    Gate.HOURS,
    Gate.AREA,
    Gate.FULL,
    Gate.QUOTA,
)
_WHY = {
    Gate.TRIED: "was offered this lead before",
    Gate.TIER: "is of a tier that this attempt does not ask",
    Gate.QUOTA: "has used up a quota, a cap or its share",
    Gate.SKILL: "lacks a skill that the lead needs",
    Gate.CERTIFICATE: "misses a certificate, or it has ended",
    Gate.CONDITION: "a condition of the pool does not hold",
    Gate.HOURS: "is outside of its working hours",
    Gate.AREA: "the lead is outside of its own area",
}
#: Among equals by the rule of the mode, the next steps are the same everywhere.
_LEADS = {
    Mode.FAIR: "highest standing after its share",
    Mode.LEAST_RECENT: "longest unserved",
    Mode.LEAST_LOADED: "smallest part of its capacity in use",
    Mode.NEAREST: "nearest",
    Mode.CURSOR: "next after the member served last",
}


def explanation(past: Past, *, cursor: int = 0) -> dict[str, Any]:
    """Everything about one decision, in plain values; members by their ids. `cursor`: who was served before it."""
    verdict = again(past, cursor=cursor)
    return {
        "decision": str(past.id),
        "lead": past.lead_id,
        "attempt": past.attempt,
        "at": past.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "market": past.market,
        "pool": past.pool,
        "rule": past.rule,
        "rotation": past.rotation,
        "mode": past.mode,
        "rings_m": list(past.rings_m),
        "ring": past.ring,
        "policy_version": past.policy_version,
        "roster_version": past.roster_version,
        "generation": past.generation,
        "seq": past.seq,
        "chosen": past.chosen,
        "reason": past.reason,
        "step": step(past, verdict),
        "nearest_m": past.nearest_m,
        "units": past.units,
        "turn": past.turn,
        "inputs": past.inputs,
        "uses": [list(one) for one in past.uses],
        "candidates": [_candidate(past, at, verdict) for at in range(len(past.member))],
    }


def set_by(inputs: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Every rule that had a part in how the lead was asked for, in order, with what it set."""
    return tuple((str(rule), said) for rule, said in inputs.get(SET_BY, ()))


def canonical(told: Mapping[str, Any]) -> bytes:
    """The one way to write an explanation down: JSON, names sorted, no spaces, UTF-8."""
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def step(past: Past, verdict: Verdict) -> str:
    """What decided between those who were eligible, in words; empty when nobody was."""
    if past.chosen is None:
        return ""
    able = [at for at, gate in enumerate(past.gate) if gate == Gate.ELIGIBLE]
    if len(able) <= 1:
        return "the only one eligible"
    mode = Mode(past.mode)
    if mode is Mode.CURSOR:
        return _LEADS[mode]
    mine = next(at for at in able if past.member[at] == past.chosen) if past.chosen in past.member else able[0]
    others = [at for at in able if at != mine]
    ranks = _ranks(past, mode, verdict)
    if all(ranks(at) != ranks(mine) for at in others):
        return _LEADS[mode] + _by_how_much(past, mode, verdict, mine, others)
    level = [at for at in others if ranks(at) == ranks(mine)]
    if all(past.served[at] != past.served[mine] for at in level):
        return "longest unserved" if mode is Mode.LEAST_RECENT else f"tie ({_LEADS[mode]}): longest unserved"
    same = _LEADS[mode] if mode is Mode.LEAST_RECENT else f"{_LEADS[mode]}, longest unserved"
    return f"tie ({same}): lowest id"


def _by_how_much(past: Past, mode: Mode, verdict: Verdict, mine: int, others: Sequence[int]) -> str:
    if mode is Mode.FAIR:
        after = sorted((_after(past, verdict, at) for at in others), reverse=True)
        return f": {_turns(_after(past, verdict, mine))}, the next has {_turns(after[0])}"
    if mode is Mode.NEAREST:
        next_ = min(past.distance_m[at] for at in others)
        return f": {past.distance_m[mine]:.0f} m, the next is {next_:.0f} m away"
    if mode is Mode.LEAST_LOADED:
        return f": holds {past.open[mine]} of {past.capacity[mine]}"
    return ""


def _ranks(past: Past, mode: Mode, verdict: Verdict) -> Any:
    """By what the mode compares candidates, before ties."""
    if mode is Mode.FAIR:
        return lambda at: _after(past, verdict, at)
    if mode is Mode.NEAREST:
        return lambda at: round(past.distance_m[at] * 10)
    if mode is Mode.LEAST_LOADED:  # open / capacity, without dividing
        return lambda at: _Part(past.open[at], past.capacity[at])
    return lambda at: past.served[at]


class _Part:
    """A part of a whole, compared exactly."""

    def __init__(self, part: int, whole: int) -> None:
        self.part, self.whole = part, whole

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and self.part * other.whole == other.part * self.whole

    def __hash__(self) -> int:
        return hash(self.part / self.whole)


def _after(past: Past, verdict: Verdict, at: int) -> int:
    """The standing with its share added, by which mode fair compares."""
    return past.standing[at] + verdict.shares.get(past.member[at], 0)


def _candidate(past: Past, at: int, verdict: Verdict) -> dict[str, Any]:
    member, gate = past.member[at], Gate(past.gate[at])
    moves = past.mode == Mode.FAIR and past.chosen is not None
    share = verdict.shares.get(member, 0) if moves else 0
    paid = verdict.payment if moves and member == past.chosen else 0
    return {
        "member": member,
        "chosen": member == past.chosen,
        "gate": gate.name.lower(),
        "why": why(past, at),
        "gates": gates(gate),
        "ring": past.member_ring[at],
        "distance_m": past.distance_m[at],
        "tier_rank": past.tier_rank[at],
        "weight": past.weight[at],
        "open": past.open[at],
        "capacity": past.capacity[at],
        "units": past.units,
        "standing": past.standing[at],
        "share": share,
        "standing_after": past.standing[at] + share - paid,
        "served": past.served[at],
        "numbers": _numbers(past, member),
    }


def gates(failed: Gate) -> dict[str, str]:
    """Each gate in the order of looking: passed, failed, or not looked at any more."""
    if failed is Gate.ELIGIBLE:
        return {gate.name.lower(): "passed" for gate in GATES}
    at = GATES.index(failed)
    words = ("passed",) * at + ("failed",) + ("not looked at",) * (len(GATES) - at - 1)
    return {gate.name.lower(): word for gate, word in zip(GATES, words, strict=True)}


def why(past: Past, at: int) -> str:
    """Why this candidate was or was not chosen, in words with the numbers."""
    gate = Gate(past.gate[at])
    if past.member[at] == past.chosen:
        return past.reason
    if gate is Gate.ELIGIBLE:
        return "another's turn"
    if gate is Gate.FULL:
        asked = f", {past.units} asked" if past.units > 1 else ""
        return f"holds {past.open[at]} of {past.capacity[at]}{asked}"
    numbers = _numbers(past, past.member[at])
    if gate is Gate.QUOTA and "limit" in numbers:
        return f"{_WHY[gate]}: {numbers['limit']}, {numbers['used']} of {numbers['most']}"
    return ": ".join([_WHY[gate], *([numbers["because"]] if "because" in numbers else [])])


def _numbers(past: Past, member: int) -> dict[str, Any]:
    """What was kept of this member's gates besides the numbers that every candidate has."""
    words = past.inputs.get(WORDS)
    word = words.get(str(member)) if isinstance(words, Mapping) else None
    found = {} if word is None else {"because": word}
    stop = read_stops(past.stops).get(member) if past.stops else None
    if stop is not None:
        found |= {"limit": stop.limit, "used": stop.used, "most": stop.most, "until": stop.until}
    return found


def _turns(micro: int) -> str:
    return f"{micro / TURN:+.3f}"
