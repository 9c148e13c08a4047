"""Signing keys, sealed: the ledger keeps them, so that every process signs and verifies with the same ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.tables.identity import signing_keys

#: A new key is known to every verifier before the first token comes that it signed; so long an old one is kept.
KNOWN_BEFORE_S = 600
KEPT_S = 1800


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key pair; the private half sealed."""

    id: str
    algorithm: str
    sealed: bytes
    public: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key pair that is alive, and since when it signs."""

    key: SealedKey
    signs_from: datetime
    signs: bool  # already


class SigningKeys:
    """The keys' rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def alive(self, make: Callable[[], SealedKey]) -> Sequence[KnownKey]:
        """Every key that a living token may be signed with, the newest first; the very first is made now."""
        with transaction(self._engine) as connection:
            found = connection.execute(_ALIVE).all()
            if not found:
                connection.execute(_ONE_AT_A_TIME)
                found = connection.execute(_ALIVE).all()
            if not found:
                _add(connection, make(), later_s=0)
                found = connection.execute(_ALIVE).all()
            return [_known(row) for row in found]

    def rotate(self, make: Callable[[], SealedKey], *, actor: str) -> str:
        """A new key that signs in ten minutes, when everybody has read it; the older ones end after that."""
        with transaction(self._engine) as connection:
            connection.execute(_ONE_AT_A_TIME)
            connection.execute(_END, {"after": KNOWN_BEFORE_S + KEPT_S})
            made = make()
            _add(connection, made, later_s=KNOWN_BEFORE_S)
            record(connection, actor, "signing_key.rotated", key=made.id)
            return made.id


def _add(connection: sa.Connection, key: SealedKey, *, later_s: int) -> None:
    connection.execute(
        sa.insert(signing_keys).values(
            id=key.id,
            algorithm=key.algorithm,
            sealed=key.sealed,
            public=dict(key.public),
            signs_from=sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, later_s),
        )
    )


def _known(row: sa.Row[Any]) -> KnownKey:
    return KnownKey(SealedKey(row.id, row.algorithm, bytes(row.sealed), row.public), row.signs_from, row.signs)


_ONE_AT_A_TIME = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:signing_keys'))")
_ALIVE = sa.text("""
    SELECT id, algorithm, sealed, public, signs_from, signs_from <= clock_timestamp() AS signs FROM signing_keys
    WHERE ends_at IS NULL OR ends_at > clock_timestamp() ORDER BY signs_from DESC, id
""")
_END = sa.text(
    "UPDATE signing_keys SET ends_at = clock_timestamp() + make_interval(secs => :after) WHERE ends_at IS NULL"
)
