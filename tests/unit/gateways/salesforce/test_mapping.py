import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.salesforce.mapping import LEFT_OUT, LONGEST_ATTRIBUTE, LONGEST_TEXT, FieldMap, client_of
from routing.change import Change, WriteBack
from routing.errors import BadInput

DEFAULT = FieldMap.load()
AT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def custom(tmp_path: Path, text: str) -> FieldMap:
    file = tmp_path / "mapping.yaml"
    file.write_text(text, "utf-8")
    return FieldMap.load(file)


def write(**more: object) -> WriteBack:
    fixed = {"lead_id": 1, "salesforce_id": "00Q000000000001EAA", "version": 3, "state": "offered", "attempt": 1}
    return WriteBack(**{**fixed, **more})  # type: ignore[arg-type]  # keys are checked by the dataclass


# --- reading


def test_a_lead_is_read_into_our_names() -> None:
    body = {
        "FirstName": "Ada", "LastName": "Byron", "Company": "Engines", "Email": "a@example.com", "Phone": "1",
        "Street": "1 Main St", "City": "Albany", "State": "New York", "StateCode": "NY", "PostalCode": "12207",
        "Country": "United States", "CountryCode": "US", "Latitude": 42.65, "Longitude": -73.75,
        "Fairturn_Priority__c": 3.0, "Fairturn_Source_Id__c": "s1", "Fairturn_Attributes__c": '{"roof": "slate"}',
        "LeadSource": "Web", "Status": "Open", "IsConverted": False, "OwnerId": "005gK0000000002",
        "CreatedDate": "2026-11-22T03:00:00.000+0000", "Rating": "Hot",
    }  # fmt: skip
    assert DEFAULT.fields_of(body) == {
        "name": "Ada Byron", "company": "Engines", "email": "a@example.com", "phone": "1",
        "street": "1 Main St", "city": "Albany", "state": "NY", "postal_code": "12207", "country": "US",
        "lat": 42.65, "lon": -73.75, "priority": 3, "source_id": "s1", "attributes": {"roof": "slate"},
        "source": "Web", "status": "Open", "is_converted": False, "owner_id": "005gK0000000002QAA",
    }  # fmt: skip


def test_only_fields_that_are_present_are_read() -> None:
    assert DEFAULT.fields_of({"City": "Troy"}) == {"city": "Troy"}
    assert DEFAULT.fields_of({}) == {}


def test_an_emptied_field_is_none() -> None:
    assert DEFAULT.fields_of({"City": None, "OwnerId": None, "Fairturn_Priority__c": None}) == {
        "city": None,
        "owner_id": None,
        "priority": None,
    }


def test_the_first_filled_of_several_fields_counts() -> None:
    assert DEFAULT.fields_of({"CountryCode": None, "Country": "Australia"}) == {"country": "Australia"}
    assert DEFAULT.fields_of({"Phone": "", "MobilePhone": "2"}) == {"phone": "2"}


def test_half_a_name_in_an_update_is_not_taken_for_the_whole() -> None:
    assert DEFAULT.fields_of({"LastName": "King"}) == {}
    assert DEFAULT.says_too_little({"LastName": "King"})
    assert not DEFAULT.says_too_little({"LastName": "King", "FirstName": None})
    assert DEFAULT.fields_of({"LastName": "King", "FirstName": None}) == {"name": "King"}


def test_a_new_lead_without_a_first_name_has_a_name() -> None:
    body = {"LastName": "King", "CreatedDate": "2026-11-22T03:00:00.000+0000"}
    assert DEFAULT.fields_of(body) == {"name": "King"}
    assert not DEFAULT.says_too_little(body)


@pytest.mark.parametrize("text", ["{bad", "[1, 2]", '"word"', "{" * 5000, "NaN"])
def test_attributes_that_are_no_json_object_are_kept_as_text(text: str) -> None:
    assert DEFAULT.fields_of({"Fairturn_Attributes__c": text}) == {"attributes": {"text": text}}


def test_attributes_lose_what_a_ledger_cannot_hold() -> None:
    text = '{"a": "x\\u0000y", "b": "\\ud800", "c": NaN, "d": 1e999}'
    fields = DEFAULT.fields_of({"Fairturn_Attributes__c": text})
    assert fields == {"attributes": {"a": "xy", "b": "\ufffd", "c": None, "d": None}}


def test_a_huge_attribute_is_left_out_with_a_note_and_the_others_stay() -> None:
    text = json.dumps({"big": "x" * (LONGEST_ATTRIBUTE + 1), "small": 1})
    assert DEFAULT.fields_of({"Fairturn_Attributes__c": text}) == {
        "attributes": {"small": 1, LEFT_OUT: {"big": "longer than 32768 bytes"}}
    }


def test_attributes_nested_absurdly_deep_are_kept_as_text() -> None:
    for deep in ('{"deep":' * 400 + "1" + "}" * 400, '{"a":' + "[" * 31 + "]" * 31 + "}"):
        assert DEFAULT.fields_of({"Fairturn_Attributes__c": deep}) == {"attributes": {"text": deep}}
    wide = json.dumps({str(n): [[n]] for n in range(100)})
    assert DEFAULT.fields_of({"Fairturn_Attributes__c": wide}) == {"attributes": json.loads(wide)}


def test_a_megabyte_in_a_field_is_cut() -> None:
    fields = DEFAULT.fields_of({"City": "x" * 1_000_000, "Fairturn_Source_Id__c": "y" * 1_000_000})
    assert fields["city"] == "x" * LONGEST_TEXT
    assert fields["source_id"] is None
    assert fields["attributes"] == {LEFT_OUT: {"source_id": "longer than 255 characters"}}


@pytest.mark.parametrize(("value", "priority"), [("7", 7), (7.9, 7), (1e300, 2**31 - 1), (-1e300, -(2**31))])
def test_a_priority_is_a_whole_number_the_ledger_can_hold(value: object, priority: int) -> None:
    assert DEFAULT.fields_of({"Fairturn_Priority__c": value}) == {"priority": priority}


def test_a_priority_that_is_no_number_is_left_out_with_a_note() -> None:
    fields = DEFAULT.fields_of({"Fairturn_Priority__c": "high"})
    assert fields == {"priority": None, "attributes": {LEFT_OUT: {"priority": "not a number"}}}


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\0\ud800")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(DEFAULT.inputs), VALUES))
def test_whatever_salesforce_sends_is_read_without_raising(body: dict[str, object]) -> None:
    fields = DEFAULT.fields_of(body)
    for name in ("name", "city", "company", "source_id"):
        text = fields.get(name)
        assert text is None or (isinstance(text, str) and "\0" not in text and text.encode())


# --- whose write it was


def update(**more: object) -> Change:
    fixed = {
        "event_id": "e",
        "record_id": "00Q000000000001EAA",
        "change_type": "UPDATE",
        "replay_id": b"",
        "committed_at": AT,
        "origin": "com/salesforce/api/rest/64.0;client=Fairturn",
        "changed": ("Fairturn_Status__c", "OwnerId", "LastModifiedDate"),
    }
    return Change(**{**fixed, **more})  # type: ignore[arg-type]  # keys are checked by the dataclass


@pytest.mark.parametrize(
    ("origin", "client"),
    [
        ("com/salesforce/api/rest/64.0;client=Fairturn", "Fairturn"),
        ("com/salesforce/api/soap/66.0;client=SfdcInternalAPI/", "SfdcInternalAPI"),
        ("com/salesforce/api/rest/64.0", ""),
        ("", ""),
    ],
)
def test_the_client_is_read_from_the_change_origin(origin: str, client: str) -> None:
    assert client_of(origin) == client


def test_our_own_write_coming_back_is_recognised() -> None:
    assert DEFAULT.is_echo(update(), client_name="Fairturn")


def test_our_user_is_recognised_where_the_clients_name_got_lost() -> None:
    change = update(origin="", commit_user="005gK0000000002QAA")
    assert not DEFAULT.is_echo(change, client_name="Fairturn")
    assert DEFAULT.is_echo(change, client_name="Fairturn", user_id="005gK0000000002")


@pytest.mark.parametrize(
    "change",
    [
        update(changed=("Fairturn_Status__c", "City")),
        update(origin="com/salesforce/api/soap/66.0;client=SfdcInternalAPI/"),
        update(changed=()),
        update(changed=("LastModifiedDate",)),
        update(change_type="CREATE", changed=()),
        update(change_type="DELETE", changed=()),
        update(change_type="GAP_UPDATE", changed=()),
    ],
)
def test_a_change_by_somebody_else_or_of_something_else_is_no_echo(change: Change) -> None:
    assert not DEFAULT.is_echo(change, client_name="Fairturn")


def test_salesforces_own_geocoding_is_recognised() -> None:
    assert DEFAULT.is_geocode(("Latitude", "Longitude", "GeocodeAccuracy"))
    assert not DEFAULT.is_geocode(("Latitude", "City"))
    assert not DEFAULT.is_geocode(())


# --- writing


def test_an_offer_to_an_account_fills_the_partner() -> None:
    east = timezone(timedelta(hours=2))
    record = DEFAULT.record(
        write(
            member_key="P1",
            member_salesforce_id="001000000000001",
            distance_m=5055.77,
            ring_m=8046.72,
            policy_version=4,
            offered_at=AT,
            expires_at=AT.astimezone(east) + timedelta(hours=1),
            outcome="offered",
            offers=1,
        )
    )
    assert record == {
        "attributes": {"type": "Lead"},
        "Id": "00Q000000000001EAA",
        "Fairturn_Partner__c": "001000000000001AAA",
        "Fairturn_Partner_Key__c": "P1",
        "Fairturn_Status__c": "offered",
        "Fairturn_Reason__c": None,
        "Fairturn_Distance_Miles__c": 3.14,
        "Fairturn_Ring_Miles__c": 5.0,
        "Fairturn_Attempt__c": 1,
        "Fairturn_Policy_Version__c": 4,
        "Fairturn_Version__c": 3,
        "Fairturn_Offered_At__c": "2026-11-22T03:00:00.000Z",
        "Fairturn_Expires_At__c": "2026-11-22T04:00:00.000Z",
        "Fairturn_Answered_At__c": None,
        "Fairturn_Accepted_At__c": None,
        "Fairturn_Ended_At__c": None,
        "Fairturn_Outcome__c": "offered",
        "Fairturn_Offer_Reason__c": None,
        "Fairturn_Offers__c": 1,
    }


@pytest.mark.parametrize("user", ["005gK0000000002QAA", "00GgK0000000002QAA"])
def test_an_offer_to_a_user_or_a_queue_changes_the_owner(user: str) -> None:
    record = DEFAULT.record(write(member_salesforce_id=user))
    assert record["OwnerId"] == user
    assert record["Fairturn_Partner__c"] is None


def test_without_an_offer_the_partner_is_emptied_and_the_owner_stays() -> None:
    record = DEFAULT.record(write(state="waiting", reason="no_room"))
    assert "OwnerId" not in record
    emptied = ("Partner", "Partner_Key", "Distance_Miles", "Ring_Miles", "Offered_At", "Expires_At")
    assert all(record[f"Fairturn_{name}__c"] is None for name in emptied)
    assert record["Fairturn_Reason__c"] == "no_room"


def test_texts_are_cut_to_what_the_fields_hold() -> None:
    record = DEFAULT.record(write(reason="r" * 300, member_key="k" * 300))
    assert len(str(record["Fairturn_Reason__c"])) == 255
    assert len(str(record["Fairturn_Partner_Key__c"])) == 80


# --- the file


def test_a_file_changes_only_the_lines_it_has(tmp_path: Path) -> None:
    mapping = custom(
        tmp_path, "read: {city: Town__c}\nattributes: [Rating]\nwrite: {ring_miles: null, status: My_Status__c}"
    )
    assert mapping.fields_of({"Town__c": "Troy", "City": "Albany", "Rating": "Hot", "State": "NY"}) == {
        "city": "Troy",
        "state": "NY",
        "attributes": {"Rating": "Hot"},
    }
    record = mapping.record(write())
    assert record["My_Status__c"] == "offered"
    assert "Fairturn_Ring_Miles__c" not in record
    assert "Fairturn_Version__c" in record


def test_another_object_can_be_mapped(tmp_path: Path) -> None:
    assert custom(tmp_path, "object: Enquiry__c").record(write())["attributes"] == {"type": "Enquiry__c"}


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert custom(tmp_path, "") == DEFAULT


@pytest.mark.parametrize(
    ("text", "field", "fix"),
    [
        ("reed: {}", "reed", "Known here are attributes, members, nobody, object"),
        ("read: {town: Town__c}", "read.town", "Known here are attributes, city"),
        ("read: {city: 5}", "read.city", "Give one such as"),
        ('read: {city: "Town__c FROM Lead --"}', "read.city", "Give one such as"),
        ("read: {city: [Town__c, '']}", "read.city", "Give one such as"),
        ("read: [city]", "read", "Write `ours: Salesforce_Field__c` lines."),
        ("write: {status: [A__c]}", "write.status", "Give one such as"),
        ("write: {status: Fairturn_Reason__c}", "write.reason", "Give each output a field of its own."),
        ("object: 7", "object", "Give one such as"),
        ("attributes: {a: b}", "attributes", "Give one such as"),
        ("- a", "SALESFORCE_MAPPING_FILE", "Write `read:` with lines."),
        ("a: [", "SALESFORCE_MAPPING_FILE", "Compare it with docs/salesforce.md."),
    ],
)
def test_a_wrong_line_is_named_with_its_fix(tmp_path: Path, text: str, field: str, fix: str) -> None:
    with pytest.raises(BadInput) as caught:
        custom(tmp_path, text)
    assert caught.value.field == field
    assert caught.value.fix.startswith(fix)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"SALESFORCE_MAPPING_FILE: .*none\.yaml cannot be read"):
        FieldMap.load(tmp_path / "none.yaml")
