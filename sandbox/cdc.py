"""Change Data Capture: committed changes into change events.

Rules: Salesforce Change Data Capture Developer Guide, "Change Event Fields" and "Merged Change Events".
"""

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sandbox.avro import EventSchema
from sandbox.bitmaps import field_set
from sandbox.schema import SObject
from sandbox.values import Record

WILDCARD_ID = "000000000000000AAA"
_DIFF_FROM = 1000  # characters
_MERGED = {"UPDATE", "DELETE", "UNDELETE"}


@dataclass(frozen=True, slots=True)
class Change:
    """One record's change inside a transaction; `values` holds what is new, None where it was emptied."""

    kind: str
    sobject: SObject
    id: str
    before: Record
    after: Record
    values: Record


@dataclass(frozen=True, slots=True)
class Commit:
    """What all changes of one transaction share."""

    key: str
    number: int
    at_ms: int
    user_id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it is encoded."""

    entity: str
    schema: EventSchema
    header: dict[str, Any]
    body: dict[str, Any]

    def encoded(self) -> bytes:
        return self.schema.encode({"ChangeEventHeader": self.header, **self.body})

    def as_gap(self) -> "Draft":
        """The same change, told without its body."""
        bare: dict[str, Any] = {"nulledFields": [], "diffFields": [], "changedFields": []}
        kind = f"GAP_{self.header['changeType'].removeprefix('GAP_')}"
        return replace(self, header={**self.header, **bare, "changeType": kind}, body={})


def drafts(changes: Iterable[Change], commit: Commit, schemas: Mapping[str, EventSchema]) -> list[Draft]:
    """The events of one transaction; objects that are not selected only leave a hole in the sequence."""
    return [
        _draft(members, sequence, commit, schemas[members[0].sobject.name])
        for sequence, members in enumerate(_merged(changes), start=1)
        if members[0].sobject.name in schemas
    ]


def _merged(changes: Iterable[Change]) -> list[list[Change]]:
    """Records that changed alike in one transaction share one event."""
    groups: dict[object, list[Change]] = {}
    for number, change in enumerate(changes):
        alike: object = number
        if change.kind in _MERGED:
            told = frozenset(_of(change).items()) if change.kind != "DELETE" else None
            alike = (change.kind, change.sobject.name, told)
        groups.setdefault(alike, []).append(change)
    return list(groups.values())


def _of(change: Change) -> Mapping[str, Any]:
    """What its event tells: of an update what changed, of a record that is back all of it."""
    return change.after if change.kind == "UNDELETE" else change.values


def _draft(members: list[Change], sequence: int, commit: Commit, schema: EventSchema) -> Draft:
    change = members[0]
    body, nulled, diffs, changed = _told(change, schema)
    header = {
        "entityName": change.sobject.name,
        "recordIds": [member.id for member in members],
        "changeType": change.kind,
        "changeOrigin": commit.origin,
        "transactionKey": commit.key,
        "sequenceNumber": sequence,
        "commitTimestamp": commit.at_ms,
        "commitNumber": commit.number,
        "commitUser": commit.user_id,
        "nulledFields": nulled,
        "diffFields": diffs,
        "changedFields": changed,
    }
    return Draft(change.sobject.name, schema, header, body)


def _told(change: Change, schema: EventSchema) -> tuple[dict[str, Any], list[str], list[str], list[str]]:
    """Body, nulledFields, diffFields, changedFields of a change."""
    if change.kind == "UPDATE":
        return _update(change, schema)
    values = {} if change.kind == "DELETE" else change.after
    told = {name: value for name, value in values.items() if value is not None}
    return _body(told, schema), [], [], []


def _update(change: Change, schema: EventSchema) -> tuple[dict[str, Any], list[str], list[str], list[str]]:
    told: Record = {}
    diffed: list[str] = []
    for name, value in change.values.items():
        diff = text_diff(change.before.get(name), value) if schema.types[name].type == "textarea" else None
        told[name] = diff or value
        if diff:
            diffed.append(name)
    nulled = [name for name, value in told.items() if value is None]
    return _body(told, schema), _set(nulled, schema), _set(diffed, schema), _set(told, schema)


def _set(names: Iterable[str], schema: EventSchema) -> list[str]:
    top: list[int] = []
    nested: dict[int, list[int]] = {}
    for name in names:
        if name in schema.top:
            top.append(schema.top[name])
        elif name in schema.nested:
            parent, _, inner, _ = schema.nested[name]
            nested.setdefault(parent, []).append(inner)
    return field_set(top, nested)


def _body(values: Record, schema: EventSchema) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in values.items():
        if name in schema.top:
            body[name] = _wire(schema.types[name].type, value)
        elif name in schema.nested:
            _, parent, _, part = schema.nested[name]
            body.setdefault(parent, {})[part] = value
    return body


def _wire(kind: str, value: Any) -> Any:
    if kind == "date" and value is not None:
        return int(datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() * 1000)
    return value


def text_diff(old: str | None, new: Any) -> str | None:
    """A long text's change as a unified diff; None where the guide sends the text itself."""
    if not old or not isinstance(new, str) or len(new) < _DIFF_FROM or old == new:
        return None
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    changed = sum(not line.startswith("@@") for line in lines)
    digest = hashlib.sha256(new.encode()).hexdigest()
    text = "\n".join(["--- ", f"+++ {digest}", *lines])
    too_much = len(text) > len(new) / 2 or changed > max(len(new.splitlines()), 1) / 4
    return None if too_much else text


def bare_draft(kind: str, record_ids: list[str], commit: Commit, schema: EventSchema, entity: str) -> Draft:
    """An event without a body, as gaps and overflows are."""
    header = {
        "entityName": entity,
        "recordIds": record_ids,
        "changeType": kind,
        "changeOrigin": commit.origin,
        "transactionKey": commit.key,
        "sequenceNumber": 1,
        "commitTimestamp": commit.at_ms,
        "commitNumber": commit.number,
        "commitUser": commit.user_id,
        "nulledFields": [],
        "diffFields": [],
        "changedFields": [],
    }
    return Draft(entity, schema, header, {})
