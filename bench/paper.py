"""`python -m bench.paper RUN.json`: what so many members and leads a day would take, by the costs a run measured."""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DAY_S = 86_400
#: The busiest hour brings this many times the average; people sleep, and campaigns begin on the hour.
PEAK = 4.0
#: A core that is planned for is this busy at the peak, no more.
BUSY = 0.6
#: Bytes a lead leaves in the ledger, indexes included: event, lead, contact, timeline, outbox and offer.
LEAD_BYTES = 4_500
#: Bytes of a decision for each candidate it saw.
CANDIDATE_BYTES = 40
#: Leads of one call to Salesforce.
CALL = 200
#: Changes that reach the stream for each lead: made, our own write that comes back, accepted, closed.
EVENTS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted."""

    members: int
    leads: int  # a day
    markets: int


def needed(run: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Cores and bytes, by process; every figure of the run that it rests on is told with it."""
    steps = run["steps"]["steps"]
    peak = plan.leads / DAY_S * PEAK
    candidates = _candidates(run, plan.members // plan.markets)
    python = sum(one["python_us"] for one in steps.values())
    postgres = sum(one["postgres_us"] for one in steps.values())
    extra = _more_candidates(run, candidates)
    reading = steps["read"]["python_us"] + steps["store"]["python_us"]
    cores = {
        "subscriber": peak * EVENTS * reading / 1e6,
        "workers": peak * (python - reading + extra["python_us"] + (EVENTS - 1) * steps["take in"]["python_us"]) / 1e6,
        "postgres": peak
        * (postgres + (EVENTS - 1) * (steps["store"]["postgres_us"] + steps["take in"]["postgres_us"]))
        / 1e6,
        "valkey": peak * extra["valkey_us"] / 1e6,
    }
    day = plan.leads * (LEAD_BYTES + CANDIDATE_BYTES * candidates) / 2**30
    return {
        "plan": {"members": plan.members, "leads_a_day": plan.leads, "markets": plan.markets},
        "leads_a_second": {"average": round(plan.leads / DAY_S, 1), "peak": round(peak, 1)},
        "candidates_a_decision": round(candidates),
        "busy_cores_at_peak": {name: round(value, 2) for name, value in cores.items()},
        "cores_to_plan": {name: math.ceil(value / BUSY) for name, value in cores.items()},
        "valkey_share_of_its_one_core": round(cores["valkey"] / plan.markets, 3),
        "ledger_gb_a_day": round(day, 1),
        "ledger_tb_a_month": round(day * 30 / 1024, 2),
        "salesforce_calls_a_day": math.ceil(plan.leads / CALL),
        "worker_memory_mb": _memory(run, plan.members // plan.markets),
    }


def _candidates(run: Mapping[str, Any], members: int) -> float:
    """Candidates in the ring that decides, of a market whose members are spread like people: they grow with them."""
    known = {
        int(n.split()[1].replace(",", "")): c for n, c in run["core"]["candidates"].items() if n.startswith("US, ")
    }
    nearest = min(known, key=lambda n: abs(math.log(n / members)))
    return max(1.0, float(known[nearest] * members / nearest if members > nearest else known[nearest]))


def _more_candidates(run: Mapping[str, Any], candidates: float) -> dict[str, float]:
    """What the core costs with so many candidates: Valkey in all, Python beyond what the steps' run had."""
    seen, lanes = run["core"]["candidates"], run["core"]["lanes"]
    points = sorted((seen[name], lanes[name]["python_us"], lanes[name]["valkey_us"]) for name in seen if "ring" in name)
    first, last = points[0], points[-1]
    width = max(last[0] - first[0], 1.0)
    python, valkey = (last[1] - first[1]) / width, (last[2] - first[2]) / width
    of_run = seen[run["core"]["asked"]]
    return {
        "python_us": max(0.0, python * (candidates - of_run)),
        "valkey_us": max(first[2], first[2] + valkey * (candidates - first[0])),
    }


def _memory(run: Mapping[str, Any], members: int) -> int | None:
    """A worker's child with the roster of one market: what it holds bare, and what each member adds."""
    if "memory" not in run:
        return None
    samples = run["memory"]["samples"]
    bare, full = float(samples[0]["child_rss_mb"]), float(samples[-1]["child_rss_mb"])
    return round(bare + (full - bare) * members / int(run["memory"]["members"]))


def main() -> int:
    """Print the plan as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.paper", description=__doc__)
    parser.add_argument("run", type=Path, help="what `make bench` left, such as bench/results/latest.json")
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--leads", type=int, default=10_000_000, help="a day")
    parser.add_argument("--markets", type=int, default=10, help="that the members are in, evenly")
    chosen = parser.parse_args()
    plan = Plan(chosen.members, chosen.leads, chosen.markets)
    json.dump(needed(json.loads(chosen.run.read_text()), plan), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
