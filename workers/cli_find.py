"""Leads and records taken out on the command line: found by what they are, exported, sent through once more."""

import csv
import json
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from config import wiring
from config.cells import cell
from routing.errors import BadInput
from routing.lead import Reason
from storage.postgres.find import NAMES, Filters
from storage.postgres.reprocess import MOST, Stood
from tasks.app import announce, nudge
from workers import house, render
from workers.cli_past import DIR, FILE, JSON, TIME

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

OUTPUT = click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="To this file.")
PLAIN = ("decisions", "corrections", "offers", "leads", "members")
#: Leads shown of a table; files have them all.
SHOWN = 200


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which leads are found."""
    options = [
        click.option("--state", help="Such as review."),
        click.option("--reason", help="Such as no_room."),
        click.option("--pool"),
        click.option("--country", help="Such as US."),
        click.option("--source"),
        click.option("--rule", help="Of the policy, that sent it."),
        click.option("--policy", type=int, help="Decided under this version."),
        click.option("--member", help="Was offered it; the member's key."),
        click.option("--since", type=TIME, help="Committed in Salesforce then or later."),
        click.option("--until", type=TIME, help="Committed before."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    for command in (find, reprocess, export):
        cli.add_command(command)


# --- found


@click.group("find")
def find() -> None:
    """Look for things by what they are."""


@find.command("leads")
@filters
@click.option("--format", "shape", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@OUTPUT
@DIR
def find_leads(*, shape: str, output: Path | None, data_dir: Path | None, **asked: Any) -> None:
    """List leads; the filters that were used, and how many leads there are, stand in the output."""
    chosen = Filters(**asked)
    with house.opened(data_dir, new=False), _opened(output) as to, closing(wiring.find().all(chosen)) as found:
        if shape == "table":
            _as_table(chosen, list(found))
        else:
            leads_out(chosen, found, shape, to)


def leads_out(asked: Filters, found: Iterable[Mapping[str, Any]], shape: str, to: TextIO) -> None:
    """Leads in a file, with the filters used and their number: JSON in one document, CSV behind lines with #."""
    leads = list(found)
    meta = {"filters": asked.used(), "count": len(leads), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    if shape == "json":
        to.write(json.dumps(meta | {"leads": leads}, indent=2) + "\n")
        return
    if shape == "jsonl":
        to.writelines(json.dumps(line) + "\n" for line in ({"meta": meta}, *leads))
        return
    to.writelines(f"# {name}: {json.dumps(value)}\n" for name, value in meta.items())
    writer = csv.DictWriter(to, fieldnames=NAMES)
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in one.items()} for one in leads)


def _as_table(asked: Filters, leads: Sequence[Mapping[str, Any]]) -> None:
    table = Table("lead", "source", "received", "state", "reason", "pool", "member", "miles", box=None)
    for one in leads[:SHOWN]:
        names = ("lead_id", "source_id", "received_at", "state", "reason", "pool", "member", "distance_miles")
        table.add_row(*("" if one[name] is None else str(one[name])[:32] for name in names))
    out.print(table)
    used = ", ".join(f"{name} {value}" for name, value in asked.used().items()) or "none"
    more = f"; {SHOWN} are shown, --format csv has all" if len(leads) > SHOWN else ""
    out.print(f"{len(leads):,} leads{more}. Filters: {used}.", markup=False)


# --- once more


@click.command("reprocess")
@click.option("--reason", type=click.Choice([str(one) for one in Reason]), help="All in review or waiting for it.")
@click.option("--leads", "file", type=FILE, help="A file with an id a line: ours, Salesforce's or the source's.")
@click.option("--dry-run", is_flag=True, help="Only show what would come of it.")
@JSON
@DIR
def reprocess(*, reason: str | None, file: Path | None, dry_run: bool, as_json: bool, data_dir: Path | None) -> None:
    """Send leads that failed, or went wrong, through the house once more under the policy of now; old and new shown.

    An offer that is not answered yet is taken back, without using up a turn of its lead. Leads that somebody works
    on, and those that are done, stay as they are.
    """
    if (reason is None) == (file is None):
        raise BadInput("which leads?", field="--reason or --leads", fix="Give one of the two.")
    with house.opened(data_dir, new=False):
        ids, unknown = _chosen(reason, file)
        before = wiring.reprocess().stand(ids)
        after = _rehearsed(ids) if dry_run else _carried_out(ids)
    if reason is not None and len(ids) == MOST:
        err.print(f"These are the oldest {MOST:,}; there may be more.", style="yellow")
    for ref in unknown:
        err.print(f"no lead is known as {ref!r}", style="yellow", markup=False)
    told = [{"lead": lead, "before": asdict(before[lead]), "after": asdict(after[lead])} for lead in before]
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "unknown": unknown, "leads": told}, indent=2))
    else:
        _compared(before, after, dry_run=dry_run)
    sys.exit(1 if unknown else 0)


def _chosen(reason: str | None, file: Path | None) -> tuple[list[int], list[str]]:
    if reason is not None:
        return wiring.reprocess().by_reason(Reason(reason)), []
    refs = list(dict.fromkeys(_lines(file))) if file else []
    known = wiring.reprocess().known(refs)
    return sorted(set(known.values())), [ref for ref in refs if ref not in known]


def _lines(file: Path) -> Iterator[str]:
    for number, line in enumerate(file.read_bytes().removeprefix(BOM_UTF8).splitlines(), start=1):
        try:
            ref = line.decode("utf-8").strip()
        except UnicodeDecodeError as exc:
            raise BadInput(
                f"line {number} is not UTF-8", field="--leads", fix="Save the file as UTF-8, an id a line."
            ) from exc
        if "\0" in ref:
            raise BadInput(f"line {number} has a NUL character", field="--leads", fix="Give a text file, an id a line.")
        if ref:
            yield ref


def _rehearsed(ids: Sequence[int]) -> dict[int, Stood]:
    return wiring.reprocess().rehearse(ids, wiring.parse_policy, wiring.new_id)


def _carried_out(ids: Sequence[int]) -> dict[int, Stood]:
    again = wiring.reprocess()
    opened = again.reopen(ids, actor="fairturn reprocess")
    journey = wiring.journey(announce, nudge)
    unplaced = [lead for lead, stood in again.stand(opened).items() if not stood.has_place]
    for some, verb in ((unplaced, journey.locate), (opened, journey.route)):
        for start in range(0, len(some), 100):
            verb(some[start : start + 100])
    for task in ("outbox.free", "outbox.deliver"):
        nudge(task)
    return again.stand(ids)


def _compared(before: Mapping[int, Stood], after: Mapping[int, Stood], *, dry_run: bool) -> None:
    table = Table("lead", "was", "policy", "would be" if dry_run else "is", "policy", box=None)
    for lead, was in before.items():
        now = after[lead]
        table.add_row(str(lead), _word(was), str(was.policy_version or ""), _word(now), str(now.policy_version or ""))
    out.print(table)
    changed = sum(_word(was) != _word(after[lead]) for lead, was in before.items())
    out.print(f"{len(before):,} leads, {changed:,} {'would differ' if dry_run else 'differ'}.")


def _word(stood: Stood) -> str:
    to = f" to {stood.member}" if stood.member else ""
    because = f" ({stood.reason})" if stood.reason else ""
    return f"{stood.state}{because}{to}"


# --- taken out


@click.command("export")
@click.argument("what", type=click.Choice([*PLAIN, "decision", "seals", "chain"]))
@click.argument("ident", required=False)
@click.option("--format", "shape", type=click.Choice(["jsonl", "csv", "json"]), default="jsonl", show_default=True)
@filters
@OUTPUT
@DIR
def export(
    what: str, ident: str | None, *, shape: str, output: Path | None, data_dir: Path | None, **asked: Any
) -> None:
    """Print the ledger, a line a record, so that anyone can recount it without our code.

    `leads` takes filters, and says which. `decision ID` is all that one decision was made from, for `verify --bundle`.
    `seals` are the seals alone, `chain` with every row, for routing/seal_verify.py.
    """
    chosen = Filters(**asked)
    if chosen.used() and what != "leads":
        raise BadInput(f"{what} are not filtered", field="filters", fix="Only leads are.")
    with house.opened(data_dir, new=False):
        bundle = _bundle(ident) if what == "decision" else None  # before a file of that name is written over
        _exported(what, chosen, shape, output, bundle)


def _exported(what: str, chosen: Filters, shape: str, output: Path | None, bundle: Mapping[str, Any] | None) -> None:
    with _opened(output) as to:
        if bundle is not None:
            to.write(json.dumps(bundle, ensure_ascii=False) + "\n")
        elif what in {"seals", "chain"}:
            records = wiring.seals().headers() if what == "seals" else wiring.seals().chain()
            to.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        elif chosen.used():
            with closing(wiring.find().all(chosen)) as found:
                leads_out(chosen, found, shape, to)
        else:
            with closing(getattr(wiring.export(), what)()) as found:  # closed also when nobody reads on
                render.lines(found, "jsonl" if shape == "json" else shape, to)
        to.flush()


def _bundle(ident: str | None) -> dict[str, Any]:
    try:
        decision = UUID(ident or "")
    except ValueError as exc:
        raise BadInput("it is no id", field="decision", fix="`fairturn explain LEAD --json` names them.") from exc
    found = wiring.reexecution().bundle(decision, wiring.policy_contents)
    if found is None:
        raise BadInput("there is no such decision", field="decision", fix="`fairturn explain LEAD --json` names them.")
    return found


class _opened:  # noqa: N801 - reads as a verb
    """The file, written anew, or standard output."""

    def __init__(self, path: Path | None) -> None:
        try:
            self._file = None if path is None else path.open("w", encoding="utf-8", newline="")
        except OSError as exc:
            raise BadInput(
                f"{path} cannot be written: {exc.strerror}",
                field="--output",
                fix="Name a file in a directory of yours.",
            ) from exc

    def __enter__(self) -> TextIO:
        return self._file or sys.stdout

    def __exit__(self, *_exc: object) -> None:
        if self._file is not None:
            self._file.close()
