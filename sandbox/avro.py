"""An object's change event as an Avro schema, the way the org describes it at this moment."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro

from sandbox.schema import Field, SObject

CHANGE_TYPES = (
    *("CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE"),
    *("GAP_OVERFLOW", "SNAPSHOT"),
)
_STRINGS = {"type": "array", "items": "string"}
_HEADER = {
    "type": "record",
    "name": "ChangeEventHeader",
    "fields": [
        {"name": "entityName", "type": "string"},
        {"name": "recordIds", "type": _STRINGS},
        {"name": "changeType", "type": {"type": "enum", "name": "ChangeType", "symbols": list(CHANGE_TYPES)}},
        {"name": "changeOrigin", "type": "string"},
        {"name": "transactionKey", "type": "string"},
        {"name": "sequenceNumber", "type": "int"},
        {"name": "commitTimestamp", "type": "long"},
        {"name": "commitNumber", "type": "long"},
        {"name": "commitUser", "type": "string"},
        {"name": "nulledFields", "type": _STRINGS},
        {"name": "diffFields", "type": _STRINGS},
        {"name": "changedFields", "type": _STRINGS},
    ],
}
_DOCS: Mapping[str, tuple[str, str]] = {
    "string": ("Data:Text", "string"),
    "textarea": ("Data:StringPlusClob", "string"),
    "phone": ("Data:Phone", "string"),
    "email": ("Data:Email", "string"),
    "url": ("Data:Url", "string"),
    "picklist": ("Data:DynamicEnum", "string"),
    "multipicklist": ("Data:MultiEnum", "string"),
    "reference": ("ForeignKey:EntityId", "string"),
    "boolean": ("Data:Boolean", "boolean"),
    "int": ("Data:Integer", "int"),
    "double": ("Data:Double", "double"),
    "currency": ("Data:Currency", "double"),
    "percent": ("Data:Percent", "double"),
    "datetime": ("Data:DateTime", "long"),
    "date": ("Data:DateOnly", "long"),
}
_COMPOUNDS = {"personname": ("Data:PersonName", "PersonName"), "address": ("Data:Address", "Address")}


@dataclass(frozen=True)
class EventSchema:
    """One version of an object's event: its JSON, its id, and where each REST field sits in it."""

    name: str
    json: str
    id: str
    parsed: Any
    top: Mapping[str, int]
    nested: Mapping[str, tuple[int, str, int, str]]
    types: Mapping[str, Field] = field(repr=False)

    def encode(self, datum: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.parsed, datum)
        return out.getvalue()


def event_name(sobject: SObject) -> str:
    """Lead -> LeadChangeEvent, Offer__c -> Offer__ChangeEvent."""
    return sobject.name.removesuffix("c") + "ChangeEvent" if sobject.custom else f"{sobject.name}ChangeEvent"


def event_schema(sobject: SObject) -> EventSchema:
    """The event schema that describes this object now; an added field makes another id."""
    fields: list[dict[str, Any]] = [{"name": "ChangeEventHeader", "type": _HEADER, "doc": "Data:ComplexValueType"}]
    top: dict[str, int] = {}
    nested: dict[str, tuple[int, str, int, str]] = {}
    known: set[str] = set()
    for each in sobject.fields:
        if not each.event or each.part_of:
            continue
        position = len(fields)
        fields.append(_entry(each, sobject, known))
        if each.compound:
            parts = [part for part in sobject.fields if part.part_of == each.name]
            nested.update({part.name: (position, each.name, n, part.part) for n, part in enumerate(parts)})
        else:
            top[each.name] = position
    name = event_name(sobject)
    schema = {"name": name, "namespace": "com.sforce.eventbus", "type": "record", "fields": fields}
    text = json.dumps(schema, separators=(",", ":"))
    parsed = fastavro.parse_schema(schema)
    types = {each.name: each for each in sobject.fields}
    return EventSchema(name, text, schema_id(text), parsed, top, nested, types)


def schema_id(text: str) -> str:
    """22 characters: the MD5 of the schema in URL-safe base64, as long as the real ones."""
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _entry(each: Field, sobject: SObject, known: set[str]) -> dict[str, Any]:
    if each.compound:
        doc, name = _COMPOUNDS[each.type]
        kind: Any = name if name in known else _compound(name, each, sobject)
        known.add(name)
    else:
        doc, kind = _DOCS[each.type]
        doc = "CreatedDate:DateTime" if each.name == "CreatedDate" else doc
        doc = f"{doc}:{each.field_id}" if each.custom else doc
    return {"name": each.name, "type": ["null", kind], "doc": doc, "default": None}


def _compound(name: str, parent: Field, sobject: SObject) -> dict[str, Any]:
    parts = [part for part in sobject.fields if part.part_of == parent.name]
    rows = []
    for part in parts:
        doc, kind = _DOCS[part.type]
        rows.append({"name": part.part, "type": ["null", kind], "doc": doc, "default": None})
    return {"type": "record", "name": name, "fields": rows}
