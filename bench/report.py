"""docs/performance.md, written from a run: tables, and what they say in words."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench import paper

Figures = Mapping[str, Any]
WIDTH = 120
#: Members, leads a day, markets.
PLANS = (
    (10_000, 100_000, 1),
    (100_000, 1_000_000, 1),
    (1_000_000, 10_000_000, 1),
    (1_000_000, 10_000_000, 10),
    (1_000_000, 10_000_000, 100),
)
OURS = ("python_us", "postgres_us", "valkey_us")

HEAD = """\
# How fast it is

Written by `make bench` from one run; do not edit. [`bench/`](../bench/README.md) says how it is measured. All
figures of a
table come from the same servers within the same minutes, round after round in turn, so their ratios can be compared;
the absolute rates depend on the machine and on what else it did: {machine}; load {load_start} at the start,
{load_end} at
the end; Python {python}, Celery {celery}. Rates are by the clock. Microseconds are CPU time, which other
people's load
changes less: `python` is the process that works, `postgres` and `valkey` the servers.

![Where the time of a routing batch goes](profile-routing.svg)

[Routing]({routing}) and [intake]({intake}) as flame graphs: the wider a bar, the more of the time.
"""

BUSY = """\
**The machine was busy with other things in this run.** What changes processes for every item, as the no-op task and the
single `EVALSHA` do, then waits more than what works in batches: ratios to the no-op task flatter us, and absolute
figures are several times those of a quiet machine.
"""


def page(found: Figures) -> str:
    """The whole page, of the parts that the run has."""
    parts = [HEAD.format(**_head(found["about"]))]
    if found["about"]["load_at_start"][0] > found["about"]["cores"]:
        parts.append(BUSY)
    for name, write in SECTIONS.items():
        if name in found:
            parts.append(write(found[name]))
    if {"core", "steps"} <= set(found):
        parts.append(_paper(found))
    return "\n\n".join(_filled(block) for part in parts for block in part.strip().split("\n\n")) + "\n"


def _head(about: Figures) -> dict[str, str]:
    return {
        "machine": f"{about['cores']} cores, {about['memory_gb']:g} GB, {about['machine']}, {about['at'][:10]}",
        "load_start": f"{about['load_at_start'][0]:.1f}",
        "load_end": f"{about['load_at_end'][0]:.1f}",
        "python": about["python"],
        "celery": about["packages"]["celery"],
        "routing": "profile-routing.svg",
        "intake": "profile-intake.svg",
    }


def _core(found: Figures) -> str:
    lanes, times, seen = found["lanes"], found["times_a_trivial_evalsha"], found["candidates"]
    rows = [
        [
            name,
            f"{seen[name]:g}" if name in seen else "",
            f"{one['per_s']:,.0f}",
            _us(one["python_us"]),
            _us(one["valkey_us"]),
            _us(one["postgres_us"]),
            f"{times[name]['by_clock']:.2f}" if name in times else "",
            f"{times[name]['by_cpu']:.2f}" if name in times else "",
        ]
        for name, one in lanes.items()
    ]
    asked = times[found["asked"]]
    return f"""\
## The routing core

A lead with a place becomes a reservation: neighbours found, candidates ranked by the fairness rule, capacity
checked and
taken, in batches of 100 through `Dispatcher.route` and the turnstile on a real Valkey; writing the ledger is
left out. The
limit beside it is the smallest call that Valkey knows, `EVALSHA` of `return 1`, one by one.

{_table(["", "candidates", "a second", "python us", "valkey us", "postgres us", "x EVALSHA", "by CPU"], rows)}

With {found["asked"]} the core does **{asked["by_clock"]:.2f} times** as many leads as that trivial script is called
({asked["by_cpu"]:.2f} by CPU time). What it costs follows the number of candidates in the ring that is asked,
as fairness
reads and writes the account of each.
"""


def _equal(found: Figures) -> str:
    rows = [
        [name, f"{found['candidates'][name]:g}", f"{one['per_s']:,.0f}", _us(one["python_us"]), _us(one["valkey_us"])]
        for name, one in found["lanes"].items()
    ]
    dearer = found["many_cost_times_few"]
    return f"""\
## Many members

The same number of candidates around each lead, with few and with many members in all.

{_table(["", "candidates", "a second", "python us", "valkey us"], rows)}

A decision among many costs **{dearer["by_cpu"]:.2f} times** as much CPU as among few ({dearer["by_clock"]:.2f}
by the clock).
"""


def _rules(found: Figures) -> str:
    lanes = [
        [name, f"{one['per_s']:,.0f}", _us(one["python_us"]), _us(one["cpu_us"])]
        for name, one in found["lanes"].items()
    ]
    courses = [
        [
            name,
            _us(one["few"]["median_us"]),
            _us(one["many"]["median_us"]),
            _us(one["many"]["p95_us"]),
            f"{one['made_s']:g}",
        ]
        for name, one in found["courses"].items()
    ]
    table = found["table"]
    more = (table["with"]["p95_us"] - table["without"]["p95_us"]) / 1000
    return f"""\
## Rules and tables

Decisions under a policy with ten and with ten thousand rules (by postal code, by range, by lists and regions, mixed),
and with one rule that looks its pool up in a table.

{_table(["", "a second", "python us", "all CPU us"], lanes)}

A decision with ten thousand rules costs **{found["many_cost_times_few"]["by_cpu"]:.2f} times** as much CPU as with ten
({found["many_cost_times_few"]["by_clock"]:.2f} by the clock). A table of 100,000 rows adds **{more:.3f} ms** at the
95th of a hundred leads.

The rules alone, by what their conditions ask: microseconds of CPU for one lead with ten rules and with ten thousand,
and the seconds it takes to compile and to sort ten thousand when a policy is read.

{_table(["", "ten", "ten thousand", "p95", "read, s"], courses)}

Nothing is asked one by one of all ten thousand: rules are found by what their conditions need (`routing/needs.py`),
what many of them share is asked once, and sums are computed for all of them together. Only what none of that can
tell apart is: thousands of different expressions over lists, or of patterns without a plain letter, some microseconds
each.
"""


def _way(found: Figures) -> str:
    rows = []
    for count, one in found["workers"].items():
        for name, title in (("noop", "no-op task"), ("offered", "offered"), ("written", "and written back")):
            cost = one[name]
            times = one.get(f"{name}_per_noop", {})
            rows.append(
                [
                    count,
                    title,
                    f"{cost['per_s']:,.0f}",
                    *(_us(cost.get(f"{part}_us", 0.0)) for part in ("subscriber", "workers", "postgres", "valkey")),
                    f"{times['by_clock']:.1f}" if times else "",
                    f"{times['by_cpu']:.1f}" if times else "",
                ]
            )
    head = ["workers", "", "a second", "subscriber us", "workers us", "postgres us", "valkey us", "x no-op", "by CPU"]
    one = next(iter(found["workers"].values()))
    return f"""\
## From the wire to the ledger, and back to Salesforce

Real processes: {found["leads"]:,} leads made in the pretend Salesforce beforehand, a subscriber that reads their change
events, Celery workers of one child each with the product's configuration, beat, Postgres, Valkey; {found["members"]:,}
members. The clock runs from the moment the subscriber may read them until offer, decision and outbox rows of every
lead are committed, in other rounds until Salesforce has them all. The pretend Salesforce works on the same cores; its
own CPU is left out of the columns, not of the rates. The no-op task is done by the same workers, between the rounds.

{_table(head, rows)}

With one worker, **{one["offered_per_noop"]["by_clock"]:.1f} leads** are offered in the time of one no-op task
({one["offered_per_noop"]["by_cpu"]:.1f} by CPU time), **{one["written_per_noop"]["by_clock"]:.1f}** are offered
and written
back ({one["written_per_noop"]["by_cpu"]:.1f} by CPU time).
"""


def _steps(found: Figures) -> str:
    steps = {name: one for name, one in found["steps"].items() if any(one[part] for part in OURS)}
    total = sum(one[part] for one in steps.values() for part in OURS)
    rows = [
        [name, *(_us(one[part]) for part in OURS), f"{100 * sum(one[part] for part in OURS) / total:.0f} %"]
        for name, one in steps.items()
    ]
    rows.append(["all", *(_us(sum(one[part] for one in steps.values())) for part in OURS), "100 %"])
    return f"""\
## Where the time goes

One process does every step in turn, in batches of 100, {found["leads"]:,} leads a round, {found["members"]:,}
members: CPU
microseconds a lead.

{_table(["step", "python us", "postgres us", "valkey us", "share"], rows)}

{_words(steps, total)}
"""


def _words(steps: Figures, total: float) -> str:
    """The table's message: which step, which process, and what that work is."""
    ranked = sorted(steps, key=lambda name: -sum(steps[name][part] for part in OURS))
    first, second = ranked[0], ranked[1]
    of_python = sum(one["python_us"] for one in steps.values()) / total
    of_postgres = sum(one["postgres_us"] for one in steps.values()) / total
    what = {
        "read": "decoding Avro and telling which fields changed",
        "store": "writing each event with its body, once",
        "take in": "folding events into leads, and routing at once those whose place is known",
        "locate": "looking places up",
        "route": "leads whose place had to be looked up",
        "write back": "claiming the outbox, 200 records a call to Salesforce, acknowledging them",
    }
    return (
        f"The dearest step is to {first} ({what[first]}), then to {second} ({what[second]}). Python takes "
        f"{100 * of_python:.0f} % and Postgres {100 * of_postgres:.0f} % of what a lead costs; Valkey is hardly felt. "
        "Celery adds a message to each hundred leads or so, which is why its no-op rate is no limit."
    )


def _memory(found: Figures) -> str:
    head = ["leads done", "main RSS", "child RSS", "child PSS", "child own pages", "both PSS"]
    keys = ("main_rss_mb", "child_rss_mb", "child_pss_mb", "child_uss_mb", "both_pss_mb")
    rows = [[f"{one['leads']:,}", *(f"{one[key]:.0f} MB" for key in keys)] for one in found["samples"]]
    return f"""\
## Memory

A worker with one child, {found["members"]:,} members, before its first lead and after more and more of them.
Pages that main
process and child share are counted in both RSS and halved in PSS.

{_table(head, rows)}

From the first round to the last the child's own pages grow by {found["child_growth_mb_per_10k_leads"]:g} MB in
10,000 leads.
"""


def _waiting(found: Figures) -> str:
    head = ["", "database ms a minute", "postgres CPU ms", "worker CPU ms", "valkey CPU ms"]
    keys = ("database_ms", "postgres_cpu_ms", "worker_cpu_ms", "valkey_cpu_ms")
    rows = [
        [title, *(f"{found[part][f'{key}_per_minute']:,.0f}" for key in keys)]
        for part, title in (("idle_without", "hardly any wait"), ("idle_with", f"{found['waiting']:,} wait"))
    ]
    freed = found["freed_place"]
    return f"""\
## Everything is full

{found["waiting"]:,} leads wait in reach of members who are all full. A worker and beat run; nothing changes.

{_table(head, rows)}

Then {freed["freed"]} offers end one by one; each time the first waiting lead gets the place. To end an offer takes
{freed["statements_ms_to_expire"]:g} ms of statements, to free the place and give it away
{freed["statements_ms_to_fill"]:g} ms
(medians, as the client waits for them); the server counts {freed["server_ms"]:g} ms for both together,
{freed["postgres_cpu_ms"]:g}
ms of CPU. {freed["filled"]} of {freed["freed"]} places were filled.
"""


def _paper(found: Figures) -> str:
    plans = [paper.needed(found, paper.Plan(*wanted)) for wanted in PLANS]
    rows = [
        [
            f"{plan['plan']['members']:,}",
            f"{plan['plan']['markets']}",
            f"{plan['plan']['leads_a_day']:,}",
            f"{plan['leads_a_second']['peak']:,.0f}",
            f"{plan['candidates_a_decision']:,}",
            *(f"{plan['cores_to_plan'][name]}" for name in ("subscriber", "workers", "postgres", "valkey")),
            f"{100 * plan['valkey_share_of_its_one_core']:.0f} %",
            f"{plan['ledger_gb_a_day']:,.0f}",
        ]
        for plan in plans
    ]
    head = ["members", "markets", "leads a day", "a second at the peak", "candidates"]
    head += ["subscriber", "workers", "postgres", "valkey", "a market's thread", "ledger GB a day"]
    return f"""\
## On paper

What so many members and leads would take by the costs above, as `python -m bench.paper` computes it: cores to plan at
{100 * paper.BUSY:.0f} % of their time in the busiest hour, which brings {paper.PEAK:g} times the average. Members
are spread like people and evenly over the markets, so the candidates grow with them. [What it means](scale.md).

{_table(head, rows)}
"""


SECTIONS = {
    "core": _core,
    "equal": _equal,
    "rules": _rules,
    "way": _way,
    "steps": _steps,
    "memory": _memory,
    "waiting": _waiting,
}


def _filled(block: str) -> str:
    """A paragraph in lines of one width; headings, tables and pictures as they are."""
    if block.startswith(("#", "|", "!")):
        return block
    return textwrap.fill(block, WIDTH, break_long_words=False, break_on_hyphens=False)


def _us(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
