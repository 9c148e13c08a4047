"""The OpenAPI document: what FastAPI makes of the routes, with what holds for all of them written into each."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from routing.access import OF_A_MEMBER
from web import webhooks
from web.errors import Problem
from web.identity import MEMBER
from web.limits import longest

DESCRIPTION = """
For partners: leads are offered to your company; answer them, work on them, and be told of what is new.

For those who run the house: find leads, see why each went where it went and how fair it was, and change the policy,
which is checked, compared, published and rolled back in versions.

Send `Authorization: Bearer` with an access token or an API key. Errors are problems by RFC 9457: their `type` is
stable, their `detail` is for people. Times are UTC. New fields and new kinds of event may come with any version; leave
alone what you do not know.
"""
TAGS = {
    "offers": "Leads offered to you: see, answer, work.",
    "open leads": "Other ways to a lead than your turn.",
    "me": "Yourself and your company.",
    "team": "Your people.",
    "events": "What is new, live.",
    "webhooks": "What is new, called to your server.",
    "devices": "What is new, pushed to your browser.",
    "leads": "Every lead: found, explained, tried out, given back to routing; for operators and managers.",
    "pools": "How fair it is: turns, what is due, the worst value and its bound; for operators.",
    "policy": "Versions of the policy, for managers.",
    "stats": "The house in figures, for operators.",
    "invariants": "What must never be, for everybody.",
}
_NOT_JSON = "The body is not sent as application/json."
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_MEMBER = {
    "name": MEMBER,
    "in": "header",
    "required": False,
    "description": "For programs of the whole network: the key of the member you ask for.",
    "schema": {"type": "string"},
}


def install(app: FastAPI, api: str) -> None:
    """From now on the app describes itself so."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _made(app, api)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _made(app: FastAPI, api: str) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION.strip(),
        routes=app.routes,
        webhooks=webhooks.routes(),
        tags=[{"name": name, "description": meaning} for name, meaning in TAGS.items()],
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for path, operation in operations(made):
        _plain_parameters(operation)
        if path.startswith(f"{api}/"):
            _complete(path, operation, api)
    for call in made["webhooks"].values():
        call["post"]["responses"].pop("422", None)  # that is for the partner's server to say
        _plain_parameters(call["post"])
    for unused in ("HTTPValidationError", "ValidationError"):
        if not _mentioned(made, unused):
            schemas.pop(unused, None)
    return made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation with its path."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def scopes_of(operation: dict[str, Any]) -> frozenset[str]:
    """What a caller must be allowed."""
    return frozenset(scope for need in operation.get("security", ()) for scopes in need.values() for scope in scopes)


def _size(most: int) -> str:
    return f"{most // 2**20} MiB" if most >= 2**20 else f"{most // 2**10} KiB"


def _complete(path: str, operation: dict[str, Any], api: str) -> None:
    responses = operation["responses"]
    if "requestBody" in operation:
        for status, meaning in ((413, f"The body is longer than {_size(longest(path, api))}."), (415, _NOT_JSON)):
            responses.setdefault(str(status), {"description": meaning, "content": _PROBLEM})
    for status, answer in responses.items():
        if status.isdigit() and int(status) >= HTTPStatus.BAD_REQUEST and "/readyz" not in operation["operationId"]:
            answer["content"] = _PROBLEM
    operation["responses"] = dict(sorted(responses.items()))
    if scopes_of(operation) & OF_A_MEMBER:
        operation.setdefault("parameters", []).append(_MEMBER)


def _plain_parameters(operation: dict[str, Any]) -> None:
    """A parameter that may be left out is never null: there is no way to write that in a URL or a header."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            parameter["schema"] = {**{k: v for k, v in schema.items() if k != "anyOf"}, **kinds[0]}
        parameter["schema"].pop("title", None)


def _mentioned(document: dict[str, Any], name: str) -> bool:
    def inside(value: Any) -> bool:
        if isinstance(value, dict):
            return any(inside(one) for key, one in value.items() if key != name) or value.get("$ref", "").endswith(
                f"/{name}"
            )
        return any(inside(one) for one in value) if isinstance(value, list) else False

    return inside({"paths": document["paths"], "schemas": document["components"]["schemas"]})
