"""The Pub/Sub API as subscribers meet it."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from gateways.salesforce.proto import pubsub_api_pb2 as pb
from gateways.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc
from tests.sandbox_fixture import TOPIC, SandboxOrg, running_sandbox

PREFIX = "sfdc.platform.eventbus.grpc."
LEAD = {"LastName": "Doe", "Company": "Acme"}


def ask(count: int, *, topic: str = TOPIC, preset: int = pb.EARLIEST, replay_id: bytes = b"") -> pb.FetchRequest:
    return pb.FetchRequest(topic_name=topic, replay_preset=preset, replay_id=replay_id, num_requested=count)  # type: ignore[arg-type]  # enums are ints on the wire


def leads(org: SandboxOrg, count: int) -> list[str]:
    return org.create_leads(*({**LEAD, "LastName": f"Doe {n}"} for n in range(count)))


def ending(error: Any) -> tuple[str, str]:
    """Status and error code of a failed call."""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    return error.code().name, str(trailers.get("error-code", "")).removeprefix(PREFIX)


def failed(org: SandboxOrg, *asks: pb.FetchRequest, token: str = "") -> tuple[str, str]:
    """How a stream ends that asks this."""
    with org.pubsub() as stub, org.subscribed(stub, *asks, token=token) as (stream, _more):
        with pytest.raises(grpc.RpcError) as failure:
            for _ in stream:
                pass
        return ending(failure.value)


def test_a_lead_is_on_the_stream_with_its_id_and_client(sandbox_org: SandboxOrg) -> None:
    (lead,) = sandbox_org.create_leads(LEAD, client="Fairturn")
    (seen,) = sandbox_org.events(1)
    assert seen.header["recordIds"] == [lead]
    assert seen.header["changeOrigin"] == "com/salesforce/api/rest/64.0;client=Fairturn"
    assert seen.body["Name"]["LastName"] == "Doe"
    assert len(seen.replay_id) == 10
    assert len(seen.schema_id) == 22


def test_a_stream_resumes_right_after_a_replay_id(sandbox_org: SandboxOrg) -> None:
    leads(sandbox_org, 5)
    whole = sandbox_org.events(5)
    rest = sandbox_org.events(3, replay_id=whole[1].replay_id)
    assert [seen.event_id for seen in rest] == [seen.event_id for seen in whole[2:]]
    assert sandbox_org.events(1, replay_id=whole[3].replay_id[:8])[0].event_id == whole[4].event_id


def test_the_latest_position_sees_only_what_comes_after(sandbox_org: SandboxOrg) -> None:
    leads(sandbox_org, 2)
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(10, preset=pb.LATEST)) as (stream, _more):
        stub.GetTopic(pb.TopicRequest(topic_name=TOPIC), metadata=sandbox_org.metadata())
        (new,) = sandbox_org.create_leads(LEAD)
        (event,) = next(stream).events
        assert sandbox_org.decoded(stub, event).header["recordIds"] == [new]


def test_no_more_than_asked_for_is_sent_and_the_rest_is_owed(sandbox_org: SandboxOrg) -> None:
    leads(sandbox_org, 5)
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(3)) as (stream, more):
        first = next(stream)
        assert (len(first.events), first.pending_num_requested) == (3, 0)
        assert first.latest_replay_id == first.events[-1].replay_id
        more(ask(4))
        second = next(stream)
        assert (len(second.events), second.pending_num_requested) == (2, 2)


def test_no_more_than_100_are_ever_outstanding(sandbox_org: SandboxOrg) -> None:
    leads(sandbox_org, 150)
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(90)) as (stream, more):
        assert len(next(stream).events) == 90
        more(ask(1000))
        assert len(next(stream).events) == 60
        leads(sandbox_org, 60)
        assert len(next(stream).events) == 40


def test_only_the_first_request_says_where_to_start(sandbox_org: SandboxOrg) -> None:
    leads(sandbox_org, 3)
    first = sandbox_org.events(1)[0]
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(1)) as (stream, more):
        next(stream)
        more(ask(1, preset=pb.CUSTOM, replay_id=b"nonsense"))
        assert next(stream).events[0].event.id != first.event_id


def test_an_idle_stream_is_kept_alive_and_one_that_asks_nothing_is_closed(tmp_path: Path) -> None:
    with running_sandbox(tmp_path, "--keepalive-s", "0.2", "--idle-close-s", "0.2") as org:
        leads(org, 1)
        with org.pubsub() as stub, org.subscribed(stub, ask(2)) as (stream, _more):
            delivered = next(stream)
            quiet = next(stream)
            assert (len(quiet.events), quiet.pending_num_requested) == (0, 1)
            assert quiet.latest_replay_id > delivered.latest_replay_id
        leads(org, 1)
        assert len(org.events(1, replay_id=quiet.latest_replay_id)) == 1
        with org.pubsub() as stub, org.subscribed(stub, ask(1)) as (stream, _more):
            assert [len(response.events) for response in stream] == [1]


def test_an_expired_replay_id_and_a_malformed_one_are_answered_alike(sandbox_org: SandboxOrg) -> None:
    leads(sandbox_org, 1)
    (old,) = sandbox_org.events(1)
    sandbox_org.admin("POST", "clock", {"advance_s": 73 * 3600})
    corrupted = ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted")
    assert failed(sandbox_org, ask(1, preset=pb.CUSTOM, replay_id=old.replay_id)) == corrupted
    assert failed(sandbox_org, ask(1, preset=pb.CUSTOM, replay_id=b"12345")) == corrupted
    validation = ("INVALID_ARGUMENT", "subscription.fetch.replayid.validation.failed")
    assert failed(sandbox_org, ask(1, preset=pb.CUSTOM)) == validation


@pytest.mark.parametrize(
    ("asks", "ends"),
    [
        ([ask(0)], ("INVALID_ARGUMENT", "subscription.fetch.requested.events.invalid")),
        ([ask(1, topic="/data/NopeChangeEvent")], ("NOT_FOUND", "topic.not.found")),
        ([ask(1, topic="")], ("INVALID_ARGUMENT", "topic.validation.empty")),
        ([ask(1), ask(1, topic="/data/AccountChangeEvent")], ("INVALID_ARGUMENT", "subscription.fetch.topic.mismatch")),
    ],
)
def test_a_wrong_request_ends_the_stream_by_name(
    sandbox_org: SandboxOrg, asks: list[pb.FetchRequest], ends: tuple[str, str]
) -> None:
    assert failed(sandbox_org, *asks) == ends


def test_a_revoked_token_opens_nothing_and_may_cut_what_is_open(sandbox_org: SandboxOrg) -> None:
    token = sandbox_org.login()
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(1), token=token) as (stream, _more):
        stub.GetTopic(pb.TopicRequest(topic_name=TOPIC), metadata=sandbox_org.metadata())
        leads(sandbox_org, 1)
        next(stream)
        assert sandbox_org.admin("POST", "revoke", {"token": token, "streams": True})["revoked"] == 1
        with pytest.raises(grpc.RpcError) as failure:
            next(stream)
        assert ending(failure.value) == ("UNAUTHENTICATED", "service.auth.error")
    assert failed(sandbox_org, ask(1), token=token) == ("UNAUTHENTICATED", "service.auth.error")


def test_a_call_without_its_metadata_is_refused(sandbox_org: SandboxOrg) -> None:
    with sandbox_org.pubsub() as stub, pytest.raises(grpc.RpcError) as failure:
        stub.GetTopic(pb.TopicRequest(topic_name=TOPIC))
    assert ending(failure.value) == ("UNAUTHENTICATED", "service.auth.headers.invalid")
    assert "rpcId: " in str(failure.value.details())


def test_an_unknown_schema_is_refused_and_a_channel_of_all_objects_names_none(sandbox_org: SandboxOrg) -> None:
    with sandbox_org.pubsub() as stub:
        topic = stub.GetTopic(pb.TopicRequest(topic_name="/data/ChangeEvents"), metadata=sandbox_org.metadata())
        assert (topic.schema_id, topic.can_subscribe) == ("", True)
        with pytest.raises(grpc.RpcError) as failure:
            stub.GetSchema(pb.SchemaRequest(schema_id="nope"), metadata=sandbox_org.metadata())
    assert ending(failure.value) == ("INVALID_ARGUMENT", "schema.validation.failed")


def test_an_object_that_is_not_selected_has_no_topic(sandbox_org: SandboxOrg) -> None:
    sandbox_org.admin("POST", "select", {"remove": ["Lead"]})
    assert failed(sandbox_org, ask(1)) == ("NOT_FOUND", "topic.not.found")


def test_what_is_not_served_says_so(sandbox_org: SandboxOrg) -> None:
    with sandbox_org.pubsub() as stub, pytest.raises(grpc.RpcError) as failure:
        stub.Publish(pb.PublishRequest(topic_name=TOPIC), metadata=sandbox_org.metadata())
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_tls_door_is_opened_by_the_authority_it_left(sandbox_org: SandboxOrg) -> None:
    credentials = grpc.ssl_channel_credentials(sandbox_org.ca.read_bytes())
    with grpc.secure_channel(f"localhost:{sandbox_org.grpc_tls}", credentials) as channel:
        stub = pb_grpc.PubSubStub(channel)  # type: ignore[no-untyped-call]  # generated
        topic = stub.GetTopic(pb.TopicRequest(topic_name=TOPIC), metadata=sandbox_org.metadata(), timeout=10)
    assert topic.topic_name == TOPIC


def test_gaps_and_overflows_have_no_body(sandbox_org: SandboxOrg) -> None:
    (lead,) = sandbox_org.create_leads(LEAD)
    sandbox_org.admin("POST", "gap", {"type": "UPDATE", "ids": [lead]})
    sandbox_org.admin("POST", "overflow")
    _, gap, overflow = sandbox_org.events(3)
    assert (gap.header["changeType"], gap.header["recordIds"], gap.body) == ("GAP_UPDATE", [lead], {})
    assert (overflow.header["changeType"], overflow.header["recordIds"]) == ("GAP_OVERFLOW", ["000000000000000AAA"])


def test_the_daily_delivery_allowance_ends_the_stream(sandbox_org: SandboxOrg) -> None:
    sandbox_org.admin("POST", "options", {"daily_delivered_events": 2})
    leads(sandbox_org, 3)
    assert len(sandbox_org.events(2)) == 2
    assert failed(sandbox_org, ask(3)) == ("RESOURCE_EXHAUSTED", "subscription.limit.exceeded")


def test_every_event_of_a_busy_hour_arrives_once_and_in_order(sandbox_org: SandboxOrg) -> None:
    created = leads(sandbox_org, 1000)
    with sandbox_org.pubsub() as stub, sandbox_org.subscribed(stub, ask(100)) as (stream, more):
        seen: list[bytes] = []
        while len(seen) < 1000:
            response = next(stream)
            seen.extend(event.replay_id for event in response.events)
            more(pb.FetchRequest(num_requested=100 - response.pending_num_requested))
    assert len(created) == len(set(seen)) == 1000
    assert seen == sorted(seen)
