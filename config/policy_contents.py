"""A file put into the policy as one of its tables or areas: the document that names it, checked with it."""

import json
import re
from collections.abc import Mapping, Sequence
from csv import reader
from io import StringIO
from typing import Any

from config import policy_text
from config.policy import parse
from config.policy_tables import Contents, decoded
from config.policy_text import Written
from routing.errors import BadInput


def with_table(
    document: Mapping[str, Any],
    name: str,
    body: bytes,
    digest: str,
    *,
    contents: Contents,
    key: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
) -> Mapping[str, Any]:
    """The document with this CSV file as its table NAME. Raises BadInput with the line of the file, and the fix.

    `key` and `columns` make a table that is not there yet, or change one. Columns of the file that are not named there
    are of the kind they had, else text.
    """
    _divided_by_commas(body, name)
    there = document.get("tables", {}).get(name, {})
    key = list(key) or there.get("key")
    if not key:
        raise BadInput(
            f"the policy has no table {name} yet",
            field="--key",
            fix="Say what it is looked up by, such as --key lead.country --key 'lead.postal_code[:3]'.",
        )
    before = there.get("columns", {})
    known = before if before and not columns else {**_columns(body, name, key, before), **(columns or {})}
    part = {"key": key, "columns": dict(known), "content": digest}
    return _with(document, ("tables", name), part, lambda wanted: body if wanted == digest else contents(wanted))


def with_area(
    document: Mapping[str, Any], name: str, body: bytes, digest: str, *, contents: Contents
) -> Mapping[str, Any]:
    """The document with this GeoJSON file as its area NAME. Raises BadInput with the place in it, and the fix."""
    part = {"content": digest}
    return _with(document, ("areas", name), part, lambda wanted: body if wanted == digest else contents(wanted))


def _with(
    document: Mapping[str, Any], way: tuple[str, str], part: Mapping[str, Any], contents: Contents
) -> Mapping[str, Any]:
    section, name = way
    before = document.get(section, {}).get(name, {}).get("content")
    made: Mapping[str, Any] = {**document, section: {**document.get(section, {}), name: part}}
    if isinstance(document, Written):
        made = _rewritten(document, way, before, part["content"], made)
    parse(made, 0, contents=contents)
    return made


def _rewritten(
    document: Written, way: tuple[str, str], before: str | None, digest: str, made: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The text its author wrote with the new digest in the old one's place, or the new part within, comments and all.

    The bare document where the text cannot be changed so that it says the same.
    """
    if not document.source:
        return made
    text = document.source.replace(before, digest) if before else _with_part(document.source, way, made)
    try:
        written = policy_text.read(text, document.name)
    except BadInput:
        return made
    return written if dict(written) == dict(made) else made


def _with_part(source: str, way: tuple[str, str], made: Mapping[str, Any]) -> str:
    """The text with a new part below its section, or with a new section at its end."""
    section, name = way
    part = f"  {json.dumps(name)}: {json.dumps(made[section][name], ensure_ascii=False)}\n"
    found = re.search(rf"^{section}:[ \t]*(#.*)?$\n", source, re.MULTILINE)
    if found:
        return source[: found.end()] + part + source[found.end() :]
    return f"{source.rstrip()}\n{section}:\n{part}"


def _divided_by_commas(body: bytes, name: str) -> None:
    """Raise BadInput for a file whose columns are divided by something else, as some spreadsheets write them."""
    first = body.partition(b"\n")[0]
    mark = next((word for sign, word in ((b";", "semicolons"), (b"\t", "tabs")) if sign in first), None)
    if mark and b"," not in first:
        fix = "Save it with commas between the columns."
        raise BadInput(f"its columns are divided by {mark}", field=f"{name}.csv line 1", fix=fix)


def _columns(body: bytes, name: str, key: Sequence[str], before: Mapping[str, str]) -> dict[str, str]:
    """Every column of the file that is no part of the key: of the kind it had before, else text."""
    first = next(reader(StringIO(decoded(body, f"{name}.csv"), newline="")), [])
    keys = {part.partition("[")[0].rstrip("*").removeprefix("lead.") for part in key}
    return {head: before.get(head, "text") for head in map(str.strip, first) if head not in keys}
