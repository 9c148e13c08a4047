"""The live stream: server-sent events, resumed from the number seen last, without gap or double."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from config import metrics
from routing.access import Principal
from routing.errors import FairturnError, TryLater
from storage.postgres.partner import Partner, Told
from web.api.partner.feed import Feed
from web.api.partner.offers import member_of
from web.api.said import said
from web.limits import caller_of

HEARTBEAT_S = 15.0
#: How often it is seen to that the caller may still listen.
CHECK_S = 4.0
#: Who takes nothing for so long is let go, and may come back with Last-Event-ID.
SLOW_S = 20.0
#: Notices read and sent at once.
CHUNK = 100
HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}

LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=2**62, description="The id seen last: the stream goes on after it."),
]


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listens, and how it is seen that it still may."""

    member: int
    caller: str
    still_may: Callable[[], object]  # raises once it may not any more


class Stream(Response):
    """One connection: what was missed, then what comes, until the caller leaves or may listen no more."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, partner: Partner, listener: Listener, since: int | None) -> None:
        super().__init__()
        self._feed, self._partner, self._listener, self._since = feed, partner, listener, since

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        with self._feed.listening(self._listener.member, self._listener.caller):
            metrics.count("fairturn_partner_streams_total")
            pump, gone = asyncio.create_task(self._pump(send)), asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                if not pump.done():
                    pump.cancel()
                with suppress(asyncio.CancelledError):
                    await pump

    async def _pump(self, send: Send) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await self._go_on(send)
        except TimeoutError:  # nobody reads at the other end
            metrics.count("fairturn_partner_streams_dropped_total")
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _go_on(self, send: Send) -> None:
        member = self._listener.member
        at = await self._start()
        await _say(send, f'retry: 2000\nid: {at}\nevent: ready\ndata: {{"number": {at}}}\n\n')
        clock = asyncio.get_running_loop().time
        said_at = checked_at = clock()
        while True:
            told = await self._told(member, at)
            if told:
                await _say(send, "".join(map(event, told)))
                at, said_at = told[-1].number, clock()
            if clock() - checked_at >= CHECK_S:
                if not await run_in_threadpool(self._may_go_on):
                    return
                checked_at = clock()
            if clock() - said_at >= HEARTBEAT_S:
                await _say(send, ": still here\n\n")
                said_at = clock()
            if len(told) < CHUNK:
                await self._feed.news(member, at, min(CHECK_S, HEARTBEAT_S))

    async def _start(self) -> int:
        """The number to go on after: what the caller has seen, but no number that is yet to come."""
        newest = (await run_in_threadpool(self._partner.heads, [self._listener.member]))[self._listener.member]
        return newest if self._since is None else min(self._since, newest)

    async def _told(self, member: int, at: int) -> Sequence[Told]:
        try:
            return await run_in_threadpool(lambda: self._partner.told(member, since=at, limit=CHUNK))
        except TryLater:  # the ledger is unwell: the poller says so in the log, and the stream goes on later
            await asyncio.sleep(1.0)
            return ()

    def _may_go_on(self) -> bool:
        try:
            self._listener.still_may()
        except TryLater:
            return True
        except FairturnError:
            return False
        return True


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _say(send: Send, text: str) -> None:
    await asyncio.wait_for(send({"type": "http.response.body", "body": text.encode(), "more_body": True}), SLOW_S)


def event(told: Told) -> str:
    """One notice as the stream sends it: ids and states, nothing of the lead."""
    data = {
        "number": told.number,
        "offer_id": str(told.offer_id),
        "kind": told.kind,
        "state": told.state,
        "version": told.version,
        "expires_at": _time(told.expires_at),
        "at": _time(told.at),
    }
    return f"id: {told.number}\nevent: {told.what}\ndata: {json.dumps(data)}\n\n"


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def routes(
    feed: Feed,
    partner: Callable[[], Partner],
    allow: Callable[..., Callable[..., Principal]],
    again: Callable[[Request], object],
) -> APIRouter:
    """`/events`. `again(request)` raises once the request's caller may not come in any more."""
    router = APIRouter(prefix="/events", tags=["events"])
    listener = Annotated[Principal, Depends(allow("events:read"))]
    documented = said(200, 403)
    documented[200]["content"] = {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": 'id: 17\nevent: offer.created\ndata: {"number": 17, "offer_id": "01936f7e-4a00-7c3e-8a55-'
            '2f0d5f0c9b11", "kind": "turn", "state": "offered", "version": 1, "expires_at": "2026-11-22T13:00:00Z", '
            '"at": "2026-11-22T09:00:00Z"}\n\n',
        }
    }

    @router.get(
        "",
        operation_id="streamEvents",
        summary="What is new, as it happens",
        response_class=Response,
        responses=documented,
    )
    async def stream(
        request: Request,
        principal: listener,
        last_event_id: LastEventId = None,
        since: Annotated[int | None, Query(ge=0, le=2**62, description="As Last-Event-ID, for the first time.")] = None,
    ) -> Response:
        """Server-sent events.

        Ids count 1, 2, 3 for your member, in order and without gaps: come back with the last one and nothing is missed
        or told twice. Without one the stream begins now.

        `state`, `version` and `expires_at` are those of the offer when the event is sent. A comment every 15 seconds
        shows that the line is alive. The stream ends with your token: come back with a new one.
        """
        member, caller = member_of(principal), caller_of(principal)
        feed.check(caller)
        seen = last_event_id if last_event_id is not None else since
        return Stream(feed, partner(), Listener(member, caller, lambda: again(request)), seen)

    return router
