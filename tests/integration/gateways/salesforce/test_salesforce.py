"""REST and the doctor against a whole org."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateways.salesforce.auth import ClientCredentials, TokenProvider
from gateways.salesforce.doctor import Finding, check
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from gateways.salesforce.stream import Endpoint, Stream
from routing.change import Outcome, WriteBack
from routing.errors import TryLater
from tests.sandbox_fixture import SandboxOrg, running_sandbox

TOPIC = "/data/LeadChangeEvent"
AT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def fill(org: SandboxOrg, count: int) -> list[str]:
    return org.create_leads(*({"LastName": f"L{n}", "Company": "C", "City": "Albany"} for n in range(count)))


def writes(ids: list[str], **more: Any) -> list[WriteBack]:
    fixed = {"version": 2, "state": "offered", "attempt": 1, **more}
    return [WriteBack(lead_id=n, salesforce_id=one, **fixed) for n, one in enumerate(ids)]


def lead(org: SandboxOrg, record_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = org.rest("GET", f"sobjects/Lead/{record_id}").json()
    return answer


def test_salesforce_shows_what_became_of_a_lead(org: SandboxOrg, salesforce: Salesforce) -> None:
    [one] = fill(org, 1)
    account = org.rest("POST", "sobjects/Account", json={"Name": "Solar Ltd"}).json()["id"]
    offer = writes(
        [one], member_key="P1", member_salesforce_id=account, distance_m=5055.77, ring_m=8046.72, policy_version=4,
        offered_at=AT, expires_at=AT + timedelta(hours=1), reason="nearest ring", outcome="offered", offers=1,
    )  # fmt: skip
    for _ in range(2):  # repeating it changes nothing
        assert [result.outcome for result in salesforce.write(offer)] == [Outcome.DONE]
    shown = lead(org, one)
    assert {name.removeprefix("Fairturn_"): value for name, value in shown.items() if name.startswith("Fairturn_")} == {
        "Source_Id__c": None, "Attributes__c": None, "Priority__c": None,
        "Partner__c": account, "Partner_Key__c": "P1", "Status__c": "offered", "Reason__c": "nearest ring",
        "Distance_Miles__c": 3.14, "Ring_Miles__c": 5.0, "Attempt__c": 1.0, "Policy_Version__c": 4.0,
        "Version__c": 2.0, "Offered_At__c": "2026-11-22T03:00:00.000+0000",
        "Expires_At__c": "2026-11-22T04:00:00.000+0000", "Answered_At__c": None, "Accepted_At__c": None,
        "Ended_At__c": None, "Outcome__c": "offered", "Offer_Reason__c": None, "Offers__c": 1.0,
    }  # fmt: skip
    owner = shown["OwnerId"]
    salesforce.write(writes([one], version=3, state="waiting", reason="no_room"))
    shown = lead(org, one)
    assert (shown["Fairturn_Partner__c"], shown["Fairturn_Distance_Miles__c"]) == (None, None)
    assert (shown["Fairturn_Status__c"], shown["Fairturn_Reason__c"]) == ("waiting", "no_room")
    assert shown["OwnerId"] == owner


def test_one_record_of_200_that_fails_touches_no_other(org: SandboxOrg, salesforce: Salesforce) -> None:
    ids = fill(org, 200)
    org.fault("record", "refuse", match={"Id": ids[7]}, args={"name": "locked"})
    org.fault("record", "refuse", match={"Id": ids[8]}, args={"code": "FIELD_CUSTOM_VALIDATION_EXCEPTION"})
    org.rest("DELETE", f"sobjects/Lead/{ids[9]}")
    results = salesforce.write(writes(ids))
    assert {n: r.outcome for n, r in enumerate(results) if r.outcome is not Outcome.DONE} == {
        7: Outcome.RETRY,
        8: Outcome.PARK,
        9: Outcome.GONE,
    }
    assert lead(org, ids[10])["Fairturn_Status__c"] == "offered"
    [again] = salesforce.write(writes([ids[7]]))
    assert again.outcome is Outcome.DONE


def test_a_trigger_that_fails_is_tried_again(org: SandboxOrg, salesforce: Salesforce) -> None:
    ids = fill(org, 3)
    org.fault("record", "refuse", match={"Id": ids[1]}, args={"name": "trigger"})
    assert [result.tries for result in salesforce.write(writes(ids))] == [0, 3, 0]
    assert {result.outcome for result in salesforce.write(writes(ids))} == {Outcome.DONE}


def test_an_older_version_is_refused_by_the_org(org: SandboxOrg, salesforce: Salesforce) -> None:
    [one] = fill(org, 1)
    salesforce.write(writes([one], version=5))
    [late] = salesforce.write(writes([one], version=4))
    assert (late.outcome, late.code) == (Outcome.PARK, "FIELD_CUSTOM_VALIDATION_EXCEPTION")


def test_a_revoked_token_is_replaced(org: SandboxOrg, salesforce: Salesforce) -> None:
    ids = fill(org, 1)
    assert salesforce.write(writes(ids))[0].outcome is Outcome.DONE
    org.admin("POST", "revoke")
    assert salesforce.write(writes(ids))[0].outcome is Outcome.DONE


def test_a_used_up_day_is_a_long_pause(org: SandboxOrg, salesforce: Salesforce) -> None:
    ids = fill(org, 1)
    salesforce.write(writes(ids))
    org.admin("POST", "options", {"daily_api_requests": 1})
    with pytest.raises(TryLater) as caught:
        salesforce.write(writes(ids))
    assert caught.value.facts["pause_s"] == 900.0


def test_records_are_read_again_with_deleted_ones(org: SandboxOrg, salesforce: Salesforce) -> None:
    ids = fill(org, 3)
    org.rest("DELETE", f"sobjects/Lead/{ids[1]}")
    found = salesforce.read([*ids, "00Q000000000009EAA"])
    assert [change.change_type for change in found] == ["SNAPSHOT", "DELETE", "SNAPSHOT", "MISSING"]
    fields = FieldMap.load().fields_of(found[0].body)
    assert (fields["name"], fields["city"], fields["is_converted"]) == ("L0", "Albany", False)


def test_changes_since_a_moment_are_found_page_by_page_with_deletes(org: SandboxOrg, salesforce: Salesforce) -> None:
    ids = fill(org, 450)
    org.rest("DELETE", f"sobjects/Lead/{ids[3]}")
    since = datetime.now(UTC) - timedelta(minutes=5)
    pages = list(salesforce.changed_since(since, page=100))
    found = {change.record_id: change.change_type for page in pages for change in page}
    assert found == {one: "DELETE" if one == ids[3] else "SNAPSHOT" for one in ids}
    assert max(len(page) for page in pages) == 100
    assert not list(salesforce.changed_since(datetime.now(UTC) + timedelta(hours=1)))


def test_usage_is_known_after_a_call(org: SandboxOrg, salesforce: Salesforce) -> None:
    salesforce.write(writes(fill(org, 1)))
    assert salesforce.usage is not None
    assert 0 < salesforce.usage.used < salesforce.usage.total


# --- the doctor


def stream(org: SandboxOrg, tokens: TokenProvider, topic: str = TOPIC) -> Stream:
    return Stream(Endpoint(f"127.0.0.1:{org.grpc}", plaintext=True), topic, tokens)


def wrong(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings if not finding.ok}


def test_a_ready_org_has_nothing_missing(org: SandboxOrg, salesforce: Salesforce, tokens: TokenProvider) -> None:
    findings = check(salesforce, FieldMap.load(), stream(org, tokens))
    assert wrong(findings) == {}
    names = {finding.name for finding in findings}
    assert {"login", "change data capture", "Fairturn_Partner__c", "OwnerId", "DailyApiRequests"} <= names


@pytest.fixture
def bare_org(tmp_path: Path) -> Iterator[SandboxOrg]:
    with running_sandbox(tmp_path, "--bare") as running:
        yield running


def test_each_missing_field_is_named_with_how_to_create_it(bare_org: SandboxOrg) -> None:
    tokens = TokenProvider(bare_org.login_url, ClientCredentials("app", "secret"), ca_file=bare_org.ca)
    salesforce, mapping = Salesforce(tokens, FieldMap.load(), ca_file=bare_org.ca), FieldMap.load()
    missing = wrong(check(salesforce, mapping, stream(bare_org, tokens)))
    custom = {name for name in (*mapping.inputs, *mapping.outputs) if name.endswith("__c")}
    assert missing.keys() == custom | {"Account.Fairturn_Active__c", "Lead validation rule"}
    assert missing["Fairturn_Partner__c"].fix.startswith(
        "Setup > Object Manager > Lead > Fields & Relationships > New: Lookup Relationship to Account,"
        " Field Name Fairturn_Partner; then give the integration user Read and Edit access to it."
    )
    assert "Text Area (Long), length 32768" in missing["Fairturn_Attributes__c"].fix
    # A lead is parked with the same news, and reading goes on without the fields.
    ids = fill(bare_org, 2)
    results = salesforce.write(writes(ids))
    assert {result.outcome for result in results} == {Outcome.PARK}
    assert "Fairturn" in results[0].message
    assert [change.change_type for change in salesforce.read(ids)] == ["SNAPSHOT", "SNAPSHOT"]


def test_a_field_of_the_wrong_type_is_named(org: SandboxOrg, salesforce: Salesforce, tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(
        "read: {priority: LeadSource}\nwrite: {offered_at: Company, reason: Phone, version: CreatedDate}", "utf-8"
    )
    found = wrong(check(salesforce, FieldMap.load(file)))
    assert "is of type picklist" in found["LeadSource"].message
    assert "is of type string" in found["Company"].message
    assert "holds 40 characters only" in found["Phone"].message
    assert "is of type datetime" in found["CreatedDate"].message


def test_the_records_of_offers_are_looked_at_where_they_are_wanted(
    org: SandboxOrg, salesforce: Salesforce, bare_org: SandboxOrg
) -> None:
    findings = check(salesforce, FieldMap.load(), offers=True)
    assert wrong(findings) == {}
    assert {"Fairturn_Offer__c.Fairturn_Offer_Id__c", "Fairturn_Offer__c validation rule"} <= {f.name for f in findings}
    tokens = TokenProvider(bare_org.login_url, ClientCredentials("app", "secret"), ca_file=bare_org.ca)
    found = wrong(check(Salesforce(tokens, FieldMap.load(), ca_file=bare_org.ca), FieldMap.load(), offers=True))
    assert "deploy gateways/salesforce/org" in found["Fairturn_Offer__c fields"].fix


def test_a_rule_that_is_off_and_a_right_that_is_not_given_are_named(org: SandboxOrg, salesforce: Salesforce) -> None:
    org.admin("POST", "options", {"version_rule": False, "forbidden": "Lead.updateable"})
    found = wrong(check(salesforce, FieldMap.load()))
    assert found.keys() == {"Lead validation rule", "Lead updateable"}
    assert "permission set Fairturn Integration, or Edit on Lead" in found["Lead updateable"].fix
    org.fault("http", "answer", match={"path": "tooling"}, args={"status": 403, "code": "INSUFFICIENT_ACCESS"})
    found = wrong(check(salesforce, FieldMap.load()))
    assert found.keys() == {"Lead updateable"}


def test_an_object_without_change_data_capture_is_named(
    org: SandboxOrg, salesforce: Salesforce, tokens: TokenProvider
) -> None:
    found = wrong(check(salesforce, FieldMap.load(), stream(org, tokens, "/data/NoSuchChangeEvent")))
    assert "Change Data Capture" in found["change data capture"].message


def test_a_refused_login_is_all_there_is_to_say(org: SandboxOrg) -> None:
    org.fault("login", "refuse", count=None)
    tokens = TokenProvider(org.login_url, ClientCredentials("app", "secret"), ca_file=org.ca)
    findings = check(Salesforce(tokens, FieldMap.load(), ca_file=org.ca), FieldMap.load())
    assert [finding.name for finding in findings] == ["login"]
    assert "SALESFORCE_CLIENT_ID" in findings[0].message
