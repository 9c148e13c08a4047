from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ApiError, RecordError
from sandbox.ids import mint
from tests.unit.sandbox.orgs import A_LEAD, a_lead, an_org, update, work_of

ORG = an_org()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"LastName": None}, "REQUIRED_FIELD_MISSING"),
        ({"Company": "  "}, "REQUIRED_FIELD_MISSING"),
        ({"City": "x" * 41}, "STRING_TOO_LONG"),
        ({"Email": "not an address"}, "INVALID_EMAIL_ADDRESS"),
        ({"Nonsense": 1}, "INVALID_FIELD"),
        ({"CreatedDate": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Name": "Jo Doe"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"OwnerId": "abc"}, "MALFORMED_ID"),
        ({"OwnerId": "001gK0000000001QAA"}, "MALFORMED_ID"),
        ({"OwnerId": mint("005", 999)}, "INVALID_CROSS_REFERENCE_KEY"),
        ({"Fairturn_Attempt__c": 1000}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Fairturn_Priority__c": 10**9}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Latitude": 1000}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Fairturn_Partner__r": {"Fairturn_Partner_Key__c": "nobody"}}, "INVALID_FIELD"),
    ],
)
def test_a_bad_value_is_refused_by_its_own_code(fields: dict[str, Any], code: str) -> None:
    work = work_of(ORG)
    with pytest.raises(RecordError) as refusal:
        work.insert(ORG.types["Lead"], {**A_LEAD, **fields})
    assert refusal.value.code == code
    assert work.changes == []


@pytest.mark.parametrize(
    "fields",
    [{"Fairturn_Priority__c": "high"}, {"DoNotCall": "perhaps"}, {"City": []}, {"Fairturn_Expires_At__c": "soon"}],
)
def test_a_value_of_another_type_refuses_the_whole_request(fields: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refusal:
        work_of(ORG).insert(ORG.types["Lead"], {**A_LEAD, **fields})
    assert refusal.value.code == "JSON_PARSER_ERROR"


def test_a_second_record_with_a_unique_key_is_refused_in_any_case() -> None:
    org = an_org()
    first = a_lead(org, Fairturn_Source_Id__c="s-1")
    with pytest.raises(RecordError, match="DUPLICATE_VALUE") as refusal:
        a_lead(org, Fairturn_Source_Id__c="S-1")
    assert first in refusal.value.message


def test_a_deleted_record_gives_its_key_back() -> None:
    org = an_org()
    work = work_of(org)
    work.delete(org.types["Lead"], a_lead(org, Fairturn_Source_Id__c="s-1"))
    assert a_lead(org, Fairturn_Source_Id__c="s-1")


def test_the_org_refuses_an_older_decision_over_a_newer() -> None:
    org = an_org()
    record_id = a_lead(org, Fairturn_Version__c=5)
    update(org, record_id, Fairturn_Version__c=5)
    update(org, record_id, Fairturn_Version__c=6)
    with pytest.raises(RecordError, match="FIELD_CUSTOM_VALIDATION_EXCEPTION"):
        update(org, record_id, Fairturn_Version__c=4, Phone="1")
    assert org.tables["Lead"].records[record_id].get("Phone") is None


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    org = an_org()
    record_id = a_lead(org, City="a\ud800b", FirstName="\U0001f600")
    assert org.tables["Lead"].records[record_id]["City"] == "a\ufffdb"
    assert org.tables["Lead"].records[record_id]["FirstName"] == "\U0001f600"


def test_undo_leaves_no_trace() -> None:
    org = an_org()
    kept = a_lead(org, Fairturn_Source_Id__c="kept", Phone="1")
    before = dict(org.tables["Lead"].records)
    work = work_of(org)
    work.insert(org.types["Lead"], {**A_LEAD, "Fairturn_Source_Id__c": "new"})
    work.update(org.types["Lead"], kept, {"Fairturn_Source_Id__c": "changed", "Phone": None})
    work.delete(org.types["Lead"], kept)
    work.undo()
    assert org.tables["Lead"].records == before
    assert org.tables["Lead"].holders("Fairturn_Source_Id__c", "kept") == {kept}
    assert not org.tables["Lead"].holders("Fairturn_Source_Id__c", "new")


def test_a_lookup_may_be_named_by_the_others_key() -> None:
    org = an_org()
    work = work_of(org)
    partner = work.insert(org.types["Account"], {"Name": "P", "Fairturn_Partner_Key__c": "P-1"})
    work.commit()
    record_id = a_lead(org, Fairturn_Partner__r={"Fairturn_Partner_Key__c": "p-1"})
    assert org.tables["Lead"].records[record_id]["Fairturn_Partner__c"] == partner


def test_field_names_ignore_case_and_short_ids_become_long() -> None:
    org = an_org()
    queue = next(iter(org.tables["Group"].records))
    record_id = a_lead(org, ownerid=queue[:15], PHONE="1")
    record = org.tables["Lead"].records[record_id]
    assert (record["OwnerId"], record["Phone"]) == (queue, "1")


def test_modification_dates_have_the_grain_of_a_second() -> None:
    org = an_org()
    record = org.tables["Lead"].records[a_lead(org)]
    assert record["LastModifiedDate"] % 1000 == 0
    assert record["SystemModstamp"] % 1000 == 0


@given(st.floats(min_value=-9_999_999, max_value=9_999_999))
def test_numbers_are_kept_to_the_fields_scale(number: float) -> None:
    record_id = a_lead(ORG, Fairturn_Distance_Miles__c=number)
    kept = ORG.tables["Lead"].records[record_id]["Fairturn_Distance_Miles__c"]
    assert abs(kept - number) <= 0.005 + 1e-6
    assert round(kept, 2) == kept
