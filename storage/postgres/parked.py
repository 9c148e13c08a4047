"""Dead letters: what could not be used, with its reason and its input, until somebody mends it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from storage.postgres.engine import transaction
from storage.postgres.tables import NOW, parked
from storage.postgres.values import clean, clean_text


@dataclass(frozen=True, slots=True)
class Letter:
    """One thing set aside; `raw` holds undecodable bytes for the gateway to try again."""

    id: int
    kind: str  # event, csv_lead, csv_member, outbox, lead
    ref: str
    reason: str  # one sentence: the field and the fix
    input: Mapping[str, Any]
    raw: bytes | None
    task_id: str | None
    parked_at: datetime
    resolved_at: datetime | None


class Parked:
    """The shelf of dead letters."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def park(
        self,
        kind: str,
        ref: str,
        reason: str,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the column's name
        raw: bytes | None = None,
        task_id: str | None = None,
    ) -> int:
        """Set something aside; its id. The same thing parked again takes the newer reason and is open again."""
        row = insert(parked).values(
            kind=kind,
            ref=clean_text(ref),
            reason=clean_text(reason),
            input=clean(input or {}),
            raw=raw,
            task_id=task_id,
        )
        newer = {name: row.excluded[name] for name in ("reason", "input", "raw", "task_id")}
        upsert = row.on_conflict_do_update(
            index_elements=["kind", "ref"], set_=newer | {"parked_at": NOW, "resolved_at": None}
        )
        with transaction(self._engine) as connection:
            return int(connection.execute(upsert.returning(parked.c.id)).scalar_one())

    def list(self, *, kind: str | None = None, resolved: bool = False, limit: int = 1000) -> list[Letter]:
        """What is set aside (or, if asked, was), oldest first."""
        query = sa.select(parked).where(
            parked.c.resolved_at.is_not(None) if resolved else parked.c.resolved_at.is_(None)
        )
        if kind is not None:
            query = query.where(parked.c.kind == kind)
        with transaction(self._engine) as connection:
            return [Letter(**row) for row in connection.execute(query.order_by(parked.c.id).limit(limit)).mappings()]

    def get(self, letter_id: int) -> Letter | None:
        """One of them; None when there is no such letter."""
        with transaction(self._engine) as connection:
            row = connection.execute(sa.select(parked).where(parked.c.id == letter_id)).mappings().one_or_none()
            return Letter(**row) if row else None

    def resolve_all(self, kind: str, ref_prefix: str) -> int:
        """Close every open letter of a kind whose reference begins so; how many."""
        close = sa.update(parked).where(
            parked.c.kind == kind,
            parked.c.ref.startswith(ref_prefix, autoescape=True),
            parked.c.resolved_at.is_(None),
        )
        with transaction(self._engine) as connection:
            return int(connection.execute(close.values(resolved_at=NOW)).rowcount)

    def count(self) -> int:
        """How many are open."""
        query = sa.select(sa.func.count()).where(parked.c.resolved_at.is_(None))
        with transaction(self._engine) as connection:
            return int(connection.scalar(query) or 0)

    def resolve(self, letter_id: int) -> bool:
        """Close one; False when it was closed before or never there."""
        close = sa.update(parked).where(parked.c.id == letter_id, parked.c.resolved_at.is_(None))
        with transaction(self._engine) as connection:
            return connection.execute(close.values(resolved_at=NOW)).rowcount == 1
