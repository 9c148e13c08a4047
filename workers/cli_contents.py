"""`fairturn policy table`, `area` and `contents`: files put into the policy, and those that are kept for it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from config import policy_contents, wiring
from routing.errors import BadInput
from routing.finding import listed
from storage.postgres.contents import MOST_BYTES, digest_of
from workers import house
from workers.cli_policy import AS, DIR, JSON, NOTE, keep, out, policy, tell, writer

PUBLISH = click.option("--publish", is_flag=True, help="Publish it at once, instead of keeping a draft.")
ON = click.option(
    "--on", "draft", type=click.IntRange(min=1), help="Put it into this draft, instead of into the policy in force."
)
FILE = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


def add_to(_cli: click.Group) -> None:
    """Add both commands to `fairturn policy`."""
    policy.add_command(policy_table)
    policy.add_command(policy_area)
    policy.add_command(policy_contents_command)


@click.command("table")
@click.argument("name")
@FILE
@click.option("--key", multiple=True, help="What it is looked up by, for a new table; such as 'lead.postal_code[:3]'.")
@click.option("--column", "columns", multiple=True, metavar="NAME=KIND", help="A column, for a new table; else text.")
@ON
@PUBLISH
@NOTE
@AS
@DIR
def policy_table(
    name: str,
    file: Path,
    *,
    key: tuple[str, ...],
    columns: tuple[str, ...],
    draft: int | None,
    publish: bool,
    note: str,
    address: str,
    data_dir: Path | None,
) -> None:
    """Take a CSV file into the policy as the table NAME: a draft of the policy in force with it, or a draft's own."""
    kinds = dict(_column(text) for text in columns)
    _take_in(
        file,
        lambda document, body: policy_contents.with_table(
            document, name, body, digest_of(body), contents=wiring.contents().get, key=key, columns=kinds
        ),
        Wish(draft, publish, note, f"table {name} from {file.name}", address, data_dir),
    )


@click.command("area")
@click.argument("name")
@FILE
@ON
@PUBLISH
@NOTE
@AS
@DIR
def policy_area(
    name: str,
    file: Path,
    *,
    draft: int | None,
    publish: bool,
    note: str,
    address: str,
    data_dir: Path | None,
) -> None:
    """Take a GeoJSON file into the policy as the area NAME: a draft of the one in force with it, or a draft's own."""
    _take_in(
        file,
        lambda document, body: policy_contents.with_area(
            document, name, body, digest_of(body), contents=wiring.contents().get
        ),
        Wish(draft, publish, note, f"area {name} from {file.name}", address, data_dir),
    )


@click.command("contents")
@click.option("--remove-unused", is_flag=True, help="Remove those that no version names.")
@JSON
@DIR
def policy_contents_command(*, remove_unused: bool, as_json: bool, data_dir: Path | None) -> None:
    """List the files of tables and areas that are kept, with the versions that name each."""
    with house.opened(data_dir, new=not remove_unused and data_dir is None):
        gone = wiring.contents().remove_unused() if remove_unused else []
        held = wiring.contents().all()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in held], indent=2, default=str))
        return
    for one in held:
        used = f"versions {listed([str(version) for version in one.versions], 5)}" if one.versions else "no version"
        out.print(
            f"{one.digest}  {one.size:,} bytes  {one.at:%Y-%m-%d %H:%M} UTC  {used}", markup=False, soft_wrap=True
        )
    if remove_unused:
        out.print(f"{len(gone)} files that no version names are removed.")


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a file is put, and who does it."""

    draft: int | None
    publish: bool
    note: str
    else_note: str
    address: str
    data_dir: Path | None


def _column(text: str) -> tuple[str, str]:
    name, _, kind = text.partition("=")
    return name, kind or "text"


def _take_in(
    file: Path,
    put_in: Callable[[Mapping[str, Any], bytes], Mapping[str, Any]],
    wish: Wish,
) -> None:
    if wish.draft and wish.publish:
        raise BadInput("it goes with --publish only without a draft", field="--on", fix="Publish the draft afterwards.")
    body = _read(file)
    with house.opened(wish.data_dir):
        house.migrate()
        publisher, by = wiring.publisher(), writer(wish.address)
        known = publisher.policies.one(wish.draft) if wish.draft else None
        document = put_in(publisher.document(wish.draft), body)
        wiring.contents().put(body)
        if known is None:
            keep(document, publish=wish.publish, by=by, note=wish.note or wish.else_note)
            return
        note = "; ".join(filter(None, (known.note, wish.note or wish.else_note)))
        tell(publisher.edit(known.version, document, by=by, edition=known.edition, note=note), as_json=False)


def _read(file: Path) -> bytes:
    if file.stat().st_size > MOST_BYTES:
        raise BadInput(f"it is larger than {MOST_BYTES // 1024 // 1024} MB", field=str(file), fix="Make it smaller.")
    return file.read_bytes()
