"""The subscriber's loop against a real gRPC server that misbehaves on demand."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from gateways.salesforce.auth import ClientCredentials, TokenProvider
from gateways.salesforce.errors import Action, OrgClosed, judge
from gateways.salesforce.proto.pubsub_api_pb2 import ConsumerEvent, ProducerEvent, ReplayPreset, TopicRequest
from gateways.salesforce.proto.pubsub_api_pb2_grpc import PubSubStub
from gateways.salesforce.stream import Batch, Endpoint, Idle, Resync, Stream
from routing.errors import BadInput, GiveUp, TryLater
from tests.fakes.http_org import ORG, Answer, HttpOrg, answering
from tests.fakes.lead_events import event, one, replay_id, schema_json
from tests.fakes.pubsub_server import Failure, ScriptedPubSub, Stall, serving

TOPIC = "/data/LeadChangeEvent"
UNAVAILABLE = Failure(grpc.StatusCode.INTERNAL, "service.unavailable")
UNAUTHENTICATED = Failure(grpc.StatusCode.UNAUTHENTICATED, "service.auth.error")
CORRUPTED = Failure(grpc.StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.corrupted")


@pytest.fixture
def org() -> Iterator[HttpOrg]:
    with answering(HttpOrg()) as server:
        yield server


@pytest.fixture
def pubsub() -> Iterator[ScriptedPubSub]:
    with serving(ScriptedPubSub()) as server:
        yield server


@pytest.fixture
def stream(org: HttpOrg, pubsub: ScriptedPubSub) -> Iterator[Callable[..., Stream]]:
    tokens = TokenProvider(org.url, ClientCredentials("a", "b"))
    made: list[Stream] = []

    def make(**more: Any) -> Stream:
        endpoint = Endpoint(f"127.0.0.1:{pubsub.port}", plaintext=True)
        made.append(Stream(endpoint, TOPIC, tokens, **{"tick_s": 0.02, "dice": lambda: 0.0, **more}))
        return made[-1]

    yield make
    for one_stream in made:
        one_stream.stop()


def follow(items: Iterator[Any], until: Callable[[list[Any]], bool], *, within_s: float = 20) -> list[Any]:
    """Items until this is true of them; ticks are left out."""
    found: list[Any] = []
    deadline = time.monotonic() + within_s
    while not until(found):
        assert time.monotonic() < deadline, found
        item = next(items)
        if not isinstance(item, Idle):
            found.append(item)
    return found


def numbers(found: list[Any]) -> list[int]:
    """The numbers of the events in these items."""
    return [
        int.from_bytes(change.replay_id[:8], "big")
        for item in found
        if isinstance(item, Batch)
        for change in item.changes
    ]


def received(*wanted: int) -> Callable[[list[Any]], bool]:
    return lambda found: numbers(found) == list(wanted)


def idles(items: Iterator[Any], connected: bool) -> None:
    """Wait for a tick that says so."""
    while next(items) != Idle(connected):
        pass


# --- the good path


def test_events_are_read_in_order_from_the_first(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.put(*(event(n) for n in range(1, 6)))
    found = follow(stream().items(), received(1, 2, 3, 4, 5))
    assert found[-1].replay_id == replay_id(5)
    assert pubsub.first_requests[0].replay_preset == ReplayPreset.EARLIEST
    assert pubsub.tokens == ["t1"]


def test_a_stored_position_is_resumed_after(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.put(*(event(n) for n in range(1, 6)))
    follow(stream().items(replay_id(3)), received(4, 5))
    assert pubsub.first_requests[0].replay_preset == ReplayPreset.CUSTOM


def test_the_configured_preset_is_used_without_a_position(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    pubsub.put(event(1))
    items = stream(preset="LATEST").items()
    idles(items, connected=True)
    pubsub.put(event(2))
    follow(items, received(2))


def test_more_is_asked_for_only_after_the_batch_is_stored(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    pubsub.put(*(event(n) for n in range(1, 31)))
    items = stream(at_once=10).items()
    assert numbers([next(items)]) == list(range(1, 11))
    # The batch is not stored yet: nothing else may arrive, however long that takes.
    pubsub.put(event(31))
    assert not pubsub.later_requests
    found = follow(items, lambda found: len(numbers(found)) == 21)
    assert numbers(found) == list(range(11, 32))
    assert max(len(batch.changes) for batch in found) <= 10
    assert {request.num_requested for request in pubsub.later_requests} == {10}


def test_no_more_than_100_events_are_ever_outstanding(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.put(event(1))
    follow(stream(at_once=5000).items(), received(1))
    assert pubsub.first_requests[0].num_requested == 100


def test_more_is_asked_for_before_the_allowance_is_used_up(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    items = stream(at_once=10).items()
    idles(items, connected=True)
    pubsub.put(*(event(n) for n in range(1, 4)))
    follow(items, received(1, 2, 3))
    idles(items, connected=True)
    assert not pubsub.later_requests
    pubsub.put(*(event(n) for n in range(4, 7)))
    follow(items, received(4, 5, 6))
    idles(items, connected=True)
    assert [request.num_requested for request in pubsub.later_requests] == [6]


def test_a_keepalive_moves_the_position_of_a_quiet_topic(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.keepalive_s = 0.05
    [batch] = follow(stream(preset="LATEST").items(), lambda found: len(found) == 1)
    assert batch == Batch(replay_id=b"latest----")


def test_the_schema_may_change_in_mid_stream(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    newer = schema_json(one("Roof__c", "string", "Data:Text:00N9"))
    pubsub.schemas["schema-2"] = newer
    pubsub.put(event(1, body={"Company": "Engines"}))
    items = stream().items()
    first = follow(items, received(1))
    pubsub.put(event(2, schema=newer, schema_id="schema-2", body={"Roof__c": "slate"}), event(3))
    found = first + follow(items, received(2, 3))
    bodies = [change.body for batch in found for change in batch.changes]
    assert bodies == [{"Company": "Engines"}, {"Roof__c": "slate"}, {}]
    assert pubsub.schema_asks == ["schema-1", "schema-2"]


def test_an_undecodable_event_is_handed_over_raw_and_the_stream_goes_on(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    broken = ConsumerEvent(event=ProducerEvent(id="x", schema_id="schema-1", payload=b"\xff"), replay_id=replay_id(2))
    unknown = event(3, schema_id="schema-9")
    pubsub.put(event(1), broken, unknown, event(4))
    found = follow(stream().items(), received(1, 4))
    parked = [one for batch in found for one in batch.unreadable]
    assert [(p.event_id, p.replay_id) for p in parked] == [("x", replay_id(2)), ("event-3", replay_id(3))]
    assert found[-1].replay_id == replay_id(4)


# --- trouble that passes


@pytest.mark.parametrize(
    "failure",
    [
        UNAVAILABLE,
        Failure(grpc.StatusCode.UNAVAILABLE),
        Failure(grpc.StatusCode.INTERNAL),
        Failure(grpc.StatusCode.UNKNOWN),
        Failure(grpc.StatusCode.INTERNAL, "subscription.internal.error"),
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "subscription.fetch.replay.repeated"),
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "schema.validation.failed"),
    ],
)
def test_a_broken_stream_is_resumed_after_the_last_stored_event(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, failure: Failure
) -> None:
    pubsub.put(event(1), event(2))
    items = stream().items()
    follow(items, received(1, 2))
    pubsub.break_now(failure)
    pubsub.put(event(3))
    follow(items, received(3))
    assert pubsub.first_requests[-1].replay_id == replay_id(2)
    assert pubsub.most_live == 1


def test_an_event_that_was_not_stored_comes_again(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.put(event(1), event(2))
    first = stream(at_once=1).items(None)
    assert numbers([next(first)]) == [1]
    first.close()  # the ledger refused the batch
    follow(stream().items(None), received(1, 2))


def test_a_half_open_connection_is_noticed_by_its_silence(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    pubsub.script.append(Stall())
    pubsub.put(event(1))
    follow(stream(silence_s=0.2).items(), received(1))
    assert len(pubsub.first_requests) == 2
    assert pubsub.most_live <= 2  # the server may notice late that the first one was cancelled


def test_a_server_that_is_away_is_waited_for(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.topic_script.extend([Failure(grpc.StatusCode.UNAVAILABLE)] * 5)
    pubsub.put(event(1))
    follow(stream().items(), received(1))


def test_rests_grow_to_a_minute_and_are_forgotten_after_an_answer(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    pubsub.script.extend([UNAVAILABLE] * 9)
    pubsub.put(event(1))
    follower = stream(dice=lambda: 1.0)

    def rest(seconds: float) -> Iterator[Idle]:
        rests.append(seconds)
        yield Idle(connected=False)

    monkeypatch.setattr(follower, "_rest", rest)
    items = follower.items()
    follow(items, received(1))
    pubsub.break_now(UNAVAILABLE)
    pubsub.put(event(2))
    follow(items, received(2))
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60, 1]


# --- tokens


def test_a_revoked_token_is_replaced_in_mid_stream(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, org: HttpOrg
) -> None:
    pubsub.put(event(1))
    items = stream().items()
    follow(items, received(1))
    pubsub.break_now(UNAUTHENTICATED)
    pubsub.put(event(2))
    follow(items, received(2))
    assert pubsub.tokens == ["t1", "t2"]
    assert org.logins == 2


def test_three_refused_tokens_in_a_row_stop_the_stream(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, org: HttpOrg
) -> None:
    pubsub.topic_script.extend([UNAUTHENTICATED] * 5)
    with pytest.raises(OrgClosed, match="3 tokens in a row"):
        follow(stream().items(), received(1))
    assert org.logins == 3


def test_two_refusals_with_an_answer_between_do_not_add_up(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    items = stream().items()
    for number in (1, 2):
        pubsub.put(event(number))
        follow(items, received(number))
        pubsub.break_now(UNAUTHENTICATED)
        pubsub.break_now(UNAUTHENTICATED)
    pubsub.put(event(3))
    follow(items, received(3))


def test_a_token_that_let_us_in_for_a_while_was_not_refused(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateways.salesforce.stream._LET_IN_S", 0.05)
    items = stream().items()
    for _ in range(4):  # nobody changes a lead meanwhile
        until = time.monotonic() + 0.15
        while time.monotonic() < until:
            next(items)
        pubsub.break_now(UNAUTHENTICATED)
    pubsub.put(event(1))
    follow(items, received(1))


def test_a_refused_login_stops_the_stream(stream: Callable[..., Stream], org: HttpOrg) -> None:
    org.token_answer = Answer(400, {"error": "invalid_grant"})
    with pytest.raises(OrgClosed, match="invalid_grant"):
        next(stream().items())


def test_a_login_that_is_away_is_waited_for(
    stream: Callable[..., Stream], org: HttpOrg, pubsub: ScriptedPubSub
) -> None:
    org.token_answer = Answer(503, "")
    pubsub.put(event(1))
    items = stream(dice=lambda: 0.01).items()
    assert next(items) == Idle(connected=False)
    org.token_answer = None
    follow(items, received(1))


# --- positions that are of no use any more


@pytest.mark.parametrize(
    "failure",
    [CORRUPTED, Failure(grpc.StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.validation.failed")],
)
@pytest.mark.parametrize("preset", ["EARLIEST", "LATEST"])
def test_an_expired_position_starts_anew_and_asks_for_a_comparison(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, failure: Failure, preset: str
) -> None:
    pubsub.script.append(failure)
    pubsub.keepalive_s = 0.05
    since = datetime(2026, 11, 19, tzinfo=UTC)
    found = follow(stream(preset=preset).items(replay_id(77), since), lambda found: len(found) == 2)
    assert found[0] == Resync(since)
    assert isinstance(found[1], Batch)
    assert [request.replay_preset for request in pubsub.first_requests] == [
        ReplayPreset.CUSTOM,
        ReplayPreset.Value(preset),
    ]
    assert [request.replay_id for request in pubsub.first_requests] == [replay_id(77), b""]


def test_the_comparison_begins_at_the_last_stored_event(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.put(event(1, commitTimestamp=1_795_000_000_000))
    items = stream().items(None, datetime(2026, 1, 1, tzinfo=UTC))
    follow(items, received(1))
    pubsub.break_now(UNAVAILABLE)
    pubsub.break_now(CORRUPTED)
    found = follow(items, received(1))
    assert found[0] == Resync(datetime.fromtimestamp(1_795_000_000, tz=UTC))


def test_a_preset_that_is_refused_too_stops_the_stream(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.script.extend([CORRUPTED] * 9)
    with pytest.raises(GiveUp, match=r"replayid\.corrupted"):
        follow(stream().items(replay_id(1)), received(1))
    assert len(pubsub.first_requests) == 4


# --- trouble that needs a person


@pytest.mark.parametrize(
    "code",
    [
        "service.auth.headers.invalid",
        "service.tenant.license",
        "concurrent.client.limit.exceeded",
        "subscription.fetch.topic.mismatch",
        "subscription.fetch.requested.events.invalid",
        "topic.validation.empty",
    ],
)
def test_what_cannot_mend_itself_stops_the_stream(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, code: str
) -> None:
    pubsub.script.append(Failure(grpc.StatusCode.INVALID_ARGUMENT, code))
    with pytest.raises(GiveUp, match=code):
        follow(stream().items(), received(1))


@pytest.mark.parametrize(
    "failure",
    [
        Failure(grpc.StatusCode.NOT_FOUND, "topic.not.found"),
        Failure(grpc.StatusCode.PERMISSION_DENIED, "topic.meta.permission"),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "subscription.limit.exceeded"),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "service.protection.triggered"),
    ],
)
def test_what_an_admin_must_mend_is_looked_at_again_slowly(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub, failure: Failure
) -> None:
    pubsub.topic_script.append(failure)
    items = stream().items()
    assert [next(items) for _ in range(5)] == [Idle(connected=False)] * 5
    assert len(pubsub.tokens) == 1
    assert not pubsub.first_requests


def test_the_topic_says_how_to_switch_change_data_capture_on(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    assert stream().topic().topic_name == TOPIC
    pubsub.topic_script.append(Failure(grpc.StatusCode.NOT_FOUND, "topic.not.found"))
    with pytest.raises(GiveUp, match="Change Data Capture"):
        stream().topic()
    pubsub.can_subscribe = False
    with pytest.raises(GiveUp, match="integration user Read"):
        stream().topic()
    pubsub.topic_script.append(UNAVAILABLE)
    with pytest.raises(TryLater):
        stream().topic()


def test_a_certificate_file_that_is_missing_is_named(org: HttpOrg, tmp_path: Any) -> None:
    tokens = TokenProvider(org.url, ClientCredentials("a", "b"))
    with pytest.raises(BadInput, match="SALESFORCE_CA_FILE"):
        next(Stream(Endpoint("127.0.0.1:9", ca_file=tmp_path / "none.pem"), TOPIC, tokens).items())


# --- stopping


def test_a_waiting_stream_stops_at_once(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    follower = stream(tick_s=30)
    items = follower.items()
    threading.Timer(0.2, follower.stop).start()
    began = time.monotonic()
    assert list(items) == []
    assert time.monotonic() - began < 10


def test_a_resting_stream_stops_at_once(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.topic_script.append(Failure(grpc.StatusCode.NOT_FOUND, "topic.not.found"))
    follower = stream()
    items = follower.items()
    next(items)
    follower.stop()
    assert list(items) == []


# --- the table of errors, over the wire

TABLE = [
    ("service.unavailable", Action.RETRY, 0),
    ("topic.api.unavailable", Action.RETRY, 0),
    ("schema.api.unavailable", Action.RETRY, 0),
    ("subscription.internal.error", Action.RETRY, 0),
    ("subscription.fetch.replay.repeated", Action.RETRY, 0),
    ("subscription.fetch.overflow", Action.RETRY, 0),
    ("schema.validation.failed", Action.RETRY, 0),
    ("service.auth.error", Action.REAUTH, 0),
    ("service.auth.headers.invalid", Action.STOP, 0),
    ("service.auth.refresh.invalid", Action.STOP, 0),
    ("service.protection.triggered", Action.SLOW, 60),
    ("service.protection.stream.limit.triggered", Action.SLOW, 60),
    ("concurrent.client.limit.exceeded", Action.STOP, 0),
    ("service.tenant.license", Action.STOP, 0),
    ("subscription.limit.exceeded", Action.ALLOWANCE, 900),
    ("subscription.fetch.replayid.corrupted", Action.RESYNC, 0),
    ("subscription.fetch.replayid.validation.failed", Action.RESYNC, 0),
    ("subscription.fetch.requested.events.invalid", Action.STOP, 0),
    ("subscription.fetch.topic.mismatch", Action.STOP, 0),
    ("subscription.fetch.request.invalid", Action.STOP, 0),
    ("topic.validation.empty", Action.STOP, 0),
    ("topic.not.found", Action.RECHECK, 120),
    ("topic.meta.permission", Action.RECHECK, 120),
    ("schema.meta.permission", Action.RECHECK, 120),
    ("subscription.topic.cannot.subscribe", Action.RECHECK, 120),
]


def raised(pubsub: ScriptedPubSub, failure: Failure) -> grpc.RpcError:
    pubsub.topic_script.append(failure)
    with grpc.insecure_channel(f"127.0.0.1:{pubsub.port}") as channel:
        stub: Any = PubSubStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetTopic(TopicRequest(topic_name=TOPIC), metadata=(("accesstoken", "t"), ("tenantid", ORG)))
    return caught.value


def test_every_code_of_salesforce_has_its_action(pubsub: ScriptedPubSub) -> None:
    for code, action, wait_s in TABLE:
        # The code decides, whatever the status beside it.
        for status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT):
            verdict = judge(raised(pubsub, Failure(status, code)))
            assert (verdict.code, verdict.action, verdict.wait_s) == (code, action, wait_s)
            assert verdict.rpc_id == "rpc-1"


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (grpc.StatusCode.UNAVAILABLE, Action.RETRY),
        (grpc.StatusCode.INTERNAL, Action.RETRY),
        (grpc.StatusCode.UNKNOWN, Action.RETRY),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Action.RETRY),
        (grpc.StatusCode.ABORTED, Action.RETRY),
        (grpc.StatusCode.CANCELLED, Action.RETRY),
        (grpc.StatusCode.UNAUTHENTICATED, Action.REAUTH),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Action.SLOW),
        (grpc.StatusCode.INVALID_ARGUMENT, Action.STOP),
        (grpc.StatusCode.UNIMPLEMENTED, Action.STOP),
    ],
)
def test_without_a_code_the_status_decides(pubsub: ScriptedPubSub, status: grpc.StatusCode, action: Action) -> None:
    assert judge(raised(pubsub, Failure(status))).action is action
    assert judge(raised(pubsub, Failure(status, "a.code.of.tomorrow"))).action is action


def waits(told: list[Any]) -> list[float]:
    return [entry["wait_s"] for entry in told if entry["event"] == "stream.broken"]


def test_an_absent_salesforce_is_tried_less_and_less_often_and_found_again_without_a_hand(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    pubsub.topic_script.extend([UNAVAILABLE] * 6)
    pubsub.put(event(1))
    codes: list[str] = []
    with capture_logs() as told:
        follow(stream(dice=lambda: 0.1, broke=codes.append).items(), received(1))
    assert waits(told) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert codes == ["service.unavailable"] * 6


def test_no_wait_is_longer_than_a_minute(stream: Callable[..., Stream], pubsub: ScriptedPubSub) -> None:
    pubsub.topic_script.extend([UNAVAILABLE] * 14)
    with capture_logs() as told:
        items = stream(dice=lambda: 0.002).items()
        follow_until = time.monotonic() + 20
        while len(waits(told)) < 14 and time.monotonic() < follow_until:
            next(items)
    assert max(waits(told)) == 0.1  # 0.002 of a minute
    assert len(waits(told)) == 14


def test_a_stream_that_lived_longer_than_we_had_waited_for_it_is_taken_up_again_at_once(
    stream: Callable[..., Stream], pubsub: ScriptedPubSub
) -> None:
    pubsub.topic_script.extend([UNAVAILABLE] * 4)
    with capture_logs() as told:
        items = stream(dice=lambda: 0.1).items()
        while not pubsub.live:
            next(items)
        opened = time.monotonic()
        while time.monotonic() < opened + 1.3:
            next(items)
        pubsub.break_now(UNAVAILABLE)
        while len(waits(told)) < 5:
            next(items)
    assert waits(told) == [0.1, 0.2, 0.4, 0.8, 0.1]
