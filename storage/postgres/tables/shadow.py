"""Tables of drafts that run beside live; nothing of the house reads them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from storage.postgres.tables.base import BigInt, Int, Text, Time, metadata

shadow_runs = sa.Table(
    "shadow_runs",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("name", Text, nullable=False),  # the draft's
    sa.Column("document", JSONB, nullable=False),
    sa.Column("begun_at", Time, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("stopped_at", Time),
    sa.Column("upto", Time, nullable=False),  # live was followed to here
    sa.Column("state", JSONB),  # routing.simulation.checkpoint; NULL: it begins as live stood
    sa.Column("decided", BigInt, nullable=False, server_default="0"),
    sa.Column("same", BigInt, nullable=False, server_default="0"),
    sa.Column("error", Text),  # why it could not go on, last
    comment="Drafts that run beside live, with their own turns and places; one at a time.",
)
sa.Index(
    "uq_shadow_runs_one",
    shadow_runs.c.stopped_at,
    unique=True,
    postgresql_nulls_not_distinct=True,
    postgresql_where=sa.text("stopped_at IS NULL"),
)

shadow_divergences = sa.Table(
    "shadow_divergences",
    metadata,
    sa.Column("run_id", BigInt, sa.ForeignKey("shadow_runs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("lead_id", BigInt, primary_key=True),
    sa.Column("attempt", Int, primary_key=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("live_member", Int),
    sa.Column("shadow_member", Int),
    sa.Column("cause", Text, nullable=False),
    sa.Column("live", JSONB),  # the explanation of what live decided; NULL: it decided nothing
    sa.Column("shadow", JSONB),
    comment="Where a draft beside live chose otherwise, with both explanations; members by id.",
)
