"""`fairturn user`, `client`, `key` and `token`: who may come in. Each secret is printed once."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import wiring
from config.tokens import Tokens
from routing.access import OF_A_MEMBER, Role, Scope
from routing.errors import BadInput
from storage.postgres.clients import APP
from storage.postgres.people import Person
from workers import house

out = Console(highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
MEMBER = click.option("--member", help="The member's key; without it, of the whole network.")
SCOPES = click.option(
    "--scope", "scopes", multiple=True, type=click.Choice([str(scope) for scope in Scope]), help="May be repeated."
)
ACTOR = "fairturn {}"


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    for command in (user, client, key, token):
        cli.add_command(command)


@click.group()
def user() -> None:
    """People: of members (partner, partner_admin) and our own (operator, manager)."""


@user.command("add")
@click.argument("email")
@click.option("--name", required=True, help="What the person is called.")
@click.option("--member", help="The member's key, for its people.")
@click.option("--role", type=click.Choice([str(role) for role in Role]), default=str(Role.PARTNER), show_default=True)
@click.option("--phone", default="", help="For text messages.")
@click.option("--language", default="en", show_default=True, help="Of messages and pages.")
@click.option("--units", type=click.Choice(["mi", "km"]), default="mi", show_default=True)
@click.option("--manages", multiple=True, help="A manager's market or pool, of whose policy alone; may be repeated.")
@DIR
def user_add(email: str, *, name: str, member: str | None, role: str, data_dir: Path | None, **more: Any) -> None:
    """Let a person log in; whoever is known by the address is changed to this."""
    if "@" not in email.strip()[1:-1]:
        raise BadInput("it is no e-mail address", field="email", fix="Write it like ann@example.com.")
    if (member is None) != (Role(role) in {Role.OPERATOR, Role.MANAGER}):
        fix = "Partners have a member (--member KEY); operators and managers have none."
        raise BadInput(f"{role} {'needs' if member is None else 'has no'} member", field="--member", fix=fix)
    if more["manages"] and Role(role) is not Role.MANAGER:
        raise BadInput(
            "only managers are in charge of some", field="--manages", fix="Add --role manager, or leave it out."
        )
    with house.opened(data_dir):
        house.migrate()
        person = wiring.people().add(
            name=name, email=email, role=Role(role), member=member, actor=ACTOR.format("user add"), **more
        )
    out.print(f"{person} may log in as {role}.")


@user.command("list")
@click.option("--member", type=int, help="Only people of the member with this id.")
@JSON
@DIR
def user_list(member: int | None, *, as_json: bool, data_dir: Path | None) -> None:
    """Who may log in."""
    with house.opened(data_dir, new=False):
        found = wiring.people().all(member)
    _show(["email", "name", "role", "member_id", "active", "id"], [asdict(one) for one in found], as_json=as_json)


@user.command("disable")
@click.argument("email")
@DIR
def user_disable(email: str, data_dir: Path | None) -> None:
    """Shut a person out: every token ends within five seconds."""
    _set_active(email, data_dir, active=False)
    out.print("Shut out; tokens end within five seconds.")


@user.command("enable")
@click.argument("email")
@DIR
def user_enable(email: str, data_dir: Path | None) -> None:
    """Let a person in again; a new login is needed."""
    _set_active(email, data_dir, active=True)
    out.print("Let in again.")


@user.command("link")
@click.argument("email")
@DIR
def user_link(email: str, data_dir: Path | None) -> None:
    """Print a link that logs this person in, once and within ten minutes: for whoever may hand it over."""
    with house.opened(data_dir, new=False) as cfg:
        click.echo(f"{cfg.face()}/app/#login={_tokens().link_for(_person(email))}")


@click.group()
def client() -> None:
    """Programs that ask for tokens themselves: OAuth clients."""


@client.command("add")
@click.argument("name")
@MEMBER
@SCOPES
@click.option("--public", is_flag=True, help="An app in people's hands: it has no secret and acts for people only.")
@DIR
def client_add(name: str, *, member: str | None, scopes: Sequence[str], public: bool, data_dir: Path | None) -> None:
    """Make a client; prints its id and, once, its secret."""
    wanted = _wanted(scopes, network=member is None and not public)
    with house.opened(data_dir):
        house.migrate()
        found, secret = wiring.clients().add(
            name, member=member, scopes=wanted, public=public, actor=ACTOR.format("client add")
        )
    click.echo(f"client_id={found}")
    if secret:
        click.echo(f"client_secret={secret}")


@client.command("disable")
@click.argument("client_id")
@DIR
def client_disable(client_id: str, data_dir: Path | None) -> None:
    """Shut a client out: its tokens end within five seconds."""
    with house.opened(data_dir, new=False):
        done = wiring.clients().set_active(client_id, active=False, actor=ACTOR.format("client disable"))
    out.print("Shut out." if done else "It was shut out before, or there is no such client.")


@click.group()
def key() -> None:
    """API keys of programs."""


@key.command("add")
@click.argument("name")
@MEMBER
@SCOPES
@click.option("--days", type=click.IntRange(min=1), help="How long it is good; else until it is revoked.")
@DIR
def key_add(name: str, *, member: str | None, scopes: Sequence[str], days: int | None, data_dir: Path | None) -> None:
    """Make a key and print it, once. Two of one name may be alive, so that one can follow the other."""
    until = datetime.now(UTC) + timedelta(days=days) if days else None
    wanted = _wanted(scopes, network=member is None)
    with house.opened(data_dir):
        house.migrate()
        made = wiring.api_keys().add(
            name, member=member, scopes=wanted, expires_at=until, actor=ACTOR.format("key add")
        )
    click.echo(made)


@key.command("list")
@JSON
@DIR
def key_list(*, as_json: bool, data_dir: Path | None) -> None:
    """Every key, the newest first; never the keys themselves."""
    with house.opened(data_dir, new=False):
        found = wiring.api_keys().all()
    names = ["id", "name", "member_id", "scopes", "created_at", "expires_at", "last_used_at", "live"]
    rows = [asdict(one) | {"scopes": " ".join(sorted(one.scopes))} for one in found]
    _show(names, rows, as_json=as_json)


@key.command("revoke")
@click.argument("key_id")
@DIR
def key_revoke(key_id: str, data_dir: Path | None) -> None:
    """End a key, within five seconds; KEY_ID is what stands between the first two underscores of the key."""
    with house.opened(data_dir, new=False):
        done = wiring.api_keys().revoke(key_id, actor=ACTOR.format("key revoke"))
    out.print("Revoked." if done else "It was revoked before, or there is no such key.")


@click.group()
def token() -> None:
    """Access tokens, and the keys they are signed with."""


@token.command("issue")
@click.argument("email")
@SCOPES
@DIR
def token_issue(email: str, *, scopes: Sequence[str], data_dir: Path | None) -> None:
    """Print an access token of a person, good for ten minutes: to try the API with."""
    with house.opened(data_dir, new=False):
        app = wiring.clients().get(APP)
        if app is None:
            raise BadInput("its client is missing", field="client", fix="`fairturn migrate` makes it.")
        click.echo(_tokens().once(_person(email), app, frozenset(scopes)).access_token)


@token.command("rotate")
@DIR
def token_rotate(data_dir: Path | None) -> None:
    """Make a new signing key; it signs in ten minutes, and old tokens stay good until they end."""
    with house.opened(data_dir, new=False):
        made = wiring.signer().rotate(actor=ACTOR.format("token rotate"))
    out.print(f"Key {made} signs in ten minutes.")


def _wanted(scopes: Sequence[str], *, network: bool) -> frozenset[str]:
    """The scopes given; without any, all that a program can use for a member."""
    if scopes:
        return frozenset(scopes)
    return frozenset(map(str, OF_A_MEMBER | ({Scope.NETWORK} if network else set())))


def _set_active(email: str, data_dir: Path | None, *, active: bool) -> None:
    with house.opened(data_dir, new=False):
        person = _person(email, gone=True)
        wiring.people().set_active(person.id, active=active, actor=ACTOR.format("user"))


def _person(email: str, *, gone: bool = False) -> Person:
    person = wiring.people().by_email(email)
    if person is None or not (person.active or gone):
        raise BadInput("nobody who may log in has this address", field="email", fix="`fairturn user list` shows all.")
    return person


def _tokens() -> Tokens:
    found = wiring.tokens_for()
    if found is None:
        raise BadInput("it is not set", field="FAIRTURN_SECRET", fix="Give at least 32 random characters.")
    return found


def _show(names: Sequence[str], rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    picked = [{name: row[name] for name in names} for row in rows]
    if as_json:
        click.echo(json.dumps(picked, indent=2, default=str))
        return
    table = Table(box=None)
    for name in names:
        table.add_column(name, overflow="fold")  # nothing is cut off: these are copied into the next command
    for row in picked:
        table.add_row(*(escape("" if row[name] is None else str(row[name])) for name in names))
    out.print(table if rows else "There is none.")
