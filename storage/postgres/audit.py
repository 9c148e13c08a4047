"""Who changed what about the house itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage.postgres.engine import transaction
from storage.postgres.tables import audit
from storage.postgres.values import clean, clean_text


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of policy, members or turnstile."""

    at: datetime
    actor: str
    action: str
    detail: Mapping[str, Any]


def record(connection: sa.Connection, actor: str, action: str, **detail: object) -> None:
    """Write an entry as part of the caller's transaction."""
    connection.execute(sa.insert(audit).values(actor=clean_text(actor), action=action, detail=clean(detail)))


class Audit:
    """The audit trail; its rows are never changed."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, actor: str, action: str, **detail: object) -> None:
        """Write one entry."""
        with transaction(self._engine) as connection:
            record(connection, actor, action, **detail)

    def latest(self, limit: int = 100) -> list[Entry]:
        """Entries, newest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(sa.select(audit).order_by(audit.c.id.desc()).limit(limit))
            return [Entry(row.at, row.actor, row.action, row.detail) for row in rows]
