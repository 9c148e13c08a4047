"""What happened to each lead, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.postgres.engine import transaction
from storage.postgres.tables import timeline
from storage.postgres.values import clean, clean_text


@dataclass(frozen=True, slots=True)
class Happening:
    """One step in a lead's life; `detail` holds ids and numbers, never personal data."""

    lead_id: int
    what: str
    actor: str = "fairturn"
    task_id: str | None = None
    policy_version: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None  # None: now


def add_many(connection: sa.Connection, rows: Sequence[Happening]) -> None:
    """Write steps as part of the caller's transaction, in one statement."""
    if rows:
        connection.execute(
            _ADD,
            {
                "lead": [row.lead_id for row in rows],
                "at": [row.at for row in rows],
                "what": [row.what for row in rows],
                "actor": [clean_text(row.actor) for row in rows],
                "task": [row.task_id for row in rows],
                "policy": [row.policy_version for row in rows],
                "detail": [clean(row.detail) for row in rows],
            },
        )


_ADD = sa.text("""
    INSERT INTO timeline (lead_id, at, what, actor, task_id, policy_version, detail)
    SELECT lead_id, coalesce(at, clock_timestamp()), what, actor, task_id, policy_version, detail
    FROM unnest(CAST(:lead AS bigint[]), CAST(:at AS timestamptz[]), CAST(:what AS text[]), CAST(:actor AS text[]),
                CAST(:task AS text[]), CAST(:policy AS int[]), CAST(:detail AS jsonb[]))
         AS row (lead_id, at, what, actor, task_id, policy_version, detail)
""").bindparams(sa.bindparam("detail", type_=ARRAY(JSONB)))


class Timeline:
    """Reads the steps of leads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def of(self, lead_id: int) -> list[Happening]:
        """Every step of one lead, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.select(timeline).where(timeline.c.lead_id == lead_id).order_by(timeline.c.at, timeline.c.id)
            )
            return [
                Happening(row.lead_id, row.what, row.actor, row.task_id, row.policy_version, row.detail, row.at)
                for row in rows
            ]
