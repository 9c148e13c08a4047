"""`fairturn shadow`: a draft beside live, with turns and places of its own, and zero writes to anything of live."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import policy as policy_file
from config import wiring
from config.simulation import shadow as shadows
from routing.errors import BadInput
from storage.postgres.shadows import Divergence
from workers import house
from workers.simulated import LAST_VERSION

out = Console(highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")


@click.group("shadow")
def shadow() -> None:
    """A draft that runs beside live and shows where the two would go apart."""


def add_to(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(shadow)


@shadow.command("start")
@click.argument("draft", metavar="DRAFT|VERSION")
@DIR
def start(draft: str, data_dir: Path | None) -> None:
    """Let a draft run beside live from now on, from how everything stands now."""
    with house.opened(data_dir, new=False):
        document = _document(draft)
        wiring.parse_policy(document, 0)
        shadows.shadows().start(Path(draft).name if not draft.isdecimal() else f"version {draft}", document)
    out.print(f"{draft} runs beside live; `fairturn shadow report` shows where it goes another way.", markup=False)


@shadow.command("stop")
@DIR
def stop(data_dir: Path | None) -> None:
    """End it; what it came to is kept."""
    with house.opened(data_dir, new=False):
        shadows.follower().follow()
        ended = shadows.shadows().stop()
    if ended is None:
        raise BadInput("nothing runs beside live", field="shadow", fix="`fairturn shadow start DRAFT` begins.")
    out.print(f"{ended.name} ended: {ended.same:,} of {ended.decided:,} attempts were decided alike.", markup=False)


@shadow.command("report")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Newest divergences.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with both explanations of each.")
@DIR
def report(limit: int, as_json: bool, data_dir: Path | None) -> None:
    """Bring the draft up to date, and show every divergence with its cause."""
    with house.opened(data_dir, new=False):
        shadows.follower().follow()
        run = shadows.shadows().last()
        if run is None:
            raise BadInput("no draft has run beside live", field="shadow", fix="`fairturn shadow start DRAFT` begins.")
        found = shadows.shadows().divergences(run.id, limit=limit)
        total = shadows.shadows().count(run.id)
        keys = {held.id: held.row.key for held in wiring.members().all()}
    if as_json:
        told = {"name": run.name, "begun_at": run.begun_at, "upto": run.upto, "stopped_at": run.stopped_at}
        told |= {"decided": run.decided, "same": run.same, "divergences": total, "error": run.error}
        told["shown"] = [asdict(one) for one in found]
        click.echo(json.dumps(told, indent=2, default=str))
        return
    state = "ended" if run.stopped_at else f"followed live to {run.upto:%Y-%m-%d %H:%M:%S} UTC"
    out.print(f"[bold]{escape(run.name)}[/bold] {state}: {run.same:,} of {run.decided:,} attempts alike.")
    if run.error:
        out.print(f"It could not go on: {run.error}", markup=False, soft_wrap=True)
    table = Table("lead", "attempt", "at", "live", "draft", "because", box=None)
    for one in found:
        table.add_row(*_row(one, keys))
    out.print(table if found else "No divergence.")
    if total > len(found):
        out.print(f"... and {total - len(found):,} more (--limit)")


def _row(one: Divergence, keys: Mapping[int, str]) -> tuple[str, ...]:
    members = (one.live_member, one.shadow_member)
    who = ("nobody" if member is None else keys.get(member, str(member)) for member in members)
    return str(one.lead_id), str(one.attempt), f"{one.at:%m-%d %H:%M:%S}", *map(escape, who), escape(one.cause)


def _document(ref: str) -> Mapping[str, Any]:
    if not ref.isdecimal():
        return dict(policy_file.load_file(Path(ref)))
    document = wiring.policies().get(min(int(ref), LAST_VERSION))
    if document is None:
        raise BadInput(f"there is no version {ref}", field="draft", fix="`fairturn policy history` lists them.")
    return dict(document)
