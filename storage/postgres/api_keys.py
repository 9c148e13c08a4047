"""API keys of programs: the ledger knows a hash, the key itself is shown once."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from routing.errors import Refused
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.people import member_of
from storage.postgres.tables import NOW
from storage.postgres.tables.identity import api_keys
from storage.postgres.values import clean_text

PREFIX = "ft"
LIVE_AT_ONCE = 2  # the old one and the new one, while it is rotated


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; `live` by the ledger's clock."""

    id: str
    name: str
    member_id: int | None
    secret_hash: bytes
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    live: bool


def parse(key: str) -> tuple[str, str] | None:
    """Id and secret of what looks like a key, else None."""
    prefix, _, rest = key.partition("_")
    found, _, secret = rest.partition("_")
    return (found, secret) if prefix == PREFIX and found.isascii() and found.isalnum() and secret else None


def hashed(secret: str) -> bytes:
    """SHA-256: a secret of 256 random bits gains nothing from a slow hash."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


class ApiKeys:
    """The keys' rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(
        self,
        name: str,
        *,
        member: str | int | None,
        scopes: Iterable[str],
        expires_at: datetime | None = None,
        actor: str,
    ) -> str:
        """A new key, to be shown once. Raises Refused when two of its name are alive: revoke the older first."""
        found, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        with transaction(self._engine) as connection:
            member_id = member_of(connection, member)
            connection.execute(_ONE_AT_A_TIME)
            same = sa.and_(api_keys.c.name == name, api_keys.c.member_id.is_not_distinct_from(member_id), _LIVE)
            alive = connection.execute(sa.select(sa.func.count()).where(same)).scalar_one()
            if alive >= LIVE_AT_ONCE:
                raise Refused(f"{alive} keys named {name!r} are alive; revoke the older one first.")
            connection.execute(
                sa.insert(api_keys).values(
                    id=found,
                    name=clean_text(name),
                    member_id=member_id,
                    secret_hash=hashed(secret),
                    scopes=sorted(scopes),
                    expires_at=expires_at,
                )
            )
            record(connection, actor, "key.added", key=found, scopes=sorted(scopes), member=member_id)
        return f"{PREFIX}_{found}_{secret}"

    def get(self, key_id: str) -> ApiKey | None:
        """The key with this id, alive or not."""
        with transaction(self._engine) as connection:
            row = connection.execute(_SELECT.where(api_keys.c.id == key_id)).first()
            return _key(row) if row else None

    def used(self, key_id: str) -> None:
        """Remember, to the minute, that it was used."""
        old = sa.func.clock_timestamp() - sa.text("interval '1 minute'")
        due = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < old)
        with transaction(self._engine) as connection:
            connection.execute(sa.update(api_keys).where(api_keys.c.id == key_id, due).values(last_used_at=NOW))

    def revoke(self, key_id: str, *, actor: str) -> bool:
        """From now on it opens nothing; False when it was so before, or never was."""
        change = sa.update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        with transaction(self._engine) as connection:
            done = connection.execute(change.values(revoked_at=NOW)).rowcount > 0
            if done:
                record(connection, actor, "key.revoked", key=key_id)
            return done

    def all(self) -> Sequence[ApiKey]:
        """Every key, the newest first."""
        with transaction(self._engine) as connection:
            return [_key(row) for row in connection.execute(_SELECT.order_by(api_keys.c.created_at.desc()))]


def _key(row: sa.Row[Any]) -> ApiKey:
    return ApiKey(
        row.id,
        row.name,
        row.member_id,
        bytes(row.secret_hash),
        frozenset(row.scopes),
        row.created_at,
        row.expires_at,
        row.last_used_at,
        row.live,
    )


_ONE_AT_A_TIME = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:api_keys'))")
_LIVE = sa.and_(
    api_keys.c.revoked_at.is_(None),
    sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > sa.func.clock_timestamp()),
)
_SELECT = sa.select(api_keys, _LIVE.label("live"))
