"""`python -m tests.chaos --seed 1 --minutes 3 --profile kills`: the house under fire, and what came of it."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.chaos import answers, checkers, nemeses, privacy, schedule, timing
from tests.chaos.checkers import Evidence, Finding
from tests.chaos.history import History
from tests.chaos.ledger import LedgerView
from tests.chaos.members import Members
from tests.chaos.org import Clients
from tests.chaos.schedule import PROFILES, Strike
from tests.chaos.town import Town
from tests.chaos.world import World, opened

#: The last of the leads come so long before the end.
TAIL = 0.1
out = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Run:
    """What to do."""

    seed: int
    minutes: float
    leads: int
    members: int
    capacity: int
    profile: str
    directory: Path
    keep: bool
    rate: float | None
    settle_s: float


def main() -> int:
    """Run once; 0 when every invariant held."""
    run = _asked()
    profile = PROFILES[run.profile]
    strikes = schedule.plan(run.profile, run.seed, run.minutes * 60)
    out.print(f"seed {run.seed}, profile {run.profile}, {run.minutes:g} min, {run.leads} leads, in {run.directory}")
    for strike in strikes:
        out.print(strike.told(), markup=False)
    history = History(run.directory / "history.jsonl")
    history.note("runner", "begun", seed=run.seed, profile=run.profile, minutes=run.minutes, leads=run.leads)
    town = Town(run.seed, members=run.members, capacity=run.capacity)
    history.note("config", "capacity", capacities={key: m.capacity for key, m in town.members.items()})
    with ExitStack() as stack:
        world = stack.enter_context(opened(run.directory, history, town, profile.wanted))
        for what, why in world.skipped.items():
            out.print(f"skipped: {what}, because {why}")
        unsettled = _under_fire(world, run, strikes)
        seen = Evidence(history, LedgerView(world.servers.postgres.url()), world.org, _turnstile_url(world))
        found = checkers.findings(seen, (*checkers.CHECKS, *answers.CHECKS, *privacy.CHECKS))
        if unsettled:
            text = f"after {run.settle_s:g} s there are still {unsettled}"
            found["settled"] = [Finding("unsettled", text), *(Finding("unsettled", row) for row in seen.ledger.left())]
        figures = {"totals": checkers.totals(seen), "answers": answers.counts(seen), **timing.measured(seen)}
        _tell(figures, found)
        _tell_stories(seen, found)
        _write(run, figures, found)
    red = checkers.counted(found) > 0
    if red:
        out.print(f"RED: seed {run.seed}, profile {run.profile}; everything is kept in {run.directory}")
    elif not run.keep:
        shutil.rmtree(run.directory, ignore_errors=True)
    return int(red)


def _under_fire(world: World, run: Run, strikes: list[Strike]) -> dict[str, int]:
    """The run itself; what was not at rest when it should have been."""
    profile, length = PROFILES[run.profile], run.minutes * 60
    rate = run.rate if run.rate is not None else (0.0 if profile.at_once else run.leads / (length * (1 - TAIL)))
    clients = Clients(
        world.org,
        world.town,
        world.history,
        seed=run.seed,
        total=run.leads,
        rate=rate,
        poison=profile.poison,
        killers=profile.killers,
    )
    for strike in strikes:
        world.later(strike.at_s, lambda strike=strike: nemeses.strike(world, strike))  # type: ignore[misc]  # bound now
    world.history.note("runner", "under fire", rate=rate)
    members = world.members(run.seed)
    clients.start()
    members.start()
    world.live(length)
    world.heal()
    world.live(60.0, clients.over.is_set)
    clients.over.set()
    clients.join(30)
    members.over.set()
    ledger = LedgerView(world.servers.postgres.url())
    world.publish(answer_within="4h")
    began = time.monotonic()
    settled = world.live(run.settle_s, _at_rest(ledger, members))
    members.finish(15.0)
    left = {} if settled else ledger.unsettled()
    world.history.note(
        "runner", "settled" if settled else "unsettled", after_s=round(time.monotonic() - began, 1), **left
    )
    return left


def _at_rest(ledger: LedgerView, members: Members) -> Any:
    """Whether nothing is on its way any more, asked once a second, three times the same."""
    calm, asked = 0, 0.0

    def at_rest() -> bool:
        nonlocal calm, asked
        if time.monotonic() - asked >= 1.0:
            calm = 0 if not members.idle() or ledger.unsettled() else calm + 1
            asked = time.monotonic()
        return calm >= 3

    return at_rest


def _turnstile_url(world: World) -> str:
    return world.servers.valkey.url().rpartition("/")[0] + "/1"


def _tell(figures: dict[str, Any], found: dict[str, list[Finding]]) -> None:
    out.print("  ".join(f"{name} {n}" for name, n in figures["totals"].items()))
    for name, value in figures.items():
        if name != "totals" and value not in (None, []):
            out.print(f"{name}: {value.told() if isinstance(value, timing.Spread) else value}")
    for check, some in found.items():
        out.print(f"{'RED  ' if some else 'green'} {check.replace('_', ' ')}{f': {len(some)}' if some else ''}")


def _tell_stories(seen: Evidence, found: dict[str, list[Finding]]) -> None:
    """Of each broken invariant the first findings, and the timeline of the first lead among them."""
    for check, some in found.items():
        for finding in some[:8]:
            out.print(f"{check}: {finding.invariant}: lead {finding.lead}: {finding.detail}", markup=False)
        lead = next((finding.lead for finding in some if finding.lead), None)
        for step in seen.ledger.story(lead) if lead else ():
            out.print(
                f"    {step['at']:%H:%M:%S.%f}  {step['what']:<12} {step['actor']:<10} {step['detail']}", markup=False
            )


def _write(run: Run, figures: dict[str, Any], found: dict[str, list[Finding]]) -> None:
    report = {
        "seed": run.seed,
        "profile": run.profile,
        "minutes": run.minutes,
        "figures": {k: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for k, v in figures.items()},
        "findings": {check: [asdict(finding) for finding in some] for check, some in found.items()},
    }
    (run.directory / "report.json").write_text(json.dumps(report, indent=2, default=str) + "\n")


def _asked() -> Run:
    options = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--minutes", type=float, default=5.0, help="under fire, without start and end")
    options.add_argument("--leads", type=int, default=10_000)
    options.add_argument("--members", type=int, default=300)
    options.add_argument("--capacity", type=int, help="about so many offers a member at once")
    options.add_argument("--profile", choices=sorted(PROFILES), default="all")
    options.add_argument("--rate", type=float, help="leads a second; 0: at once (default: spread over the run)")
    options.add_argument("--settle", type=float, default=180.0, help="seconds until all is at rest after the last blow")
    options.add_argument("--dir", type=Path, help="an empty directory to run in, kept afterwards")
    chosen = options.parse_args()
    if chosen.dir is not None:
        chosen.dir.mkdir(parents=True, exist_ok=True)
        if any(chosen.dir.iterdir()):
            options.error(f"{chosen.dir} is not empty: name a directory that is")
    directory = (chosen.dir or Path(tempfile.mkdtemp(prefix="fairturn-chaos-"))).resolve()
    return Run(
        seed=chosen.seed,
        minutes=chosen.minutes,
        leads=chosen.leads,
        members=chosen.members,
        capacity=chosen.capacity or PROFILES[chosen.profile].capacity,
        profile=chosen.profile,
        directory=directory,
        keep=chosen.dir is not None,
        rate=chosen.rate,
        settle_s=chosen.settle,
    )


if __name__ == "__main__":
    sys.exit(main())
