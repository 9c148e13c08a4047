"""`fairturn turns`: what each member is owed, corrections by hand, and who may miss its minimum."""

import json
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import wiring
from config.accounts import shared_by
from routing.errors import BadInput
from routing.rotation import label_of
from routing.turns import Effect
from storage.postgres.followed import RotationFairness
from workers import house

out = Console(highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def turns() -> None:
    """Turns: what each member got and was due, corrections by hand, and minimums."""


def add_to(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(turns)


@turns.command("show")
@click.option("--pool", default="", help="Only this pool.")
@click.option("--all", "everything", is_flag=True, help="Past periods too.")
@JSON
@DIR
def turns_show(pool: str, everything: bool, as_json: bool, data_dir: Path | None) -> None:
    """What each member got and was due, how far it is off, how far anyone ever was, and the bound."""
    with house.opened(data_dir, new=False):
        for market in wiring.members().versions():
            wiring.followed().follow(market)
        pools = wiring.ledger().published().pools if pool else ()
        found = wiring.followed().of(pool, shared=shared_by(pool, pools))
        if pool and not found and pool not in {one.name for one in pools}:
            raise BadInput(f"there is no pool {pool!r}", field="--pool", fix="Leave it out to see every pool.")
    shown = found if everything else _latest(found)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in shown], indent=2, default=str))
        return
    if not shown:
        out.print("No lead was given by turn yet.")
    for one in shown:
        _show(one)


def _latest(found: list[RotationFairness]) -> list[RotationFairness]:
    """Of rotations with periods the last one, by name: their labels are in the order of time."""
    last: dict[tuple[str, str], RotationFairness] = {}
    for one in found:
        base = one.rotation.removesuffix(f"@{label_of(one.rotation)}")
        key = one.market, base
        if key not in last or label_of(one.rotation) > label_of(last[key].rotation):
            last[key] = one
    return list(last.values())


def _show(one: RotationFairness) -> None:
    unit = "turns" if one.largest_turn == 1 else f"turns, the largest lead costs {one.largest_turn:g}"
    out.print(
        f"\n[bold]{escape(one.rotation)}[/bold] of pool {escape(one.pool)}, {one.decisions:,} decisions, in {unit}"
    )
    when = (
        f" ({escape(one.worst_member)}, {one.worst_at:%Y-%m-%d %H:%M} UTC)" if one.worst_member and one.worst_at else ""
    )
    out.print(f"worst now {one.worst_now:.3f}, worst ever {one.worst_ever:.3f}{when}, {_limit(one)}")
    table = Table("member", "offers", "received", "entitled", "by corrections", "off by", "worst", box=None)
    for account in one.accounts:
        table.add_row(
            escape(account.member),
            f"{account.offers:,}",
            f"{account.received:,.3f}",
            f"{account.entitled:,.3f}",
            f"{account.corrected:+,.3f}" if account.corrected else "",
            f"{account.deviation:+.3f}",
            f"{account.worst:.3f}",
        )
    out.print(table)


def _limit(one: RotationFairness) -> str:
    if one.bound is None:
        return "no bound, as decisions were made in a mode that keeps no accounts"
    if not one.added:
        return f"bound {one.bound:g}"
    decided = one.bound - one.added
    return f"bound {one.bound:.6g}: {decided:.6g} that decisions keep to, {one.added:.6g} that corrections added"


@turns.command("minimums")
@JSON
@DIR
def turns_minimums(as_json: bool, data_dir: Path | None) -> None:
    """Who is on the way to miss its minimum; until the period's end it weighs more."""
    with house.opened(data_dir, new=False):
        found = wiring.turn_book().flagged()
    if as_json:
        click.echo(json.dumps([dict(one) for one in found], indent=2, default=str))
        return
    table = Table("pool", "member", "period", "has", "will have", "is to have", "until", box=None)
    for one in found:
        table.add_row(
            escape(one["pool"]), escape(one["member"]), one["period"], str(one["received"]),
            f"{one['projected']:.1f}", str(one["minimum"]), f"{one['until']:%Y-%m-%d %H:%M} UTC",
        )  # fmt: skip
    out.print(table if found else "Nobody is on the way to miss its minimum.")


@turns.command("give")
@click.argument("member")
@click.argument("count", type=int)
@click.option("--reason", required=True, help="Why; it stays in the ledger.")
@click.option("--rotation", default="", help="Which one, where the member's market has several.")
@DIR
def turns_give(member: str, count: int, reason: str, rotation: str, data_dir: Path | None) -> None:
    """Owe a member COUNT turns; the others of its rotation pay for them, each by its weight."""
    _turns_by_hand(Effect.GIVE, member, count, reason=reason, rotation=rotation, data_dir=data_dir)


@turns.command("take")
@click.argument("member")
@click.argument("count", type=int)
@click.option("--reason", required=True, help="Why; it stays in the ledger.")
@click.option("--rotation", default="", help="Which one, where the member's market has several.")
@DIR
def turns_take(member: str, count: int, reason: str, rotation: str, data_dir: Path | None) -> None:
    """Take COUNT turns from a member; the others of its rotation gain them, each by its weight."""
    _turns_by_hand(Effect.TAKE, member, count, reason=reason, rotation=rotation, data_dir=data_dir)


def _turns_by_hand(
    effect: Effect, member: str, count: int, *, reason: str, rotation: str, data_dir: Path | None
) -> None:
    with house.opened(data_dir, new=False):
        made = wiring.corrections().by_hand(
            uuid4(), effect, member=member, turns=count, reason=reason, rotation=rotation, actor="fairturn turns"
        )
        wiring.corrector().correct()
    what = "is given" if effect is Effect.GIVE else "gives up"
    turns_ = "1 turn" if count == 1 else f"{count:,} turns"
    out.print(f"Member {member} {what} {turns_} in rotation {made.rotation}.", markup=False)
