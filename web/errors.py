"""One error page for everything: RFC 9457 problem details, with a request id to find the log line by."""

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from config import logs
from routing.access import LoginRefused
from routing.errors import BadInput, FairturnError, GiveUp, Refused, TryLater
from routing.offer import OfferChanged, UnknownOffer
from routing.versions import NotYours, UnknownVersion, VersionChanged
from storage.postgres.endpoints import UnknownEndpoint
from storage.postgres.replays import IdempotencyKeyReused

log = structlog.get_logger()

RETRY_AFTER_S = 2


class NotFound(Refused):
    """There is no such thing here."""


class Forbidden(Refused):
    """The caller may not ask this."""


class Unauthorized(Refused):
    """Say who you are: send `Authorization: Bearer` with an access token, an API key or FAIRTURN_API_TOKEN's value."""


class TooManyRequests(Refused):
    """You ask more often than your allowance lets you; Retry-After says when to come back."""

    def __init__(self, message: str = "", *, wait_s: float = 1.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Problem(BaseModel):
    """A problem by RFC 9457."""

    type: str = Field(description="A URN that names the kind of problem, or about:blank.")
    title: str = Field(description="The kind of problem in words; always the same for one type.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, and what to do next.")
    request_id: str = Field(description="Names the log lines of this request.")
    field: str | None = Field(None, description="Where the input is wrong.")
    fix: str | None = Field(None, description="How to mend it.")


#: Problems of HTTP itself, by status: the type's name.
BY_STATUS = {
    400: "bad-request",
    404: "no-such-address",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "body-too-large",
    415: "unsupported-media-type",
}

# Most telling first: the first kind an error belongs to decides.
KINDS: tuple[tuple[type[FairturnError], int, str], ...] = (
    (NotFound, 404, "Not found"),
    (UnknownOffer, 404, "Not found"),
    (UnknownEndpoint, 404, "Not found"),
    (UnknownVersion, 404, "Not found"),
    (OfferChanged, 412, "Precondition failed"),
    (VersionChanged, 412, "Precondition failed"),
    (NotYours, 403, "Not allowed"),
    (TooManyRequests, 429, "Too many requests"),
    (IdempotencyKeyReused, 422, "Bad input"),
    (Unauthorized, 401, "Not logged in"),
    (LoginRefused, 401, "Not logged in"),
    (Forbidden, 403, "Not allowed"),
    (BadInput, 422, "Bad input"),
    (Refused, 409, "Refused by the rules"),
    (TryLater, 503, "A neighbour is unwell"),
    (GiveUp, 500, "A person should look"),
    (FairturnError, 500, "Something foreseen went wrong"),
)


def problem(
    request_id: str,
    status: int,
    detail: str,
    *,
    kind: str = "",
    title: str = "",
    headers: Mapping[str, str] = {},
    **facts: Any,
) -> Response:
    """The answer to a request that failed."""
    body = {
        "type": f"urn:fairturn:problem:{kind}" if kind else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
        **facts,
    }
    return JSONResponse(body, status, headers=dict(headers), media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """From now on every error of the app leaves as a problem."""
    app.add_exception_handler(FairturnError, _foreseen)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _by_http)


def unforeseen(request_id: str, error: Exception) -> Response:
    """The answer to a mistake of ours: the log knows all, the caller only where to point."""
    log.error("http.failed", failure=logs.tell(error))
    return problem(request_id, 500, "This should not have happened. Give the request id to whoever runs this service.")


def request_id(request: Request) -> str:
    """The id of this request."""
    return str(request.scope.get("request_id", ""))


def foreseen(request_id: str, error: FairturnError) -> Response:
    """The answer to what the rules or a neighbour refused."""
    status, title = next((status, title) for kind, status, title in KINDS if isinstance(error, kind))
    facts = {"field": error.field, "fix": error.fix} if isinstance(error, BadInput) else {}
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("http.refused", failure=logs.tell(error))
    return problem(
        request_id,
        status,
        logs.scrub(str(error)),
        kind=kebab(type(error).__name__),
        title=title,
        headers=_headers(status, error),
        **facts,
    )


def _headers(status: int, error: FairturnError) -> Mapping[str, str]:
    match status:
        case 401:
            return {"WWW-Authenticate": 'Bearer realm="Fairturn"'}
        case 429:
            wait_s = error.wait_s if isinstance(error, TooManyRequests) else RETRY_AFTER_S
            return {"Retry-After": str(max(1, ceil(wait_s)))}
        case 503:
            return {"Retry-After": str(RETRY_AFTER_S)}
        case _:
            return {}


async def _foreseen(request: Request, error: Exception) -> Response:
    if not isinstance(error, FairturnError):  # it is: the app asks for no other here
        return unforeseen(request_id(request), error)
    return foreseen(request_id(request), error)


async def _invalid(request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": ""}
    where, what = ".".join(str(part) for part in first["loc"]), str(first["msg"]).removeprefix("Value error, ")
    fix = "See the operation in /api/v1/docs."
    if first.get("type") == "json_invalid":
        where, what, fix = "body", f"it is not JSON at character {first['loc'][-1]}", "Send JSON in UTF-8."
    # Without the input itself: it is not ours to repeat.
    return problem(
        request_id(request), 422, f"{where}: {what}", kind="bad-input", title="Bad input", field=where, fix=fix
    )


async def _by_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == HTTPStatus.BAD_REQUEST:  # bytes that are no text at all
        fix = "Send JSON in UTF-8."
        detail = f"body: it cannot be read. {fix}"
        return problem(request_id(request), 422, detail, kind="bad-input", title="Bad input", field="body", fix=fix)
    detail = {404: "There is nothing at this address; /api/v1/docs lists what there is."}.get(
        status, HTTPStatus(status).description or HTTPStatus(status).phrase
    )
    headers = (error.headers if isinstance(error, HTTPException) else None) or {}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": _methods(request, headers.get("Allow", ""))}
    return problem(request_id(request), status, detail, kind=BY_STATUS.get(status, ""), headers=headers)


def _methods(request: Request, told: str) -> str:
    """Every method of this address: each route knows its own alone."""
    paths: Mapping[str, Mapping[str, Any]] = request.app.openapi()["paths"]
    fitting = (methods for path, methods in paths.items() if compile_path(path)[0].match(request.url.path))
    return ", ".join(sorted({method.upper() for methods in fitting for method in methods})) or told


def kebab(name: str) -> str:
    """SomeName as some-name: how a refusal is called in a problem's type."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
