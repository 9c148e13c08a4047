"""Tables of the policy: rows as they are written, or a CSV file, made into a table that is asked for every lead."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from config.policy_parts import STRICT, once, wrong
from config.policy_words import suggestion
from routing.errors import BadInput
from routing.tables import MOST_SHAPES, KeyPart, Row, Table, key_text
from routing.vocabulary import Kind, Vocabulary

#: A table of a million rows takes a gigabyte in every worker.
MOST_ROWS, MOST_BYTES = 1_000_000, 64 * 1024 * 1024
LONGEST_CELL = 1000
_KEY = re.compile(r"(?P<fact>lead\.[A-Za-z_]\w*)(?:(?P<beginning>\*)|\[:(?P<first>[1-9]\d?)\])?", re.ASCII)
_KINDS_OF_KEYS = {Kind.TEXT, Kind.WHOLE, Kind.FLAG}

_SIGNS = {";": "semicolons", "\t": "tabs", "|": "bars"}
Contents = Callable[[str], bytes]
#: What a table or an area is called in conditions, and an attribute.
Word = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,59}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
AnyKind = Annotated[Kind, Field(strict=False)]
Cell = str | int | float | bool | None


class TablePart(BaseModel):
    """A look-up table: a key, columns, and the rows, written here or as the digest of a CSV file."""

    model_config = STRICT

    key: Annotated[list[str], Field(min_length=1, max_length=6)]
    columns: Annotated[dict[Word, AnyKind], Field(min_length=1, max_length=50)]
    rows: Annotated[list[dict[str, Cell]], Field(max_length=10_000)] | None = None
    content: Digest | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.rows is None) == (self.content is None):
            raise wrong("a table has either rows or a content", "Write rows:, or publish a file: fairturn policy table")
        parts = [_key_part(text) for text in self.key]
        once([part.fact for part in parts], "the key has", "fact")
        headings = [*(heading(part) for part in parts), *self.columns]
        once(headings, "key and columns have", "name")
        return self

    def made(self, name: str, known: Vocabulary, contents: Contents, where: Callable[[str], str]) -> Table:
        """The table. Raises BadInput with the row or the line, and the fix."""
        parts = tuple(_key_part(text) for text in self.key)
        for at, part in enumerate(parts):
            _fits(part, known, where(f"key[{at}]"))
        lines: Iterable[tuple[str, Mapping[str, Any]]]
        if self.content is None:
            lines = ((where(f"rows[{at}]"), row) for at, row in enumerate(self.rows or []))
        else:
            lines = _lines(held(contents, self.content, where("content")), f"{name}.csv", parts, self.columns)
        return _table(name, parts, self.columns, lines)


def held(contents: Contents, digest: str, place: str) -> bytes:
    """The file of a table or an area. Raises BadInput with the place that names it."""
    try:
        return contents(digest)
    except BadInput as exc:
        message = str(exc).removeprefix(f"{exc.field}: ").removesuffix(f". {exc.fix}")
        raise BadInput(message, field=place, fix=exc.fix) from exc


def _key_part(text: str) -> KeyPart:
    found = _KEY.fullmatch(text)
    if found is None:
        raise wrong(
            f"{text!r} is no part of a key",
            "Write a fact such as lead.country, lead.postal_code[:3] or lead.postal_code*.",
        )
    return KeyPart(found["fact"], int(found["first"]) if found["first"] else None, beginning=bool(found["beginning"]))


def heading(part: KeyPart) -> str:
    """What a part of the key is called in rows and files: the fact without `lead.`."""
    return part.fact.removeprefix("lead.")


def _fits(part: KeyPart, known: Vocabulary, where: str) -> None:
    kind = known.kinds.get(part.fact)
    if kind is None:
        raise BadInput(f"nothing is called {part.fact}", field=where, fix=suggestion(part.fact, known.kinds))
    if kind not in _KINDS_OF_KEYS or (kind is not Kind.TEXT and str(part) != part.fact):
        raise BadInput(
            f"{part} is a {kind}, which no key is made of", field=where, fix="Use a text, a whole number or a flag."
        )


def _table(
    name: str, key: tuple[KeyPart, ...], columns: Mapping[str, Kind], lines: Iterable[tuple[str, Mapping[str, Any]]]
) -> Table:
    rows: dict[tuple[str, ...], Row] = {}
    headings = [heading(part) for part in key]
    known, same = {*headings, *columns}, _Shared()
    for where, line in lines:
        if unknown := next((cell for cell in line if cell not in known), None):
            raise BadInput(f"no column is called {unknown}", field=where, fix=suggestion(unknown, known))
        at = tuple(_key_cell(line.get(head), part, where) for head, part in zip(headings, key, strict=True))
        if at in rows:
            raise BadInput(f"the key {', '.join(at)} is there twice", field=where, fix="Keep one of the two rows.")
        rows[at] = same(tuple(_cell(line.get(column), kind, column, where) for column, kind in columns.items()))
    if len(Table.shapes(key, rows)) > MOST_SHAPES:
        raise BadInput(
            f"beginnings of more than {MOST_SHAPES} different lengths", field=f"tables.{name}", fix="Use fewer lengths."
        )
    return Table(name, key, columns, rows)


class _Shared(dict[Row, Row]):
    """The same row for the same cells: most rows of a large table say one of a few things."""

    def __call__(self, row: Row) -> Row:
        return self.setdefault(row, row)


def _key_cell(raw: object, part: KeyPart, where: str) -> str:
    text = "" if raw is None else key_text(raw)
    head = heading(part)
    if not text and not part.beginning:
        raise BadInput(f"{head} is empty", field=where, fix="Every cell of a key is filled.")
    if part.first is not None and len(text) != part.first:
        raise BadInput(
            f"{head} is {text!r}, not {part.first} letters long", field=where, fix="Write it as long as the key says."
        )
    return _short(text, head, where)


def _cell(raw: object, kind: Kind, column: str, where: str) -> object:
    """A cell as its kind; an empty one is text without letters, or nothing at all."""
    if raw is None or raw == "":
        return "" if kind is Kind.TEXT and raw == "" else None
    value = Vocabulary({column: kind}).read({column: raw}, (column,)).get(column)
    if value is None:
        raise BadInput(f"{column} is {str(raw)[:40]!r}, not a {_KIND.get(kind, kind)}", field=where, fix=_LIKE[kind])
    if isinstance(value, str):
        return _short(value.strip(), column, where)
    return value


def _short(text: str, column: str, where: str) -> str:
    if len(text) > LONGEST_CELL:
        raise BadInput(f"{column} is longer than {LONGEST_CELL} letters", field=where, fix="Write less.")
    return text


_KIND = {Kind.WHOLE: "whole number"}
_LIKE = {
    Kind.TEXT: "Write a text.",
    Kind.NUMBER: "Write a number, such as 1.5.",
    Kind.WHOLE: "Write a whole number, such as 5.",
    Kind.FLAG: "Write true or false.",
    Kind.DATE: "Write a day, such as 2026-03-01.",
    Kind.TIME: "Write a moment, such as 2026-03-01T08:00:00Z.",
    Kind.LIST: "Write texts with ; between them.",
}


def _lines(
    body: bytes, file: str, key: tuple[KeyPart, ...], columns: Mapping[str, Kind]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each row of a CSV file with its line. Raises BadInput when it is no such file or lacks a column."""
    reader, some = csv.reader(io.StringIO(decoded(body, file), newline=""), strict=True), False
    try:
        heads = _heads(next(reader, []), [*(heading(part) for part in key), *columns], file)
        for count, cells in enumerate(reader):
            where = f"{file} line {reader.line_num}"
            if count >= MOST_ROWS:
                raise BadInput(f"more than {MOST_ROWS:,} rows", field=where, fix="Make two tables of it.")
            if not cells:
                continue
            if len(cells) != len(heads):
                raise BadInput(
                    f"{len(cells)} cells where the first line has {len(heads)}",
                    field=where,
                    fix="Quote cells with commas.",
                )
            some = True
            yield where, dict(zip(heads, cells, strict=True))
        if not some:
            raise BadInput("it has no row, only headings", field=file, fix="Add the rows, or take the table out.")
    except csv.Error as exc:
        raise BadInput(f"{exc}", field=f"{file} line {reader.line_num}", fix="Mend the quotes there.") from exc


def _heads(first: list[str], wanted: list[str], file: str) -> list[str]:
    """The headings of the file. Raises BadInput when they are not those that are wanted."""
    heads, where = [head.strip() for head in first], f"{file} line 1"
    if missing := [name for name in wanted if name not in heads]:
        fix = f"Begin with {','.join(wanted)}."
        if len(heads) == 1 and (other := next((sign for sign in _SIGNS if sign in heads[0]), None)):
            fix = f"Put commas between the cells, not {_SIGNS[other]}. {fix}"
        raise BadInput(f"the column {missing[0]} is missing", field=where, fix=fix)
    if len(heads) > len(set(heads)):
        twice, _ = Counter(heads).most_common(1)[0]
        raise BadInput(f"the column {twice[:60]} is there twice", field=where, fix="Keep one of them.")
    if unknown := next((head for head in heads if head not in wanted), None):
        raise BadInput(f"no column is called {unknown[:60]}", field=where, fix=suggestion(unknown, wanted))
    return heads


def decoded(body: bytes, file: str) -> str:
    """The text of a file. Raises BadInput with the line when it is no text."""
    if len(body) > MOST_BYTES:
        raise BadInput(
            f"it is larger than {MOST_BYTES // 1024 // 1024} MB", field=file, fix="Leave out columns that no rule asks."
        )
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = body.count(b"\n", 0, exc.start) + 1
        raise BadInput("it is not UTF-8", field=f"{file} line {line}", fix="Save the file as UTF-8.") from exc
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInput("it holds a zero byte", field=f"{file} line {line}", fix="Save it as text, as UTF-8.")
    return text
