"""What an operation may answer, for the OpenAPI document: each status with its meaning, its headers, its body."""

from http import HTTPStatus
from typing import Any

#: Any operation that callers must be allowed may answer so.
ALWAYS = (401, 422, 429, 500, 503)

MEANING = {
    304: "It is still as you know it.",
    401: "Nobody is logged in with this token.",
    403: "The token does not allow this, or names no member.",
    404: "There is no such thing here, or none of yours.",
    409: "The rules say no; `type` says which.",
    412: "It has changed since you saw it.",
    422: "The request cannot be used as it is; `field` and `fix` say why.",
    429: "You ask more often than your allowance lets you.",
    500: "This should not have happened.",
    503: "A neighbour is unwell; the same request may work in a while.",
}

_TEXT = {"schema": {"type": "string"}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to log in.", **_TEXT}},
    429: {"Retry-After": {"description": "Seconds until the next request may come.", **_TEXT}},
    503: {"Retry-After": {"description": "Seconds until it is worth another try.", **_TEXT}},
}


def said(*statuses: int, etag: bool = False, link: bool = False) -> dict[int | str, dict[str, Any]]:
    """The documented answers: those named, and what every operation may answer."""
    return {status: _one(status, etag=etag, link=link) for status in sorted({*statuses, *ALWAYS})}


def _one(status: int, *, etag: bool, link: bool) -> dict[str, Any]:
    if status < HTTPStatus.BAD_REQUEST:
        headers = {}
        if etag:
            headers["ETag"] = {"description": "The version, to send in If-Match or If-None-Match.", **_TEXT}
        if link and status == HTTPStatus.OK:
            headers["Link"] = {"description": "The next page, by RFC 8288.", **_TEXT}
        return {"description": MEANING.get(status, "As asked."), "headers": headers}
    return {
        "description": MEANING[status],
        "headers": _HEADERS.get(status, {}),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
