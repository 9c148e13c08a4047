"""Avro schemas of change events, by their id: an admin may add a field while the stream is open."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from gateways.salesforce import bitmaps
from gateways.salesforce.words import rest_clock, rest_date, rest_time

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

    def names(self, marks: Iterable[str]) -> tuple[str, ...]:
        """The REST names of the fields that these bitmaps mark. Raises Undecodable."""
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
        return Schema(schema_id, fields, fastavro.parse_schema(raw, named_schemas={}))
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
