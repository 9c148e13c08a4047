"""Logins that last: refresh tokens, each used once; a second use ends all that came of its login."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from storage.postgres.api_keys import hashed
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.tables import NOW
from storage.postgres.tables.identity import refresh_tokens

PREFIX = "fr_"
#: A login that nobody used for so long is over.
LIVES_S = 30 * 24 * 3600
_TIDY = 200  # rows of the past that each login takes away


@dataclass(frozen=True, slots=True)
class Renewed:
    """The next token of a login, and whose it is."""

    token: str
    person_id: UUID
    scopes: frozenset[str]


class Sessions:
    """The refresh tokens' rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, person: UUID, *, client_id: str, scopes: Iterable[str]) -> str:
        """The first token of a new login."""
        with transaction(self._engine) as connection:
            connection.execute(_FORGET, {"most": _TIDY})
            return _add(connection, uuid4(), person, client_id, sorted(scopes))

    def renew(self, token: str, *, client_id: str) -> Renewed | None:
        """The next token for this one, which is used up; None when it opens nothing.

        A token that comes a second time was stolen, or its successor was: the whole login is over.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(_FIND, {"hash": hashed(token)}).first()
            if row is None or row.client_id != client_id or row.revoked_at is not None:
                return None
            if row.used_at is not None:
                _end_family(connection, row.family)
                record(connection, "fairturn", "session.reused", person=str(row.person_id), client=client_id)
                return None
            if not row.alive:
                return None
            connection.execute(_USE, {"hash": hashed(token)})
            following = _add(connection, row.family, row.person_id, row.client_id, row.scopes)
            return Renewed(following, row.person_id, frozenset(row.scopes))

    def end(self, token: str, *, client_id: str) -> None:
        """End the login that this token belongs to; whatever else is given changes nothing."""
        with transaction(self._engine) as connection:
            row = connection.execute(_FIND, {"hash": hashed(token)}).first()
            if row is not None and row.client_id == client_id:
                _end_family(connection, row.family)


def _add(connection: sa.Connection, family: UUID, person: UUID, client_id: str, scopes: list[str]) -> str:
    token = PREFIX + secrets.token_urlsafe(32)
    values: dict[str, Any] = {"family": family, "person_id": person, "client_id": client_id, "scopes": scopes}
    until = sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, LIVES_S)
    connection.execute(sa.insert(refresh_tokens).values(**values, hash=hashed(token), expires_at=until))
    return token


def _end_family(connection: sa.Connection, family: UUID) -> None:
    alive = sa.and_(refresh_tokens.c.family == family, refresh_tokens.c.revoked_at.is_(None))
    connection.execute(sa.update(refresh_tokens).where(alive).values(revoked_at=NOW))


# The row is locked: of two that come with one token, the second sees that it is used.
_FIND = sa.text("""
    SELECT family, person_id, client_id, scopes, used_at, revoked_at, expires_at > clock_timestamp() AS alive
    FROM refresh_tokens WHERE hash = :hash FOR UPDATE
""")
_USE = sa.text("UPDATE refresh_tokens SET used_at = clock_timestamp() WHERE hash = :hash")
_FORGET = sa.text("""
    DELETE FROM refresh_tokens WHERE hash IN (
        SELECT hash FROM refresh_tokens WHERE expires_at < clock_timestamp() ORDER BY expires_at
        FOR UPDATE SKIP LOCKED LIMIT :most
    )
""")
