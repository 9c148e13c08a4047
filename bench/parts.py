"""The parts of a run: what each measures, and at which size."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import core, limits, memory, people, rules, steps, waiting, way
from bench.meter import Cost, Lane, Meter, interleaved, ratio, summary
from bench.servers import Servers
from config import policy as policy_file
from routing.policy import Policy
from storage.postgres.members import MemberRow
from workers import house

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    name: str
    rounds: int
    seconds: float  # of each lane, each round
    american: tuple[int, ...]  # members spread like people
    asked: int  # of them, the number that the figure is about
    together: tuple[int, ...]  # candidates in the ring
    even_members: int
    equal: tuple[int, int]  # members, few and many, with equal neighbours
    equal_together: int
    workers: tuple[int, ...]
    way_members: int
    way_leads: int
    way_rounds: int
    nothings: int
    rules: int
    step_leads: int
    memory_members: int
    memory_leads: int
    memory_rounds: int
    waiting: int
    full_members: int
    watch_s: float
    frees: int


FULL = Size(
    name="full",
    rounds=7,
    seconds=0.5,
    american=(1_000, 10_000, 100_000, 1_000_000),
    asked=10_000,
    together=(8, 27, 54, 200, 2_000),
    even_members=10_000,
    equal=(1_000, 100_000),
    equal_together=27,
    workers=(1, 2, 4),
    way_members=10_000,
    way_leads=2_000,
    way_rounds=3,
    nothings=1_500,
    rules=10_000,
    step_leads=1_000,
    memory_members=100_000,
    memory_leads=2_000,
    memory_rounds=6,
    waiting=100_000,
    full_members=200,
    watch_s=20.0,
    frees=30,
)
HALF = Size(
    name="half",
    rounds=3,
    seconds=0.3,
    american=(1_000, 10_000, 100_000),
    asked=10_000,
    together=(8, 27, 54, 200, 2_000),
    even_members=4_000,
    equal=(1_000, 100_000),
    equal_together=27,
    workers=(1, 2, 4),
    way_members=10_000,
    way_leads=1_000,
    way_rounds=2,
    nothings=800,
    rules=10_000,
    step_leads=1_000,
    memory_members=100_000,
    memory_leads=1_000,
    memory_rounds=3,
    waiting=100_000,
    full_members=50,
    watch_s=10.0,
    frees=20,
)
QUICK = Size(
    name="quick",
    rounds=3,
    seconds=0.3,
    american=(1_000, 10_000),
    asked=10_000,
    together=(8, 54),
    even_members=1_000,
    equal=(1_000, 10_000),
    equal_together=27,
    workers=(1,),
    way_members=2_000,
    way_leads=400,
    way_rounds=1,
    nothings=400,
    rules=1_000,
    step_leads=300,
    memory_members=10_000,
    memory_leads=200,
    memory_rounds=2,
    waiting=10_000,
    full_members=50,
    watch_s=3.0,
    frees=5,
)
SMOKE = Size(
    name="smoke",
    rounds=1,
    seconds=0.02,
    american=(200,),
    asked=200,
    together=(8,),
    even_members=80,
    equal=(54, 108),
    equal_together=27,
    workers=(1,),
    way_members=100,
    way_leads=20,
    way_rounds=1,
    nothings=20,
    rules=100,
    step_leads=20,
    memory_members=100,
    memory_leads=20,
    memory_rounds=2,
    waiting=150,
    full_members=10,
    watch_s=0.2,
    frees=2,
)
SIZES = {size.name: size for size in (FULL, HALF, QUICK, SMOKE)}


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a part works with."""

    servers: Servers
    meter: Meter
    size: Size
    directory: Path
    say: Say


def routing_core(run: Run) -> dict[str, Any]:
    """Lead with place to reservation, beside the limits of the same servers."""
    size, cores = run.size, dict[str, core.Core]()
    with ExitStack() as stack:
        for count in size.american:
            cores[f"US, {count:,} members"] = stack.enter_context(_american(run, count))
        for together in size.together:
            cores[f"{together:,} in the ring"] = stack.enter_context(_even(run, size.even_members, together))
        bare = stack.enter_context(limits.lanes(run.servers.database_url, run.servers.redis_url))
        run.say("measuring " + ", ".join(lane.name for lane in bare) + ", " + ", ".join(cores))
        found = _interleaved(run, [*bare, *(one.lane(name) for name, one in cores.items())])
        candidates = {name: one.candidates() for name, one in cores.items()}
    limit = found["EVALSHA"]
    return {
        "lanes": {name: summary(costs) for name, costs in found.items()},
        "candidates": candidates,
        "times_a_trivial_evalsha": {name: ratio(found[name], limit) for name in cores},
        "asked": f"US, {size.asked:,} members",
    }


def equal_neighbours(run: Run) -> dict[str, Any]:
    """The cost of a decision with few and with many members, the candidates in the ring being the same."""
    few, many = run.size.equal
    with ExitStack() as stack:
        cores = {n: stack.enter_context(_even(run, n, run.size.equal_together)) for n in (few, many)}
        run.say(f"measuring {few:,} and {many:,} members with {run.size.equal_together} in the ring")
        found = _interleaved(run, [one.lane(f"{n:,} members") for n, one in cores.items()])
        candidates = {f"{n:,} members": one.candidates() for n, one in cores.items()}
    one, other = found[f"{few:,} members"], found[f"{many:,} members"]
    dearer = ratio(one, other)
    return {
        "lanes": {name: summary(costs) for name, costs in found.items()},
        "candidates": candidates,
        "many_cost_times_few": dearer,
    }


def rules_and_tables(run: Run) -> dict[str, Any]:
    """The cost of a decision with ten and with ten thousand rules, and with a table of a hundred thousand rows."""
    many_rules = run.size.rules
    policies: dict[str, Callable[[Policy], Policy]] = {
        f"{rules.FEW} rules": lambda policy: rules.ruled(policy, "mixed", rules.FEW),
        f"{many_rules:,} rules": lambda policy: rules.ruled(policy, "mixed", many_rules),
        "one rule": lambda policy: rules.by_table(policy, 0),
        f"one rule and {rules.ROWS:,} rows": lambda policy: rules.by_table(policy, rules.ROWS),
    }
    sizes = {f"{rules.FEW} rules": rules.FEW, f"{many_rules:,} rules": many_rules}
    with ExitStack() as stack:
        cores = {}
        for number, (name, change) in enumerate(policies.items()):
            spread = sizes.get(name, rules.ROWS)
            made = _even(
                run,
                run.size.equal[0],
                run.size.equal_together,
                f"r{number}",
                change=change,
                facts=lambda dice, spread=spread: rules.facts(dice, spread),
            )
            cores[name] = stack.enter_context(made)
        run.say("measuring " + ", ".join(cores))
        found = _interleaved(run, [one.lane(name) for name, one in cores.items()])
    few, many, plain, table = found.values()
    policy = policy_file.parse(policy_file.default_document(), 0)
    return {
        "lanes": {name: summary(costs) for name, costs in found.items()},
        "many_cost_times_few": ratio(few, many),
        "table_costs_times_plain": ratio(plain, table),
        "courses": rules.courses(policy, run.size.step_leads, many_rules),
        "table": {
            "without": rules.alone(rules.by_table(policy, 0), leads=run.size.step_leads, spread=rules.ROWS),
            "with": rules.alone(rules.by_table(policy, rules.ROWS), leads=run.size.step_leads, spread=rules.ROWS),
        },
    }


def end_to_end(run: Run) -> dict[str, Any]:
    """From the change event on the wire to the ledger and to Salesforce, beside no-op tasks of the same workers."""
    with house_of(run, "way"):
        found = {str(count): _with_workers(run, count) for count in run.size.workers}
    return {"workers": found, "members": run.size.way_members, "leads": run.size.way_leads}


def _with_workers(run: Run, count: int) -> dict[str, Any]:
    size = run.size
    nothing: list[Cost] = []
    offered: list[Cost] = []
    written: list[Cost] = []
    with way.workers(run.meter, run.directory, count) as going:
        going.nothing(size.nothings // 10)
        going.leads(size.way_leads // 4, write_back=True)  # warm
        for number in range(size.way_rounds):
            nothing.append(way.own(going.nothing(size.nothings)))
            offered.append(way.own(going.leads(size.way_leads, write_back=False)))
            written.append(way.own(going.leads(size.way_leads, write_back=True)))
            run.say(f"{count} worker(s), round {number + 1}: {_rates(nothing, offered, written)}")
    return {
        "noop": summary(nothing),
        "offered": summary(offered),
        "written": summary(written),
        "offered_per_noop": ratio(offered, nothing),
        "written_per_noop": ratio(written, nothing),
    }


def by_step(run: Run) -> dict[str, Any]:
    """What each step of a lead's way costs, all of them in one process."""
    size = run.size
    with house_of(run, "steps"), steps.stepping(run.meter, run.directory) as going:
        going.run(size.step_leads // 2)
        rounds = [going.run(size.step_leads) for _ in range(size.way_rounds)]
    return {"steps": steps.medians(rounds), "members": size.way_members, "leads": size.step_leads}


def worker_memory(run: Run) -> dict[str, Any]:
    """A worker's memory with many members, at once and after more and more leads."""
    size = run.size
    rows = people.american_members(size.memory_members, "memory", random.Random(1))
    with run.servers.base("memory", rows) as base:
        found = memory.growing(
            run.meter,
            base,
            run.directory,
            leads=size.memory_leads,
            rounds=size.memory_rounds,
            say=run.say,
        )
    return {"members": size.memory_members, **found}


def waiting_leads(run: Run) -> dict[str, Any]:
    """Everything is full: the idle house, and a place that is freed."""
    size = run.size
    rows = (
        MemberRow(f"full-{number}", f"Partner {number}", "full", capacity=1, places=(waiting.HERE,))
        for number in range(size.full_members)
    )
    with run.servers.base("full", rows) as base:
        return waiting.cost(
            run.meter,
            base,
            run.directory,
            members=size.full_members,
            waiting=size.waiting,
            watch_s=size.watch_s,
            frees=size.frees,
            say=run.say,
        )


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "core": routing_core,
    "equal": equal_neighbours,
    "rules": rules_and_tables,
    "way": end_to_end,
    "steps": by_step,
    "memory": worker_memory,
    "waiting": waiting_leads,
}


def _interleaved(run: Run, lanes: list[Lane]) -> dict[str, list[Cost]]:
    return interleaved(run.meter, lanes, rounds=run.size.rounds, seconds=run.size.seconds)


@contextmanager
def _american(run: Run, count: int) -> Iterator[core.Core]:
    market = f"us{count}"
    run.say(f"making {count:,} members where people live")
    with run.servers.base(market, people.american_members(count, market, random.Random(1))) as base:
        made = core.american(base, run.servers.redis_url)
        yield made
        made.close()


@contextmanager
def _even(run: Run, count: int, together: int, name: str = "", **more: Any) -> Iterator[core.Core]:
    market = f"even{count}x{together}{name}"
    run.say(f"making {count:,} members, {together:,} together")
    with run.servers.base(market, people.even_members(count, together, market)) as base:
        made = core.even(base, run.servers.redis_url, count, together, **more)
        yield made
        made.close()


@contextmanager
def house_of(run: Run, market: str) -> Iterator[None]:
    """The settings lead to a ledger of its own, with members where people live."""
    rows = people.american_members(run.size.way_members, market, random.Random(1))
    with run.servers.base(market, rows) as base, house.pointed_at({"DATABASE_URL": base.url}):
        yield


def _rates(*lists: list[Cost]) -> str:
    return ", ".join(f"{median(c.units / c.wall_s for c in costs):,.0f}/s" for costs in lists) + (
        " (no-op, offered, written)"
    )
