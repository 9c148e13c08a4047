"""One HTTP call: who asks, in which version, and how refusals are answered."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.errors import ApiError, RecordError, bad_json, refused
from sandbox.faults import Fault
from sandbox.org import Actor, Org
from sandbox.schema import SObject
from sandbox.transaction import Transaction

OLDEST_VERSION, NEWEST_VERSION = 20, 68
_CLIENT = re.compile(r"(?:^|[,;])\s*client=([^,;]+)")


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request to a versioned resource."""

    org: Org
    request: Request
    user_id: str
    version: str

    def at(self, name: str) -> str:
        return str(self.request.path_params[name])

    def sobject(self) -> SObject:
        found = self.org.sobject(self.at("object"))
        if found is None:
            raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
        return found

    async def json(self) -> Any:
        """The body. ApiError when it is no JSON."""
        try:
            return json.loads(await self.request.body())
        except ValueError as error:
            raise bad_json(f"Unexpected character in the request body: {error}") from None

    async def mapping(self) -> dict[str, Any]:
        body = await self.json()
        if not isinstance(body, dict):
            raise bad_json("The body must be a JSON object")
        return body

    def client(self) -> str:
        return client_of(self.request)

    def transaction(self, *, collection: bool = False) -> Transaction:
        client = "" if collection and not self.org.options.call_options_in_collections else self.client()
        origin = f"com/salesforce/api/rest/{self.version}" + (f";client={client}" if client else "")
        return Transaction(self.org, Actor(self.user_id, origin))

    def url(self, tail: str) -> str:
        return f"/services/data/v{self.version}/{tail}"


Handler = Callable[[Call], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def client_of(request: Request) -> str:
    """`Fairturn` of `Sforce-Call-Options: client=Fairturn`; empty when there is none."""
    found = _CLIENT.search(request.headers.get("sforce-call-options", ""))
    return found.group(1).strip() if found else ""


def token_of(request: Request) -> str:
    """The token of an Authorization header (`Bearer` or `OAuth`)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() in {"bearer", "oauth"} else ""


def resource(handler: Handler) -> Endpoint:
    """Serves a versioned resource: faults first, then the session, the daily limit, the handler."""

    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        org: Org = request.app.state.org
        fault = org.faults.take("http", {"method": request.method, "path": request.url.path})
        try:
            return await _struck(fault, handler, org, request) if fault else await _served(handler, org, request)
        except RecordError as error:
            return answer_error(refused(error))
        except ApiError as error:
            return answer_error(error)

    return endpoint


async def _served(handler: Handler, org: Org, request: Request) -> Response:
    call = Call(org, request, _user(org, request), _version(request))
    used, allowed = org.count_call()
    if used > allowed:
        raise ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    response = await handler(call)
    response.headers["Sforce-Limit-Info"] = f"api-usage={used}/{allowed}"
    return response


def _user(org: Org, request: Request) -> str:
    user_id = org.sessions.get(token_of(request))
    if user_id is None:
        raise ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")
    return user_id


def _version(request: Request) -> str:
    version = str(request.path_params["version"])
    number = int(version) if version.isdigit() else 0
    if not OLDEST_VERSION <= number <= NEWEST_VERSION:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    return f"{number}.0"


async def _struck(fault: Fault, handler: Handler, org: Org, request: Request) -> Response:
    seconds = float(fault.args.get("seconds", 600))
    if fault.kind == "timeout_before":
        await asyncio.sleep(seconds)
        raise ApiError(503, "SERVER_UNAVAILABLE", "The server did not get to your request.")
    if fault.kind == "timeout_after":
        response = await _served(handler, org, request)
        await asyncio.sleep(seconds)
        return response
    if fault.kind == "late_apply":
        return await _late(handler, org, request, seconds)
    raise _ordered(fault.args)


async def _late(handler: Handler, org: Org, request: Request, seconds: float) -> Response:
    """Answers 503 at once and applies the request all the same, `seconds` later."""
    await request.body()
    applied = asyncio.create_task(_later(handler, org, request, seconds))
    org.late.add(applied)
    applied.add_done_callback(org.late.discard)
    raise ApiError(503, "SERVER_UNAVAILABLE", "The server is temporarily unable to respond.")


async def _later(handler: Handler, org: Org, request: Request, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(org.hurry.wait(), seconds)
    await _served(handler, org, request)


NAMED: Mapping[str, ApiError] = {
    "invalid_session": ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid"),
    "concurrent_limit": ApiError(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded."),
    "daily_limit": ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    "too_many": ApiError(429, "TOO_MANY_REQUESTS", "Too many requests.", headers=(("Retry-After", "1"),)),
    "unavailable": ApiError(503, "SERVER_UNAVAILABLE", "The server is temporarily unable to respond."),
    "locked": ApiError(
        400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records: 00Q000000000001AAA"
    ),
    "query_timeout": ApiError(400, "QUERY_TIMEOUT", "Your query request was running for too long."),
}


def _ordered(args: Mapping[str, Any]) -> ApiError:
    """The refusal a fault asks for: by name, or spelled out."""
    if "name" in args:
        return NAMED[args["name"]]
    headers = tuple((str(name), str(value)) for name, value in args.get("headers", {}).items())
    return ApiError(
        int(args.get("status", 500)), args.get("code", "UNKNOWN_EXCEPTION"), args.get("message", ""), headers=headers
    )


def answer_error(error: ApiError) -> Response:
    return JSONResponse(error.body(), error.status, headers=dict(error.headers))


def nothing() -> Response:
    """204, with no body and no Content-Length."""
    return Response(status_code=204)
