"""The door every request passes: an id, headers that protect, one line in the log."""

import re
from ipaddress import ip_address
from time import perf_counter
from uuid import uuid4

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import metrics
from web.errors import unforeseen

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[\w-]{8,64}", re.ASCII)
_LOCAL_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.ASCII)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def from_here(request: Request) -> bool:
    """Whether the caller is on this machine, and called it by its own name: a page elsewhere may know our address."""
    try:
        local = request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False
    return local and bool(_LOCAL_HOST.fullmatch(request.headers.get("host", "")))


class Door:
    """ASGI middleware around the whole app, so that error pages pass it as well."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=scope["request_id"]):
            await self._pass(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, status = perf_counter(), 0

        async def out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = scope["request_id"]
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)  # a page that needs more than nothing says so itself
            await send(message)

        try:
            await self._app(scope, receive, out)
        except Exception as exc:
            if status:  # the answer is on its way: nothing can be taken back
                raise
            await unforeseen(scope["request_id"], exc)(scope, receive, out)
        finally:
            _tell(scope, status, perf_counter() - start)


def _tell(scope: Scope, status: int, took_s: float) -> None:
    route = getattr(scope.get("route"), "path", "unknown")
    method = scope["method"] if scope["method"] in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} else "other"
    log.info("http.done", route=route, method=method, status=status, took_ms=round(took_s * 1000, 1))
    metrics.count("fairturn_http_requests_total", route=route, method=method, status=str(status))
    metrics.observe("fairturn_http_seconds", took_s, route=route)
