"""The change stream: follows one topic for as long as it is asked to, through everything Salesforce throws at it."""

import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

import grpc
import structlog

from gateways.salesforce.auth import Session, TokenProvider
from gateways.salesforce.decode import Decoder
from gateways.salesforce.errors import Action, OrgClosed, Verdict, judge
from gateways.salesforce.proto.pubsub_api_pb2 import (
    ConsumerEvent,
    FetchRequest,
    FetchResponse,
    ProducerEvent,
    ReplayPreset,
    SchemaRequest,
    TopicInfo,
    TopicRequest,
)
from gateways.salesforce.proto.pubsub_api_pb2_grpc import PubSubStub
from gateways.salesforce.schema import Schemas, Undecodable
from routing.change import Change, Unreadable
from routing.errors import BadInput, GiveUp, TryLater

MOST = 100  # events that may be outstanding; Salesforce allows no more
_ANSWER_S = 20.0
_LONGEST_BACKOFF_S, _LONG_S = 60.0, 1.0
_IN_A_ROW = 3  # refused tokens, or refused presets, before we stop: more could lock the user out
#: A token or a position that is refused is refused at once: a call that stood so long was let in.
_LET_IN_S = 2.0
_LONGEST_MESSAGE = 16 * 1024 * 1024
_UNKNOWN_SCHEMA = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Batch:
    """What arrived together, and the position after it: to be stored in one transaction."""

    replay_id: bytes
    changes: tuple[Change, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class Resync:
    """The position was of no use any more: events after `since` may be missing, so compare with REST."""

    since: datetime | None  # commit time of the last event that was stored


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing arrived for a moment."""

    connected: bool


Item = Batch | Resync | Idle


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the Pub/Sub API answers, and how patiently the connection is watched."""

    address: str  # host:port
    plaintext: bool = False
    ca_file: Path | None = None
    keepalive_s: float = 60.0  # HTTP/2 pings; how much more often the real endpoint tolerates is not known

    def connect(self) -> grpc.Channel:
        """A connection of its own. Raises BadInput when the authority's file cannot be read."""
        options = [
            ("grpc.keepalive_time_ms", int(self.keepalive_s * 1000)),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 0),
            ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
            # Channels to one address share their connection by default; a half-open one would come back.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.plaintext:
            return grpc.insecure_channel(self.address, options)
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(self._roots()), options)

    def _roots(self) -> bytes | None:
        try:
            return self.ca_file.read_bytes() if self.ca_file else None
        except OSError as exc:
            raise BadInput(
                f"{self.ca_file} cannot be read",
                field="SALESFORCE_CA_FILE",
                fix="Name the PEM file of the certificate authority, or unset it.",
            ) from exc


class _Silence(Exception):  # noqa: N818 - never leaves this file
    """Not even a keepalive came: the connection is half open."""


class Stream:
    """One topic. `items()` never ends by itself; it raises GiveUp (or OrgClosed) when a person must look."""

    def __init__(
        self,
        endpoint: Endpoint,
        topic: str,
        tokens: TokenProvider,
        *,
        entity: str = "Lead",
        preset: Literal["LATEST", "EARLIEST"] = "EARLIEST",
        at_once: int = MOST,
        silence_s: float = 300.0,
        tick_s: float = 1.0,
        stop: threading.Event | None = None,
        dice: Callable[[], float] = random.random,
        broke: Callable[[str], object] = lambda _code: None,
    ) -> None:
        self._endpoint, self._topic, self._tokens = endpoint, topic, tokens
        self._preset: Literal["LATEST", "EARLIEST"] = preset
        self._at_once = min(at_once, MOST)
        self._silence_s, self._tick_s = silence_s, tick_s
        self._stopped = stop or threading.Event()
        self._dice = dice
        self._broke = broke  # told of every break, by Salesforce's code
        self._decoder = Decoder(Schemas(self._fetch_schema), entity=entity)
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        self._session: Session | None = None
        self._replay_id: bytes | None = None
        self._committed_at: datetime | None = None
        self._resync: Resync | None = None
        self._failures = self._refusals = 0
        self._rested, self._opened = 0.0, 0.0

    def topic(self) -> TopicInfo:
        """What Salesforce says about the topic. Raises GiveUp with the fix, or TryLater."""
        try:
            with self._connected():
                return self._look()
        except grpc.RpcError as exc:
            verdict = judge(exc)
            if verdict.action in {Action.RETRY, Action.SLOW}:
                raise TryLater(f"{self._endpoint.address} does not answer ({verdict.code})") from exc
            raise _given_up(self._topic, verdict) from exc

    def decode(self, event: Unreadable) -> list[Change] | Unreadable:
        """Read an event again that could not be read before. Raises TryLater or GiveUp when nobody answers."""
        payload = ProducerEvent(id=event.event_id, schema_id=event.schema_id, payload=event.payload)
        try:
            with self._connected():
                return self._decoder.read(ConsumerEvent(event=payload, replay_id=event.replay_id))
        except grpc.RpcError as exc:
            raise _given_up(self._topic, judge(exc)) from exc

    def stop(self) -> None:
        """End `items()` now; may be called from another thread."""
        self._stopped.set()
        if (channel := self._channel) is not None:
            channel.close()

    def items(
        self, replay_id: bytes | None = None, committed_at: datetime | None = None
    ) -> Generator[Item, None, None]:
        """What comes after this position, for ever. Asking for the next item says that the last one is stored.

        Salesforce is asked for more events only then, so a slow ledger holds the stream back and memory does not grow.
        """
        self._replay_id, self._committed_at = replay_id, committed_at
        while not self._stopped.is_set():
            try:
                with self._connected():
                    self._look()
                    yield from self._follow()
            except (grpc.RpcError, TryLater, _Silence, ValueError) as exc:
                if self._stopped.is_set():
                    return
                if isinstance(exc, ValueError):  # grpc's word for a channel that stop() has closed, else a mistake
                    raise
                self._rested = self._mend(exc)
                yield from self._rest(self._rested)

    # --- one connection

    @contextmanager
    def _connected(self) -> Iterator[None]:
        self._session = self._tokens.token()
        channel = self._channel = self._endpoint.connect()
        self._stub = PubSubStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        try:
            yield
        finally:
            self._channel = None
            channel.close()

    def _look(self) -> TopicInfo:
        info: TopicInfo = self._stub.GetTopic(
            TopicRequest(topic_name=self._topic), metadata=self._metadata(), timeout=_ANSWER_S
        )
        if not info.can_subscribe:
            raise _Forbidden
        return info

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        session = self._session or self._tokens.token()
        return (
            ("accesstoken", session.access_token),
            ("instanceurl", session.instance_url),
            ("tenantid", session.org_id),
        )

    def _fetch_schema(self, schema_id: str) -> str:
        try:
            info = self._stub.GetSchema(
                SchemaRequest(schema_id=schema_id), metadata=self._metadata(), timeout=_ANSWER_S
            )
        except grpc.RpcError as exc:
            verdict = judge(exc)
            if verdict.code == "schema.validation.failed" or exc.code() in _UNKNOWN_SCHEMA:
                raise Undecodable(f"Salesforce does not know its schema {schema_id}") from exc
            raise
        return str(info.schema_json)

    # --- one subscription

    def _follow(self) -> Iterator[Item]:
        self._opened = time.monotonic()
        with _Subscription(self._stub, self._first_request(), self._metadata()) as subscription:
            owed = self._at_once
            heard = time.monotonic()
            while not self._stopped.is_set():
                responses = subscription.take(self._tick_s, self._at_once)
                if not responses:
                    if time.monotonic() - heard > self._silence_s:
                        raise _Silence
                    yield Idle(connected=True)
                    continue
                self._failures = self._refusals = 0
                yield from self._deliver(responses)
                heard = time.monotonic()
                owed = _still_owed(owed, responses)
                if owed < self._at_once / 2:
                    subscription.ask(FetchRequest(topic_name=self._topic, num_requested=self._at_once - owed))
                    owed = self._at_once

    def _first_request(self) -> FetchRequest:
        request = FetchRequest(topic_name=self._topic, num_requested=self._at_once, replay_preset=self._preset)
        if self._replay_id is not None:
            request.replay_preset, request.replay_id = ReplayPreset.CUSTOM, self._replay_id
        return request

    def _deliver(self, responses: list[FetchResponse]) -> Iterator[Item]:
        if self._resync is not None:
            # Now that the new subscription answers, nothing can fall between it and the comparison. The old position
            # is still the stored one, so a crash before this point comes here again.
            yield self._resync
            self._resync = None
        batch = self._batch(responses)
        if batch.replay_id:
            yield batch
            self._replay_id = batch.replay_id
        self._committed_at = max((change.committed_at for change in batch.changes), default=None) or self._committed_at

    def _batch(self, responses: list[FetchResponse]) -> Batch:
        read = [self._decoder.read(event) for response in responses for event in response.events]
        return Batch(
            replay_id=_after(responses),
            changes=tuple(change for one in read if not isinstance(one, Unreadable) for change in one),
            unreadable=tuple(one for one in read if isinstance(one, Unreadable)),
        )

    # --- when it breaks

    def _mend(self, error: Exception) -> float:
        """Do what this error asks for; how long to rest before the next try. Raises GiveUp when trying cannot help."""
        lived_s = time.monotonic() - self._opened if self._opened else 0.0
        if lived_s > max(self._rested, _LONG_S):
            self._failures = 0  # it lived longer than we had waited for it
        if lived_s > _LET_IN_S:
            self._refusals = 0
        self._opened = 0.0
        self._failures += 1
        if isinstance(error, TryLater):
            self._broke("try_later")
            wait = max(float(str(error.facts.get("pause_s", 0))), self._backoff())
            log.warning("stream.waits", topic=self._topic, why=str(error), wait_s=round(wait, 1))
            return wait
        verdict = _verdict(error)
        self._broke(verdict.code)
        wait = self._act(verdict)
        tell = log.error if verdict.action in {Action.ALLOWANCE, Action.RECHECK, Action.RESYNC} else log.warning
        tell(
            "stream.broken",
            topic=self._topic,
            code=verdict.code,
            action=verdict.action.value,
            wait_s=round(wait, 1),
            rpc_id=verdict.rpc_id,
            **({"fix": verdict.fix} if verdict.fix else {}),
        )
        return wait

    def _act(self, verdict: Verdict) -> float:
        match verdict.action:
            case Action.STOP:
                raise _given_up(self._topic, verdict)
            case Action.REAUTH:
                return self._new_token(verdict)
            case Action.RESYNC:
                return self._new_position(verdict)
            case Action.SLOW | Action.ALLOWANCE | Action.RECHECK:
                return verdict.wait_s * (1 + self._dice() / 4)
            case Action.RETRY:
                return self._backoff()

    def _new_token(self, verdict: Verdict) -> float:
        self._refusals += 1
        if self._refusals >= _IN_A_ROW:
            raise OrgClosed(f"Salesforce refuses {_IN_A_ROW} tokens in a row ({verdict.code}). {verdict.fix}".rstrip())
        try:
            self._tokens.refresh(self._session.access_token if self._session else "")
        except TryLater as exc:
            return max(float(str(exc.facts.get("pause_s", 0))), self._backoff())
        return 0.0 if self._refusals == 1 else self._backoff()

    def _new_position(self, verdict: Verdict) -> float:
        if self._replay_id is None:
            self._refusals += 1
            if self._refusals >= _IN_A_ROW:
                raise _given_up(self._topic, verdict)
            return self._backoff()
        log.error("stream.position_refused", topic=self._topic, replay_id=self._replay_id.hex(), code=verdict.code)
        self._replay_id, self._resync = None, Resync(self._committed_at)
        return 0.0

    def _backoff(self) -> float:
        """Full jitter over a doubling span: everybody who lost the same server comes back at another time."""
        return self._dice() * min(_LONGEST_BACKOFF_S, 2.0 ** min(self._failures - 1, 10))

    def _rest(self, seconds: float) -> Iterator[Item]:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopped.wait(min(left, self._tick_s)):
            yield Idle(connected=False)


class _Forbidden(grpc.RpcError):
    """The topic is there, but not for us; said in an answer and not as an error."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.PERMISSION_DENIED

    def trailing_metadata(self) -> Any:
        return (("error-code", "subscription.topic.cannot.subscribe"),)


class _Subscription:
    """One open call: a thread takes what arrives, so that silence can be noticed."""

    def __init__(self, stub: Any, first: FetchRequest, metadata: tuple[tuple[str, str], ...]) -> None:
        self._asks: queue.SimpleQueue[FetchRequest | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[FetchResponse | Exception] = queue.SimpleQueue()
        self._end: Exception | None = None
        self._asks.put(first)
        self._call = stub.Subscribe(iter(self._asks.get, None), metadata=metadata)
        self._reader = threading.Thread(target=self._pump, name="stream", daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Cancel before anybody subscribes again: two live subscriptions bring everything twice."""
        self._call.cancel()
        self._asks.put(None)
        self._reader.join(timeout=5)

    def _pump(self) -> None:
        try:
            for response in self._call:
                self._inbox.put(response)
            self._inbox.put(_Ended())
        except grpc.RpcError as exc:
            self._inbox.put(exc)

    def ask(self, request: FetchRequest) -> None:
        self._asks.put(request)

    def take(self, timeout_s: float, most: int) -> list[FetchResponse]:
        """What has arrived, up to about so many events; waits for the first. Raises how the call ended."""
        taken: list[FetchResponse] = []
        events = 0
        while self._end is None and (not taken or events < most):
            try:
                got = self._inbox.get(timeout=timeout_s) if not taken else self._inbox.get_nowait()
            except queue.Empty:
                return taken
            if isinstance(got, Exception):
                self._end = got
            else:
                taken.append(got)
                events += len(got.events)
        if self._end is not None and not taken:
            raise self._end
        return taken


class _Ended(grpc.RpcError):
    """Salesforce closed the call in good order, as it does when nothing was asked for a while."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def trailing_metadata(self) -> Any:
        return (("error-code", "closed"),)


def _after(responses: list[FetchResponse]) -> bytes:
    """The position after these responses; keepalives carry one too, which keeps that of a quiet topic young."""
    ids = [r.events[-1].replay_id if r.events else r.latest_replay_id for r in responses]
    return next((one for one in reversed(ids) if one), b"")


def _still_owed(owed: int, responses: list[FetchResponse]) -> int:
    """Events still to come of those asked for; a keepalive knows better than our own count."""
    for response in responses:
        owed = owed - len(response.events) if response.events else response.pending_num_requested
    return max(0, owed)


def _verdict(error: Exception) -> Verdict:
    return Verdict(Action.RETRY, "silence") if isinstance(error, _Silence) else judge(error)


def _given_up(topic: str, verdict: Verdict) -> GiveUp:
    facts: Mapping[str, object] = {"topic": topic, "code": verdict.code, "rpc_id": verdict.rpc_id}
    return GiveUp(f"Salesforce refuses the subscription to {topic} ({verdict.code}). {verdict.fix}".rstrip(), **facts)
