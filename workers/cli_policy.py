"""`fairturn policy`: checked, drafted, compared, published, rolled back; its history; its way into another house."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from config import policy as policy_file
from config import policy_bundle, policy_checking, wiring
from config.policy_effect import changes
from config.publisher import still_to_come
from routing.access import Role
from routing.errors import BadInput
from routing.policy_diff import differences
from routing.versions import NeedsApproval, State, Version, Writer
from storage.postgres.policy_reader import NoPolicy
from workers import house, policy_report

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
AS = click.option("--as", "address", default="", help="Who you are: the address of a manager of ours.")
NOTE = click.option("--note", default="", help="Why, for the record.")
REPLACING = click.option(
    "--replacing", type=click.IntRange(min=0), help="The version it takes the place of, known to be in force; 0: none."
)
ANYWAY = click.option(
    "--anyway", is_flag=True, help="It is meant that a pool has no members, or that limits are passed already."
)
FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
VERSION = click.argument("version", type=click.IntRange(min=1))


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    cli.add_command(policy)


@click.group()
def policy() -> None:
    """The policy: who may get what, in which turn, within which limits."""


# --- looked at


@policy.command("check")
@click.argument("file")
@click.option("--against-roster", is_flag=True, help="Hold it against the members there are and what they hold.")
@JSON
@DIR
def policy_check(file: str, *, against_roster: bool, as_json: bool, data_dir: Path | None) -> None:
    """Say what is wrong with a policy, each with a lead that shows it; exit 1 when it cannot be published.

    FILE is a YAML file; or a number of a version, or `live`: those are held against the members there are.
    """
    found = policy_report.checked(file, against_roster=against_roster, data_dir=data_dir)
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2, ensure_ascii=False))
    else:
        out.print("\n".join(policy_report.lines(policy_report.named(file), found)), markup=False, soft_wrap=True)
    sys.exit(0 if policy_checking.publishable(found) else 1)


@policy.command("show")
@click.argument("version", default="live")
@click.option("--version", "number", type=click.IntRange(min=1), help="The same as the argument.")
@JSON
@DIR
def policy_show(version: str, number: int | None, *, as_json: bool, data_dir: Path | None) -> None:
    """Print the policy in force, or any version, as its author wrote it, with the comments."""
    with house.opened(data_dir, new=False):
        publisher, wanted = wiring.publisher(), number or policy_report.version_of(version)
        in_force = publisher.policies.in_force()
        if in_force is None or publisher.policies.text(wanted or in_force) is None:
            newest = publisher.policies.all(limit=1)
            fix = f"Versions go from 1 to {newest[0].version}." if newest else "`fairturn migrate` publishes the first."
            raise BadInput(f"there is no version {wanted or ''}".rstrip(), field="version", fix=fix)
        if wanted in {None, in_force}:
            _tell_trouble()
        if as_json:
            known = publisher.policies.one(wanted or in_force)
            click.echo(
                json.dumps(policy_report.version_told(known) | {"document": publisher.document(wanted)}, indent=2)
            )
        else:
            click.echo(publisher.text(wanted), nl=False)


@policy.command("diff")
@click.argument("one")
@click.argument("other", default="live")
@JSON
@DIR
def policy_diff(one: str, other: str, *, as_json: bool, data_dir: Path | None) -> None:
    """Tell what is different in OTHER (the policy in force) from ONE, by name and path; exit 1 when anything is.

    Each is a number of a version, `live`, or a YAML file.
    """
    files = [Path(ref).is_file() for ref in (one, other)]
    if all(files):
        found = changes(*(dict(policy_file.load_file(Path(ref))) for ref in (one, other)))
    else:
        with house.opened(data_dir, new=False):
            found = changes(_document(one), _document(other))
    if as_json:
        click.echo(json.dumps([one.to_json() for one in found], indent=2, ensure_ascii=False))
    else:
        policy_report.show_differences(out, found)
    sys.exit(1 if found else 0)


@policy.command("history")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--before", type=click.IntRange(min=1), help="Only lower versions.")
@click.option("--roster", is_flag=True, help="Changes of members instead: who, when, before and after.")
@JSON
@DIR
def policy_history(*, limit: int, before: int | None, roster: bool, as_json: bool, data_dir: Path | None) -> None:
    """Tell of each version who wrote, approved and published it, when, what it changed, how many decisions used it."""
    if roster:
        _roster_history(limit, data_dir, as_json=as_json)
        return
    with house.opened(data_dir, new=False):
        entries = wiring.publisher().history(limit=limit, before=before)
        _tell_trouble()
    if as_json:
        click.echo(json.dumps([policy_report.entry_told(one) for one in entries], indent=2, ensure_ascii=False))
        return
    for entry in entries:
        policy_report.show_entry(out, entry)


def _tell_trouble() -> None:
    """Say why the version in force cannot be read, and which one goes on."""
    try:
        trouble = wiring.ledger().policy_trouble()
    except NoPolicy as exc:
        told: str | None = str(exc)
    else:
        told = trouble.told if trouble else None
    if told:
        err.print(told, style="red", markup=False, soft_wrap=True)


def _roster_history(limit: int, data_dir: Path | None, *, as_json: bool) -> None:
    with house.opened(data_dir, new=False):
        found = wiring.roster_changes().latest(limit)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False, default=str))
        return
    for one in found:
        member = one.after or one.before or {}
        out.print(
            f"{one.at:%Y-%m-%d %H:%M:%S %Z}  {member.get('key', '')} in {one.market}, roster {one.roster_version}, "
            f"by {one.actor or 'nobody known'}",
            markup=False,
        )
        if one.before is None:
            out.print("    was added" if one.after is not None else "    is gone")
            continue
        for change in differences(dict(one.before), dict(one.after or {})) if one.after is not None else ():
            out.print(f"    {change.told}", markup=False, soft_wrap=True)
        if one.after is None:
            out.print("    left this market")


@policy.command("schema")
def policy_schema() -> None:
    """Print the JSON Schema of a policy, for editors."""
    click.echo(policy_file.schema_text(), nl=False)


# --- changed


@policy.command("draft")
@FILE
@click.option("--on", "base", type=click.IntRange(min=1), help="The version it is written on; else the one in force.")
@NOTE
@AS
@JSON
@DIR
def policy_draft(
    file: Path, *, base: int | None, note: str, address: str, as_json: bool, data_dir: Path | None
) -> None:
    """Keep a policy file as a draft."""
    with house.opened(data_dir):
        house.migrate()
        made = wiring.publisher().draft(policy_file.load_file(file), by=writer(address), note=note, base=base)
        tell(made, as_json=as_json)


@policy.command("edit")
@VERSION
@FILE
@click.option("--edition", type=click.IntRange(min=1), help="Only if it is still in this edition.")
@click.option("--on", "base", type=click.IntRange(min=1), help="It is written on top of this version now.")
@AS
@JSON
@DIR
def policy_edit(
    version: int,
    file: Path,
    *,
    edition: int | None,
    base: int | None,
    address: str,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Write a draft anew from a file; what was approved before must be approved again."""
    with house.opened(data_dir, new=False):
        by, document = writer(address), policy_file.load_file(file)
        made = wiring.publisher().edit(version, document, by=by, edition=edition, base=base)
        tell(made, as_json=as_json)


@policy.command("approve")
@VERSION
@AS
@DIR
def policy_approve(version: int, *, address: str, data_dir: Path | None) -> None:
    """Stand for a draft that somebody else wrote."""
    with house.opened(data_dir, new=False):
        made = wiring.publisher().approve(version, by=writer(address))
    out.print(f"Version {version}: {' and '.join(made.names)} stand for it.", markup=False)


@policy.command("publish")
@click.argument("what")
@NOTE
@REPLACING
@ANYWAY
@AS
@JSON
@DIR
def policy_publish(
    what: str, *, note: str, replacing: int | None, anyway: bool, address: str, as_json: bool, data_dir: Path | None
) -> None:
    """Put WHAT in force: a draft by its number, or a policy file."""
    document = None if what.isdecimal() else policy_file.load_file(Path(what))
    with house.opened(data_dir):
        if document is not None:
            wiring.parse_policy(document, 0)
        house.migrate()
        by = writer(address)
        if document is None:
            made = wiring.publisher().publish(int(what), by=by, replacing=replacing, anyway=anyway)
        else:
            made = _published(document, by=by, note=note, replacing=replacing, anyway=anyway)
        tell(made, as_json=as_json)
        _tell_overtaken()


@policy.command("schedule")
@VERSION
@click.argument("at")
@REPLACING
@ANYWAY
@AS
@DIR
def policy_schedule(
    version: int, at: str, *, replacing: int | None, anyway: bool, address: str, data_dir: Path | None
) -> None:
    """Have a draft published at a time, such as 2026-12-01T08:00+01:00."""
    with house.opened(data_dir, new=False):
        publisher = wiring.publisher()
        made = publisher.schedule(version, _time(at), by=writer(address), replacing=replacing, anyway=anyway)
        _tell_overtaken()
    out.print(f"Version {version} will be published at {made.publish_at:%Y-%m-%d %H:%M:%S %Z}.")


@policy.command("cancel")
@VERSION
@AS
@DIR
def policy_cancel(version: int, *, address: str, data_dir: Path | None) -> None:
    """Do not publish what is scheduled; it is a draft again."""
    with house.opened(data_dir, new=False):
        publisher = wiring.publisher()
        planned = publisher.policies.one(version).state is State.SCHEDULED
        made = publisher.cancel(version, by=writer(address))
    again = "a draft again" if planned else f"a {made.state}: nothing was scheduled, and nothing is changed"
    out.print(f"Version {version} is {again}.")


@policy.command("retire")
@VERSION
@AS
@DIR
def policy_retire(version: int, *, address: str, data_dir: Path | None) -> None:
    """Give up a draft; it is kept, and can be shown."""
    with house.opened(data_dir, new=False):
        wiring.publisher().retire(version, by=writer(address))
    out.print(f"Version {version} is retired.")


@policy.command("rollback")
@VERSION
@NOTE
@AS
@DIR
def policy_rollback(version: int, *, note: str, address: str, data_dir: Path | None) -> None:
    """Put an earlier version in force again, at once; offers that are out keep their deadlines."""
    with house.opened(data_dir, new=False):
        made = wiring.publisher().rollback(version, by=writer(address), note=note)
        _tell_overtaken()
    out.print(f"Version {made.version} is published: it says what version {version} said.")


# --- from one house to another


@policy.command("export")
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("-o", "--output", "to", type=click.Path(path_type=Path), required=True, help="A folder, or a file.")
@DIR
def policy_export(version: int | None, *, to: Path, data_dir: Path | None) -> None:
    """Write the policy in force, or any version, with its tables and areas into a folder, or one JSON file."""
    with house.opened(data_dir, new=False):
        made = wiring.publisher().export(version)
    policy_bundle.write(made, to)
    out.print(f"Version {made.origin['version']} is in {to}.", markup=False)


@policy.command("import")
@click.argument("place", type=click.Path(path_type=Path, exists=True))
@click.option("--publish", is_flag=True, help="Publish it at once, instead of keeping a draft.")
@NOTE
@ANYWAY
@AS
@JSON
@DIR
def policy_import(
    place: Path, *, publish: bool, note: str, anyway: bool, address: str, as_json: bool, data_dir: Path | None
) -> None:
    """Take in what `export` wrote, as a draft."""
    found = policy_bundle.read(place)
    with house.opened(data_dir):
        house.migrate()
        publisher, by = wiring.publisher(), writer(address)
        document = publisher.take_in(found)
        note = note or str(found.origin.get("note", ""))
        keep(document, publish=publish, by=by, note=note, anyway=anyway, as_json=as_json)


# --- what all of them need


def keep(
    document: Mapping[str, Any], *, publish: bool, by: Writer, note: str, anyway: bool = False, as_json: bool = False
) -> None:
    """Publish a document, or keep it as a draft, and say which."""
    if publish:
        made = _published(document, by=by, note=note, replacing=None, anyway=anyway)
    else:
        made = wiring.publisher().draft(document, by=by, note=note)
    tell(made, as_json=as_json)


def writer(address: str) -> Writer:
    """Who does it: a manager of ours by the address, else the command line, which stands for nobody."""
    if not address:
        return Writer("fairturn policy")
    person = wiring.people().by_email(address)
    if person is None or not person.active or person.role is not Role.MANAGER:
        fix = "`fairturn user list` shows all; `fairturn user add ADDRESS --role manager` lets one in."
        raise BadInput("no manager has this address", field="--as", fix=fix)
    return Writer(person.name, person.id, person.manages)


def _published(document: Mapping[str, Any], *, by: Writer, note: str, replacing: int | None, anyway: bool) -> Version:
    """Publish a document; where others must stand for it first, keep it as a draft and say so."""
    publisher = wiring.publisher()
    try:
        return publisher.publish_document(document, by=by, note=note, replacing=replacing, anyway=anyway)
    except NeedsApproval as exc:
        if by.id is None:
            raise
        draft = publisher.draft(document, by=by, note=note)
        raise NeedsApproval(
            f"It is kept as draft {draft.version}, which another manager must approve: `fairturn policy approve "
            f"{draft.version} --as ADDRESS`; then `fairturn policy publish {draft.version}`."
        ) from exc


def _document(ref: str) -> Mapping[str, Any]:
    """What a reference means: a file, a version's number, or the policy in force."""
    if Path(ref).is_file():
        return dict(policy_file.load_file(Path(ref)))
    if ref != "live" and not ref.isdecimal():
        raise BadInput(f"{ref!r} is no version and no file", field="version", fix="Give a number, `live`, or a file.")
    return dict(wiring.publisher().document(policy_report.version_of(ref)))


def _time(text: str) -> datetime:
    fix = "Write it like 2026-12-01T08:00+01:00, or 2026-12-01T07:00Z."
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise BadInput(f"{text!r} is no time", field="at", fix=fix) from exc
    if found.tzinfo is None:
        raise BadInput("it has no time zone", field="at", fix=fix)
    return still_to_come(found, datetime.now(UTC))


def _tell_overtaken() -> None:
    """Name the scheduled versions that were written on another one than the one they would replace."""
    for one in wiring.publisher().overtaken():
        err.print(
            f"Version {one.version} is scheduled for {one.publish_at:%Y-%m-%d %H:%M %Z} on top of version {one.base}, "
            "which will not be in force then: it will be refused. Schedule it again, with --replacing.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def tell(made: Version, *, as_json: bool) -> None:
    """What was found in a version, and what it is now."""
    if as_json:
        click.echo(json.dumps(policy_report.version_told(made), indent=2, ensure_ascii=False))
        return
    earlier = made.replaced if made.state is State.PUBLISHED else made.base
    before = wiring.publisher().policies.one(earlier) if earlier else None
    for line in policy_report.kept(made, before):
        err.print(line, style="yellow", markup=False, soft_wrap=True)
    if made.state is State.PUBLISHED:
        out.print(f"Version {made.version} is published.")
        return
    base = f", written on version {made.base}" if made.base else ""
    out.print(f"Version {made.version} is a draft{base}. See it: `fairturn policy diff live {made.version}`.")
