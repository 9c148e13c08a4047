"""The REST API as clients meet it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.sandbox_fixture import SandboxOrg

LEAD = {"LastName": "Doe", "Company": "Acme"}


def a_lead(org: SandboxOrg, **fields: object) -> str:
    return org.create_leads({**LEAD, **fields})[0]


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def test_a_record_lives_from_creation_to_deletion(sandbox_org: SandboxOrg) -> None:
    created = sandbox_org.rest("POST", "sobjects/Lead/", json=LEAD)
    assert (created.status_code, created.json()["success"]) == (201, True)
    path = f"sobjects/Lead/{created.json()['id']}"
    updated = sandbox_org.rest("PATCH", path, json={"City": "Troy"})
    assert (updated.status_code, updated.content, updated.headers.get("Content-Length")) == (204, b"", None)
    assert sandbox_org.rest("GET", path, params={"fields": "City,Name"}).json() == {
        "attributes": {"type": "Lead", "url": f"/services/data/v64.0/{path}"},
        "City": "Troy",
        "Name": "Doe",
        "Id": created.json()["id"],
    }
    assert sandbox_org.rest("DELETE", path).status_code == 204
    gone = sandbox_org.rest("GET", path)
    assert (gone.status_code, gone.json()[0]["errorCode"]) == (404, "ENTITY_IS_DELETED")


def test_a_record_is_made_or_changed_by_its_external_id(sandbox_org: SandboxOrg) -> None:
    path = "sobjects/Lead/Fairturn_Source_Id__c/a%2Fb"
    first = sandbox_org.rest("PATCH", path, json=LEAD)
    second = sandbox_org.rest("PATCH", path, json={"City": "Troy"})
    assert (first.status_code, first.json()["created"]) == (201, True)
    assert (second.status_code, second.json()["created"], second.json()["id"]) == (200, False, first.json()["id"])
    assert sandbox_org.rest("GET", path).json()["Fairturn_Source_Id__c"] == "a/b"
    missing = "sobjects/Lead/Fairturn_Source_Id__c/none"
    assert sandbox_org.rest("PATCH", missing, json=LEAD, params={"updateOnly": "true"}).status_code == 404


def test_one_bad_record_of_a_collection_does_not_touch_the_others(sandbox_org: SandboxOrg) -> None:
    ids = [a_lead(sandbox_org) for _ in range(3)]
    rows = [{"attributes": {"type": "Lead"}, "Id": each, "City": "Troy"} for each in ids]
    rows[1]["City"] = "x" * 50
    answer = sandbox_org.rest("PATCH", "composite/sobjects", json={"allOrNone": False, "records": rows})
    assert answer.status_code == 200
    assert [row["success"] for row in answer.json()] == [True, False, True]
    error = answer.json()[1]["errors"][0]
    assert (error["statusCode"], error["fields"]) == ("STRING_TOO_LONG", ["City"])


def test_all_or_none_rolls_every_record_back(sandbox_org: SandboxOrg) -> None:
    lead = a_lead(sandbox_org)
    rows = [
        {"attributes": {"type": "Lead"}, "Id": lead, "City": "Troy"},
        {"attributes": {"type": "Lead"}, "Id": "00QgK00000000zzUAA", "City": "Troy"},
    ]
    answer = sandbox_org.rest("PATCH", "composite/sobjects", json={"allOrNone": True, "records": rows}).json()
    assert answer[0]["errors"][0]["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert not answer[1]["success"]
    assert sandbox_org.rest("GET", f"sobjects/Lead/{lead}").json()["City"] is None
    assert len(sandbox_org.admin("GET", "history")["changes"]) == 1


def test_a_collection_is_upserted_fetched_and_deleted(sandbox_org: SandboxOrg) -> None:
    a_lead(sandbox_org, Fairturn_Source_Id__c="one")
    rows = [{"attributes": {"type": "Lead"}, "Fairturn_Source_Id__c": key, **LEAD} for key in ("one", "two")]
    path = "composite/sobjects/Lead/Fairturn_Source_Id__c"
    results = sandbox_org.rest("PATCH", path, json={"records": rows}).json()
    assert [row["created"] for row in results] == [False, True]
    ids = [row["id"] for row in results]
    wanted = {"ids": [ids[1], "00QgK00000000zzUAA"], "fields": ["LastName"]}
    found, missing = sandbox_org.rest("POST", "composite/sobjects/Lead", json=wanted).json()
    assert (found["LastName"], missing) == ("Doe", None)
    gone = sandbox_org.rest("DELETE", "composite/sobjects", params={"ids": ",".join(ids)}).json()
    assert [row["success"] for row in gone] == [True, True]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"records": [{"attributes": {"type": "Lead"}}] * 201}, "INVALID_INPUT"),
        ({"records": [{"LastName": "x"}]}, "INVALID_INPUT"),
        ({"records": [{"attributes": {"type": "Nope"}}]}, "INVALID_TYPE"),
        ({"records": "none"}, "JSON_PARSER_ERROR"),
        ([], "JSON_PARSER_ERROR"),
        ({"records": [{"attributes": {"type": "Lead"}, **LEAD, "NumberOfEmployees": "many"}]}, "JSON_PARSER_ERROR"),
    ],
)
def test_a_malformed_collection_is_refused_whole(sandbox_org: SandboxOrg, body: object, code: str) -> None:
    answer = sandbox_org.rest("POST", "composite/sobjects", json=body)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)
    assert sandbox_org.admin("GET", "state")["records"]["Lead"] == 0


def test_a_collection_may_change_types_ten_times_at_most(sandbox_org: SandboxOrg) -> None:
    pair = [{"attributes": {"type": "Lead"}, **LEAD}, {"attributes": {"type": "Account"}, "Name": "A"}]
    assert sandbox_org.rest("POST", "composite/sobjects", json={"records": pair * 5}).status_code == 200
    assert sandbox_org.rest("POST", "composite/sobjects", json={"records": pair * 6}).status_code == 400


def test_a_write_may_demand_that_nobody_wrote_since(sandbox_org: SandboxOrg) -> None:
    path = f"sobjects/Lead/{a_lead(sandbox_org)}"
    now = datetime.now(UTC)
    stale = {"If-Unmodified-Since": http_date(now - timedelta(hours=1))}
    fresh = {"If-Unmodified-Since": http_date(now + timedelta(hours=1))}
    wrong = {"If-Unmodified-Since": "yesterday"}
    tried = [sandbox_org.rest("PATCH", path, json={"City": "Troy"}, headers=each) for each in (stale, fresh, wrong)]
    assert [answer.status_code for answer in tried] == [412, 204, 400]


def test_a_record_that_did_not_change_is_not_sent_again(sandbox_org: SandboxOrg) -> None:
    path = f"sobjects/Lead/{a_lead(sandbox_org)}"
    modified = sandbox_org.rest("GET", path).headers["Last-Modified"]
    assert sandbox_org.rest("GET", path, headers={"If-Modified-Since": modified}).status_code == 304


def test_a_long_answer_comes_in_pages_that_expire(sandbox_org: SandboxOrg) -> None:
    created = sandbox_org.create_leads(*[LEAD] * 450)
    small = {"Sforce-Query-Options": "batchSize=200"}
    asked = {"q": "SELECT Id FROM Lead ORDER BY Id"}
    page = sandbox_org.rest("GET", "query", params=asked, headers=small).json()
    first = page["nextRecordsUrl"].removeprefix("/services/data/v64.0/")
    seen = page["records"]
    while not page["done"]:
        page = sandbox_org.rest("GET", page["nextRecordsUrl"].removeprefix("/services/data/v64.0/")).json()
        seen += page["records"]
    assert [row["Id"] for row in seen] == sorted(created)
    sandbox_org.admin("POST", "clock", {"advance_s": 49 * 3600})
    expired = sandbox_org.rest("GET", first)
    assert (expired.status_code, expired.json()[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")


def test_deleted_rows_are_found_only_when_asked_for(sandbox_org: SandboxOrg) -> None:
    kept, gone = (a_lead(sandbox_org) for _ in range(2))
    sandbox_org.rest("DELETE", f"sobjects/Lead/{gone}")
    text = {"q": "SELECT Id, IsDeleted FROM Lead"}
    assert [row["Id"] for row in sandbox_org.rest("GET", "query", params=text).json()["records"]] == [kept]
    every = sandbox_org.rest("GET", "queryAll", params=text).json()["records"]
    assert {row["Id"]: row["IsDeleted"] for row in every} == {kept: False, gone: True}


def test_what_was_updated_and_deleted_in_a_window_is_listed(sandbox_org: SandboxOrg) -> None:
    kept, gone = (a_lead(sandbox_org) for _ in range(2))
    sandbox_org.rest("DELETE", f"sobjects/Lead/{gone}")
    now = datetime.now(UTC)
    window = {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}
    assert sandbox_org.rest("GET", "sobjects/Lead/updated/", params=window).json()["ids"] == [kept]
    deleted = sandbox_org.rest("GET", "sobjects/Lead/deleted/", params=window).json()["deletedRecords"]
    assert [row["id"] for row in deleted] == [gone]


def test_a_destroyed_record_is_in_no_query_and_only_the_log_of_deletions_tells_of_it(sandbox_org: SandboxOrg) -> None:
    kept, gone, destroyed = (a_lead(sandbox_org) for _ in range(3))
    sandbox_org.rest("DELETE", f"sobjects/Lead/{gone}")
    events = sandbox_org.admin("GET", "state")["events"]
    assert sandbox_org.admin("POST", "purge", {}) == {"purged": 1}
    assert sandbox_org.admin("POST", "purge", {"ids": [destroyed]}) == {"purged": 1}
    assert sandbox_org.admin("GET", "state")["events"] == events
    every = sandbox_org.rest("GET", "queryAll", params={"q": "SELECT Id FROM Lead"}).json()["records"]
    assert [row["Id"] for row in every] == [kept]
    assert [row["Id"] for row in sandbox_org.admin("GET", "records")["records"]] == [kept]
    now = datetime.now(UTC)
    window = {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}
    told = sandbox_org.rest("GET", "sobjects/Lead/deleted/", params=window).json()["deletedRecords"]
    assert sorted(row["id"] for row in told) == sorted([gone, destroyed])


def test_the_log_of_deletions_reaches_back_thirty_days(sandbox_org: SandboxOrg) -> None:
    now = datetime.now(UTC)
    window = {"start": (now - timedelta(days=31)).isoformat(), "end": now.isoformat()}
    answer = sandbox_org.rest("GET", "sobjects/Lead/deleted/", params=window)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALID_REPLICATION_DATE")


def test_a_describe_tells_what_a_doctor_needs(sandbox_org: SandboxOrg) -> None:
    described = sandbox_org.rest("GET", "sobjects/Lead/describe").json()
    fields = {each["name"]: each for each in described["fields"]}
    key, partner, distance = (
        fields[name] for name in ("Fairturn_Source_Id__c", "Fairturn_Partner__c", "Fairturn_Distance_Miles__c")
    )
    assert (key["type"], key["length"], key["externalId"], key["unique"]) == ("string", 255, True, True)
    assert (partner["type"], partner["referenceTo"]) == ("reference", ["Account"])
    assert (distance["type"], distance["precision"], distance["scale"]) == ("double", 9, 2)
    assert not fields["CreatedDate"]["updateable"]
    assert not fields["LastName"]["nillable"]


def test_the_daily_limit_is_counted_and_kept(sandbox_org: SandboxOrg) -> None:
    sandbox_org.admin("POST", "options", {"daily_api_requests": 2})
    answers = [sandbox_org.rest("GET", "sobjects/Lead") for _ in range(3)]
    assert answers[1].headers["Sforce-Limit-Info"] == "api-usage=2/2"
    assert answers[2].status_code == 403
    assert answers[2].json()[0]["message"] == "TotalRequests Limit exceeded."


def test_a_stranger_is_sent_away_and_an_unknown_version_is_not_there(sandbox_org: SandboxOrg) -> None:
    stranger = sandbox_org.rest("GET", "limits", token="nobody")
    assert (stranger.status_code, stranger.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
    url = f"{sandbox_org.login_url}/services/data/v99.0/limits"
    headers = {"Authorization": f"Bearer {sandbox_org.token()}"}
    assert sandbox_org.session.get(url, headers=headers, timeout=10).status_code == 404
    assert sandbox_org.session.get(f"{sandbox_org.login_url}/nowhere", timeout=10).json()[0]["errorCode"] == "NOT_FOUND"


def test_collections_may_be_told_to_ignore_call_options(sandbox_org: SandboxOrg) -> None:
    sandbox_org.admin("POST", "options", {"call_options_in_collections": False})
    sandbox_org.create_leads(LEAD, client="Fairturn")
    assert sandbox_org.events(1)[0].header["changeOrigin"] == "com/salesforce/api/rest/64.0"


def test_a_chunked_body_is_read_whole(sandbox_org: SandboxOrg) -> None:
    chunks = iter([b'{"LastName": "Doe", ', b'"Company": "Acme"}'])
    answer = sandbox_org.rest("POST", "sobjects/Lead", data=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201


def test_history_tells_each_committed_change_with_its_writer(sandbox_org: SandboxOrg) -> None:
    lead = a_lead(sandbox_org)
    sandbox_org.rest("PATCH", f"sobjects/Lead/{lead}", json={"City": "Troy"})
    created, updated = sandbox_org.admin("GET", "history", object="Lead")["changes"]
    assert (created["type"], updated["type"], updated["id"]) == ("CREATE", "UPDATE", lead)
    assert updated["values"]["City"] == "Troy"
    assert sandbox_org.admin("GET", "history", after=1)["changes"] == [updated]
