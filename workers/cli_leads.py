"""`fairturn lead`: leads that rules keep apart, listed and given back to routing."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from config import wiring
from routing.errors import BadInput
from routing.lead import Reason
from storage.postgres.baskets import Released
from tasks.app import announce
from workers import house

out = Console(highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
AS = click.option("--as", "actor", default="operator", show_default=True, help="Who does it, for the record.")
KEPT = (Reason.QUARANTINED, Reason.HELD, Reason.RULED, Reason.MISSING_FACTS, Reason.OVERFLOW)


def add_to(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(group)


@click.group("lead")
def group() -> None:
    """Leads that rules keep apart: held in baskets, quarantined, waiting for facts, or for a person to look at."""


@group.command("list")
@click.option("--reason", type=click.Choice([str(one) for one in KEPT]), help="Only these.")
@click.option("--basket", help="Only those of this basket.")
@click.option("--after", type=int, default=0, help="Only those with a higher id, for the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@JSON
@DIR
def lead_list(
    *, reason: str | None, basket: str | None, after: int, limit: int, as_json: bool, data_dir: Path | None
) -> None:
    """List them with the rule that keeps each, such as a check that failed."""
    with house.opened(data_dir, new=False):
        found = wiring.baskets().kept(reason=reason, basket=basket, after=after, limit=limit)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    table = Table("lead", "Salesforce", "since", "state", "reason", "rule", "basket", box=None)
    for one in found:
        since = f"{one.since:%Y-%m-%d %H:%M}"
        table.add_row(str(one.id), one.salesforce_id, since, one.state, one.reason, one.rule, one.basket or "")
    out.print(table if found else "No lead is kept apart.")
    if len(found) == limit:
        out.print(f"There may be more: --after {found[-1].id}")


@group.command("baskets")
@JSON
@DIR
def lead_baskets(as_json: bool, data_dir: Path | None) -> None:
    """List baskets and how many leads each holds."""
    with house.opened(data_dir, new=False):
        found = wiring.baskets().all()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, count in found.items():
        out.print(f"{name}: {count:,}", markup=False)
    if not found:
        out.print("No basket holds a lead.")


@group.command("release")
@click.argument("leads", nargs=-1, required=True)
@AS
@DIR
def lead_release(leads: tuple[str, ...], actor: str, data_dir: Path | None) -> None:
    """Give leads back to routing; the rule that kept each apart is passed over for it from now on.

    LEADS are our ids, Salesforce ids or the source's.
    """
    with house.opened(data_dir, new=False):
        released = wiring.baskets().release([_id_of(lead) for lead in leads], actor=actor)
        _announce(released)
    _say(released)


@group.command("distribute")
@click.argument("basket")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="So many at most.")
@AS
@DIR
def lead_distribute(basket: str, limit: int, actor: str, data_dir: Path | None) -> None:
    """Give the leads of a basket back to routing: the best priority first, then the oldest."""
    with house.opened(data_dir, new=False):
        known = wiring.baskets().all()
        if basket not in known:
            names = ", ".join(known) or "none"
            raise BadInput(f"no basket {basket!r} holds a lead", field="basket", fix=f"Baskets with leads: {names}.")
        released = wiring.baskets().distribute(basket, limit=limit, actor=actor)
        _announce(released)
    _say(released)


def _id_of(ref: str) -> int:
    story = wiring.explain().lead(ref)
    if story is None:
        fix = "Give our id, the Salesforce id or the source's."
        raise BadInput(f"no lead is known as {ref!r}", field="lead", fix=fix)
    return story.lead_id


def _announce(released: Released) -> None:
    """Tell the workers; should they not hear, the relay finds the leads."""
    for lane in sorted(set(released.lanes.values())):
        announce("leads.route", [one for one in released.released if released.lanes[one] is lane], lane)


def _say(released: Released) -> None:
    count = len(released.released)
    out.print(f"{count:,} lead{'s' * (count != 1)} given back to routing.")
    if released.left:
        out.print(f"Not kept apart, and left as they are: {', '.join(map(str, released.left))}.")
