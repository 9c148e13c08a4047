"""The short way of reading an event says what fastavro says, whatever is in it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.salesforce import wire
from gateways.salesforce.schema import Schema, Undecodable, parse
from tests.fakes.lead_events import FIELDS, event, one, schema_json

SHORT = parse("short", schema_json())
BY_FASTAVRO = replace(SHORT, header=None, rest=None)

texts = st.none() | st.text(max_size=300)
longs = st.none() | st.integers(-(2**61), 2**61)
doubles = st.none() | st.floats()
times = st.none() | st.integers(0, 4_000_000_000_000)
places = st.none() | st.fixed_dictionaries(
    {}, optional={"Street": texts, "City": texts, "Latitude": doubles, "GeocodeAccuracy": texts}
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "Name": st.none() | st.fixed_dictionaries({"FirstName": texts, "LastName": texts}),
        "Company": texts,
        "Address": places,
        "Site__c": places,
        "IsConverted": st.none() | st.booleans(),
        "CreatedDate": times,
        "ConvertedDate": times,
        "Opens__c": times,
        "Fairturn_Priority__c": doubles,
    },
)
heads = st.fixed_dictionaries(
    {
        "recordIds": st.lists(st.text(max_size=20), max_size=5),
        "changedFields": st.lists(st.text(max_size=9), max_size=3),
        "commitNumber": longs.filter(lambda number: number is not None),
        "sequenceNumber": st.integers(-(2**31), 2**31 - 1),
        "changeType": st.sampled_from(["CREATE", "UPDATE", "GAP_DELETE"]),
    }
)


def outcome(schema: Schema, payload: bytes) -> Any:
    """What was read, or why not."""
    try:
        return schema.read(payload)
    except Undecodable as exc:
        return str(exc)
    except (ValueError, OverflowError, KeyError) as exc:  # such as a time that is none: the decoder sets it aside
        return type(exc)


def test_the_events_of_leads_are_read_the_short_way() -> None:
    assert SHORT.header is not None
    assert SHORT.rest is not None


@settings(max_examples=300, deadline=None)
@given(bodies, heads)
def test_the_short_way_reads_what_fastavro_reads(body: dict[str, Any], head: dict[str, Any]) -> None:
    payload = event(body=body, **head).event.payload
    assert SHORT.header is not None
    assert SHORT.rest is not None
    header, at = SHORT.header(payload, 0)
    found: dict[str, object] = {}
    whole = SHORT.rest(payload, at, found) == len(payload)
    assert (header, found) == BY_FASTAVRO.read(payload)
    assert whole


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_event_ends_as_with_fastavro(data: st.DataObject) -> None:
    payload = bytearray(
        event(body={"Company": "Engines", "Address": {"City": "Albany", "Latitude": 1.5}}).event.payload
    )
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    for damaged in (bytes(payload), cut, cut + b"\0"):
        assert outcome(SHORT, damaged) == outcome(BY_FASTAVRO, damaged)


@pytest.mark.parametrize(
    "kind",
    [{"type": "long", "logicalType": "timestamp-millis"}, {"type": "map", "values": "string"}, "bytes"],
)
def test_a_field_of_an_unusual_type_leaves_its_schema_to_fastavro(kind: Any) -> None:
    schema = parse("s", schema_json(one("More__c", kind, "Data:Text")))
    assert schema.rest is None
    header, body = schema.read(
        event(schema=schema_json(one("More__c", kind, "Data:Text")), body={"Company": "C"}).event.payload
    )
    assert (header["entityName"], body) == ("Lead", {"Company": "C"})


def test_a_schema_whose_header_is_not_first_is_left_to_fastavro() -> None:
    raw = json.loads(schema_json())
    raw["fields"].append(raw["fields"].pop(0))
    assert parse("s", json.dumps(raw)).header is None


def test_a_field_that_is_no_union_leaves_its_schema_to_fastavro() -> None:
    plain = {"name": "Plain__c", "type": "string", "doc": "Data:Text", "default": ""}
    assert parse("s", schema_json(fields=[*FIELDS, plain])).rest is None


def test_numbers_of_any_length_are_read() -> None:
    assert wire.number(b"\x03", 0) == (-2, 1)
    assert wire.number(b"\x80\x01", 0) == (64, 2)
