"""`fairturn lead try`: what would become of one lead at this instant; nothing is written anywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.simulation import trying
from routing.errors import BadInput
from routing.explained import set_by
from routing.policy import Policy
from workers import house, simulated
from workers.render import listed

out = Console(highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
#: Candidates shown; --json has them all.
SHOWN = 20


def add_to(cli: click.Group) -> None:
    """Add the command to those of leads."""
    group = cli.commands.get("lead")
    if not isinstance(group, click.Group):
        group = click.Group("lead", help="Single leads.")
        cli.add_command(group)
    group.add_command(try_command)


@click.command("try")
@click.argument("lead", default="")
@click.option("--policy", default="live", help="Under this draft or version.")
@click.option("--country", default="", help="Of a lead that nobody sent; name no LEAD then.")
@click.option("--region", default="")
@click.option("--city", default="")
@click.option("--postal-code", default="")
@click.option("--lat", type=float)
@click.option("--lon", type=float)
@click.option("--source", default="")
@click.option("--priority", type=int, default=0)
@click.option("--hot", is_flag=True)
@click.option("--fact", "facts", multiple=True, metavar="NAME=VALUE", help="Any other fact that rules may ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@DIR
def try_command(
    lead: str, policy: str, facts: tuple[str, ...], *, as_json: bool, data_dir: Path | None, **described: Any
) -> None:
    """What would become of a lead at this instant, with the whole explanation; nothing is written anywhere.

    LEAD is our id, the Salesforce id or the source's id; or describe one that nobody sent.
    """
    given = {name: value for name, value in described.items() if value}
    if bool(lead) == bool(given or facts):
        raise BadInput("say which lead", field="lead", fix="Name a LEAD, or describe one with --postal-code and so on.")
    others = dict(_fact(one) for one in facts)

    def tried(draft: Policy | None) -> dict[str, Any]:
        if lead:
            return trying.try_lead(lead, draft=draft)
        return trying.try_facts(trying.Facts(**described, others=others), draft=draft)

    show(tried, policy, as_json, data_dir)


def _fact(text: str) -> tuple[str, object]:
    name, found, value = text.partition("=")
    if not found or not name.strip():
        raise BadInput(f"{text!r} is no fact", field="--fact", fix="Write it like product=heat_pump or score=70.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def show(tried: Callable[[Policy | None], dict[str, Any]], policy: str, as_json: bool, data_dir: Path | None) -> None:
    """Print what came of it, under the live policy or a draft."""
    with house.opened(data_dir, new=False):
        told = tried(None if policy == "live" else simulated.policy_of(policy))
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    who = f" to {told['member']}" if told["member"] else ""
    by = f", by the rule {told['rule']}" if told["rule"] else ""
    out.print(f"[bold]{escape(told['outcome'])}{escape(who)}[/bold]: {escape(told['reason'])}{escape(by)}")
    if told["note"]:
        out.print(told["note"], markup=False, soft_wrap=True)
    for one in told["explanations"]:
        _show_explanation(one)
    out.print("Nothing was written.")


def _show_explanation(one: dict[str, Any]) -> None:
    out.print(
        f"attempt {one['attempt']}, pool {one['pool']}, rotation {one['rotation'] or '-'}: {one['step']}", markup=False
    )
    for rule, sets in set_by(one["inputs"]):
        out.print(f"rule {rule} set {listed(sets)}", markup=False, soft_wrap=True)
    table = Table("member", "miles", "ring", "held", "gate", box=None)
    for c in one["candidates"][:SHOWN]:
        chosen = "chosen" if c["member"] == one["chosen"] else c.get("gate", "")
        table.add_row(
            escape(str(c["member"])),
            f"{c['distance_m'] / 1609.344:.1f}",
            str(c.get("ring", "")),
            f"{c.get('open', '')}/{c.get('capacity', '')}",
            escape(str(chosen)),
        )
    out.print(table)
    for c in one["candidates"][:SHOWN]:
        if c.get("why"):
            out.print(f"  {c['member']}: {c['why']}", markup=False, soft_wrap=True)
