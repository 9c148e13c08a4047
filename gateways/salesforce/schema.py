"""Avro schemas of change events, by their id: an admin may add a field while the stream is open."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import fastavro
import structlog

from gateways.salesforce import bitmaps, wire
from gateways.salesforce.words import clean, rest_clock, rest_date, rest_time

log = structlog.get_logger()

_HEADER = "ChangeEventHeader"
_ADDRESS = "Address"
_TIMES: Mapping[str, Callable[[int], str]] = {
    "DateTime": rest_time,
    "DateOnly": rest_date,
    "TimeOnly": rest_clock,
}


class Undecodable(Exception):  # noqa: N818 - it never leaves this gateway: it becomes an Unreadable
    """A payload that cannot be read with its schema."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the event: its REST name and those of its parts, when it is a compound."""

    name: str
    write: Callable[[int], str] | None  # how REST writes the number the event carries
    parts: Mapping[str, str]  # part -> REST name, in order


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of an event's schema."""

    id: str
    fields: tuple[Field, ...]
    parsed: Any
    header: wire.Reader | None = None  # None: this schema is left to fastavro
    rest: wire.Putter | None = None

    def read(self, payload: bytes) -> tuple[dict[str, Any], dict[str, object]]:
        """The event's header, and the fields that are in it by their REST names. Raises Undecodable.

        What the short way stumbles over is read again by fastavro, whose word counts.
        """
        if self.header is not None and self.rest is not None:
            body: dict[str, object] = {}
            try:
                header, at = self.header(payload, 0)
                if self.rest(payload, at, body) == len(payload):
                    return header, body
            except Exception:  # noqa: BLE001 - whatever foreign bytes do to it
                log.debug("schema.unusual_event", schema_id=self.id)
        event = self.decode(payload)
        return _cleaned(event[_HEADER]), _cleaned(self.body(event))

    def decode(self, payload: bytes) -> dict[str, Any]:
        """The event as Avro has it. Raises Undecodable."""
        source = io.BytesIO(payload)
        try:
            event = fastavro.schemaless_reader(source, self.parsed, None, handle_unicode_errors="replace")
        except Exception as exc:
            # fastavro answers foreign bytes with whatever its C code trips over: IndexError, EOFError, MemoryError ...
            raise Undecodable(f"{type(exc).__name__} while reading it") from exc
        if source.tell() != len(payload):
            raise Undecodable(f"{len(payload) - source.tell()} bytes are left over")
        if not isinstance(event, dict) or not isinstance(event.get(_HEADER), dict):
            raise Undecodable("it has no ChangeEventHeader")
        return event

    def body(self, event: Mapping[str, Any]) -> dict[str, object]:
        """The fields that are in the event, by their REST names and in REST's shape."""
        found: dict[str, object] = {}
        for field in self.fields:
            value = event.get(field.name)
            if isinstance(value, dict):
                found |= {
                    field.parts[part]: inner
                    for part, inner in value.items()
                    if inner is not None and part in field.parts
                }
            elif value is not None and field.name != _HEADER:
                found[field.name] = field.write(value) if field.write and isinstance(value, int) else value
        return found

    def names(self, marks: Sequence[str]) -> tuple[str, ...]:
        """The REST names of the fields that these bitmaps mark. Raises Undecodable."""
        if not marks:
            return ()
        try:
            marked = bitmaps.read(marks)
            return tuple(name for place in self._places(marked) for name in self._names_at(place, marked))
        except (ValueError, IndexError) as exc:
            raise Undecodable("a bitmap in its header does not fit its schema") from exc

    @staticmethod
    def _places(marked: bitmaps.Marked) -> list[int]:
        return sorted(marked.fields | marked.parts.keys())

    def _names_at(self, place: int, marked: bitmaps.Marked) -> list[str]:
        field = self.fields[place]
        parts = list(field.parts.values())
        if place not in marked.fields:
            return [parts[n] for n in sorted(marked.parts[place])]
        return parts or [field.name]


def parse(schema_id: str, schema_json: str) -> Schema:
    """Read a schema. Raises Undecodable when it is no schema of a change event."""
    try:
        raw = json.loads(schema_json)
        records: dict[str, Mapping[str, Any]] = {}
        fields = tuple(_field(one, records) for one in raw["fields"])
        parsed = fastavro.parse_schema(raw, named_schemas={})
        return Schema(schema_id, fields, parsed, *_short_way(fields, parsed))
    except (ValueError, KeyError, TypeError, fastavro.schema.SchemaParseException) as exc:
        raise Undecodable(f"its schema {schema_id} is not one of a change event") from exc


def _field(raw: Mapping[str, Any], records: dict[str, Mapping[str, Any]]) -> Field:
    name = str(raw["name"])
    record = _record(raw["type"], records)
    kind = str(raw.get("doc", "")).split(":")
    return Field(
        name,
        _TIMES.get(kind[1]) if len(kind) > 1 else None,
        {} if record is None or name == _HEADER else {p["name"]: _flat(name, p["name"]) for p in record["fields"]},
    )


def _short_way(fields: Sequence[Field], parsed: Any) -> tuple[wire.Reader | None, wire.Putter | None]:
    """Readers of the header and of the rest, where the schema has the shape that change events have."""
    try:
        names: dict[str, Any] = {}
        head, *others = (_by_value(one["type"], names) for one in parsed["fields"])
        if fields[0].name != _HEADER:
            return None, None
        branches = [wire.putters(kind, partial(_putter, field)) for field, kind in zip(fields[1:], others, strict=True)]
        return wire.reader(head), wire.fields(branches)
    except wire.TooUnusual:
        return None, None


def _putter(field: Field, kind: Any) -> wire.Putter:
    if not (isinstance(kind, dict) and kind["type"] == "record"):
        return wire.put(field.name, kind, field.write)
    parts = [(field.parts.get(one["name"]), one["type"]) for one in kind["fields"]]
    if any(name is None for name, _ in parts):
        raise wire.TooUnusual
    return wire.fields([wire.putters(part, partial(_plain_putter, str(name))) for name, part in parts])


def _plain_putter(name: str, kind: Any) -> wire.Putter:
    return wire.put(name, kind, None)


def _by_value(kind: Any, names: dict[str, Any]) -> Any:
    """The type with every named type in place of its name."""
    if isinstance(kind, list):
        return [_by_value(branch, names) for branch in kind]
    if isinstance(kind, str):
        return names.get(kind, kind)
    if "name" not in kind:
        return {**kind, "items": _by_value(kind["items"], names)} if "items" in kind else kind
    whole = dict(kind)
    if "fields" in kind:
        whole["fields"] = [{**one, "type": _by_value(one["type"], names)} for one in kind["fields"]]
    names[kind["name"]] = whole
    return whole


def _cleaned(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: clean(value) for name, value in values.items()}


def _record(kind: Any, records: dict[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record in this type or union; a second field of the same type refers to it by name."""
    for branch in kind if isinstance(kind, list) else [kind]:
        if isinstance(branch, dict) and branch.get("type") == "record":
            records[branch["name"]] = branch
            records[f"{branch.get('namespace', '')}.{branch['name']}"] = branch
            return branch
        if isinstance(branch, str) and branch.rpartition(".")[2] in records:
            return records[branch.rpartition(".")[2]]
    return None


def _flat(compound: str, part: str) -> str:
    """REST's name for a part: Address.City is City, BillingAddress.City BillingCity, Site__c.City Site__City__s."""
    if compound.endswith("__c"):
        return f"{compound.removesuffix('__c')}__{part}__s"
    if compound.endswith(_ADDRESS):
        return compound.removesuffix(_ADDRESS) + part
    return part


class Schemas:
    """Schemas by their id, each asked for once."""

    def __init__(self, fetch: Callable[[str], str]) -> None:
        self._fetch = fetch
        self._known: dict[str, Schema] = {}

    def get(self, schema_id: str) -> Schema:
        """The schema of this id. Raises Undecodable, and whatever `fetch` raises."""
        if schema_id not in self._known:
            self._known[schema_id] = parse(schema_id, self._fetch(schema_id))
        return self._known[schema_id]
