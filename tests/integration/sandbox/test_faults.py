"""Faults on demand."""

import time

import fastavro
import grpc
import pytest
import requests

from gateways.salesforce.proto import pubsub_api_pb2 as pb
from tests.integration.sandbox.test_pubsub import LEAD, ask, failed, leads
from tests.sandbox_fixture import TOPIC, SandboxOrg

STREAM_FAULTS = {
    "auth_error": ("UNAUTHENTICATED", "service.auth.error"),
    "service_unavailable": ("INTERNAL", "service.unavailable"),
    "rst_stream": ("UNAVAILABLE", ""),
    "rst_stream_internal": ("INTERNAL", ""),
    "replayid_corrupted": ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted"),
    "replayid_validation_failed": ("INVALID_ARGUMENT", "subscription.fetch.replayid.validation.failed"),
    "limit_exceeded": ("RESOURCE_EXHAUSTED", "subscription.limit.exceeded"),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_a_stream_breaks_in_the_middle_as_ordered(sandbox_org: SandboxOrg, name: str) -> None:
    leads(sandbox_org, 2)
    sandbox_org.fault("stream", "status", after_events=2, args={"name": name})
    assert failed(sandbox_org, ask(10)) == STREAM_FAULTS[name]
    assert len(sandbox_org.events(2)) == 2, "a fault that has struck is gone"


def test_any_code_of_salesforces_table_can_be_ordered(sandbox_org: SandboxOrg) -> None:
    order = {"status": "UNKNOWN", "suffix": "subscription.internal.error", "message": "Oops."}
    sandbox_org.fault("call", "status", match={"rpc": "Subscribe"}, args=order)
    assert failed(sandbox_org, ask(1)) == ("UNKNOWN", "subscription.internal.error")


def test_a_stalled_stream_says_nothing(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("stream", "stall")
    with sandbox_org.pubsub() as stub:
        leads(sandbox_org, 1)
        stream = stub.Subscribe(iter([ask(1)]), metadata=sandbox_org.metadata(), timeout=0.5)
        with pytest.raises(grpc.RpcError) as failure:
            next(stream)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_duplicate_has_the_same_id_and_another_replay_id(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("event", "duplicate", match={"object": "Lead"})
    leads(sandbox_org, 2)
    first, again, other = sandbox_org.events(3)
    assert first.event_id == again.event_id != other.event_id
    assert first.replay_id != again.replay_id
    sandbox_org.admin("POST", "redeliver", {"count": 1})
    assert sandbox_org.events(4)[3].event_id == other.event_id


def test_a_held_back_event_comes_after_the_next_ones(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("event", "reorder")
    (late,) = leads(sandbox_org, 1)
    (early,) = leads(sandbox_org, 1)
    assert [seen.header["recordIds"] for seen in sandbox_org.events(2)] == [[early], [late]]


def test_a_held_back_event_comes_by_itself_when_none_follows(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("event", "reorder", args={"seconds": 0.1})
    (late,) = leads(sandbox_org, 1)
    assert sandbox_org.events(1)[0].header["recordIds"] == [late]


def test_a_garbled_payload_cannot_be_decoded_and_a_lost_event_never_comes(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("event", "undecodable", skip=1)
    sandbox_org.fault("event", "lost", skip=2)
    created = leads(sandbox_org, 4)
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(10)) as (stream, _more):
        first, garbled, *rest = next(stream).events
        assert sandbox_org.decoded(stub, first).header["recordIds"] == [created[0]]
        with pytest.raises((EOFError, ValueError, IndexError, OverflowError, fastavro.read.SchemaResolutionError)):
            sandbox_org.decoded(stub, garbled)
    assert len(rest) == 1


@pytest.mark.parametrize(("kind", "schema_id"), [("blank_schema", ""), ("unknown_schema", "A" * 22)])
def test_an_event_may_name_no_schema_or_one_nobody_knows(sandbox_org: SandboxOrg, kind: str, schema_id: str) -> None:
    sandbox_org.fault("event", kind)
    leads(sandbox_org, 1)
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(1)) as (stream, _more):
        assert next(stream).events[0].event.schema_id == schema_id


def test_an_event_may_become_a_gap(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("event", "gap")
    created = leads(sandbox_org, 1)
    (seen,) = sandbox_org.events(1)
    assert (seen.header["changeType"], seen.header["recordIds"], seen.body) == ("GAP_CREATE", created, {})


def test_the_schema_changes_in_mid_stream(sandbox_org: SandboxOrg) -> None:
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(2)) as (stream, _more):
        leads(sandbox_org, 1)
        before = sandbox_org.decoded(stub, next(stream).events[0])
        sandbox_org.admin("POST", "fields", {"name": "Roof__c", "type": "string", "length": 20})
        sandbox_org.create_leads({**LEAD, "Roof__c": "flat"})
        after = sandbox_org.decoded(stub, next(stream).events[0])
    assert before.schema_id != after.schema_id
    assert after.body["Roof__c"] == "flat"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("invalid_session", 401, "INVALID_SESSION_ID"),
        ("concurrent_limit", 403, "REQUEST_LIMIT_EXCEEDED"),
        ("daily_limit", 403, "REQUEST_LIMIT_EXCEEDED"),
        ("too_many", 429, "TOO_MANY_REQUESTS"),
        ("unavailable", 503, "SERVER_UNAVAILABLE"),
        ("locked", 400, "UNABLE_TO_LOCK_ROW"),
    ],
)
def test_a_request_is_refused_as_ordered(sandbox_org: SandboxOrg, name: str, status: int, code: str) -> None:
    sandbox_org.fault("http", "answer", match={"path": "/limits$"}, args={"name": name})
    answer = sandbox_org.rest("GET", "limits")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (name == "too_many")
    assert sandbox_org.rest("GET", "limits").status_code == 200


def test_one_record_of_many_is_refused(sandbox_org: SandboxOrg) -> None:
    ids = leads(sandbox_org, 3)
    sandbox_org.fault("record", "refuse", match={"id": ids[1]}, args={"name": "locked"})
    records = [{"attributes": {"type": "Lead"}, "id": each, "Phone": "1"} for each in ids]
    results = sandbox_org.rest("PATCH", "composite/sobjects", json={"records": records}).json()
    assert [result["success"] for result in results] == [True, False, True]
    assert results[1]["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"


def applied(org: SandboxOrg, lead: str) -> bool:
    return bool(org.rest("GET", f"sobjects/Lead/{lead}").json()["Phone"] == "1")


@pytest.mark.parametrize(("kind", "expected"), [("timeout_before", False), ("timeout_after", True)])
def test_a_request_times_out_before_or_after_it_was_applied(sandbox_org: SandboxOrg, kind: str, expected: bool) -> None:
    (lead,) = leads(sandbox_org, 1)
    sandbox_org.fault("http", kind, match={"method": "PATCH"})
    with pytest.raises(requests.ReadTimeout):
        sandbox_org.rest("PATCH", f"sobjects/Lead/{lead}", json={"Phone": "1"}, timeout=0.5)
    assert applied(sandbox_org, lead) is expected


def test_a_request_that_was_refused_is_applied_late_all_the_same(sandbox_org: SandboxOrg) -> None:
    (lead,) = leads(sandbox_org, 1)
    sandbox_org.fault("http", "late_apply", match={"method": "PATCH"}, args={"seconds": 0.2})
    assert sandbox_org.rest("PATCH", f"sobjects/Lead/{lead}", json={"Phone": "1"}).status_code == 503
    deadline = time.monotonic() + 10
    while not applied(sandbox_org, lead):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_login_is_refused_as_ordered(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("login", "refuse", args={"message": "user hasn't approved this consumer"})
    with pytest.raises(requests.HTTPError) as failure:
        sandbox_org.login()
    assert failure.value.response.json()["error"] == "invalid_grant"
    assert sandbox_org.login()


@pytest.mark.parametrize(
    "order",
    [
        {"place": "moon", "kind": "status"},
        {"place": "stream", "kind": "nope"},
        {"place": "stream", "kind": "status", "match": {"topic": "("}},
        {"place": "stream", "kind": "status", "nonsense": 1},
        {"place": "http", "kind": "answer", "args": {"name": "nope"}},
        {},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(sandbox_org: SandboxOrg, order: dict[str, object]) -> None:
    answer = sandbox_org.session.post(f"{sandbox_org.login_url}/sandbox/faults", json=order, timeout=10)
    assert answer.status_code == 400
    assert answer.json()[0]["message"]


def test_faults_can_be_listed_and_cleared(sandbox_org: SandboxOrg) -> None:
    sandbox_org.fault("call", "status", count=None, args={"name": "service_unavailable"})
    assert len(sandbox_org.admin("GET", "faults")["standing"]) == 1
    sandbox_org.admin("DELETE", "faults")
    with sandbox_org.pubsub() as stub:
        assert stub.GetTopic(pb.TopicRequest(topic_name=TOPIC), metadata=sandbox_org.metadata()).topic_name == TOPIC
