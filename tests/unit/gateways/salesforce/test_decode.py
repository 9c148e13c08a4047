import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.salesforce.decode import Decoder
from gateways.salesforce.proto.pubsub_api_pb2 import ConsumerEvent, ProducerEvent
from gateways.salesforce.schema import Schemas, Undecodable, parse
from routing.change import Change, Unreadable
from tests.fakes.lead_events import FIELDS, SWITCHABLE_NAME, event, one, parts, replay_id, schema_json

NEWER = schema_json(one("Roof__c", "string", "Data:Text:00N9"))
SCHEMAS = {"schema-1": schema_json(), "schema-2": NEWER}


def fetch(schema_id: str) -> str:
    if schema_id not in SCHEMAS:
        raise Undecodable(f"Salesforce does not know its schema {schema_id}")
    return SCHEMAS[schema_id]


def read(consumed: ConsumerEvent) -> list[Change] | Unreadable:
    return Decoder(Schemas(fetch)).read(consumed)


def changes(consumed: ConsumerEvent) -> list[Change]:
    found = read(consumed)
    assert isinstance(found, list), found
    return found


def refused(consumed: ConsumerEvent) -> Unreadable:
    found = read(consumed)
    assert isinstance(found, Unreadable), found
    return found


def test_a_new_lead_speaks_rest() -> None:
    body = {
        "Name": {"FirstName": "Ada", "LastName": "Byron"},
        "Company": "Engines",
        "Address": {"Street": "1 Main St", "City": "Albany", "Latitude": 42.65},
        "IsConverted": False,
        "ConvertedDate": 1_795_000_000_123,
        "CreatedDate": 1_795_000_000_123,
        "Site__c": {"City": "Troy"},
        "Opens__c": 3_600_000,
    }
    [change] = changes(event(7, body=body))
    assert change.body == {
        "FirstName": "Ada",
        "LastName": "Byron",
        "Company": "Engines",
        "Street": "1 Main St",
        "City": "Albany",
        "Latitude": 42.65,
        "IsConverted": False,
        "ConvertedDate": "2026-11-18",
        "CreatedDate": "2026-11-18T11:06:40.123+0000",
        "Site__City__s": "Troy",
        "Opens__c": "01:00:00.000Z",
    }
    assert json.loads(json.dumps(change.body)) == change.body
    assert (change.event_id, change.replay_id, change.change_type) == ("event-7", replay_id(7), "CREATE")
    assert change.committed_at == datetime(2026, 11, 18, 11, 6, 40, 123_000, tzinfo=UTC)
    assert (change.commit_number, change.sequence_number) == (2**53 + 1, 1)


def test_an_update_tells_what_changed_and_what_was_emptied() -> None:
    # Company (2) and LastModifiedDate (8) at the top; Street (0) and City (1) of Address (3); City was emptied.
    update = event(
        changeType="UPDATE",
        changedFields=["0x0104", "3-0x03"],
        nulledFields=["3-0x02"],
        body={"Company": "Engines", "LastModifiedDate": 0, "Address": {"Street": "2 Main St"}},
    )
    [change] = changes(update)
    assert change.changed == ("Company", "Street", "City", "LastModifiedDate")
    assert change.nulled == ("City",)
    assert change.body == {
        "Company": "Engines",
        "LastModifiedDate": "1970-01-01T00:00:00.000+0000",
        "Street": "2 Main St",
        "City": None,
    }


def test_a_compound_emptied_as_a_whole_empties_all_its_parts() -> None:
    [change] = changes(event(changeType="UPDATE", changedFields=["0x08"], nulledFields=["0x08"]))
    assert change.body["PostalCode"] is None
    assert set(change.changed) == set(change.body)


def test_a_merged_event_is_one_change_a_record() -> None:
    ids = ["00Q000000000001EAA", "00Q000000000002EAA", "00Q000000000001EAA"]
    found = changes(event(changeType="UPDATE", changedFields=["0x04"], recordIds=ids, body={"Company": "Engines"}))
    assert [change.record_id for change in found] == ids[:2]
    assert {change.event_id for change in found} == {"event-1"}


def test_whole_records_told_together_are_asked_for_one_by_one() -> None:
    ids = ["00Q000000000001EAA", "00Q000000000002EAA"]
    found = changes(event(changeType="UNDELETE", recordIds=ids, body={"Company": "Engines"}))
    assert [(change.record_id, change.change_type, change.body) for change in found] == [
        (record, "GAP_UNDELETE", {}) for record in ids
    ]


@pytest.mark.parametrize("kind", ["DELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW"])
def test_deletes_and_gaps_have_no_body(kind: str) -> None:
    [change] = changes(event(changeType=kind))
    assert (change.change_type, change.body, change.changed) == (kind, {}, ())


def test_an_update_with_a_text_diff_is_told_as_a_gap() -> None:
    [change] = changes(
        event(changeType="UPDATE", changedFields=["0x04"], diffFields=["0x04"], body={"Company": "--- \n+++ a\n"})
    )
    assert (change.change_type, change.body) == ("GAP_UPDATE", {})


def test_an_update_that_hides_a_changed_value_is_told_as_a_gap() -> None:
    [change] = changes(event(changeType="UPDATE", changedFields=["0x0104"], body={"LastModifiedDate": 0}))
    assert change.change_type == "GAP_UPDATE"


def test_both_shapes_of_a_name_are_read() -> None:
    switchable = {"name": "Name", "type": ["null", "string", SWITCHABLE_NAME], "default": None}
    schema = schema_json(fields=[switchable, *FIELDS[1:]])
    decoder = Decoder(Schemas(lambda _id: schema))
    for name, body in (("Engines Ltd", {"Name": "Engines Ltd"}), ({"LastName": "Byron"}, {"LastName": "Byron"})):
        [change] = decoder.read(event(schema=schema, body={"Name": name}))  # type: ignore[misc]  # a list here
        assert change.body == body


def test_each_event_is_read_with_its_own_schema() -> None:
    decoder = Decoder(Schemas(fetch))
    [old] = decoder.read(event(1, body={"Company": "Engines"}))  # type: ignore[misc]  # lists, both
    [new] = decoder.read(event(2, schema=NEWER, schema_id="schema-2", body={"Roof__c": "slate"}))  # type: ignore[misc]
    [late] = decoder.read(event(3, body={"Company": "Looms"}))  # type: ignore[misc]
    assert [old.body, new.body, late.body] == [{"Company": "Engines"}, {"Roof__c": "slate"}, {"Company": "Looms"}]


def test_a_schema_is_asked_for_once() -> None:
    asked: list[str] = []

    def ask(schema_id: str) -> str:
        asked.append(schema_id)
        return fetch(schema_id)

    decoder = Decoder(Schemas(ask))
    for number in range(5):
        decoder.read(event(number))
    assert asked == ["schema-1"]


def test_an_event_of_another_object_is_nothing_to_us() -> None:
    assert changes(event(entityName="Account")) == []


def test_a_blank_schema_id_makes_an_event_unreadable() -> None:
    raw = event(schema_id="")
    found = refused(raw)
    assert (found.event_id, found.replay_id, found.payload) == ("event-1", replay_id(1), raw.event.payload)
    assert found.reason == "It names no schema: subscribe to the topic of one object."


@pytest.mark.parametrize(
    ("payload", "schema_id", "why"),
    [
        (b"", "schema-1", "EOFError"),
        (b"\xff" * 40, "schema-1", "while reading it"),
        (event().event.payload + b"\0", "schema-1", "1 bytes are left over"),
        (event().event.payload, "schema-9", "does not know its schema schema-9"),
    ],
)
def test_an_undecodable_event_is_kept_raw_with_the_reason(payload: bytes, schema_id: str, why: str) -> None:
    found = refused(ConsumerEvent(event=ProducerEvent(id="e", schema_id=schema_id, payload=payload), replay_id=b"r"))
    assert why in found.reason
    assert found.payload == payload


def test_a_bitmap_beyond_the_schema_makes_an_event_unreadable() -> None:
    assert "bitmap" in refused(event(changeType="UPDATE", changedFields=["0x80000000"])).reason
    assert "bitmap" in refused(event(changeType="UPDATE", changedFields=["nonsense"])).reason


def test_an_impossible_commit_time_makes_an_event_unreadable() -> None:
    assert "header" in refused(event(commitTimestamp=2**62)).reason


def test_an_event_without_records_is_unreadable() -> None:
    assert "names no record" in refused(event(recordIds=[])).reason


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "string"}', '{"type": "record", "name": "X", "fields": [{}]}'])
def test_a_schema_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Undecodable):
        parse("s", text)


def test_broken_utf8_nul_and_nan_are_mended_and_the_rest_goes_on() -> None:
    body = {"Company": "a\0b", "Address": {"City": "Albany", "Latitude": float("nan")}}
    raw = event(body=body)
    broken = raw.event.payload.replace(b"Albany", b"Alb\xff\xed\xa0")
    [change] = changes(ConsumerEvent(event=ProducerEvent(id="e", schema_id="schema-1", payload=broken)))
    assert change.body["Company"] == "ab"
    assert str(change.body["City"]).startswith("Alb\ufffd")
    assert change.body["Latitude"] is None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_no_payload_whatever_stops_the_decoder(payload: bytes) -> None:
    read(ConsumerEvent(event=ProducerEvent(id="e", schema_id="schema-1", payload=payload), replay_id=b"r"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_events_are_unreadable_or_read_but_never_raise(data: st.DataObject) -> None:
    payload = bytearray(event(body={"Company": "Engines", "Address": {"City": "Albany"}}).event.payload)
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    read(ConsumerEvent(event=ProducerEvent(id="e", schema_id="schema-1", payload=bytes(payload)), replay_id=b"r"))


def test_a_custom_location_speaks_rest() -> None:
    location = {"type": "record", "name": "Location", "fields": parts("Latitude", "Longitude", kind="double")}
    schema = schema_json(one("Geo__c", location, "Data:Location"))
    [change] = Decoder(Schemas(lambda _id: schema)).read(event(schema=schema, body={"Geo__c": {"Latitude": 1.5}}))  # type: ignore[misc]  # a list here
    assert change.body == {"Geo__Latitude__s": 1.5}
