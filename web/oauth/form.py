"""What the endpoints of OAuth have in common: forms, the client's own credentials, and errors by RFC 6749."""

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Depends, FastAPI, Request
from starlette.responses import JSONResponse, Response

from config.tokens import Issued, Tokens
from routing.errors import Refused
from storage.postgres.clients import Client
from storage.redis.buckets import Allowance, LocalBuckets
from web.errors import NotFound, TooManyRequests

FORM = "application/x-www-form-urlencoded"
MOST_BYTES = 8_192
#: Requests for tokens from one address.
EACH_ADDRESS = Allowance(per_s=2.0, burst=60)


class OAuthError(Refused):
    """A request for a token is refused, in the words of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.status = error, status


def install(app: FastAPI) -> None:
    """From now on such errors leave as the standard has them."""
    app.add_exception_handler(OAuthError, _tell)


async def form(request: Request) -> dict[str, str]:
    """The fields of the form; each once, as RFC 6749 wants it. Raises OAuthError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise OAuthError("invalid_request", f"Send the parameters as {FORM}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise OAuthError("invalid_request", f"The form is longer than {MOST_BYTES} bytes.", status=413)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError as exc:
        raise OAuthError("invalid_request", "The form cannot be read.") from exc
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthError("invalid_request", "A parameter is given twice.")
    if any("\x00" in text for text in fields.values()):
        raise OAuthError("invalid_request", "A parameter holds NUL.")
    return fields


Form = Annotated[dict[str, str], Depends(form)]


def seldom() -> Callable[[Request], None]:
    """A dependency that lets each address ask so often and no more. Raises TooManyRequests."""
    buckets = LocalBuckets()

    def check(request: Request) -> None:
        taken = buckets.take(request.client.host if request.client else "?", EACH_ADDRESS)
        if not taken.ok:
            raise TooManyRequests("Too many requests for tokens came from your address.", wait_s=taken.wait_s)

    return check


def given(tokens: Callable[[], Tokens | None]) -> Tokens:
    """Who gives tokens. Raises NotFound where no secret is set."""
    found = tokens()
    if found is None:
        raise NotFound("Logins are off here: FAIRTURN_SECRET is not set.")
    return found


def client_of(request: Request, fields: dict[str, str], tokens: Tokens) -> Client:
    """The client that asks: by HTTP Basic, by the form, or, where it can keep no secret, by its name alone."""
    client_id, secret = _basic(request.headers.get("authorization", ""))
    named = fields.get("client_id")
    if client_id is None:
        client_id, secret = named, fields.get("client_secret")
    elif named not in {None, client_id} or "client_secret" in fields:
        raise OAuthError("invalid_request", "Give the client's credentials in one place only.")
    client = tokens.client(client_id, secret) if client_id else None
    if client is None:
        raise OAuthError("invalid_client", "No client has this id and this secret.", status=401)
    return client


def scopes_of(fields: dict[str, str], client: Client) -> frozenset[str]:
    """The scopes asked for; empty: all that may be had. Raises OAuthError for one that the client cannot have."""
    asked = frozenset(fields.get("scope", "").split())
    if not asked <= client.scopes:
        raise OAuthError("invalid_scope", "The client may have: " + " ".join(sorted(client.scopes)))
    return asked


def answer(issued: Issued) -> dict[str, Any]:
    """The token response of RFC 6749, section 5.1."""
    body: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": " ".join(sorted(issued.scopes)),
    }
    return body | ({"refresh_token": issued.refresh_token} if issued.refresh_token else {})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers by RFC 9457 besides, for the OpenAPI document."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def body(fields: Mapping[str, str], *, required: Sequence[str] = ()) -> dict[str, Any]:
    """A form, for the OpenAPI document."""
    shape = {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "required": list(required), "properties": shape}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}


def _basic(header: str) -> tuple[str | None, str | None]:
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None, None
    try:
        name, colon, secret = b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as exc:
        raise OAuthError("invalid_client", "The Authorization header cannot be read.", status=401) from exc
    return (unquote_plus(name), unquote_plus(secret)) if colon else (None, None)


async def _tell(_: Request, error: Exception) -> Response:
    kind, status = (error.error, error.status) if isinstance(error, OAuthError) else ("server_error", 500)
    headers = {"WWW-Authenticate": 'Basic realm="Fairturn"'} if status == 401 else {}
    return JSONResponse({"error": kind, "error_description": str(error)}, status, headers=headers)
