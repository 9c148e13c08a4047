"""How long things took: from a kill to the lead's decision, from a loss to the next decision, and how many a second."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.checkers import COUNTS, Evidence

#: Kills of these stand between a lead and its decision.
ON_THE_WAY = ("worker", "bulk", "subscriber", "standby")


@dataclass(frozen=True, slots=True)
class Spread:
    """Some durations in seconds."""

    count: int
    median: float
    p99: float
    worst: float

    @classmethod
    def of(cls, durations: Sequence[float]) -> "Spread | None":
        if not durations:
            return None
        known = sorted(durations)
        at = [known[min(len(known) - 1, math.ceil(share * len(known)) - 1)] for share in (0.5, 0.99, 1.0)]
        return cls(len(known), *(round(one, 3) for one in at))

    def told(self) -> str:
        return f"{self.count} times; median {self.median:.2f} s, p99 {self.p99:.2f} s, worst {self.worst:.2f} s"


def measured(seen: Evidence) -> dict[str, Any]:
    """Every figure that this run can tell."""
    decided = [row["at"].timestamp() for row in seen.ledger.decisions()]
    kills = [
        float(line["t"]) for line in seen.history.lines("nemesis", "killed") if str(line["role"]).startswith(ON_THE_WAY)
    ]
    figures: dict[str, Any] = {
        "kills": sum(1 for _ in seen.history.lines("nemesis", "killed")),
        "deaths_at_fail_points": sum(1 for _ in seen.history.lines("failpoint")),
        "decisions": len(decided),
        "waited_through_a_kill": Spread.of(recoveries(seen, kills)),
        "to_the_first_offer": Spread.of(firsts(seen)),
        "recovery_of_a_killed_process_s_leads": Spread.of(revivals(seen)),
    }
    for what in ("flushed", "rolled_back", "kill_valkey", "freeze_valkey", "crash_postgres"):
        losses = [float(line["t"]) for line in seen.history.lines("nemesis", what)]
        figures[f"resumed after {what}"] = Spread.of(_next(decided, losses))
    offered = [offer["offered_at"].timestamp() for offer in seen.offers]
    figures["away"] = [_away(offered, span) for span in _spans(seen)]
    return figures


def recoveries(seen: Evidence, kills: Sequence[float]) -> list[float]:
    """Of every lead that waited for its decision when something was killed: from the kill to the decision."""
    times = sorted(kills)
    found = []
    for _, began, ended in _waits(seen):
        struck = times[bisect_right(times, began) : bisect_left(times, ended)]
        found += [ended - struck[0]] if struck else []
    return found


def firsts(seen: Evidence) -> list[float]:
    """Of every new lead: from its creation in the org to its first decision."""
    first: dict[int, float] = {}
    for lead, began, ended in _waits(seen):
        first.setdefault(lead, ended - began)  # creations are told before any offer that ended
    return list(first.values())


def revivals(seen: Evidence) -> list[float]:
    """Of every lead that a process was deciding about when it was killed: from the kill to the decision."""
    sources = {row["salesforce_id"]: row["id"] for row in seen.leads}
    waits: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for lead, began, ended in _waits(seen):
        waits[lead].append((began, ended))
    found = []
    for line in seen.history.lines("nemesis", "killed"):
        at = float(line["t"])
        for record in line.get("doomed", ()):
            found += [ended - at for began, ended in waits[sources.get(record, 0)] if began < at < ended]
    return found


def _waits(seen: Evidence) -> list[tuple[int, float, float]]:
    """A lead, from when it wanted a decision to when it had one: new ones, and those whose offer had ended."""
    sources = {row["salesforce_id"]: row["id"] for row in seen.leads}
    decided: dict[int, dict[int, float]] = defaultdict(dict)
    for row in seen.ledger.decisions():
        decided[row["lead_id"]].setdefault(row["attempt"], row["at"].timestamp())
    found = []
    for line in seen.history.lines("org", "created"):
        for record in line["ids"].values():
            lead = sources.get(record, 0)
            first = decided.get(lead, {}).get(1)
            if first is not None:
                found.append((lead, float(line["t"]), first))
    for offer in seen.offers:
        following = decided[offer["lead_id"]].get(offer["attempt"] + 1)
        if offer["state"] in COUNTS and following is not None:
            found.append((offer["lead_id"], offer["ended_at"].timestamp(), following))
    return found


def _next(decided: Sequence[float], losses: Sequence[float]) -> list[float]:
    found = []
    for loss in losses:
        at = bisect_right(decided, loss)
        if at < len(decided):
            found.append(decided[at] - loss)
    return found


def _spans(seen: Evidence) -> list[tuple[float, float]]:
    """When Valkey was away for long."""
    began: list[float] = []
    spans = []
    for line in seen.history.lines("nemesis"):
        if line["what"] == "kill_valkey":
            began.append(float(line["t"]))
        elif line["what"] == "over" and line.get("nemesis") == "kill_valkey" and began:
            spans.append((began.pop(), float(line["t"])))
    return [span for span in spans if span[1] - span[0] > 10]


def _away(offered: Sequence[float], span: tuple[float, float]) -> dict[str, float]:
    """Offers a second before and while Valkey was away."""
    began, ended = span
    length = ended - began
    before = (bisect_left(offered, began) - bisect_left(offered, began - length)) / min(length, began - offered[0])
    during = (bisect_left(offered, ended) - bisect_left(offered, began)) / length
    return {"before": round(before, 1), "during": round(during, 1), "ratio": round(during / before, 3) if before else 0}
