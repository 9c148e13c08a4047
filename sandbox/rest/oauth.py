"""Tokens: three OAuth grants, the identity behind a token, and its end. Anybody is let in."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qsl

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox import ids
from sandbox.org import INTEGRATION, Org
from sandbox.rest.call import token_of

_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class OAuthError(Exception):
    """What the token endpoint answers with status 400."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


async def token(request: Request) -> Response:
    org: Org = request.app.state.org
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
    try:
        _unless_barred(org, form)
        username = _username(form, request)
    except OAuthError as error:
        return JSONResponse({"error": error.error, "error_description": error.description}, 400)
    return JSONResponse(_granted(request, org, org.user_named(username)))


def _unless_barred(org: Org, form: dict[str, str]) -> None:
    fault = org.faults.take("login", {"grant": form.get("grant_type", ""), "client_id": form.get("client_id", "")})
    if fault:
        message = fault.args.get("message", "authentication failure")
        raise OAuthError(fault.args.get("error", "invalid_grant"), message)


def _username(form: dict[str, str], request: Request) -> str:
    grant = form.get("grant_type", "")
    if grant == "client_credentials":
        _require_client(form, request)
        return INTEGRATION
    if grant == "password":
        _require_client(form, request)
        if not (form.get("username") and form.get("password")):
            raise OAuthError("invalid_grant", "authentication failure")
        return form["username"]
    if grant == _JWT_GRANT:
        return _subject(form.get("assertion", ""))
    raise OAuthError("unsupported_grant_type", "grant type not supported")


def _require_client(form: dict[str, str], request: Request) -> None:
    """The id and secret may come in the body or as HTTP Basic."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            client_id = secret = ""
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if not client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if not secret:
        raise OAuthError("invalid_client", "invalid client credentials")


def _subject(assertion: str) -> str:
    """Who a JWT speaks for. Its signature is not checked: anybody is let in, but only with a whole, fresh claim."""
    try:
        claims: dict[str, Any] = jwt.decode(
            assertion, options={"verify_signature": False, "verify_aud": False, "verify_exp": False}
        )
    except jwt.PyJWTError as error:
        raise OAuthError("invalid_grant", f"invalid assertion: {error}") from None
    missing = [name for name in ("iss", "sub", "aud", "exp") if not claims.get(name)]
    if missing:
        raise OAuthError("invalid_grant", f"invalid assertion: {missing[0]} is missing")
    return str(claims["sub"])


def _granted(request: Request, org: Org, user_id: str) -> dict[str, str]:
    issued = str(org.clock.now_ms())
    return {
        "access_token": org.open_session(user_id),
        "instance_url": instance_url(request),
        "id": _identity_url(request, org, user_id),
        "token_type": "Bearer",
        "issued_at": issued,
        "signature": base64.b64encode(hashlib.sha256(f"{user_id}{issued}".encode()).digest()).decode(),
        "scope": "api id",
    }


def instance_url(request: Request) -> str:
    """Where the org is served: always https, as clients demand, on the host the caller knows."""
    host = request.url.hostname or "localhost"
    return f"https://{host}:{request.app.state.https_port}"


def _identity_url(request: Request, org: Org, user_id: str) -> str:
    return f"{instance_url(request)}/id/{org.id}/{user_id}"


async def revoke(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    request.app.state.org.sessions.pop(form.get("token") or request.query_params.get("token", ""), None)
    return Response(status_code=200)


async def userinfo(request: Request) -> Response:
    """The standard claims, and the identity URL's answer: who is behind the token."""
    org: Org = request.app.state.org
    user_id = org.sessions.get(token_of(request) or request.query_params.get("oauth_token", ""))
    if user_id is None:
        return Response("Bad_OAuth_Token", 403)
    user = org.tables["User"].records[user_id]
    return JSONResponse(
        {
            "sub": _identity_url(request, org, user_id),
            "id": _identity_url(request, org, user_id),
            "user_id": user_id,
            "organization_id": org.id,
            "preferred_username": user["Username"],
            "username": user["Username"],
            "nickname": user["Username"].partition("@")[0],
            "display_name": user.get("Name"),
            "name": user.get("Name"),
            "email": user.get("Email"),
            "user_type": "STANDARD",
            "active": bool(user.get("IsActive")),
            "locale": "en_US",
            "zoneinfo": "America/New_York",
            "urls": {
                "rest": f"{instance_url(request)}/services/data/v{{version}}/",
                "sobjects": f"{instance_url(request)}/services/data/v{{version}}/sobjects/",
                "query": f"{instance_url(request)}/services/data/v{{version}}/query/",
                "partner": f"{instance_url(request)}/services/Soap/u/{{version}}/{org.id[: ids.SHORT]}",
            },
        }
    )
