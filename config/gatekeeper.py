"""Who calls: access tokens, API keys and outside tokens, each asked of the ledger every five seconds at most."""

import hmac
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from config.signing import Claims, Signer
from routing.access import PROGRAM, SCOPES, Outsider, Principal, granted
from storage.postgres import api_keys
from storage.postgres.api_keys import ApiKey, ApiKeys
from storage.postgres.clients import Client, Clients
from storage.postgres.members import Members
from storage.postgres.people import People, Person

#: So long a process may not have heard that somebody was shut out.
FRESH_S = 5.0
_MOST = 10_000
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """What was looked up, for a few seconds; the oldest goes when there are too many."""

    def __init__(self, look_up: Callable[[K], V], *, clock: Callable[[], float], fresh_s: float = FRESH_S) -> None:
        self._look_up, self._clock, self._fresh_s = look_up, clock, fresh_s
        self._found: dict[K, tuple[float, V]] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V:
        """The value, never older than the seconds agreed."""
        asked_at = self._clock()
        with self._lock:
            known = self._found.get(key)
        if known is not None and asked_at - known[0] < self._fresh_s:
            return known[1]
        value = self._look_up(key)
        with self._lock:
            self._found.pop(key, None)
            self._found[key] = (asked_at, value)
            while len(self._found) > _MOST:
                self._found.pop(next(iter(self._found)))
        return value


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and when that must be asked again: the moment the credential ends, in seconds since 1970."""

    principal: Principal
    until: float | None


class Gatekeeper:
    """Says who a bearer of credentials is."""

    def __init__(
        self,
        *,
        people: People,
        clients: Clients,
        keys: ApiKeys,
        members: Members,
        signer: Signer | None,
        outside: Callable[[str], Outsider | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._signer, self._outside = keys, signer, outside
        self._person = Remembered[UUID, Person | None](people.get, clock=clock)
        self._outsider = Remembered[tuple[str, str | None], Person | None](
            lambda known: people.by_outside(*known), clock=clock
        )
        self._client = Remembered[str, Client | None](clients.get, clock=clock)
        self._key = Remembered[str, ApiKey | None](keys.get, clock=clock)
        self._used = Remembered[str, None](keys.used, clock=clock, fresh_s=60.0)
        self._member = Remembered[str, int | None](members.id_of, clock=clock)

    def who(self, bearer: str) -> Principal | None:
        """Whose credentials these are; None for all that open nothing, without a word on why."""
        caller = self.caller(bearer)
        return caller.principal if caller else None

    def caller(self, bearer: str) -> Caller | None:
        """The same, with the moment the credential ends: for connections that outlive a request."""
        if (parts := api_keys.parse(bearer)) is not None:
            return self._by_key(*parts)
        claims = self._signer.verify(bearer) if self._signer else None
        if claims is not None:
            principal = self._by_claims(claims)
            return Caller(principal, claims.expires_at) if principal else None
        outsider = self._outside(bearer) if self._outside else None
        person = self._outsider.get((outsider.subject, outsider.email)) if outsider else None
        if outsider is None or person is None or not person.active:
            return None
        return Caller(_person(person), outsider.until)

    def member(self, key: str) -> int | None:
        """The id of the member with this key."""
        return self._member.get(key)

    def _by_key(self, key_id: str, secret: str) -> Caller | None:
        key = self._key.get(key_id)
        given = api_keys.hashed(secret)
        if not hmac.compare_digest(given, key.secret_hash if key else bytes(32)) or key is None or not key.live:
            return None
        self._used.get(key_id)
        principal = Principal("key", key.id, key.member_id, PROGRAM, key.scopes)
        return Caller(principal, key.expires_at.timestamp() if key.expires_at else None)

    def _by_claims(self, claims: Claims) -> Principal | None:
        kind, _, found = claims.subject.partition(":")
        if kind == "client":
            client = self._client.get(found)
            if client is None or not client.active or client.version != claims.version:
                return None
            scopes = granted(claims.scopes, client.scopes) if claims.scopes else frozenset[str]()
            return Principal("client", client.id, client.member_id, PROGRAM, scopes)
        person = self._person.get(UUID(found)) if kind == "person" and _UUID.fullmatch(found) else None
        if person is None or not person.active or person.version != claims.version:
            return None
        return _person(person, claims.scopes)


def _person(person: Person, scopes: frozenset[str] | None = None) -> Principal:
    allowed = frozenset(map(str, SCOPES[person.role]))
    return Principal(
        "person",
        str(person.id),
        person.member_id,
        str(person.role),
        allowed if scopes is None else allowed & scopes,
        person.id,
        person.language,
    )
