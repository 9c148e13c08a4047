"""Requests that change something: done once for each Idempotency-Key, however often they come."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from routing.access import Principal
from routing.errors import Refused
from storage.postgres.replays import Replay, Replays
from web import errors
from web.errors import TooManyRequests
from web.limits import caller_of

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="Any text, new for each request, such as a UUID. The same request under the same key gets the same "
        "answer for 24 hours and is done once; another request under it is refused.",
        examples=["6a0f2c4e-2f7b-4a52-9d3e-0c9f5a7f1b3d"],
    ),
]
PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Once:
    """Answers a request that came before under the same key as it was answered then."""

    replays: Callable[[], Replays]

    def __call__(
        self,
        request: Request,
        principal: Principal,
        key: str | None,
        do: Callable[[], BaseModel],
        *,
        asked: BaseModel | None = None,
        status: int = 200,
    ) -> Response:
        """The answer of `do`, or the one it gave before; refusals are remembered as well."""
        if key is None:
            return _answer(Replay(status, _body(do())))
        caller, replays = caller_of(principal), self.replays()
        before = replays.begin(caller, key, _digest(request, asked))
        if before is not None:
            return _answer(before, again=True)
        try:
            made = Replay(status, _body(do()))
        except TooManyRequests:
            replays.forget(caller, key)
            raise
        except Refused as refused:
            problem = errors.foreseen(errors.request_id(request), refused)
            replays.finish(caller, key, problem.status_code, json.loads(bytes(problem.body)))
            return problem
        except Exception:
            replays.forget(caller, key)
            raise
        replays.finish(caller, key, made.status, made.body)
        return _answer(made)


def _digest(request: Request, asked: BaseModel | None) -> bytes:
    said = asked.model_dump_json() if asked is not None else ""
    parts = [request.method, request.url.path, request.headers.get("if-match", ""), said]
    return hashlib.sha256("\n".join(parts).encode()).digest()


def _body(view: BaseModel) -> dict[str, Any]:
    return view.model_dump(mode="json")


def _answer(made: Replay, *, again: bool = False) -> Response:
    headers: dict[str, str] = {"Idempotency-Replayed": "true"} if again else {}
    if made.status >= 400:
        return JSONResponse(made.body, made.status, headers, media_type=PROBLEM)
    return JSONResponse(made.body, made.status, headers | etag(made.body))


def etag(body: Mapping[str, Any]) -> dict[str, str]:
    """The version of what is answered, where it has one."""
    return {"ETag": f'"{body["version"]}"'} if "version" in body else {}
