"""A simulation's report for people at a terminal, and as CSV."""

import csv
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.cells import cell
from config.simulation.figures import signed, told
from routing.simulation.compared import summed
from routing.simulation.outcome import Beside, areas_beside, members_beside
from routing.simulation.past import moment
from routing.simulation.report import AREAS, Report

#: Members and differences shown; the files have them all.
SHOWN = 20


def show(report: Report, out: Console) -> None:
    """Totals, members, areas, and how history was met; the longest lists are cut."""
    past, here, then = report.past, report.here, report.then
    span = f"{moment(past.since):%Y-%m-%d %H:%M} to {moment(past.until):%Y-%m-%d %H:%M} UTC"
    out.print(f"[bold]{escape(report.name)}[/bold], {span}: {here.total.leads:,} leads.")
    total = Table("", *(["before"] if then else []), "simulated", box=None)
    mine, theirs = here.total.to_json(), then.total.to_json() if then else {}
    words = {
        "offers": "offers",
        "accepts": "accepted",
        "returned": "given back",
        "silent": "no answer",
        "missed": "leads nobody took",
    }
    words |= {"wait_min": "median minutes until accepted", "miles": "miles, mean"}
    for what, title in words.items():
        total.add_row(title, *([told(theirs[what])] if then else []), told(mine[what]))
    worst = "turns, the farthest from what is due"
    total.add_row(worst, *([f"{then.worst:.3f}"] if then else []), f"{here.worst:.3f}")
    out.print(total)
    _show_rows(out, "member", members_beside(then, here, past.members))
    for by in AREAS:
        _show_rows(out, by, areas_beside(then, here, by))
    _show_comparison(out, report)
    habits = report.habits.overall
    out.print(
        f"{report.reused:,} offers were answered as they had been; {report.assumed:,} by assumption: over all "
        f"{habits.accept:.0%} accept, {habits.reject:.0%} reject, {habits.ignore:.0%} are silent.",
        soft_wrap=True,
    )
    for note in report.notes:
        out.print(note, markup=False, soft_wrap=True)


def _show_rows(out: Console, title: str, rows: list[Beside]) -> None:
    table = Table(title, "offers", "accepted", "no answer", "wait min", "miles", "nobody took", box=None)
    for row in rows[:SHOWN]:
        mine, theirs = row.here.to_json(), row.then.to_json() if row.then else {}
        cells = [_beside(mine[what], theirs.get(what)) for what in ("offers", "accepts", "silent", "wait_min", "miles")]
        table.add_row(escape(row.name), *cells, _beside(mine["missed"], theirs.get("missed")))
    out.print(table)
    if len(rows) > SHOWN:
        out.print(f"... and {len(rows) - SHOWN:,} more")


def _show_comparison(out: Console, report: Report) -> None:
    found = report.comparison
    if found is None:
        return
    out.print(f"[bold]{found.same:,} of {found.decided:,} decisions ({found.share:.3%}) came out as they did.[/bold]")
    for cause, count in summed(found.differences).items():
        out.print(f"  {count:,}: {cause}", markup=False, soft_wrap=True)
    for one in [one for one in found.differences if not one.follows][:SHOWN]:
        out.print(f"  lead {one.lead}, attempt {one.attempt}: {one.cause}", markup=False, soft_wrap=True)


def _beside(value: float | None, before: float | None) -> str:
    if value is None or before is None or value == before:
        return told(value)
    return f"{told(value)} ({signed(value - before)})"


def write_csv(report: Report, file: Path) -> None:
    """Members and areas, a row each."""
    told = report.to_json()
    rows = [{"kind": "member", **row} for row in told["members"]]
    rows += [{"kind": by, **row} for by in AREAS for row in told["areas"][by]]
    names = dict.fromkeys(name for row in rows for name in row)
    with file.open("w", newline="", encoding="utf-8") as to:
        writer = csv.DictWriter(to, fieldnames=list(names))
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
