"""The past on the command line: seen as it was, made again, checked against its seals, found, exported, reprocessed."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from config import policy as policy_file
from config import wiring
from routing.errors import BadInput
from routing.lead import Reason
from routing.reexecute import Remade, contents_of, remake_bundle
from storage.postgres.find import Filters
from storage.postgres.reprocess import Stood
from tasks.app import announce, nudge
from workers import house, render

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
OUTPUT = click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="To this file.")
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
PLAIN = ("decisions", "corrections", "offers", "leads", "members")
#: Leads shown of a table; files have them all.
SHOWN = 200


class Moment(click.ParamType[datetime]):
    """A time such as 2026-11-22T14:03:07, in UTC where no zone is named."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it like 2026-11-22T14:03:07 or 2026-11-22", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


TIME = Moment()


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
    for command in (at, find, reprocess, verify, export):
        cli.add_command(command)


# --- as it was


@click.command("at")
@click.argument("time", type=TIME)
@click.argument("what", type=click.Choice(["roster", "turns", "capacity", "policy"]))
@click.option("--member", help="Only this one, by its key.")
@JSON
@DIR
def at(time: datetime, what: str, *, member: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Show the house as it was at a moment: its roster, turns, capacity in use or policy."""
    with house.opened(data_dir, new=False):
        rows = [row for row in _AT[what](time) if member is None or row.get("member") == member]
        if what == "policy" and not as_json:
            click.echo(policy_file.dump(rows[0]["document"]), nl=False)
            return
    if as_json:
        click.echo(json.dumps({"at": time.isoformat(), what: rows}, indent=2, default=str))
    elif rows:
        table = Table(*rows[0], box=None)
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        out.print(table)
    else:
        out.print("Nobody.")


def _roster_at(time: datetime) -> Iterator[dict[str, Any]]:
    history = wiring.history()
    for stood in history.stood(time):
        for one in history.roster_at(stood.market, stood.roster_version, full=True):
            yield {
                "market": stood.market,
                "version": stood.roster_version,
                "member": one.key,
                "name": one.name,
                "tier": one.tier,
                "capacity": one.capacity,
                "weight": None if one.weight is None else one.weight / 1000,
                "active": one.active,
                "places": [(place.lat, place.lon) for place in one.places],
                "attributes": dict(one.attributes),
            }


def _turns_at(time: datetime) -> Iterator[dict[str, Any]]:
    yield from map(asdict, wiring.history().turns_at(time))


def _capacity_at(time: datetime) -> Iterator[dict[str, Any]]:
    version = _policy_version(time)
    yield from map(asdict, wiring.history().capacity_at(time, wiring.ledger().policy(version)))


def _policy_at(time: datetime) -> Iterator[dict[str, Any]]:
    version = _policy_version(time)
    yield {"version": version, "document": wiring.policies().get(version)}


def _policy_version(time: datetime) -> int:
    version = next(iter(wiring.history().stood(time))).policy_version
    if not version:
        raise BadInput("no policy was published yet", field="time", fix="Give a later one.")
    return version


_AT: Mapping[str, Callable[[datetime], Iterator[dict[str, Any]]]] = {
    "roster": _roster_at,
    "turns": _turns_at,
    "capacity": _capacity_at,
    "policy": _policy_at,
}


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
    if leads:
        writer = csv.DictWriter(to, fieldnames=list(leads[0]))
        writer.writeheader()
        writer.writerows(leads)


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
    refs = [line.strip() for line in (file.read_text("utf-8") if file else "").splitlines() if line.strip()]
    known = wiring.reprocess().known(refs)
    return sorted(set(known.values())), [ref for ref in refs if ref not in known]


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


# --- checked


@click.command("verify")
@click.option("--decisions", is_flag=True, help="Make decisions again from their inputs, and compare to the byte.")
@click.option("--sample", type=click.IntRange(min=1), help="With --decisions: so many, spread over all.")
@click.option("--lead", help="With --decisions: those of this lead.")
@click.option("--bundle", type=FILE, help="Make the decision of a bundle again; no server is needed.")
@click.option("--chain", is_flag=True, help="Check every row against its seal.")
@JSON
@DIR
def verify(  # noqa: PLR0917 - options by name
    decisions: bool,
    sample: int | None,
    lead: str | None,
    bundle: Path | None,
    chain: bool,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Recount everything and check every invariant; or make decisions again, or check the seals. Exit 1 on a breach."""
    if bundle is not None:
        _verify_bundle(bundle, as_json=as_json)
        return
    with house.opened(data_dir, new=False):
        if decisions or sample is not None or lead is not None:
            _verify_decisions(sample, lead, as_json=as_json)
        elif chain:
            _verify_chain(as_json=as_json)
        else:
            _verify_all(as_json=as_json)


def _verify_all(*, as_json: bool) -> None:
    verifier = wiring.verifier()
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("Making decisions again", total=verifier.count())
        report = verifier.run(lambda done: progress.update(task, completed=done))
    if as_json:
        click.echo(json.dumps({**asdict(report), "sound": report.sound}, indent=2))
    else:
        render.verification(report, out)
    sys.exit(1 if report.breaches else 0)


def _verify_decisions(sample: int | None, lead: str | None, *, as_json: bool) -> None:
    number = None
    if lead is not None:
        story = wiring.explain().lead(lead)
        if story is None:
            raise BadInput(f"no lead is known as {lead!r}", field="--lead", fix="Give any of its ids.")
        number = story.lead_id
    count, differ = 0, list[dict[str, Any]]()
    with err.status("Making decisions again"):
        for one in wiring.reexecution().run(sample=sample, lead=number):
            count += 1
            if not one.remade.same:
                differ.append({"decision": str(one.decision), "lead": one.lead, "differs": one.remade.differences})
    if as_json:
        click.echo(json.dumps({"decisions": count, "same": count - len(differ), "different": differ}, indent=2))
    else:
        for found in differ:
            out.print(f"decision {found['decision']} of lead {found['lead']}:", style="red")
            for line in found["differs"]:
                out.print(f"  {line}", markup=False, soft_wrap=True)
        out.print(f"{count:,} decisions made again from their inputs, {count - len(differ):,} the same to the byte.")
    sys.exit(1 if differ else 0)


def _verify_bundle(file: Path, *, as_json: bool) -> None:
    remade = _of_bundle(file)
    if as_json:
        click.echo(json.dumps({"same": remade.same, "differs": remade.differences}, indent=2))
    else:
        for line in remade.differences:
            out.print(line, markup=False, soft_wrap=True)
        out.print("The same to the byte." if remade.same else "It comes out differently.")
    sys.exit(0 if remade.same else 1)


def _of_bundle(file: Path) -> Remade:
    try:
        bundle = json.loads(file.read_text("utf-8"))
        kept = contents_of(bundle)
        return remake_bundle(bundle, lambda document, version: policy_file.parse(document, version, contents=kept))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BadInput("it is no bundle", field=str(file), fix="Make one with `fairturn export decision ID`.") from exc


def _verify_chain(*, as_json: bool) -> None:
    seals = wiring.seals()
    newest = seals.newest()
    with err.status("Checking rows against their seals"):
        problems = list(seals.check())
    if as_json:
        told = {"newest": None if newest is None else {"number": newest[0], "hash": newest[1]}, "problems": problems}
        click.echo(json.dumps(told, indent=2))
    else:
        for problem in problems:
            out.print(problem, style="red", markup=False, soft_wrap=True)
        end = f"The newest is {newest[0]}:{newest[1]}." if newest else "There is none yet."
        out.print(f"{newest[0] if newest else 0:,} seals, {len(problems):,} problems. {end}", soft_wrap=True)
    sys.exit(1 if problems else 0)


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
