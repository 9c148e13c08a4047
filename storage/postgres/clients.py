"""OAuth clients: programs with a secret of their own, and apps in people's hands without one."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage.postgres.api_keys import hashed
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.people import member_of
from storage.postgres.tables.identity import clients
from storage.postgres.values import clean_text

#: Made by the migration: our own page, and any app of a partner's that wants no name of its own.
APP = "fairturn-app"


@dataclass(frozen=True, slots=True)
class Client:
    """A program that may ask for tokens."""

    id: str
    name: str
    member_id: int | None
    secret_hash: bytes | None  # None: a public client, which can keep no secret
    scopes: frozenset[str]
    active: bool
    version: int


class Clients:
    """The clients' rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(
        self, name: str, *, member: str | int | None, scopes: Iterable[str], public: bool = False, actor: str
    ) -> tuple[str, str]:
        """A new client's id and its secret, to be shown once; a public client has none."""
        found, secret = f"c{secrets.token_hex(8)}", "" if public else secrets.token_urlsafe(32)
        with transaction(self._engine) as connection:
            member_id = member_of(connection, member)
            connection.execute(
                sa.insert(clients).values(
                    id=found,
                    name=clean_text(name),
                    member_id=member_id,
                    secret_hash=hashed(secret) if secret else None,
                    scopes=sorted(scopes),
                )
            )
            record(connection, actor, "client.added", client=found, scopes=sorted(scopes), member=member_id)
        return found, secret

    def get(self, client_id: str) -> Client | None:
        """The client with this id."""
        with transaction(self._engine) as connection:
            row = connection.execute(sa.select(clients).where(clients.c.id == clean_text(client_id))).first()
            return _client(row) if row else None

    def set_active(self, client_id: str, *, active: bool, actor: str) -> bool:
        """Let it in again, or out at once: every token ends."""
        change = sa.update(clients).where(clients.c.id == client_id, clients.c.active != active)
        with transaction(self._engine) as connection:
            done = connection.execute(change.values(active=active, token_version=clients.c.token_version + 1)).rowcount
            if done:
                record(connection, actor, "client.let_in" if active else "client.shut_out", client=client_id)
            return done > 0

    def all(self) -> Sequence[Client]:
        """Every client, by name."""
        with transaction(self._engine) as connection:
            return [_client(row) for row in connection.execute(sa.select(clients).order_by(clients.c.name))]


def _client(row: sa.Row[Any]) -> Client:
    return Client(
        row.id,
        row.name,
        row.member_id,
        bytes(row.secret_hash) if row.secret_hash is not None else None,
        frozenset(row.scopes),
        row.active,
        row.token_version,
    )
