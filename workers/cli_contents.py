"""`fairturn policy table` and `fairturn policy area`: files put into the policy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from config import policy_contents, wiring
from routing.errors import BadInput
from storage.postgres.contents import MOST_BYTES, digest_of
from workers import house
from workers.cli_policy import AS, DIR, NOTE, keep, policy, writer

PUBLISH = click.option("--publish", is_flag=True, help="Publish it at once, instead of keeping a draft.")
FILE = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))


def add_to(_cli: click.Group) -> None:
    """Add both commands to `fairturn policy`."""
    policy.add_command(policy_table)
    policy.add_command(policy_area)


@click.command("table")
@click.argument("name")
@FILE
@click.option("--key", multiple=True, help="What it is looked up by, for a new table; such as 'lead.postal_code[:3]'.")
@click.option("--column", "columns", multiple=True, metavar="NAME=KIND", help="A column, for a new table; else text.")
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
    publish: bool,
    note: str,
    address: str,
    data_dir: Path | None,
) -> None:
    """Take a CSV file into the policy as the table NAME; a draft is made of the policy in force with it."""
    kinds = dict(_column(text) for text in columns)
    _take_in(
        file,
        lambda document, body: policy_contents.with_table(
            document, name, body, digest_of(body), contents=wiring.contents().get, key=key, columns=kinds
        ),
        publish=publish,
        note=note or f"table {name} from {file.name}",
        who=(address, data_dir),
    )


@click.command("area")
@click.argument("name")
@FILE
@PUBLISH
@NOTE
@AS
@DIR
def policy_area(name: str, file: Path, *, publish: bool, note: str, address: str, data_dir: Path | None) -> None:
    """Take a GeoJSON file into the policy as the area NAME; a draft is made of the policy in force with it."""
    _take_in(
        file,
        lambda document, body: policy_contents.with_area(
            document, name, body, digest_of(body), contents=wiring.contents().get
        ),
        publish=publish,
        note=note or f"area {name} from {file.name}",
        who=(address, data_dir),
    )


def _column(text: str) -> tuple[str, str]:
    name, _, kind = text.partition("=")
    return name, kind or "text"


def _take_in(
    file: Path,
    put_in: Callable[[Mapping[str, Any], bytes], Mapping[str, Any]],
    *,
    publish: bool,
    note: str,
    who: tuple[str, Path | None],
) -> None:
    address, data_dir = who
    body = _read(file)
    with house.opened(data_dir):
        house.migrate()
        document = put_in(wiring.publisher().document(None), body)
        wiring.contents().put(body)
        keep(document, publish=publish, by=writer(address), note=note)


def _read(file: Path) -> bytes:
    if file.stat().st_size > MOST_BYTES:
        raise BadInput(f"it is larger than {MOST_BYTES // 1024 // 1024} MB", field=str(file), fix="Make it smaller.")
    return file.read_bytes()
