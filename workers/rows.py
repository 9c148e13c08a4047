"""Leads and members out of CSV files, row by row: a bad row is told apart with its reason, the others go on."""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from gateways.countries import alpha2
from routing.errors import BadInput
from routing.lead import Address, Point
from storage.postgres.members import MemberRow

#: Longer than any honest value.
LONGEST_FIELD = 10_000
LONGEST_LINE = 2_000_000
#: A quoted field may run over so many lines; past that somebody forgot to close the quote.
LONGEST_RECORD_LINES = 50

_PLACE_COLUMNS = frozenset({"street", "city", "state", "postal_code", "country", "lat", "lon"})
_LEAD_COLUMNS = _PLACE_COLUMNS | {"lead_id", "received_at", "source", "priority"}
_MEMBER_COLUMNS = _PLACE_COLUMNS - {"city", "state", "postal_code"} | {
    *("partner_id", "name", "tier", "capacity", "weight", "active", "salesforce_id")
}
_YES, _NO = frozenset({"true", "yes", "y", "1", "active"}), frozenset({"false", "no", "n", "0", "inactive"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class LeadRow:
    """One lead as a file gives it; without a place it is geocoded from its address."""

    line: int
    source_id: str  # the file's lead_id
    address: Address  # country as alpha-2, or empty
    place: Point | None
    received_at: datetime | None
    source: str = ""
    priority: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemberInput:
    """One member with all its rows of the file; its market is for the policy to say.

    `row.places` holds the branches with coordinates, `unplaced` the addresses of those without.
    """

    line: int
    row: MemberRow
    unplaced: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where, what is wrong and how to mend it, and what was in it."""

    file: str
    line: int
    field: str
    reason: str  # one sentence with the field and the fix
    input: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    cells: Mapping[str, str]


def read_leads(path: Path) -> Iterator[LeadRow | BadRow]:
    """Each lead of the file in order. Raises BadInput when the file cannot be read or lacks a column."""
    first_seen: dict[str, int] = {}
    for record in _records(path, "lead_id"):
        if isinstance(record, BadRow):
            yield record
            continue
        try:
            lead = _lead(record)
            _refuse_repeat("lead_id", lead.source_id, first_seen.setdefault(lead.source_id, lead.line), lead.line)
            yield lead
        except BadInput as exc:
            yield _bad(path, record, exc)


def read_members(path: Path, *, tiers: Collection[str] = ()) -> Iterator[MemberInput | BadRow]:
    """The bad rows as they come, then each member: rows with the same partner_id are branches of one member.

    A tier that differs from one of `tiers` only in case is taken for it. Raises BadInput as `read_leads` does.
    """
    spelled = {tier.casefold(): tier for tier in tiers}
    found: dict[str, MemberInput] = {}
    salesforce_ids: dict[str, str] = {}
    for record in _records(path, "partner_id"):
        if isinstance(record, BadRow):
            yield record
            continue
        try:
            branch = _branch(record, spelled)
            key, salesforce_id = branch.row.key, branch.row.salesforce_id
            if salesforce_id and salesforce_ids.setdefault(salesforce_id, key) != key:
                raise _wrong("salesforce_id", "another member has the same", "Give each member its own, or none.")
            found[key] = _joined(found[key], branch) if key in found else branch
        except BadInput as exc:
            yield _bad(path, record, exc)
    yield from found.values()


# --- one row --------------------------------------------------------------------------------------------------------


def _lead(record: _Record) -> LeadRow:
    cells = record.cells
    return LeadRow(
        line=record.line,
        source_id=_id(cells, "lead_id"),
        address=_address(cells),
        place=_place(cells),
        received_at=_time(cells.get("received_at", "")),
        source=cells.get("source", ""),
        priority=_whole(cells, "priority", -999_999_999, 999_999_999) or 0,
        attributes=_attributes(cells, _LEAD_COLUMNS),
    )


def _branch(record: _Record, spelled: Mapping[str, str]) -> MemberInput:
    cells = record.cells
    key, address, place = _id(cells, "partner_id"), _address(cells), _place(cells)
    if place is None and address.is_empty:
        raise _wrong("lat", "the row has neither coordinates nor an address", "Give lat and lon, or a postal_code.")
    tier = cells.get("tier", "")
    row = MemberRow(
        key=key,
        name=cells.get("name") or key,
        market="",
        tier=spelled.get(tier.casefold(), tier),
        country=address.country,
        capacity=_whole(cells, "capacity", 0, 100_000),
        weight=_weight(cells.get("weight", "")),
        active=_yes_or_no(cells.get("active", "")),
        salesforce_id=_salesforce_id(cells.get("salesforce_id", "")),
        attributes=_attributes(cells, _MEMBER_COLUMNS),
        places=(place,) if place else (),
    )
    return MemberInput(record.line, row, () if place else (address,))


def _joined(known: MemberInput, branch: MemberInput) -> MemberInput:
    """The member with one branch more; what a row leaves blank is as in the rows before it."""
    if set(branch.row.places) <= set(known.row.places) and set(branch.unplaced) <= set(known.unplaced):
        _refuse_repeat("partner_id", known.row.key, known.line, branch.line)
    merged = {}
    for name in ("tier", "capacity", "weight", "active", "salesforce_id"):
        old, new = getattr(known.row, name), getattr(branch.row, name)
        if old not in (None, "") and new not in (None, "", old):
            fix = "Write the same in every row of a member, or leave it blank after the first."
            raise _wrong(name, f"it differs from line {known.line}, the same member's", fix)
        merged[name] = new if old in (None, "") else old
    row = replace(known.row, places=known.row.places + branch.row.places, **merged)
    return replace(known, row=row, unplaced=known.unplaced + branch.unplaced)


def _id(cells: Mapping[str, str], column: str) -> str:
    text = cells[column]
    if not text or len(text) > 255:
        raise _wrong(column, "it is longer than 255 characters" if text else "it is missing", "Give each row its id.")
    return text


def _address(cells: Mapping[str, str]) -> Address:
    written = cells.get("country", "")
    country = alpha2(written) if written else ""
    if country is None:
        raise _wrong("country", f"{written[:60]!r} is not a country", "Write an ISO 3166 code such as US, DE or AU.")
    parts = {name: cells.get(name, "") for name in ("street", "city", "state", "postal_code")}
    for name, text in parts.items():
        if len(text) > 255:
            raise _wrong(name, "it is longer than 255 characters", "Shorten it.")
    return Address(**parts, country=country)


def _place(cells: Mapping[str, str]) -> Point | None:
    lat, lon = cells.get("lat", ""), cells.get("lon", "")
    if not lat and not lon:
        return None
    return Point(_degrees("lat", lat), _degrees("lon", lon))


def _degrees(column: str, text: str) -> float:
    limit = 90 if column == "lat" else 180
    if not _NUMBER.fullmatch(text) or abs(float(text)) > limit:
        what = f"{text[:40]!r} is not a number from -{limit} to {limit}" if text else "it is missing beside the other"
        raise _wrong(column, what, "Give degrees with a decimal point, or leave both lat and lon blank.")
    return float(text)


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        fix = "Write it as 2026-03-24 or 2026-03-24T10:15:00Z."
        raise _wrong("received_at", f"{text[:40]!r} is not a date", fix) from exc


def _whole(cells: Mapping[str, str], column: str, least: int, most: int) -> int | None:
    text = cells.get(column, "")
    if not text:
        return None
    if not re.fullmatch(r"[+-]?\d{1,10}", text, re.ASCII) or not least <= int(text) <= most:
        fix = f"Give a whole number from {least} to {most}, or leave it blank."
        raise _wrong(column, f"{text[:40]!r} cannot be used", fix)
    return int(text)


def _weight(text: str) -> int | None:
    """Thousandths."""
    if not text:
        return None
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3}0*)?", text, re.ASCII) or not 0 < float(text) <= 1000:
        fix = "Give a number above 0 and up to 1000 with at most three decimals, or leave it blank."
        raise _wrong("weight", f"{text[:40]!r} cannot be used", fix)
    return round(float(text) * 1000)


def _yes_or_no(text: str) -> bool | None:
    if text.casefold() not in _YES | _NO | {""}:
        raise _wrong("active", f"{text[:40]!r} is neither yes nor no", "Write yes or no, or leave it blank.")
    return text.casefold() in _YES if text else None


def _salesforce_id(text: str) -> str | None:
    if text and not re.fullmatch(r"[0-9A-Za-z]{15}([0-9A-Za-z]{3})?", text, re.ASCII):
        fix = "Give the 18 characters of the Account (001...) or the User (005...), or leave it blank."
        raise _wrong("salesforce_id", f"{text[:40]!r} is not a Salesforce id", fix)
    return text or None


def _attributes(cells: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    return {name: text for name, text in cells.items() if name not in known and text}


def _refuse_repeat(column: str, key: str, first: int, line: int) -> None:
    if first != line:
        fix = "Keep one of the rows, or give them different ids."
        raise _wrong(column, f"{key[:60]!r} is on line {first} already", fix)


def _wrong(column: str, message: str, fix: str) -> BadInput:
    return BadInput(message, field=column, fix=fix)


# --- the file -------------------------------------------------------------------------------------------------------


def _records(path: Path, key: str) -> Iterator[_Record | BadRow]:
    """The rows below the header as cells by column; blank rows are left out."""
    try:
        file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as exc:
        raise _wrong(str(path), f"it cannot be opened: {exc.strerror}", "Name a CSV file that exists.") from exc
    csv.field_size_limit(LONGEST_LINE)  # a field that is too long is then named by its column
    with file:
        rows = _split(file)
        header = _header(next(rows, None), path, key)
        for line, cells, raw in rows:
            if isinstance(cells, str):
                yield _bad(path, _Record(line, {"row": raw}), _wrong("row", cells, "Mend the row, or take it out."))
            elif any(cells):
                yield _checked(path, line, header, cells)


def _header(first: tuple[int, Sequence[str] | str, str] | None, path: Path, key: str) -> list[str]:
    names = [] if first is None or isinstance(first[1], str) else list(first[1])
    columns = [name.lower() if name.lower() in _LEAD_COLUMNS | _MEMBER_COLUMNS else name for name in names]
    example = f"Begin the file with a row of column names, comma between them, such as {key},postal_code,country."
    if key not in columns:
        raise _wrong(path.name, f"the column {key} is missing", example)
    if not {"lat", "lon"} <= set(columns) and not {"street", "city", "postal_code"} & set(columns):
        raise _wrong(path.name, "no column says where: lat and lon, postal_code or city", example)
    if repeated := next((name for name in columns if columns.count(name) > 1), None):
        raise _wrong(path.name, f"the column {repeated[:60]} is there twice", "Take one of them out, or rename it.")
    return columns


def _checked(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> _Record | BadRow:
    record = _Record(line, dict(zip(header, cells, strict=False)))
    if len(cells) != len(header):
        fix = "Put values with commas in quotes; leave unknown values blank."
        return _bad(path, record, _wrong("row", f"it has {len(cells)} columns, the header {len(header)}", fix))
    for name, text in record.cells.items():
        if problem := _unreadable(text):
            return _bad(path, record, _wrong(name, *problem))
    return record


def _unreadable(text: str) -> tuple[str, str] | None:
    if text.isascii() and "\0" not in text and len(text) <= LONGEST_FIELD:
        return None
    if len(text) > LONGEST_FIELD:
        return f"it has {len(text):,} characters", f"Shorten it to {LONGEST_FIELD:,}."
    if "\0" in text:
        return "it holds a NUL byte", "Take the byte out."
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "it is not UTF-8", "Save the file as UTF-8."
    return None


def _split(file: TextIO) -> Iterator[tuple[int, Sequence[str] | str, str]]:
    """(line number, cells or what is wrong, raw text) of each record; a quote left open costs its own line only."""
    ahead: list[str] = []
    number = 0
    while line := ahead.pop(0) if ahead else _line(file):
        number += 1
        if len(line) > LONGEST_LINE:
            yield number, f"it has more than {LONGEST_LINE:,} characters", line
            continue
        cells = _parsed([line])
        used = 0
        while cells is None and used < LONGEST_RECORD_LINES:  # a quoted field runs on in the next line
            if used == len(ahead):
                ahead.append(_line(file))
            used += 1
            cells = _parsed([line, *ahead[:used]]) if ahead[used - 1] else "a quote is opened and never closed"
        if isinstance(cells, list):
            yield number, cells, line
            del ahead[:used]
            number += used
        else:
            yield number, cells or "a quote is opened and never closed", line


def _parsed(lines: list[str]) -> list[str] | str | None:
    """The cells of one record; what is wrong with it; or None when a quote is still open at its end."""
    try:
        row = next(csv.reader(lines, strict=True), [])
    except csv.Error as exc:
        return None if "unexpected end of data" in str(exc) else str(exc)
    return [cell.strip() for cell in row]


def _line(file: TextIO) -> str:
    """The next line, cut off when it is far too long; empty at the end of the file."""
    line = file.readline(LONGEST_LINE + 1)
    rest = line
    while rest and len(rest) > LONGEST_LINE and not rest.endswith(("\n", "\r")):
        rest = file.readline(LONGEST_LINE + 1)
    return line


def _bad(path: Path, record: _Record, error: BadInput) -> BadRow:
    return BadRow(
        path.name, record.line, error.field, str(error), {_shown(k): _shown(v) for k, v in record.cells.items()}
    )


def _shown(text: str) -> str:
    """Text that any store takes: short, without NUL bytes and lone surrogates."""
    return text[:1000].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
