"""What nobody may ask too much of: bodies of one kind, a caller's allowance, and guesses at tokens."""

from collections.abc import Callable
from http import HTTPStatus
from math import ceil
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import metrics
from routing.access import Principal
from storage.redis.buckets import Allowance, Buckets, LocalBuckets, Taken
from web.errors import BY_STATUS, TooManyRequests, foreseen, problem

#: No request is longer, but those that bring a policy.
MOST_BYTES = 65_536
MOST_OF_A_POLICY = 8 * 1024 * 1024
#: Calls from one address that nobody could be logged in with; good tokens from there are let in as ever.
GUESSES = Allowance(per_s=10.0, burst=600)
_LIMIT = "rate_limit"


def longest(path: str, api: str) -> int:
    """How many bytes a body for this address may have."""
    return MOST_OF_A_POLICY if path.startswith(f"{api}/policy/") else MOST_BYTES


def allowance(per_minute: int) -> Allowance:
    """So many requests a minute, a tenth of them at once."""
    return Allowance(per_minute / 60, max(10, per_minute // 10))


def caller_of(principal: Principal) -> str:
    """Who asks, and for which member: keys and allowances of one do not touch those of another."""
    return f"{principal.kind}:{principal.id}:{principal.member_id or ''}"


def within(
    allow: Callable[..., Callable[..., Principal]], buckets: Callable[[], Buckets], each: Allowance
) -> Callable[..., Callable[..., Principal]]:
    """As `allow`, and the caller asks no more often than this. Raises TooManyRequests."""

    def let_in(*scopes: str) -> Callable[..., Principal]:
        def check(request: Request, principal: Annotated[Principal, Depends(allow(*scopes))]) -> Principal:
            taken = buckets().take(caller_of(principal), each)
            request.scope[_LIMIT] = _told(taken, each)
            if not taken.ok:
                metrics.count("fairturn_http_limited_total", why="allowance")
                raise TooManyRequests(wait_s=taken.wait_s)
            return principal

        return check

    return let_in


def _told(taken: Taken, each: Allowance) -> dict[str, str]:
    """By the IETF's draft "RateLimit header fields for HTTP"."""
    window = ceil(each.burst / each.per_s)
    return {
        "RateLimit-Policy": f'"default";q={each.burst};w={window}',
        "RateLimit": f'"default";r={max(0, taken.left)};t={ceil(taken.wait_s)}',
    }


class Limits:
    """ASGI middleware: bodies are JSON where the API is meant, guessing tokens takes time, allowances are told."""

    def __init__(self, app: ASGIApp, *, api: str, guesses: Allowance = GUESSES) -> None:
        self._app, self._api, self._guesses = app, api, guesses
        self._wrong = LocalBuckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, headers = str(scope.get("request_id", "")), Headers(scope=scope)
        most = longest(scope["path"], self._api)
        if int(headers.get("content-length", "0")) > most:  # the server has seen to it that it is a number
            detail = f"No body is longer than {most} bytes here."
            await problem(request_id, 413, detail, kind=BY_STATUS[413])(scope, receive, send)
        elif scope["path"].startswith(f"{self._api}/") and not _is_json(headers):
            detail = "A body is JSON here: send it with Content-Type: application/json."
            await problem(request_id, 415, detail, kind=BY_STATUS[415])(scope, receive, send)
        else:
            await self._app(scope, _counted(receive, most), self._telling(scope, receive, send))

    def _telling(self, scope: Scope, receive: Receive, send: Send) -> Send:
        """Sends what the app answers, or what is answered instead."""
        instead = False

        async def out(message: Message) -> None:
            nonlocal instead
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(scope.get(_LIMIT, {}))
                other = self._instead(scope, message)
                if other is not None:
                    instead = True
                    await other(scope, receive, send)
            if not instead:
                await send(message)

        return out

    def _instead(self, scope: Scope, start: Message) -> Response | None:
        request_id = str(scope.get("request_id", ""))
        if start["status"] == HTTPStatus.UNAUTHORIZED:
            taken = self._wrong.take((scope.get("client") or ("?",))[0], self._guesses)
            if not taken.ok:
                metrics.count("fairturn_http_limited_total", why="guesses")
                detail = "Too many calls from your address had no good token."
                return foreseen(request_id, TooManyRequests(detail, wait_s=taken.wait_s))
        return None


def _counted(receive: Receive, most: int) -> Receive:
    """The same request, as long as it is not too long: bodies in chunks do not say it before."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise HTTPException(413)
        return message

    return counted


def _is_json(headers: Headers) -> bool:
    """Whether the body, if there is one, says that it is JSON."""
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return not has_body or headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
