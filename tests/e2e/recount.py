"""A recount of an exported ledger that knows none of our code: fairness, capacity, rings and distances."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

from geographiclib.geodesic import Geodesic

MILE_M = 1609.344
Record = Mapping[str, Any]


def worst_turns(decisions: Iterable[Record]) -> dict[str, float]:
    """By pool: the farthest that received - entitled ever was for any member, at any moment."""
    balance: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    worst: dict[str, float] = defaultdict(float)
    for decision in decisions:
        if decision["chosen"] is None:
            continue
        eligible = [c for c in decision["candidates"] if c["eligible"]]
        weights = sum(Fraction(str(c["weight"])) for c in eligible)
        for candidate in eligible:
            key = (decision["pool"], candidate["member"])
            balance[key] -= Fraction(str(candidate["weight"])) / weights
            balance[key] += candidate["member"] == decision["chosen"]
            worst[decision["pool"]] = max(worst[decision["pool"]], abs(float(balance[key])))
    return worst


def most_held(offers: Sequence[Record]) -> dict[str, int]:
    """By member: the most offers it ever held at once."""
    moments = sorted(
        [(o["offered_at"], 1, o["member"]) for o in offers]
        + [(o["ended_at"], -1, o["member"]) for o in offers if o["ended_at"]]
    )
    held: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)
    for _, step, member in moments:
        held[member] += step
        most[member] = max(most[member], held[member])
    return most


def miles(lead: Record, member: Record) -> float:
    """The geodesic distance from the lead to the nearest branch of the member."""
    metres: float = min(
        Geodesic.WGS84.Inverse(lead["lat"], lead["lon"], place["lat"], place["lon"])["s12"]
        for place in member["places"]
    )
    return metres / MILE_M


def wrong_distances(
    decisions: Sequence[Record], leads: Mapping[str, Record], members: Mapping[str, Record]
) -> list[tuple[str, str, float, float]]:
    """(lead, member, told, measured) wherever a told distance is off by more than 0.5 % or 20 m."""
    found = []
    for decision in decisions:
        for c in decision["candidates"]:
            true = miles(leads[decision["lead_id"]], members[c["member"]])
            if abs(true - c["distance_miles"]) > max(0.005 * true, 20 / MILE_M):
                found.append((decision["lead_id"], c["member"], c["distance_miles"], true))
    return found


def overlooked(
    decisions: Sequence[Record], leads: Mapping[str, Record], members: Mapping[str, Record], *, slack: float = 0.01
) -> list[tuple[str, str]]:
    """(lead, member) of members clearly inside the ring used, or inside a waiting lead's last ring, never looked at."""
    found = []
    for decision in decisions:
        lead = leads[decision["lead_id"]]
        seen = {c["member"] for c in decision["candidates"]}
        radius = decision["ring_miles"] if decision["chosen"] else 50.0
        box = radius / 60
        for key, member in members.items():
            near = any(abs(p["lat"] - lead["lat"]) < box for p in member["places"])
            if key not in seen and near and miles(lead, member) < radius - slack:
                found.append((decision["lead_id"], key))
    return found


class Account:
    """A member's account in a rotation, in millionths of a turn, by the documented rule."""

    def __init__(self) -> None:
        self.offers = 0
        self.owed = 0
        self.worst = 0

    def move(self, by: int) -> int:
        """Owe so much more; the farthest it ever was."""
        self.owed += by
        self.worst = max(self.worst, abs(self.owed))
        return abs(self.owed)


def accounts(
    decisions: Iterable[Record], corrections: Iterable[Record] = ()
) -> dict[str, tuple[dict[str, Account], int, int]]:
    """By rotation: everyone's account, the farthest anyone ever was from what was due to it, and how many decisions.

    docs/policy.md, chapter Turns: everyone eligible earns weight / weights of what the lead costs, rounded down to
    millionths; who is chosen pays what all earn together. Corrections add what they say.
    """
    made = [(d["market"], d["generation"], d["seq"], d) for d in decisions if d["chosen"] is not None]
    made += [(c["market"], c["generation"], c["seq"], c) for c in corrections]
    found: dict[str, tuple[dict[str, Account], int, int]] = {}
    for _, _, _, one in sorted(made, key=lambda each: each[:3]):
        members, worst, count = found.get(one["rotation"], (defaultdict(Account), 0, 0))
        for member, by in _moves(one).items():
            worst = max(worst, members[member].move(by))
        if "chosen" in one:
            members[one["chosen"]].offers += 1
            count += 1
        found[one["rotation"]] = members, worst, count
    return found


def bounds(decisions: Iterable[Record], corrections: Iterable[Record] = ()) -> dict[str, int]:
    """By rotation of mode fair: the farthest that anyone can ever have been from what was due to it, in millionths.

    docs/policy.md, chapter Turns: (n - 1) / 2 of the largest turn, and the most that corrections added. What they added
    is counted again before each correction and after every hundredth decision.
    """
    made = [
        (r["market"], r["generation"], r["seq"], r)
        for r in (*decisions, *corrections)
        if r.get("chosen", "") is not None
    ]
    owed: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    state: dict[str, list[int]] = defaultdict(lambda: [1_000_000, 0, 0, 0])  # largest, decisions, added, most added
    for _, _, _, one in sorted(made, key=lambda each: each[:3]):
        its, now = owed[one["rotation"]], state[one["rotation"]]
        if "turns" in one and now[2]:
            now[2] = min(now[2], _beyond(list(its.values()), now[0]))
        moves = _moves(one)
        for member, by in moves.items():
            its[member] += by
        if "turns" in one:
            now[2] += sum(by for by in moves.values() if by > 0)
            now[3] = max(now[3], now[2])
            continue
        now[0], now[1] = max(now[0], one.get("turn_micro", 1_000_000)), now[1] + 1
        if now[1] % 100 == 0:
            now[2] = min(now[2], _beyond(list(its.values()), now[0]))
    return {name: (len(owed[name]) - 1) * now[0] // 2 + now[3] for name, now in state.items()}


def _beyond(owed: Sequence[int], turn: int) -> int:
    """What k (n - k) / 2 turns lack to hold the k that are owed most together; or what anyone is beyond two turns."""
    n, best = len(owed), sorted(owed)[::-1]
    above = max(
        (Fraction(sum(best[:k])) - Fraction(k * (n - k) * turn, 2) for k in range(1, n + 1)), default=Fraction(0)
    )
    return max(0, ceil(above), max(map(abs, owed), default=0) - 2 * turn)


def _moves(one: Record) -> dict[str, int]:
    if "turns" in one:
        return {part["member"]: part["turns_micro"] for part in one["turns"]}
    weights = {c["member"]: round(c["weight"] * 1000) for c in one["candidates"] if c["eligible"]}
    total, cost = sum(weights.values()), one.get("turn_micro", 1_000_000)
    earned = {member: weight * cost // total for member, weight in weights.items()}
    return {member: part - (sum(earned.values()) if member == one["chosen"] else 0) for member, part in earned.items()}
