"""One Subscribe call: what was asked for, what was sent, when to speak and when to hang up."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateways.salesforce.proto import pubsub_api_pb2 as pb
from sandbox.bus import Event, UnknownReplayId
from sandbox.org import Org
from sandbox.trailers import NAMED, RpcError, ordered, topic_not_found

MOST_OUTSTANDING = 100
_MOST_BYTES = 3_000_000  # gRPC clients refuse messages over 4 MB


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds until an idle stream gets an empty answer, and until one that asks for nothing is closed."""

    keepalive_s: float = 60.0
    idle_close_s: float = 60.0
    batch: int = MOST_OUTSTANDING


class Subscription:
    """The state of one stream. Topic and replay are those of the first request."""

    def __init__(self, org: Org, pace: Pace, first: pb.FetchRequest, token: str) -> None:
        self.org = org
        self.pace = pace
        self.token = token
        self.topic = first.topic_name
        self.entities = org.entities(self.topic)
        self.wake = asyncio.Event()
        self.pending = 0
        self.delivered = 0
        self.error: RpcError | None = None
        self.done = False
        if not self.entities:
            raise topic_not_found(org.id, self.topic)
        self.place = self._start(first)
        self.ask(first)

    def _start(self, first: pb.FetchRequest) -> int:
        bus = self.org.bus
        if first.replay_preset == pb.EARLIEST:
            return bus.earliest()
        if first.replay_preset == pb.LATEST:
            return bus.latest()
        if not first.replay_id:
            raise NAMED["replayid_validation_failed"]
        try:
            return bus.after(first.replay_id)
        except UnknownReplayId:
            raise NAMED["replayid_corrupted"] from None

    def ask(self, request: pb.FetchRequest) -> None:
        """Takes a request for more; never more than 100 are outstanding."""
        if request.topic_name and request.topic_name != self.topic:
            raise RpcError("INVALID_ARGUMENT", "subscription.fetch.topic.mismatch", "The topic can't change.")
        if request.num_requested <= 0:
            message = "The number of requested events must be greater than 0."
            raise RpcError("INVALID_ARGUMENT", "subscription.fetch.requested.events.invalid", message)
        self.pending = min(self.pending + request.num_requested, MOST_OUTSTANDING)

    async def listen(self, requests: AsyncIterator[pb.FetchRequest]) -> None:
        """Reads further requests until the client has no more."""
        try:
            async for request in requests:
                self.ask(request)
                self.wake.set()
            self.done = True
        except RpcError as error:
            self.error = error
        finally:
            self.wake.set()

    def fail(self, error: RpcError) -> None:
        self.error = error
        self.wake.set()

    async def responses(self) -> AsyncIterator[pb.FetchResponse]:
        """Events as they come, an empty answer when none came for long, the end when nobody asks."""
        spoken = _now()
        while True:
            self.wake.clear()
            await self._faults()
            response = self._next(quiet_s=_now() - spoken)
            if response:
                spoken = _now()
                yield response
            elif self.pending:
                await self._woken(spoken + self.pace.keepalive_s - _now())
            elif self.done or _now() - spoken >= self.pace.idle_close_s:
                return
            else:
                await self._woken(spoken + self.pace.idle_close_s - _now())

    def _next(self, quiet_s: float) -> pb.FetchResponse | None:
        if self.error:
            raise self.error
        batch = self._batch() if self.pending else []
        if batch and self.org.allowance_used_up():
            raise NAMED["limit_exceeded"]
        if batch:
            return self._response(batch)
        return self._keepalive() if self.pending and quiet_s >= self.pace.keepalive_s else None

    async def _woken(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), max(seconds, 0))

    async def _faults(self) -> None:
        fault = self.org.faults.take("stream", {"topic": self.topic}, delivered=self.delivered)
        if fault and fault.kind == "stall":
            await asyncio.sleep(float(fault.args.get("seconds", 3600)))
        elif fault:
            raise ordered(fault.args)

    def _batch(self) -> list[Event]:
        batch: list[Event] = []
        size = 0
        for place, event in self.org.bus.read(self.place, self.entities):
            size += len(event.payload)
            if len(batch) >= min(self.pending, self.pace.batch) or (batch and size > _MOST_BYTES):
                break
            batch.append(event)
            self.place = place
        else:
            self.place = self.org.bus.latest()
        return batch

    def _response(self, batch: list[Event]) -> pb.FetchResponse:
        self.pending -= len(batch)
        self.delivered += len(batch)
        self.org.count_delivered(len(batch))
        return pb.FetchResponse(
            events=[_consumed(event) for event in batch],
            latest_replay_id=batch[-1].replay_id,
            rpc_id=str(uuid.uuid4()),
            pending_num_requested=self.pending,
        )

    def _keepalive(self) -> pb.FetchResponse:
        """Empty, with a replay id younger than any event sent: a quiet reader's position stays valid."""
        return pb.FetchResponse(
            latest_replay_id=self.org.bus.tick(),
            rpc_id=str(uuid.uuid4()),
            pending_num_requested=self.pending,
        )


def _consumed(event: Event) -> pb.ConsumerEvent:
    produced = pb.ProducerEvent(id=event.event_id, schema_id=event.schema_id, payload=event.payload)
    return pb.ConsumerEvent(event=produced, replay_id=event.replay_id)


def _now() -> float:
    return asyncio.get_running_loop().time()
