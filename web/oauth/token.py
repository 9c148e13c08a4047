"""/oauth/token and its neighbours: for programs, for devices, and for logins that go on."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from config.signing import Signer
from config.tokens import Issued, Tokens
from routing.access import Scope
from storage.postgres.clients import Client
from storage.postgres.device_logins import Waiting
from web.oauth.form import Form, OAuthError, answer, body, client_of, given, problems, scopes_of, seldom

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_SAID = {
    Waiting.PENDING: "The person has not answered yet.",
    Waiting.TOO_FAST: "Wait five seconds longer between two questions.",
    Waiting.DENIED: "The person said no.",
    Waiting.OVER: "The code is unknown, used or too old.",
}
_CLIENT = {
    "client_id": "The client; or by HTTP Basic.",
    "client_secret": "Its secret, if it has one; or by HTTP Basic.",
}


class Token(BaseModel):
    """A token response by RFC 6749, section 5.1."""

    access_token: str = Field(description="Send it as `Authorization: Bearer`.")
    token_type: str = Field(description="Always Bearer.")
    expires_in: int = Field(description="Seconds.")
    scope: str = Field(description="What it is for, with blanks between.")
    refresh_token: str | None = Field(None, description="For the next one; each is used once.")


class Refusal(BaseModel):
    """An error by RFC 6749, section 5.2."""

    error: str
    error_description: str


class DeviceCode(BaseModel):
    """A device authorization response by RFC 8628, section 3.2."""

    device_code: str
    user_code: str = Field(description="To be shown.")
    verification_uri: str = Field(description="Where the person types it.")
    verification_uri_complete: str = Field(description="The same with the code, as a QR code for example.")
    expires_in: int
    interval: int = Field(description="Seconds between two questions.")


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "It is refused; `error` says why.", "model": Refusal},
    401: {"description": "No client has this id and this secret.", "model": Refusal},
    413: {"description": "The form is too long.", "model": Refusal},
    **problems(404, 429, 500, 503),
}
_PUBLISHED = problems(429, 500, 503)


def routes(tokens: Callable[[], Tokens | None], signer: Callable[[], Signer | None], *, face: str) -> APIRouter:
    """The endpoints at /oauth and /.well-known; `face` is where others find them."""
    router = APIRouter(tags=["tokens"], dependencies=[Depends(seldom())])

    @router.post(
        "/oauth/token",
        summary="A token for a program, a device, or a login that goes on",
        operation_id="issueToken",
        response_model=Token,
        response_model_exclude_none=True,
        responses=_ERRORS,
        openapi_extra=body(
            {
                "grant_type": f"`client_credentials`, `refresh_token` or `{DEVICE}`.",
                "scope": "What it is for, with blanks between; else all that may be had.",
                "refresh_token": "For `refresh_token`.",
                "device_code": "For a device.",
                **_CLIENT,
            },
            required=["grant_type"],
        ),
    )
    def token(request: Request, fields: Form) -> dict[str, Any]:
        """By RFC 6749 and RFC 8628. A refresh token that comes a second time ends its whole login."""
        giver = given(tokens)
        client = client_of(request, fields, giver)
        return answer(_granted(giver, client, fields))

    @router.post(
        "/oauth/device_authorization",
        summary="A device without a keyboard begins to log in",
        operation_id="beginDeviceLogin",
        response_model=DeviceCode,
        responses=_ERRORS,
        openapi_extra=body({"scope": "What the token shall be for.", **_CLIENT}),
    )
    def device(request: Request, fields: Form) -> dict[str, Any]:
        """By RFC 8628: show `user_code`, and ask /oauth/token until the person has answered."""
        giver = given(tokens)
        client = client_of(request, fields, giver)
        made = giver.device(client, scopes_of(fields, client))
        return {
            "device_code": made.device_code,
            "user_code": made.user_code,
            "verification_uri": f"{face}/oauth/device",
            "verification_uri_complete": f"{face}/oauth/device?user_code={made.user_code}",
            "expires_in": made.expires_in,
            "interval": made.interval_s,
        }

    @router.post(
        "/oauth/revoke",
        summary="End a login",
        operation_id="revokeToken",
        response_class=Response,
        responses=_ERRORS,
        openapi_extra=body({"token": "The refresh token.", **_CLIENT}, required=["token"]),
    )
    def revoke(request: Request, fields: Form) -> Response:
        """By RFC 7009: 200 whatever the token is. Access tokens of the login end by themselves in ten minutes."""
        giver = given(tokens)
        client = client_of(request, fields, giver)
        if "token" not in fields:
            raise OAuthError("invalid_request", "Give the token.")
        giver.end(fields["token"], client)
        return Response(status_code=200)

    @router.get(
        "/.well-known/jwks.json",
        summary="What our tokens are verified with",
        operation_id="publicKeys",
        responses=_PUBLISHED,
    )
    def keys() -> JSONResponse:
        """A JSON Web Key Set by RFC 7517. A new key is here ten minutes before it signs."""
        found = signer()
        return JSONResponse(
            found.published() if found else {"keys": []}, headers={"Cache-Control": "public, max-age=300"}
        )

    @router.get(
        "/.well-known/oauth-authorization-server",
        summary="Where and how one gets tokens",
        operation_id="tokenMetadata",
        responses=_PUBLISHED,
    )
    def metadata() -> JSONResponse:
        """By RFC 8414."""
        return JSONResponse(_metadata(face), headers={"Cache-Control": "public, max-age=300"})

    return router


def _granted(giver: Tokens, client: Client, fields: dict[str, str]) -> Issued:
    asked = scopes_of(fields, client)
    match fields.get("grant_type"):
        case "client_credentials":
            if client.secret_hash is None:
                raise OAuthError("unauthorized_client", "A client without a secret acts for people only.")
            return giver.for_program(client, asked)
        case "refresh_token":
            issued = giver.renew(_needed(fields, "refresh_token"), client, asked)
            if issued is None:
                raise OAuthError("invalid_grant", "The login is over: log in again.")
            return issued
        case grant if grant == DEVICE:
            heard = giver.poll_device(_needed(fields, "device_code"), client)
            if isinstance(heard, Waiting):
                raise OAuthError(str(heard), _SAID[heard])
            return heard
        case _:
            raise OAuthError("unsupported_grant_type", "Give client_credentials, refresh_token or a device code.")


def _needed(fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise OAuthError("invalid_request", f"Give {name}.")
    return fields[name]


def _metadata(face: str) -> dict[str, Any]:
    return {
        "issuer": face,
        "token_endpoint": f"{face}/oauth/token",
        "device_authorization_endpoint": f"{face}/oauth/device_authorization",
        "revocation_endpoint": f"{face}/oauth/revoke",
        "jwks_uri": f"{face}/.well-known/jwks.json",
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", "refresh_token", DEVICE],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "scopes_supported": sorted(map(str, Scope)),
        "service_documentation": f"{face}/api/v1/docs",
    }
