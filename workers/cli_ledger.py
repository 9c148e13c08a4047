"""What the ledger holds: members brought in, a lead's story, dead letters."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import wiring
from routing.errors import BadInput
from storage.postgres.parked import Letter
from workers import house, imports, render, replay

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    for command in (members, explain, parked):
        cli.add_command(command)


@click.group()
def members() -> None:
    """The roster: who can be given leads."""


@members.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@DIR
def members_import(file: Path, data_dir: Path | None) -> None:
    """Add or change members from a CSV; rows that cannot be used are named and parked, the others count."""
    with house.opened(data_dir):
        house.migrate()
        result = imports.members(file, actor="fairturn members import", console=err)
    for bad in result.bad[:20]:
        err.print(f"line {bad.line}: {bad.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(result.bad) > 20:
        err.print(f"[yellow]... and {len(result.bad) - 20} more; `fairturn parked list` has all.[/yellow]")
    for tier, count in result.unnamed_tiers.items():
        err.print(f"The policy does not name the tier {tier!r} ({count} members): the default tier's limits apply.")
    out.print(f"{result.added} added, {result.changed} changed, {result.same} unchanged, {len(result.bad)} refused.")
    sys.exit(1 if result.bad else 0)


@click.command()
@click.argument("lead")
@JSON
@DIR
def explain(lead: str, as_json: bool, data_dir: Path | None) -> None:
    """Tell a lead's whole way: every event, offer and decision, and why each candidate was or was not chosen.

    LEAD is our id, the Salesforce id or the source's id.
    """
    with house.opened(data_dir, new=False):
        story = wiring.explain().lead(lead)
    if story is None:
        raise BadInput(
            f"no lead is known as {lead!r}", field="lead", fix="Give our id, the Salesforce id or the source's."
        )
    if as_json:
        click.echo(json.dumps(story.to_json(), indent=2))
    else:
        render.story(story, out)


@click.group()
def parked() -> None:
    """Dead letters: what could not be handled, each with one reason."""


@parked.command("list")
@click.option("--all", "everything", is_flag=True, help="Resolved ones too.")
@JSON
@DIR
def parked_list(everything: bool, as_json: bool, data_dir: Path | None) -> None:
    """List what is parked."""
    with house.opened(data_dir, new=False):
        rows = wiring.parked().list()
        rows += wiring.parked().list(resolved=True) if everything else []
    if as_json:
        click.echo(json.dumps([_letter(row) for row in rows], indent=2, default=str))
        return
    table = Table("id", "kind", "what", "reason", "parked", box=None)
    for row in rows:
        table.add_row(str(row.id), row.kind, escape(row.ref), escape(row.reason), f"{row.parked_at:%Y-%m-%d %H:%M:%S}")
    out.print(table if rows else "Nothing is parked.")


@parked.command("replay")
@click.argument("number", type=int)
@DIR
def parked_replay(number: int, data_dir: Path | None) -> None:
    """Try one again, after the cause was mended."""
    with house.opened(data_dir, new=False):
        out.print(replay.replay(number))


def _letter(row: Letter) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "raw"}
