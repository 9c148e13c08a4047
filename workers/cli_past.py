"""The past on the command line: seen as it was, made again, and checked against its seals."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from config import policy as policy_file
from config import wiring
from routing.errors import BadInput
from routing.reexecute import Remade, contents_of, is_whole, remake_bundle
from routing.seal_verify import kept_elsewhere
from workers import house, render

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


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


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    for command in (at, verify):
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


# --- checked


@click.command("verify")
@click.option("--decisions", is_flag=True, help="Make decisions again from their inputs, and compare to the byte.")
@click.option("--sample", type=click.IntRange(min=1), help="Of decisions: so many, spread over all.")
@click.option("--lead", help="Of decisions: those of this lead.")
@click.option("--bundle", type=FILE, help="Make the decision of a bundle again; no server is needed.")
@click.option("--chain", is_flag=True, help="Check every row against its seal.")
@click.option("--head", help="With --chain: a seal that was kept elsewhere, as NUMBER:HEX.")
@JSON
@DIR
def verify(  # noqa: PLR0917 - options by name
    decisions: bool,
    sample: int | None,
    lead: str | None,
    bundle: Path | None,
    chain: bool,
    head: str | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Recount everything and check every invariant; or make decisions again, or check the seals. Exit 1 on a breach."""
    some = decisions or sample is not None or lead is not None
    kept = None if head is None else _head(head)
    if kept is not None and not chain:
        raise BadInput("a seal is compared with the chain", field="--head", fix="Give --chain as well.")
    if bundle is not None:
        if some or chain:
            raise BadInput("a bundle is checked by itself", field="--bundle", fix="Give it alone.")
        _verify_bundle(bundle, as_json=as_json)
        return
    with house.opened(data_dir, new=False):
        if not some and not chain:
            _verify_all(as_json=as_json)
            return
        found = (_decisions(sample, lead) if some else {}) | (_chain(kept) if chain else {})
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        render.made_again(found, out)
        render.chain(found, out)
    sys.exit(1 if found.get("different") or found.get("problems") else 0)


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


def _decisions(sample: int | None, lead: str | None) -> dict[str, Any]:
    """What came of making decisions again, and what no decision was made for."""
    number = None
    if lead is not None:
        story = wiring.explain().lead(lead)
        if story is None:
            raise BadInput(f"no lead is known as {lead!r}", field="--lead", fix="Give any of its ids.")
        number = story.lead_id
    again, counts, differ = wiring.reexecution(), {"decisions": 0, "by_rule": 0}, list[dict[str, Any]]()
    gifts = () if sample is not None else again.gifts(lead=number)
    with err.status("Making decisions again"):
        for what, made in (("decisions", again.run(sample=sample, lead=number)), ("by_rule", gifts)):
            for one in made:
                counts[what] += 1
                if not one.remade.same:
                    told = {"decision": str(one.decision), "lead": one.lead, "differs": one.remade.differences}
                    differ.append({"what": what} | told)
        by_people = {} if sample is not None else again.by_people(lead=number)
    return {
        "decisions": counts["decisions"],
        "same": counts["decisions"] - sum(one["what"] == "decisions" for one in differ),
        "by_rule": counts["by_rule"],
        "by_people": by_people,
        "different": differ,
    }


def _verify_bundle(file: Path, *, as_json: bool) -> None:
    remade, whole = _of_bundle(file)
    differs = (*(() if whole else (_DAMAGED,)), *remade.differences)
    if as_json:
        click.echo(json.dumps({"same": remade.same and whole, "differs": differs}, indent=2))
    else:
        for line in differs:
            out.print(line, markup=False, soft_wrap=True)
        out.print("The same to the byte." if remade.same else "It comes out differently.")
    sys.exit(0 if remade.same and whole else 1)


_DAMAGED = (
    "The bundle is not what was exported: something in it was changed, or damaged on the way. Export it once more."
)


def _of_bundle(file: Path) -> tuple[Remade, bool]:
    """The decision of a bundle made again, and whether the bundle is what was exported."""
    try:
        bundle = json.loads(file.read_text("utf-8"))
        kept = contents_of(bundle)
        remade = remake_bundle(bundle, lambda document, version: policy_file.parse(document, version, contents=kept))
        return remade, is_whole(bundle)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BadInput("it is no bundle", field=str(file), fix="Make one with `fairturn export decision ID`.") from exc


def _chain(kept: tuple[int, str] | None) -> dict[str, Any]:
    """The newest seal, and every row and seal that is not what it was."""
    seals = wiring.seals()
    newest = seals.newest()
    with err.status("Checking rows against their seals"):
        problems = list(seals.check(kept))
    return {
        "newest": None if newest is None else {"number": newest[0], "hash": newest[1]},
        "removed": seals.removals(),
        "problems": problems,
    }


def _head(text: str) -> tuple[int, str]:
    try:
        return kept_elsewhere(text)
    except ValueError as exc:
        raise BadInput(str(exc), field="--head", fix="Give it as `fairturn verify --chain` printed it.") from exc
