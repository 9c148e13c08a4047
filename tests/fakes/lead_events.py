"""Change events of leads as Salesforce sends them: schema, bytes, header."""

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import fastavro

from gateways.salesforce.proto.pubsub_api_pb2 import ConsumerEvent, ProducerEvent

CHANGE_TYPES = [
    "CREATE", "UPDATE", "DELETE", "UNDELETE",
    "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW", "SNAPSHOT",
]  # fmt: skip
STRINGS = {"type": "array", "items": "string"}
HEADER = {
    "type": "record",
    "name": "ChangeEventHeader",
    "fields": [
        {"name": "entityName", "type": "string"},
        {"name": "recordIds", "type": STRINGS},
        {"name": "changeType", "type": {"type": "enum", "name": "ChangeType", "symbols": CHANGE_TYPES}},
        {"name": "changeOrigin", "type": "string"},
        {"name": "transactionKey", "type": "string"},
        {"name": "sequenceNumber", "type": "int"},
        {"name": "commitTimestamp", "type": "long"},
        {"name": "commitNumber", "type": "long"},
        {"name": "commitUser", "type": "string"},
        {"name": "nulledFields", "type": STRINGS},
        {"name": "diffFields", "type": STRINGS},
        {"name": "changedFields", "type": STRINGS},
    ],
}


def parts(*names: str, kind: str = "string") -> list[dict[str, Any]]:
    return [{"name": name, "type": ["null", kind], "default": None} for name in names]


NAME = {"type": "record", "name": "PersonName", "fields": parts("Salutation", "FirstName", "LastName")}
SWITCHABLE_NAME = {
    "type": "record",
    "name": "Switchable_PersonName",
    "fields": parts("Salutation", "FirstName", "LastName"),
}
ADDRESS = {
    "type": "record",
    "name": "Address",
    "fields": [
        *parts("Street", "City", "State", "PostalCode", "Country"),
        *parts("Latitude", "Longitude", kind="double"),
        *parts("GeocodeAccuracy"),
    ],
}


def one(name: str, kind: Any, doc: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "doc": doc, "default": None}


#: (name, type, doc) of the Lead fields of these tests; the header is field 0.
FIELDS: list[dict[str, Any]] = [
    one("Name", NAME, "Data:PersonName"),
    one("Company", "string", "Data:Text"),
    one("Address", ADDRESS, "Data:Address"),
    one("Email", "string", "Data:Email"),
    one("IsConverted", "boolean", "Data:Boolean"),
    one("ConvertedDate", "long", "Data:DateOnly"),
    one("CreatedDate", "long", "CreatedDate:DateTime"),
    one("LastModifiedDate", "long", "Data:DateTime"),
    one("OwnerId", "string", "ForeignKey:EntityId"),
    one("Fairturn_Priority__c", "double", "Data:Double:00N1"),
    one("Fairturn_Status__c", "string", "Data:Text:00N2"),
    one("Site__c", "Address", "Data:Address:00N3"),
    one("Opens__c", "long", "Data:TimeOnly:00N4"),
]


def schema_json(*more: Mapping[str, Any], fields: Iterable[Mapping[str, Any]] = FIELDS) -> str:
    """The schema of LeadChangeEvent, with more fields at its end."""
    return json.dumps(
        {
            "type": "record",
            "name": "LeadChangeEvent",
            "namespace": "com.sforce.eventbus",
            "fields": [{"name": "ChangeEventHeader", "type": HEADER}, *fields, *more],
        }
    )


def header(**more: Any) -> dict[str, Any]:
    return {
        "entityName": "Lead",
        "recordIds": ["00Q000000000001EAA"],
        "changeType": "CREATE",
        "changeOrigin": "",
        "transactionKey": "0000-1111",
        "sequenceNumber": 1,
        "commitTimestamp": 1_795_000_000_123,
        "commitNumber": 2**53 + 1,
        "commitUser": "005000000000001AAA",
        "nulledFields": [],
        "diffFields": [],
        "changedFields": [],
        **more,
    }


def event(
    number: int = 1,
    *,
    schema: str = "",
    schema_id: str = "schema-1",
    body: Mapping[str, Any] | None = None,
    **head: Any,
) -> ConsumerEvent:
    """One event with replay id `number`; `head` overrides fields of its header."""
    out = io.BytesIO()
    parsed = fastavro.parse_schema(json.loads(schema or schema_json()))
    fastavro.schemaless_writer(out, parsed, {"ChangeEventHeader": header(**head), **(body or {})})
    return ConsumerEvent(
        event=ProducerEvent(id=f"event-{number}", schema_id=schema_id, payload=out.getvalue()),
        replay_id=replay_id(number),
    )


def replay_id(number: int) -> bytes:
    return number.to_bytes(8, "big") + b"\0\0"
