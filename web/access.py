"""Who may ask what: the table of docs/access.md, made from the scopes that the routes themselves declare."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routing.access import SCOPES, Role, Scope

_MEANING = {
    Scope.OFFERS_READ: "see the member's offers; contact data of those it accepted",
    Scope.OFFERS_ANSWER: "accept, reject, complete, lose, return, extend",
    Scope.ME_READ: "see one's own profile and place in turn",
    Scope.ME_WRITE: "change one's profile, presence and devices",
    Scope.TEAM_MANAGE: "let the member's people in and out, give them leads",
    Scope.HOOKS_MANAGE: "manage the member's webhooks",
    Scope.EVENTS_READ: "follow the live stream",
    Scope.NETWORK: "act for any member, named in `Fairturn-Member`; for programs only",
    Scope.OPERATE: "read everything of the house",
    Scope.MANAGE: "change the policy; take offers back, send leads on",
}


_HEAD = """# Who may ask what

Made from the routes by `python -m web.access > docs/access.md`; a test keeps it current, and another asks each
operation as everybody who may not.

A caller has scopes: a person those of the role, a program those it was given, a token no more than was asked for. A
partner's scopes are for one member: the person's or program's own. Whoever shows nothing good hears 401, whoever may
open other doors 403, and whoever names a thing of another member 404, as if there were none.

The operator's token (`FAIRTURN_API_TOKEN`) has `operate` and `manage`, and speaks for no member. While it is not set,
callers on the same machine have them. Behind all this there is, in Postgres,
[a second wall](adr/20261122-two-walls-between-members.md). Whoever migrates the ledger needs `CREATEROLE`, or a role
made before: that page says how.

## Letting people and programs in

| who | how |
|---|---|
| a person | `fairturn user add ann@example.com --name Ann --member KEY`; then `/app/`, or `POST /api/v1/login` |
| somebody of our own | the same with `--role operator` or `--role manager`, and no member |
| a member's server | `fairturn key add NAME --member KEY --scope offers:read`; or `client add`, `POST /oauth/token` |
| a program of the whole network | the same without `--member`: it names the member in the header `Fairturn-Member` |
| a device without a keyboard | `POST /oauth/device_authorization`, and a person at `/oauth/device` |
| people of an outside issuer (OpenID) | `FAIRTURN_OIDC_ISSUER`; their verified address is that of a `user add` here |

Each secret is printed once. `fairturn user disable`, `client disable` and `key revoke` shut out within five seconds.
All of it needs [`FAIRTURN_SECRET`](../.env.example); keys alone do without. How tokens are made:
[the decision](adr/20261122-tokens-with-a-small-library.md).

## Scopes and roles
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API, and the scopes it asks for; None: anybody may."""

    method: str
    path: str
    scopes: frozenset[str] | None
    summary: str

    @property
    def id_in_path(self) -> bool:
        """Whether it names one thing, so that the thing of somebody else could be named."""
        return "{" in self.path

    def opens_for(self, role: Role) -> bool:
        """Whether a person of this role may ask it."""
        return self.scopes is None or self.scopes <= frozenset(map(str, SCOPES[role]))


def operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Every operation of an OpenAPI document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            asked = [scopes for one in operation.get("security", ()) for scopes in one.values()]
            scopes = frozenset(scope for some in asked for scope in some) if asked else None
            yield Operation(method.upper(), path, scopes, operation.get("summary", ""))


def document(found: Sequence[Operation]) -> str:
    """docs/access.md."""
    return "\n".join([_HEAD, *_scopes(), *_table(found)]) + "\n"


def _scopes() -> Iterator[str]:
    yield "| scope | lets | " + " | ".join(f"`{role}`" for role in Role) + " | programs |"
    yield "|---|---|" + "---|" * (len(Role) + 1)
    for scope in Scope:
        has = ["yes" if scope in SCOPES[role] else "" for role in Role]
        yield f"| `{scope}` | {_MEANING[scope]} | " + " | ".join([*has, "if given"]) + " |"
    yield ""


def _table(found: Sequence[Operation]) -> Iterator[str]:
    yield "## Operations"
    yield ""
    yield "| operation | asks for | " + " | ".join(f"`{role}`" for role in Role) + " | programs |"
    yield "|---|---|" + "---|" * (len(Role) + 1)
    for one in found:
        asks = ", ".join(f"`{scope}`" for scope in sorted(one.scopes or ())) or "nothing"
        cells = ["yes" if one.opens_for(role) else "403" for role in Role]
        program = "yes" if one.scopes is None else "with the scope"
        yield f"| `{one.method} {one.path}` {one.summary} | {asks} | " + " | ".join([*cells, program]) + " |"


def of_this_app() -> list[Operation]:
    """Every operation of the web process."""
    from web.main import app  # noqa: PLC0415 - building it reads the settings

    return list(operations(app().openapi()))


if __name__ == "__main__":
    os.environ["FAIRTURN_LOG_LEVEL"] = "ERROR"
    print(document(of_this_app()), end="")  # noqa: T201 - this is a command
