import json

from sandbox.cdc import text_diff
from sandbox.org import ADMIN, Actor
from sandbox.transaction import Transaction
from sandbox.verbs import Conversion, convert, merge, place
from tests.unit.sandbox.orgs import a_lead, an_org, read, told, update, work_of


def test_a_creation_tells_all_that_is_not_empty_and_names_no_changed_field() -> None:
    org = an_org()
    record_id = a_lead(org, City="Troy", FirstName="Jo")
    header, body = read(org, org.bus.events[-1])
    assert header["changeType"] == "CREATE"
    assert header["recordIds"] == [record_id]
    assert (header["changedFields"], header["nulledFields"], header["diffFields"]) == ([], [], [])
    assert body["Name"] == {"Salutation": None, "FirstName": "Jo", "LastName": "Doe"}
    assert body["Address"]["City"] == "Troy"
    assert body["Company"] == "Acme"
    assert "Fax" not in body
    assert "Id" not in body


def test_an_update_tells_only_what_changed_and_when() -> None:
    org = an_org()
    record_id = a_lead(org, City="Troy", Phone="1")
    update(org, record_id, City="Albany", Phone="1", Company="Acme")
    header, body = read(org, org.bus.events[-1])
    assert header["changedFields"] == told(org, "LastModifiedDate", "City")
    assert set(body) == {"Address", "LastModifiedDate"}
    assert body["Address"]["City"] == "Albany"
    assert body["Address"]["State"] is None


def test_an_emptied_field_is_nulled_and_absent_from_the_body() -> None:
    org = an_org()
    record_id = a_lead(org, City="Troy", Phone="1")
    update(org, record_id, City=None, Phone="")
    header, body = read(org, org.bus.events[-1])
    assert header["nulledFields"] == told(org, "City", "Phone")
    assert header["changedFields"] == told(org, "LastModifiedDate", "City", "Phone")
    assert "Phone" not in body


def test_a_deletion_has_no_body() -> None:
    org = an_org()
    record_id = a_lead(org)
    work = work_of(org)
    work.delete(org.types["Lead"], record_id)
    work.commit()
    header, body = read(org, org.bus.events[-1])
    assert (header["changeType"], body) == ("DELETE", {})


def test_an_undeleted_record_is_told_whole() -> None:
    org = an_org()
    record_id = a_lead(org, City="Troy")
    for verb in ("delete", "undelete"):
        work = work_of(org)
        getattr(work, verb)(org.types["Lead"], record_id)
        work.commit()
    header, body = read(org, org.bus.events[-1])
    assert header["changeType"] == "UNDELETE"
    assert body["Address"]["City"] == "Troy"


def test_records_that_come_back_together_are_told_each_by_itself() -> None:
    org = an_org()
    ids = [a_lead(org, City=city) for city in ("Troy", "Utica")]
    for verb in ("delete", "undelete"):
        work = work_of(org)
        for record_id in ids:
            getattr(work, verb)(org.types["Lead"], record_id)
        work.commit()
    told = [read(org, one) for one in list(org.bus.events)[-2:]]
    assert [(header["recordIds"], body["Address"]["City"]) for header, body in told] == [
        ([ids[0]], "Troy"),
        ([ids[1]], "Utica"),
    ]


def test_records_changed_alike_in_one_transaction_share_one_event() -> None:
    org = an_org()
    ids = [a_lead(org) for _ in range(3)]
    before = len(org.bus.events)
    work = work_of(org)
    for record_id in ids:
        work.update(org.types["Lead"], record_id, {"Rating": "Hot"})
    work.commit()
    assert len(org.bus.events) == before + 1
    assert read(org, org.bus.events[-1])[0]["recordIds"] == ids


def test_records_changed_differently_get_an_event_each_in_one_transaction() -> None:
    org = an_org()
    ids = [a_lead(org) for _ in range(3)]
    work = work_of(org)
    for number, record_id in enumerate(ids):
        work.update(org.types["Lead"], record_id, {"Phone": str(number)})
    work.commit()
    headers = [read(org, event)[0] for event in org.bus.events[-3:]]
    assert [header["sequenceNumber"] for header in headers] == [1, 2, 3]
    assert len({(header["transactionKey"], header["commitNumber"]) for header in headers}) == 1


def test_an_object_that_is_not_selected_leaves_a_hole_in_the_sequence() -> None:
    org = an_org()
    org.selected.remove("Account")
    record_id = a_lead(org)
    work = work_of(org)
    work.insert(org.types["Account"], {"Name": "A"})
    work.update(org.types["Lead"], record_id, {"Phone": "1"})
    work.commit()
    header, _ = read(org, org.bus.events[-1])
    assert (header["entityName"], header["sequenceNumber"]) == ("Lead", 2)


def test_a_conversion_is_one_transaction_and_names_no_modification_date() -> None:
    org = an_org()
    record_id = a_lead(org, City="Troy")
    work = work_of(org)
    convert(work, Conversion(record_id))
    work.commit()
    told_of = [read(org, event) for event in org.bus.events[-4:]]
    assert [header["entityName"] for header, _ in told_of] == ["Account", "Contact", "Opportunity", "Lead"]
    assert len({header["transactionKey"] for header, _ in told_of}) == 1
    _, body = told_of[-1]
    assert body["IsConverted"] is True
    assert "LastModifiedDate" not in body


def test_the_orgs_own_geocoding_has_no_origin_and_no_modification_date() -> None:
    org = an_org()
    record_id = a_lead(org, City="Troy")
    place(org, record_id, (42.7, -73.7))
    header, body = read(org, org.bus.events[-1])
    assert header["changeOrigin"] == ""
    assert header["changedFields"] == told(org, "Latitude", "Longitude", "GeocodeAccuracy")
    assert len(header["changedFields"]) == 1
    assert set(body) == {"Address"}


def test_merged_records_are_deleted_and_the_master_updated_together() -> None:
    org = an_org()
    master, first, second = (a_lead(org) for _ in range(3))
    work = work_of(org)
    merge(work, org.types["Lead"], master, [first, second], {"Phone": "9"})
    work.commit()
    (gone, _), (kept, _) = (read(org, event) for event in org.bus.events[-2:])
    assert (gone["changeType"], gone["recordIds"]) == ("DELETE", [first, second])
    assert (kept["changeType"], kept["recordIds"]) == ("UPDATE", [master])
    assert org.tables["Lead"].records[first]["MasterRecordId"] == master


def test_the_origin_names_the_writer() -> None:
    org = an_org()
    work = Transaction(org, Actor(org.user_named(ADMIN), "com/salesforce/api/rest/64.0;client=Fairturn"))
    work.insert(org.types["Lead"], {"LastName": "a", "Company": "b"})
    work.commit()
    header, _ = read(org, org.bus.events[-1])
    assert header["changeOrigin"] == "com/salesforce/api/rest/64.0;client=Fairturn"
    assert header["commitUser"] == org.user_named(ADMIN)


def test_a_new_field_makes_a_new_schema_and_old_events_stay_readable() -> None:
    org = an_org()
    a_lead(org)
    old = org.bus.events[-1]
    from sandbox.schema import field_of  # noqa: PLC0415 - beside its only use

    org.add_field("Lead", field_of({"name": "Shoe_Size__c", "type": "double", "precision": 4, "scale": 1}))
    a_lead(org, Shoe_Size__c=44.5)
    new = org.bus.events[-1]
    assert old.schema_id != new.schema_id
    assert read(org, old)[0]["changeType"] == "CREATE"
    assert read(org, new)[1]["Shoe_Size__c"] == 44.5
    assert json.loads(org.schemas[new.schema_id].json)["fields"][-1]["name"] == "Shoe_Size__c"


def test_a_second_address_refers_to_the_first_ones_type_by_name() -> None:
    fields = {each["name"]: each["type"] for each in json.loads(an_org().current["Account"].json)["fields"]}
    assert fields["BillingAddress"][1]["name"] == "Address"
    assert fields["ShippingAddress"] == ["null", "Address"]


def test_a_small_change_in_a_long_text_is_told_as_a_diff() -> None:
    old = "\n".join(f"line {n} of a long description" for n in range(60))
    record_changes = old.replace("line 7 ", "row 7 ")
    diff = text_diff(old, record_changes)
    assert diff is not None
    assert diff.startswith("--- \n+++ ")
    org = an_org()
    record_id = a_lead(org, Description=old)
    update(org, record_id, Description=record_changes)
    header, body = read(org, org.bus.events[-1])
    assert header["diffFields"] == told(org, "Description")
    assert body["Description"] == diff


def test_a_text_that_changed_much_or_is_short_is_told_whole() -> None:
    assert text_diff("a" * 2000, "b" * 2000) is None
    assert text_diff("a\n" * 100, "a\n" * 99 + "b\n") is None
    assert text_diff(None, "b" * 2000) is None
