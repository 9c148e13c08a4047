"""An outside issuer by OpenID Connect: whose access tokens are taken, and how its keys are known."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import requests
import urllib3

from routing.access import Outsider
from routing.errors import TryLater

#: Signatures with two keys only: a public key is never a shared secret.
ALGORITHMS = frozenset({"EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"})
_FAMILIES = frozenset({"OKP", "EC", "RSA"})
_TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt", ""})
KEPT_S = 600.0
#: An unknown key's name makes us look again, but no more often than that.
LOOK_AGAIN_S = 30.0
TIMEOUT_S = 3.0
LEEWAY_S = 30
_MOST_BYTES = 262_144


class IssuerUnreachable(TryLater):
    """The outside issuer does not tell its keys."""


class OutsideIssuer:
    """Verifies access tokens of one issuer, for one audience."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        session: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        self._issuer, self._audience = issuer, audience
        self._monotonic, self._session = monotonic, session
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._well = True  # the last time

    def verify(self, token: str) -> Outsider | None:
        """Who the token is of; None for one of somebody else, an ID token, or one that is not whole and alive.

        Raises IssuerUnreachable when the issuer's keys cannot be had.
        """
        try:
            if jwt.decode(token, options={"verify_signature": False}).get("iss") != self._issuer:
                return None
            header = jwt.get_unverified_header(token)
            key = self._key(header.get("kid"))
            if key is None or str(header.get("typ") or "").lower() not in _TYPES:
                return None
            payload = jwt.decode(
                token,
                key,
                algorithms=[str(key.algorithm_name)],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["iss", "aud", "exp", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return None if _is_for_a_login(payload) else self._outsider(payload)

    def _outsider(self, payload: Mapping[str, Any]) -> Outsider:
        email = payload.get("email") if payload.get("email_verified") is True else None
        return Outsider(f"{self._issuer} {payload['sub']}", str(email) if email else None, int(payload["exp"]))

    def _key(self, key_id: object) -> jwt.PyJWK | None:
        with self._lock:
            age = self._monotonic() - self._read_at
            if age >= KEPT_S or (key_id not in self._keys and age >= LOOK_AGAIN_S):
                self._read_at = self._monotonic()
                try:
                    self._keys = self._fetch()
                    self._well = True
                except IssuerUnreachable:
                    self._well = False
            known = self._keys.get(key_id) if isinstance(key_id, str) else None
            if known is None and not self._well:
                raise IssuerUnreachable  # it may be a good one: let the caller come again
            return known

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        try:
            with self._session() as http:
                found = _json(http, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self._issuer:
                    raise IssuerUnreachable("What the outside issuer publishes is of another issuer.")
                keys = _json(http, str(found["jwks_uri"]))["keys"]
        except (requests.RequestException, urllib3.exceptions.HTTPError, KeyError, TypeError, ValueError) as exc:
            raise IssuerUnreachable from exc
        return {key.key_id: key for key in map(_usable, keys) if key is not None and key.key_id}


def _json(http: requests.Session, url: str) -> dict[str, Any]:
    with http.get(url, timeout=TIMEOUT_S, allow_redirects=False, stream=True) as answer:
        answer.raise_for_status()
        text = answer.raw.read(_MOST_BYTES + 1, decode_content=True)
    if len(text) > _MOST_BYTES:
        raise ValueError("too long")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def _usable(key: Mapping[str, Any]) -> jwt.PyJWK | None:
    """The key, if a token may be signed with it."""
    if key.get("kty") not in _FAMILIES or key.get("use", "sig") != "sig":
        return None
    try:
        made = jwt.PyJWK.from_dict(dict(key))
    except (jwt.PyJWTError, ValueError):
        return None
    return made if made.algorithm_name in ALGORITHMS else None


def _is_for_a_login(payload: Mapping[str, Any]) -> bool:
    """Whether this is an ID token: it tells an app who logged in, and opens nothing."""
    return bool({"nonce", "at_hash", "c_hash"} & set(payload)) or "id" in {
        str(payload.get("typ", "")).lower(),
        str(payload.get("token_use", "")).lower(),
    }
