"""What happened, what must never be, and who is alive."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, REAL

from storage.postgres.tables.base import EMPTY, NOW, BigInt, Int, Text, Time, metadata

timeline = sa.Table(
    "timeline",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("lead_id", BigInt, sa.ForeignKey("leads.id", ondelete="CASCADE"), nullable=False),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    sa.Column("what", Text, nullable=False),  # received, located, offered, waiting, written ...
    sa.Column("actor", Text, nullable=False),  # salesforce, fairturn, a person
    sa.Column("task_id", Text),  # the Celery task, as Flower shows it
    sa.Column("policy_version", Int),
    sa.Column("detail", JSONB, nullable=False, server_default=EMPTY),  # ids and numbers, never personal data
)
sa.Index("ix_timeline_lead", timeline.c.lead_id)
sa.Index("ix_timeline_at", timeline.c.at, postgresql_using="brin")
sa.Index(
    "ix_timeline_viewed",
    timeline.c.lead_id,
    timeline.c.at,
    postgresql_where=sa.text("what = 'contact viewed'"),
)

shown = sa.Table(
    "shown",
    metadata,
    sa.Column("to_whom", Text, primary_key=True),
    sa.Column("timeline_id", BigInt, nullable=False),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    comment="How far the timeline has been shown to others, such as a collector of traces.",
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    sa.Column("actor", Text, nullable=False),
    sa.Column("action", Text, nullable=False),  # policy.published, members.imported, turnstile.rebuilt ...
    sa.Column("detail", JSONB, nullable=False, server_default=EMPTY),
)

invariants = sa.Table(
    "invariants",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("violations", BigInt, nullable=False),
    sa.Column("examples", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),  # the first few, ids only
    sa.Column("checked_at", Time, nullable=False),
    sa.Column("whole_at", Time, nullable=False),  # when all of history was last looked at
    sa.Column("took_ms", REAL, nullable=False),  # that time
    comment="What must never be, and how often it was seen when last looked at; ids only.",
)

heartbeats = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("name", Text, primary_key=True),  # queue:leads, subscriber, beat, sweep.hourly
    sa.Column("worker", Text, nullable=False),
    sa.Column("at", Time, nullable=False),
)
