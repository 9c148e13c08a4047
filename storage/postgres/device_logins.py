"""Logins of devices without a keyboard, by RFC 8628: the device waits, a person lets it in elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa

from storage.postgres.engine import transaction

LIVES_S = 600
INTERVAL_S = 5


class Waiting(StrEnum):
    """Why a device has no token yet, in the words of the standard."""

    PENDING = "authorization_pending"
    TOO_FAST = "slow_down"
    DENIED = "access_denied"
    OVER = "expired_token"


@dataclass(frozen=True, slots=True)
class LetIn:
    """A person has let the device in."""

    person_id: UUID
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Asking:
    """A device that asks to be let in, as the person sees it."""

    user_code: str
    client_name: str


class DeviceLogins:
    """The rows of devices that wait."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, code_hash: bytes, user_code: str, *, client_id: str, scopes: Iterable[str]) -> None:
        """Remember a device that waits. Raises Refused when another one shows the same user code."""
        values = {"hash": code_hash, "user": user_code, "client": client_id, "scopes": sorted(scopes)}
        with transaction(self._engine) as connection:
            connection.execute(_FORGET)
            connection.execute(_BEGIN, values | {"lives": LIVES_S, "interval": INTERVAL_S})

    def asking(self, user_code: str) -> Asking | None:
        """Which device shows this code and waits still."""
        with transaction(self._engine) as connection:
            row = connection.execute(_ASKING, {"user": user_code}).first()
            return Asking(row.user_code, row.name) if row else None

    def answer(self, user_code: str, person: UUID, *, let_in: bool) -> bool:
        """Let the device in, or not; False when none shows this code, or it was answered before."""
        state = "approved" if let_in else "denied"
        with transaction(self._engine) as connection:
            done = connection.execute(_ANSWER, {"user": user_code, "person": person, "state": state})
            return done.rowcount > 0

    def poll(self, code_hash: bytes, *, client_id: str) -> LetIn | Waiting:
        """What the device hears when it asks; who asks too fast is told to wait longer. It hears a yes once."""
        with transaction(self._engine) as connection:
            row = connection.execute(_POLL, {"hash": code_hash, "client": client_id}).first()
            if row is None or row.over or row.state == "used":
                return Waiting.OVER
            connection.execute(_POLLED, {"hash": code_hash, "slower": INTERVAL_S if row.too_fast else 0})
            if row.state == "approved":
                connection.execute(_USED, {"hash": code_hash})
                return LetIn(row.person_id, frozenset(row.scopes))
            if row.state == "denied":
                return Waiting.DENIED
            return Waiting.TOO_FAST if row.too_fast else Waiting.PENDING


_BEGIN = sa.text("""
    INSERT INTO device_codes (hash, user_code, client_id, scopes, expires_at, interval_s)
    VALUES (:hash, :user, :client, :scopes, clock_timestamp() + make_interval(secs => :lives), :interval)
""")
_ASKING = sa.text("""
    SELECT d.user_code, c.name FROM device_codes d JOIN clients c ON c.id = d.client_id
    WHERE d.user_code = :user AND d.state = 'pending' AND d.expires_at > clock_timestamp()
""")
_ANSWER = sa.text("""
    UPDATE device_codes SET state = :state, person_id = :person
    WHERE user_code = :user AND state = 'pending' AND expires_at > clock_timestamp()
""")
_POLL = sa.text("""
    SELECT state, person_id, scopes, expires_at <= clock_timestamp() AS over,
           coalesce(polled_at > clock_timestamp() - make_interval(secs => interval_s), false) AS too_fast
    FROM device_codes WHERE hash = :hash AND client_id = :client FOR UPDATE
""")
_POLLED = sa.text("""
    UPDATE device_codes SET polled_at = clock_timestamp(), interval_s = least(interval_s + :slower, 60)
    WHERE hash = :hash
""")
_USED = sa.text("UPDATE device_codes SET state = 'used' WHERE hash = :hash")
_FORGET = sa.text("""
    DELETE FROM device_codes WHERE hash IN (
        SELECT hash FROM device_codes WHERE expires_at < clock_timestamp() - interval '1 hour'
        FOR UPDATE SKIP LOCKED LIMIT 200
    )
""")
