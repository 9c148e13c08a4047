"""Tokens for Salesforce: one at a time, shared by REST and the stream, never more logins than needed."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import jwt
import requests

from gateways.salesforce.errors import OrgClosed, unreachable
from gateways.salesforce.words import is_id, long_id
from routing.errors import BadInput, TryLater

TIMEOUTS = (3.05, 20.0)  # connect, read
_ASSERTION_LIVES = timedelta(minutes=3)
_LOGINS = 6  # in one minute; more would risk that Salesforce locks the user out
_MINUTE = 60.0
_LONGEST_PAUSE = 900.0
_FINAL = range(400, 500)
_PASSING = frozenset({408, 420, 429})


@dataclass(frozen=True, slots=True)
class Session:
    """A token and whose it is."""

    access_token: str = field(repr=False)
    instance_url: str
    org_id: str  # 18 characters
    user_id: str  # 18 characters: the integration user


class Flow(Protocol):
    """An OAuth flow: what to send for a token."""

    def form(self) -> Mapping[str, str]:
        """The form of the token request."""
        ...


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """OAuth client credentials; the login URL must be the org's My Domain."""

    client_id: str
    client_secret: str = field(repr=False)

    def form(self) -> Mapping[str, str]:
        return {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }


@dataclass(frozen=True, slots=True)
class JwtBearer:
    """OAuth JWT bearer (RFC 7523): no password, a private key."""

    client_id: str
    username: str
    private_key: str = field(repr=False)
    audience: str = "https://login.salesforce.com"

    @classmethod
    def from_file(cls, client_id: str, username: str, key_file: Path, audience: str) -> "JwtBearer":
        """With the key from this PEM file. Raises BadInput when it cannot be read."""
        try:
            return cls(client_id, username, key_file.read_text("ascii"), audience)
        except (OSError, UnicodeDecodeError) as exc:
            raise BadInput(
                f"the key in {key_file} cannot be read",
                field="SALESFORCE_PRIVATE_KEY_FILE",
                fix="Name the PEM file of the connected app's private key.",
            ) from exc

    def form(self) -> Mapping[str, str]:
        claims = {
            "iss": self.client_id,
            "sub": self.username,
            "aud": self.audience,
            "exp": datetime.now(UTC) + _ASSERTION_LIVES,
        }
        try:
            assertion = jwt.encode(claims, self.private_key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as exc:
            raise BadInput(
                "the key is not a private RSA key in PEM form",
                field="SALESFORCE_PRIVATE_KEY_FILE",
                fix="Make one with `openssl genrsa -out server.key 2048` and give its certificate to the app.",
            ) from exc
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


class TokenProvider:
    """The one token of this process. Threads may share it; only one of them logs in at a time."""

    def __init__(
        self,
        login_url: str,
        flow: Flow,
        *,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._login_url = login_url.rstrip("/")
        self._flow = flow
        self._verify = str(ca_file) if ca_file else True
        self._clock = clock
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._logins: deque[float] = deque(maxlen=_LOGINS)
        self._refusal: OrgClosed | None = None
        self._refusals = 0
        self._refused_until = 0.0

    @property
    def known(self) -> Session | None:
        """The session of the last login; None before the first. Never asks Salesforce."""
        return self._session

    def token(self) -> Session:
        """A session, from a login at the first call. Raises TryLater, or OrgClosed when the login is refused."""
        with self._lock:
            return self._session or self._login()

    def refresh(self, stale_token: str) -> Session:
        """A session with another token than this one; when another thread has just got it, that one."""
        with self._lock:
            if self._session is not None and self._session.access_token != stale_token:
                return self._session
            self._session = None
            return self._login()

    def _login(self) -> Session:
        now = self._clock()
        if self._refusal is not None and now < self._refused_until:
            raise self._refusal.with_traceback(None)
        if len(self._logins) == _LOGINS and now - self._logins[0] < _MINUTE:
            raise TryLater(
                "Salesforce takes our tokens back as fast as it gives them; waiting, so that it does not lock us out",
                pause_s=_MINUTE - (now - self._logins[0]),
            )
        self._logins.append(now)
        try:
            self._session = self._ask()
        except OrgClosed as exc:
            self._refusal, self._refusals = exc, self._refusals + 1
            self._refused_until = now + min(_LONGEST_PAUSE, _MINUTE * 2 ** (self._refusals - 1))
            raise
        self._refusal, self._refusals = None, 0
        return self._session

    def _ask(self) -> Session:
        answer = self._request("POST", f"{self._login_url}/services/oauth2/token", data=self._flow.form())
        try:
            token, instance = str(answer["access_token"]), str(answer["instance_url"]).rstrip("/")
        except KeyError as exc:
            raise TryLater("Salesforce answered the login without a token") from exc
        org, user = self._whose(str(answer.get("id", "")), token, instance)
        return Session(token, instance, long_id(org), long_id(user))

    def _whose(self, identity_url: str, token: str, instance: str) -> tuple[str, str]:
        org, _, user = "/".join(identity_url.rstrip("/").split("/")[-2:]).partition("/")
        if is_id(org) and is_id(user):
            return org, user
        told = self._request(
            "GET", f"{instance}/services/oauth2/userinfo", headers={"Authorization": f"Bearer {token}"}
        )
        return str(told.get("organization_id") or token.partition("!")[0]), str(told.get("user_id", ""))

    def _request(self, method: str, url: str, **kwargs: Any) -> Mapping[str, Any]:
        try:
            response = requests.request(method, url, timeout=TIMEOUTS, verify=self._verify, **kwargs)
        except requests.RequestException as exc:
            raise unreachable(exc, url) from exc
        except OSError as exc:  # it may be there in a moment: a secret to be mounted, a sandbox that is starting
            fix = "Name the PEM file of the certificate authority, or unset it."
            raise TryLater(f"SALESFORCE_CA_FILE: {self._verify} cannot be read. {fix}") from exc
        if response.status_code in _FINAL and response.status_code not in _PASSING:
            raise _refused(response)
        try:
            answer = response.json() if response.ok else None
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TryLater("Salesforce's login does not answer properly", status=response.status_code)
        return answer


def _refused(response: requests.Response) -> OrgClosed:
    try:
        body = response.json()
        code, why = str(body.get("error", "")), str(body.get("error_description", ""))
    except (ValueError, AttributeError):
        code, why = "", ""
    return OrgClosed(
        f"Salesforce refuses the login: {code or response.status_code} {why}".rstrip()
        + ". Check SALESFORCE_LOGIN_URL, SALESFORCE_CLIENT_ID and its secret or key, and that the app is allowed to"
        " act for its user (docs/salesforce.md).",
        status=response.status_code,
        code=code,
    )
