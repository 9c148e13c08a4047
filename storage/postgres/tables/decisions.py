"""Decisions, and what is used of limits."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, UUID

from storage.postgres.tables.base import EMPTY, BigInt, Float, Int, Small, Text, Time, metadata

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),  # the offer's id, when there is an offer
    sa.Column("lead_id", BigInt, sa.ForeignKey("leads.id"), nullable=False),
    sa.Column("attempt", Int, nullable=False),
    sa.Column("at", Time, nullable=False),  # the turnstile's clock: the order of `seq`
    sa.Column("market", Text, nullable=False),
    sa.Column("pool", Text, nullable=False),
    sa.Column("rotation", Text, nullable=False, server_default=""),
    sa.Column("mode", Text, nullable=False),
    sa.Column("rings_m", ARRAY(Float), nullable=False),
    sa.Column("ring", Small),
    sa.Column("policy_version", Int, nullable=False),
    sa.Column("roster_version", BigInt, nullable=False),
    sa.Column("generation", BigInt, nullable=False),
    sa.Column("seq", BigInt, nullable=False),
    sa.Column("chosen", Int, sa.ForeignKey("members.id")),
    sa.Column("reason", Text, nullable=False),
    sa.Column("nearest_m", REAL),
    # one entry a candidate, in the order of the plan
    sa.Column("member", ARRAY(Int), nullable=False),
    sa.Column("distance_m", ARRAY(REAL), nullable=False),
    sa.Column("member_ring", ARRAY(Small), nullable=False),
    sa.Column("weight", ARRAY(Int), nullable=False),
    sa.Column("capacity", ARRAY(Int), nullable=False),
    sa.Column("tier_rank", ARRAY(Small), nullable=False),
    sa.Column("gate", ARRAY(Small), nullable=False),
    sa.Column("open", ARRAY(Int), nullable=False),
    sa.Column("standing", ARRAY(BigInt), nullable=False),
    sa.Column("served", ARRAY(BigInt), nullable=False),
    sa.Column("rule", Text, nullable=False, server_default=""),  # of the policy, that sent the lead to this pool
    sa.Column("inputs", JSONB, nullable=False, server_default=EMPTY),  # facts and the clock that were looked at
    sa.Column("units", Int, nullable=False, server_default="1"),  # of capacity
    sa.Column("turn", BigInt, nullable=False, server_default="1000000"),  # micro-turns it costs
    sa.Column("stops", JSONB, nullable=False, server_default=EMPTY),  # member -> limit, used, most, until: who had room
    sa.Column("uses", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),  # limits the offer counts in
    sa.UniqueConstraint("market", "generation", "seq"),
    comment="Every routing choice with all it saw; rows are never changed.",
)
sa.Index("ix_decisions_limited", decisions.c.at, postgresql_where=sa.text("uses <> '[]'"))
sa.Index("ix_decisions_lead", decisions.c.lead_id)
sa.Index("ix_decisions_rotation", decisions.c.market, decisions.c.rotation, decisions.c.generation, decisions.c.seq)
# Versions follow one another, so a few pages hold the decisions of each.
sa.Index(
    "ix_decisions_policy_version",
    decisions.c.policy_version,
    postgresql_using="brin",
    postgresql_with={"autosummarize": "on"},
)

quota_uses = sa.Table(
    "quota_uses",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("counter", Text, primary_key=True),  # pool, limit, window and whose it is
    sa.Column("bucket", Int, primary_key=True),  # of the window
    sa.Column("buckets", Int, nullable=False),  # that the window is long
    sa.Column("used", Int, nullable=False),  # units
    sa.Column("until", Time, nullable=False),  # no window reaches it any more
    sa.CheckConstraint("used >= 0", name="used"),
    comment="What is used of limits; the turnstile's own counters are made again from it.",
)

quota_recounts = sa.Table(
    "quota_recounts",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("counter", Text, primary_key=True),
    sa.Column("bucket", Int, primary_key=True),
    sa.Column("units", BigInt, nullable=False),
    sa.Column("until", Time, nullable=False),
    comment="What the offers up to `quota_recounted.upto` add up to, apart from what counts them.",
)

quota_recounted = sa.Table(
    "quota_recounted",
    metadata,
    sa.Column("single", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("upto", Time, nullable=False),
    sa.Column("whole_at", Time, nullable=False),
    sa.CheckConstraint("single", name="single"),
    comment="How far limits are recounted, and when that was last done from the beginning.",
)
