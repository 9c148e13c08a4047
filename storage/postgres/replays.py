"""Idempotency keys: a request given twice is answered twice, and done once."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from routing.errors import Refused
from storage.postgres.engine import transaction

#: So long a key is remembered.
KEPT = "24 hours"
#: Whoever began and did not finish within this has died: the next one does it.
LEASE = "30 seconds"


class IdempotencyKeyReused(Refused):
    """The Idempotency-Key came with another request before; take a new one for each request."""


class IdempotencyKeyInUse(Refused):
    """A request with this Idempotency-Key is being answered at this moment; ask again in a second."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What was answered the first time."""

    status: int
    body: dict[str, Any]


class Replays:
    """The answers given under keys. Each method is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, caller: str, key: str, asked: bytes) -> Replay | None:
        """The answer given before, or None: then the caller does it, and ends with `finish` or `forget`.

        Raises IdempotencyKeyReused when the key came with another request, IdempotencyKeyInUse while one is under way.
        """
        values = {"caller": caller, "key": key, "asked": asked}
        with transaction(self._engine) as conn:
            conn.execute(_PURGE)
            if conn.execute(_BEGIN, values).first() is not None:
                return None
            row = conn.execute(_FOUND, values).first()
            if row is None:  # forgotten at this very moment
                raise IdempotencyKeyInUse
            if bytes(row.asked) != asked:
                raise IdempotencyKeyReused
            if row.status is None:
                raise IdempotencyKeyInUse
            return Replay(row.status, row.body)

    def finish(self, caller: str, key: str, status: int, body: dict[str, Any]) -> None:
        """Remember the answer. It must hold no personal data."""
        with transaction(self._engine) as conn:
            conn.execute(_FINISH, {"caller": caller, "key": key, "status": status, "body": body})

    def forget(self, caller: str, key: str) -> None:
        """Nothing came of it: the same request may be given again."""
        with transaction(self._engine) as conn:
            conn.execute(_FORGET, {"caller": caller, "key": key})


_PURGE = sa.text(f"""
    DELETE FROM replays WHERE (caller, key) IN (
        SELECT caller, key FROM replays WHERE at < clock_timestamp() - interval '{KEPT}'
        ORDER BY at LIMIT 20 FOR UPDATE SKIP LOCKED)
""")  # noqa: S608 - words of ours
_BEGIN = sa.text(f"""
    INSERT INTO replays (caller, key, asked) VALUES (:caller, :key, :asked)
    ON CONFLICT (caller, key) DO UPDATE SET asked = excluded.asked, status = NULL, body = NULL, at = clock_timestamp()
    WHERE replays.at < clock_timestamp() - interval '{KEPT}'
       OR (replays.status IS NULL AND replays.asked = excluded.asked
           AND replays.at < clock_timestamp() - interval '{LEASE}')
    RETURNING 1
""")  # noqa: S608 - words of ours
_FOUND = sa.text("SELECT asked, status, body FROM replays WHERE caller = :caller AND key = :key")
_FINISH = sa.text("UPDATE replays SET status = :status, body = :body WHERE caller = :caller AND key = :key").bindparams(
    sa.bindparam("body", type_=sa.JSON)
)
_FORGET = sa.text("DELETE FROM replays WHERE caller = :caller AND key = :key AND status IS NULL")
