"""Who calls, and whether they may: the dependency that every route of the API declares its scopes with."""

from collections.abc import Callable
from hmac import compare_digest
from typing import Annotated, Protocol, cast

from fastapi import FastAPI, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from config.gatekeeper import Gatekeeper
from routing.access import OF_A_MEMBER, PROGRAM, Principal, Scope
from routing.errors import BadInput
from web.door import from_here
from web.errors import Forbidden, Unauthorized

__all__ = ["Principal", "allow", "install"]

#: A program of the whole network names with each request the member it acts for, by the member's key.
MEMBER = "Fairturn-Member"
OPERATOR = Principal("operator", "operator", None, "operator", frozenset({Scope.OPERATE, Scope.MANAGE}))

_BEARER = HTTPBearer(
    scheme_name="bearer",
    bearerFormat="access token or API key",
    description=(
        "An access token of at most ten minutes (POST /oauth/token, POST /api/v1/login), an API key "
        "(`ft_...`), or the operator's token. The list beside it names the scopes the operation asks for."
    ),
    auto_error=False,
)


class Doorkeeper(Protocol):
    """Hands out the gatekeeper when the first caller comes: nothing is built while the app is."""

    def __call__(self) -> Gatekeeper: ...


def install(app: FastAPI, keeper: Doorkeeper, *, operator_token: str) -> None:
    """From now on the app knows who calls."""
    app.state.keeper = keeper
    app.state.operator_token = operator_token


def allow(*scopes: str) -> Callable[..., Principal]:
    """A dependency that gives the Principal, if it has all of these scopes.

    Raises Unauthorized for credentials that open nothing, and Forbidden for those that open other doors. Where a scope
    is of a member, the Principal has a `member_id`.
    """
    needed = frozenset(map(str, scopes))

    def check(
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER, scopes=sorted(needed))],
    ) -> Principal:
        principal = _who(request, given.credentials if given else "", needed)
        if not needed <= principal.scopes:
            raise Forbidden("Your credentials are good, but not for this: it asks for " + ", ".join(sorted(needed)))
        return _of_a_member(request, principal) if needed & OF_A_MEMBER else principal

    return check


def keeper_of(request: Request) -> Gatekeeper:
    """Who knows callers, in this app."""
    return cast(Doorkeeper, request.app.state.keeper)()


def _who(request: Request, bearer: str, needed: frozenset[str]) -> Principal:
    token = str(request.app.state.operator_token)
    if not bearer:
        if token or not needed <= OPERATOR.scopes:
            raise Unauthorized
        if not from_here(request):
            raise Forbidden("Without FAIRTURN_API_TOKEN only callers on this machine are let in; set it.")
        return OPERATOR
    if token and compare_digest(bearer.encode("utf-8", "surrogatepass"), token.encode()):
        return OPERATOR
    principal = keeper_of(request).who(bearer)
    if principal is None:
        raise Unauthorized
    return principal


def _of_a_member(request: Request, principal: Principal) -> Principal:
    named = request.headers.get(MEMBER)
    if principal.member_id is not None:
        return principal
    if principal.role != PROGRAM or Scope.NETWORK not in principal.scopes:
        raise Forbidden("Your credentials belong to no member.")
    found = keeper_of(request).member(named) if named else None
    if found is None:
        raise BadInput("it names no member", field=MEMBER, fix="Send the key of the member you act for in this header.")
    return Principal(
        principal.kind,
        principal.id,
        found,
        principal.role,
        principal.scopes,
        principal.person_id,
        principal.language,
    )
