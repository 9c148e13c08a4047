"""A real gRPC server on loopback that says what a test tells it to."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from gateways.salesforce.proto import pubsub_api_pb2 as pb
from gateways.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc
from tests.fakes.lead_events import schema_json

PREFIX = "sfdc.platform.eventbus.grpc."


@dataclass(frozen=True)
class Failure:
    """How a call fails: status and, as Salesforce does, its own code in the trailers."""

    status: grpc.StatusCode
    code: str = ""


@dataclass(frozen=True)
class Stall:
    """The call stays open and nothing ever comes."""


class ScriptedPubSub(pb_grpc.PubSubServicer):
    """Serves the events put into it; each Subscribe first takes the next step of the script, if there is one."""

    def __init__(self) -> None:
        self.port = 0
        self.schemas = {"schema-1": schema_json()}
        self.events: list[pb.ConsumerEvent] = []
        self.script: deque[Any] = deque()  # of Failure and Stall
        self.topic_script: deque[Failure] = deque()
        self.can_subscribe = True
        self.first_requests: list[pb.FetchRequest] = []
        self.later_requests: list[pb.FetchRequest] = []
        self.tokens: list[str] = []
        self.schema_asks: list[str] = []
        self.live = self.most_live = 0
        self.keepalive_s = 0.0
        self._news = threading.Condition()

    def put(self, *events: pb.ConsumerEvent) -> None:
        with self._news:
            self.events += events
            self._news.notify_all()

    def break_now(self, failure: Failure) -> None:
        """Break the open subscription."""
        with self._news:
            self.script.append(failure)
            self._news.notify_all()

    def GetTopic(self, request: Any, context: Any) -> Any:
        self.tokens.append(dict(context.invocation_metadata())["accesstoken"])
        if self.topic_script:
            _fail(context, self.topic_script.popleft())
        return pb.TopicInfo(topic_name=request.topic_name, can_subscribe=self.can_subscribe, schema_id="schema-1")

    def GetSchema(self, request: Any, context: Any) -> Any:
        self.schema_asks.append(request.schema_id)
        if request.schema_id not in self.schemas:
            _fail(context, Failure(grpc.StatusCode.NOT_FOUND, "schema.not.found"))
        return pb.SchemaInfo(schema_id=request.schema_id, schema_json=self.schemas[request.schema_id])

    def Subscribe(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        first = next(request_iterator)
        self.first_requests.append(first)
        owed = _Owed(first.num_requested)
        threading.Thread(target=self._listen, args=(request_iterator, owed), daemon=True).start()
        self.live += 1
        self.most_live = max(self.most_live, self.live)
        try:
            yield from self._serve(first, context, owed)
        finally:
            self.live -= 1

    def _serve(self, first: Any, context: Any, owed: "_Owed") -> Iterator[Any]:
        if self.script and isinstance(self.script[0], Failure):
            _fail(context, self.script.popleft())
        at = self._start(first)
        while context.is_active():
            with self._news:
                self._news.wait_for(lambda at=at: self.script or (owed.n and at < len(self.events)), timeout=0.05)  # type: ignore[misc]  # bound on purpose
            step = self.script.popleft() if self.script else None
            if isinstance(step, Failure):
                _fail(context, step)
            while isinstance(step, Stall) and context.is_active():
                with self._news:
                    self._news.wait(0.05)
            batch = self.events[at : at + owed.n]
            at += len(batch)
            owed.n -= len(batch)
            if batch or self.keepalive_s:
                yield pb.FetchResponse(
                    events=batch,
                    latest_replay_id=batch[-1].replay_id if batch else b"latest----",
                    pending_num_requested=owed.n,
                )

    def _start(self, first: Any) -> int:
        if first.replay_preset == pb.ReplayPreset.CUSTOM:
            return next(n for n, one in enumerate(self.events, 1) if one.replay_id == first.replay_id)
        return 0 if first.replay_preset == pb.ReplayPreset.EARLIEST else len(self.events)

    def _listen(self, requests: Any, owed: "_Owed") -> None:
        try:
            for request in requests:
                self.later_requests.append(request)
                with self._news:
                    owed.n += request.num_requested
                    self._news.notify_all()
        except grpc.RpcError:
            return  # the client hung up


@dataclass
class _Owed:
    n: int


def _fail(context: Any, failure: Failure) -> None:
    if failure.code:
        context.set_trailing_metadata((("error-code", PREFIX + failure.code), ("rpc-id", "rpc-1")))
    context.abort(failure.status, "as told")


@contextmanager
def serving(service: ScriptedPubSub) -> Iterator[ScriptedPubSub]:
    """The server at `service.port` on 127.0.0.1."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    pb_grpc.add_PubSubServicer_to_server(service, server)  # type: ignore[no-untyped-call]  # generated without types
    service.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service
    finally:
        server.stop(grace=0).wait()
