"""Webhooks of members, and their secrets, sealed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid4

import sqlalchemy as sa

from routing.errors import Refused
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.tables import NOW
from storage.postgres.tables.notify import endpoints
from storage.postgres.walls import as_member

MOST = 5
#: So long a secret that was replaced signs besides the new one.
OLD_SIGNS_S = 24 * 3600
PURPOSE = "webhook"


class Seals(Protocol):
    """What keeps secrets: config.vault.Vault."""

    def seal(self, purpose: str, plain: bytes, *, about: str = "") -> bytes: ...
    def open(self, purpose: str, sealed: bytes, *, about: str = "") -> bytes: ...


class UnknownEndpoint(Refused):
    """No webhook of yours has this id."""


class TooManyEndpoints(Refused):
    """A member may have five webhooks; remove one of them."""


class SameEndpoint(Refused):
    """There is a webhook with this address already."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook, without its secrets."""

    id: UUID
    url: str
    state: str
    why: str | None  # it is disabled
    failures: int  # in a row
    failing_since: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


class Endpoints:
    """The rows of webhooks. Members are told apart by the wall, too."""

    def __init__(self, engine: sa.Engine, vault: Seals) -> None:
        self._engine = engine
        self._vault = vault

    def of(self, member_id: int) -> Sequence[Endpoint]:
        """A member's webhooks, oldest first."""
        with as_member(self._engine, member_id) as conn:
            mine = sa.select(endpoints).where(endpoints.c.member_id == member_id)
            return [_endpoint(row) for row in conn.execute(mine.order_by(endpoints.c.created_at, endpoints.c.id))]

    def get(self, member_id: int, endpoint: UUID) -> Endpoint:
        """One of the member's webhooks. Raises UnknownEndpoint."""
        with as_member(self._engine, member_id) as conn:
            is_it = sa.and_(endpoints.c.member_id == member_id, endpoints.c.id == endpoint)
            row = conn.execute(sa.select(endpoints).where(is_it)).first()
        if row is None:
            raise UnknownEndpoint
        return _endpoint(row)

    def add(self, member_id: int, url: str, secret: str, *, actor: str) -> Endpoint:
        """A new webhook at an address that was looked at. Raises SameEndpoint, TooManyEndpoints."""
        made = uuid4()
        sealed = self._vault.seal(PURPOSE, secret.encode(), about=str(made))
        with transaction(self._engine) as conn:
            conn.execute(_LOCK_MEMBER, {"member": member_id})
            known = list(conn.execute(sa.select(endpoints.c.url).where(endpoints.c.member_id == member_id)).scalars())
            if url in known:
                raise SameEndpoint
            if len(known) >= MOST:
                raise TooManyEndpoints
            new = sa.insert(endpoints).values(id=made, member_id=member_id, url=url, sealed=sealed)
            row = conn.execute(new.returning(endpoints)).one()
            record(conn, actor, "endpoint.added", endpoint=str(made), member=member_id)
            return _endpoint(row)

    def change_secret(self, member_id: int, endpoint: UUID, secret: str, *, actor: str) -> Endpoint:
        """Sign with a new secret; the one before signs besides for a day."""
        self.get(member_id, endpoint)
        values = {
            "sealed": self._vault.seal(PURPOSE, secret.encode(), about=str(endpoint)),
            "old_sealed": endpoints.c.sealed,
            "old_until": sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, OLD_SIGNS_S),
        }
        return self._update(member_id, endpoint, values, actor, "endpoint.secret_changed")

    def enable(self, member_id: int, endpoint: UUID, *, actor: str) -> Endpoint:
        """Call it again, and at once."""
        self.get(member_id, endpoint)
        clean = {"state": "active", "why": None, "failures": 0, "failing_since": None, "rests_until": None}
        return self._update(member_id, endpoint, clean, actor, "endpoint.enabled")

    def disable(self, member_id: int, endpoint: UUID, why: str, *, actor: str) -> Endpoint:
        """Call it no more until it is enabled."""
        self.get(member_id, endpoint)
        return self._update(member_id, endpoint, {"state": "disabled", "why": why}, actor, "endpoint.disabled")

    def remove(self, member_id: int, endpoint: UUID, *, actor: str) -> None:
        """Forget it; one that is gone already is no error."""
        is_it = sa.and_(endpoints.c.member_id == member_id, endpoints.c.id == endpoint)
        with as_member(self._engine, member_id) as conn:
            if conn.execute(sa.select(endpoints.c.id).where(is_it)).first() is None:
                return
        with transaction(self._engine) as conn:
            if conn.execute(sa.delete(endpoints).where(is_it)).rowcount:
                record(conn, actor, "endpoint.removed", endpoint=str(endpoint), member=member_id)

    def _update(
        self, member_id: int, endpoint: UUID, values: Mapping[str, object], actor: str, action: str
    ) -> Endpoint:
        is_it = sa.and_(endpoints.c.member_id == member_id, endpoints.c.id == endpoint)
        with transaction(self._engine) as conn:
            change = sa.update(endpoints).where(is_it).values(**values, updated_at=NOW).returning(endpoints)
            row = conn.execute(change).first()
            if row is None:
                raise UnknownEndpoint
            record(conn, actor, action, endpoint=str(endpoint), member=member_id)
            return _endpoint(row)


def _endpoint(row: sa.Row[tuple[object, ...]]) -> Endpoint:
    return Endpoint(
        id=row.id,
        url=row.url,
        state=row.state,
        why=row.why,
        failures=row.failures,
        failing_since=row.failing_since,
        old_secret_until=row.old_until,
        created_at=row.created_at,
    )


_LOCK_MEMBER = sa.text("SELECT 1 FROM members WHERE id = :member FOR UPDATE")
