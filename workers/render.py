"""What the command line prints: stories of leads, verifications, exported lines."""

import csv
import json
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from config.cells import cell
from routing.verify import Report
from storage.postgres.explain import CandidateTold, DecisionTold, LeadStory

#: Candidates shown of one decision; --json has them all.
SHOWN = 25


def story(told: LeadStory, out: Console) -> None:
    """A lead's whole way, top to bottom in time."""
    where = f"{told.country or '?'}, {told.geo_precision or 'no place'} by {told.geo_provider or 'nobody'}"
    out.print(f"[bold]Lead {told.lead_id}[/bold]  Salesforce {told.salesforce_id}  source {told.source_id or '-'}")
    because = f" ({told.reason})" if told.reason else ""
    out.print(f"{told.state}{because}, attempt {told.attempt}, priority {told.priority}, {where}\n")
    steps = Table("time", "after ms", "what", "by", "policy", "task", "detail", box=None)
    for step in told.steps:
        steps.add_row(
            f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            f"{step.since_received_ms:,}",
            step.what,
            step.actor,
            str(step.policy_version or ""),
            step.task_id or "",
            ", ".join(f"{k}={v}" for k, v in step.detail.items()),
        )
    out.print(steps)
    for decision in told.decisions:
        _decision(decision, out)


def verification(report: Report, out: Console) -> None:
    """What a verification found."""
    out.print(f"{report.decisions:,} decisions made again, {report.offers:,} offers looked at.")
    for pool in report.worst:
        worst = f"{pool.worst_turns:.3f} turns from what is due, over {pool.decisions:,} decisions"
        limit = "" if pool.bound_turns is None else f" (bound {pool.bound_turns:g})"
        out.print(f"{pool.pool} ({pool.mode}, {pool.members} members): nobody was ever farther than {worst}{limit}.")
    for breach in report.breaches:
        out.print(f"[red]{breach.check}[/red] {breach.subject}: {breach.detail}", soft_wrap=True)
    out.print("[red]There are breaches.[/red]" if report.breaches else "[green]No breach.[/green]")


def made_again(found: Mapping[str, Any], out: Console) -> None:
    """Which decisions came out the same, and which could not be made again."""
    if "decisions" not in found:
        return
    for one in found["different"]:
        out.print(f"decision {one['decision']} of lead {one['lead']}:", style="red")
        for line in one["differs"]:
            out.print(f"  {line}", markup=False, soft_wrap=True)
    out.print(f"{found['decisions']:,} decisions made again from their inputs, {found['same']:,} the same to the byte.")
    if found["by_rule"]:
        differ = sum(one["what"] == "by_rule" for one in found["different"])
        same = found["by_rule"] - differ
        out.print(f"{found['by_rule']:,} leads given by rules to members they name, {same:,} to the same again.")
    words = {"manual": "given by hand", "open": "taken from the open pool"}
    if found["by_people"]:
        told = " and ".join(f"{count:,} {words.get(kind, kind)}" for kind, count in found["by_people"].items())
        out.print(f"{told}: people chose, so there is nothing to make again.")


def chain(found: Mapping[str, Any], out: Console) -> None:
    """What is not as it was sealed."""
    if "problems" not in found:
        return
    for problem in found["problems"]:
        out.print(problem, style="red", markup=False, soft_wrap=True)
    for note in found["removed"]:
        out.print(f"Removed for their age: {note}", markup=False, soft_wrap=True)
    newest = found["newest"]
    end = f"The newest is {newest['number']}:{newest['hash']}." if newest else "There is none yet."
    count = newest["number"] if newest else 0
    out.print(f"{count:,} seals, {len(found['problems']):,} problems. {end}", soft_wrap=True)


def lines(records: Iterable[Mapping[str, Any]], shape: str, to: TextIO) -> None:
    """One record a line; in CSV what is nested is JSON within its cell."""
    if shape == "jsonl":
        to.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        return
    writer = None
    for record in records:
        if writer is None:
            writer = csv.DictWriter(to, fieldnames=list(record))
            writer.writeheader()
        writer.writerow({name: cell(value) for name, value in record.items()})


def listed(sets: Mapping[str, Any]) -> str:
    """What a rule set, in words: `skill languages = es, priority = 5`."""
    return ", ".join(
        f"{name.replace('_', ' ')} = {json.dumps(value, ensure_ascii=False)}" for name, value in sets.items()
    )


def _decision(d: DecisionTold, out: Console) -> None:
    ring = f"ring {d.ring_miles:.0f} mi" if d.ring_miles else "no ring"
    out.print(f"\n[bold]Decision {d.attempt}[/bold] at {d.at:%Y-%m-%d %H:%M:%S}: {d.chosen or d.reason}, {ring}")
    version = f"policy {d.policy_version}, roster {d.roster_version}, generation {d.generation}, no. {d.seq}"
    out.print(
        f"pool {d.pool}, rotation {d.rotation or '-'}, mode {d.way}, {d.absence} after absences; {version}",
        soft_wrap=True,
    )
    if d.rule:
        out.print(
            f"sent by rule {d.rule}" + (f" of policy {d.policy_version} ({d.policy_note})" if d.policy_note else "")
        )
    for part in d.set_by:
        out.print(f"rule {part.rule} set {listed(part.sets)}", markup=False, soft_wrap=True)
    if d.policy_names:
        out.print(f"policy {d.policy_version} is by {' and '.join(d.policy_names)}", markup=False)
    if d.step:
        out.print(f"decided by: {d.step}", markup=False, soft_wrap=True)
    if d.nearest_miles is not None:
        out.print(f"the nearest member is {d.nearest_miles:,.1f} miles away")
    table = Table("member", "miles", "ring", "held", "weight", "standing", "share", "after", "served", "gate", box=None)
    for c in d.candidates[:SHOWN]:
        table.add_row(*_candidate(c))
    out.print(table)
    for c in d.candidates[:SHOWN]:
        if c.why:
            out.print(f"  {c.member}: {c.why}", markup=False, soft_wrap=True)
    if len(d.candidates) > SHOWN:
        out.print(f"... and {len(d.candidates) - SHOWN} more (--json has all)")


def _candidate(c: CandidateTold) -> tuple[str, ...]:
    return (
        c.member,
        f"{c.distance_miles:.1f}",
        f"{c.ring_miles:.0f}",
        f"{c.open}/{c.capacity}",
        f"{c.weight:g}",
        f"{c.standing:+.3f}",
        f"{c.share:.3f}",
        f"{c.standing_after:+.3f}",
        str(c.served) if c.served else "never",
        "chosen" if c.chosen else c.gate,
    )
