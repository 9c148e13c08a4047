"""`fairturn offer`: what a manager does to an offer by hand. Each is audited, and tells the member."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.console import Console

from config import wiring
from routing.answering import BY_HAND, Desk
from routing.errors import BadInput
from routing.offer import OPEN, Actor, Answered, OfferState
from tasks.app import announce, nudge
from workers import house

out = Console(highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
REASON = click.option("--reason", help=f"One word for the record, such as complaint; {BY_HAND} when not given.")
OFFER = click.argument("offer")


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    cli.add_command(group)


@click.group("offer")
def group() -> None:
    """Offers, changed by hand: OFFER is its id, or any id of the lead that it is the open offer of."""


@group.command("rescind")
@OFFER
@REASON
@click.option(
    "--then",
    type=click.Choice(["route", "hold"]),
    default="route",
    show_default=True,
    help="route: on to another member; hold: out of distribution.",
)
@DIR
def rescind(offer: str, *, reason: str | None, then: Any, data_dir: Path | None) -> None:
    """Take an offer back from its member, answered or not; it uses up none of the lead's reassignments."""
    _carry_out(offer, data_dir, lambda desk, one: desk.rescind(one, reason, then=then, actor=Actor.MANAGER))


@group.command("accept")
@OFFER
@DIR
def accept(offer: str, data_dir: Path | None) -> None:
    """Accept an offer for its member."""
    _carry_out(offer, data_dir, lambda desk, one: desk.accept(one, actor=Actor.MANAGER))


@group.command("reject")
@OFFER
@REASON
@DIR
def reject(offer: str, *, reason: str | None, data_dir: Path | None) -> None:
    """Reject an offer for its member, also beyond its limit of a day."""
    _carry_out(offer, data_dir, lambda desk, one: desk.reject(one, reason, actor=Actor.MANAGER))


@group.command("complete")
@OFFER
@DIR
def complete(offer: str, data_dir: Path | None) -> None:
    """Call an accepted lead done."""
    _carry_out(offer, data_dir, lambda desk, one: desk.complete(one, actor=Actor.MANAGER))


@group.command("lose")
@OFFER
@REASON
@DIR
def lose(offer: str, *, reason: str | None, data_dir: Path | None) -> None:
    """Call an accepted lead lost."""
    _carry_out(offer, data_dir, lambda desk, one: desk.lose(one, reason, actor=Actor.MANAGER))


@group.command("return")
@OFFER
@REASON
@DIR
def give_back(offer: str, *, reason: str | None, data_dir: Path | None) -> None:
    """Return an accepted lead for its member, also after the window for it and beyond its share of a month."""
    _carry_out(offer, data_dir, lambda desk, one: desk.give_back(one, reason, actor=Actor.MANAGER))


def _carry_out(ref: str, data_dir: Path | None, what: Callable[[Desk, UUID], Answered]) -> None:
    with house.opened(data_dir, new=False):
        answered = what(wiring.desk(announce, nudge), _offer(ref))
    follows = " The lead goes on to another member." if answered.route else ""
    again = " already" if answered.repeated else ""
    out.print(f"The offer is{again} {answered.state}.{follows}")


def _offer(ref: str) -> UUID:
    """The offer of this id, or the open one of this lead. Raises BadInput."""
    try:
        return UUID(ref)
    except ValueError:
        story = wiring.explain().lead(ref)
    found = [one for one in story.offers if OfferState(one.state) in OPEN] if story else []
    if len(found) != 1:
        said = f"lead {ref!r} has {len(found) or 'no'} open offer{'s' * (len(found) > 1)}" if story else "no such lead"
        raise BadInput(said, field="offer", fix="Give the offer's id; `fairturn explain LEAD --json` names them.")
    return found[0].offer_id
