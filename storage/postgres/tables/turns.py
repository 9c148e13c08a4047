"""Accounts of fairness, and what sets them right."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from storage.postgres.tables.base import NOW, BigInt, Int, Text, Time, metadata

standings = sa.Table(
    "standings",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("rotation", Text, primary_key=True),
    sa.Column("member_id", Int, primary_key=True),
    sa.Column("standing", BigInt, nullable=False),
    sa.Column("served", BigInt, nullable=False),
    comment="A snapshot of fairness accounts taken at each rebuild; later decisions carry on from it.",
)

standing_marks = sa.Table(
    "standing_marks",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("rotation", Text, primary_key=True),
    sa.Column("generation", BigInt, nullable=False),  # decisions after (generation, seq) are not in the snapshot
    sa.Column("seq", BigInt, nullable=False),
    sa.Column("tick", BigInt, nullable=False),
    sa.Column("cursor", Int, nullable=False),
)

turns_owed = sa.Table(
    "turns_owed",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),  # the correction's: the offer's, when there is one
    sa.Column("market", Text, nullable=False),
    sa.Column("rotation", Text, nullable=False),
    sa.Column("offer_id", UUID(as_uuid=True), unique=True),
    sa.Column("effect", Text, nullable=False),  # routing.turns.Effect
    sa.Column("reason", Text, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("member", ARRAY(Int), nullable=False),
    sa.Column("delta", ARRAY(BigInt), nullable=False),  # micro-turns, one a member
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint("effect IN ('return', 'penalise', 'give', 'take', 'count', 'repay', 'forget')", name="effect"),
    sa.CheckConstraint("cardinality(member) = cardinality(delta) AND adds_up(delta) = 0", name="balanced"),
    comment="Corrections to be carried out; each row leaves when its correction is written.",
)

corrections = sa.Table(
    "corrections",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("market", Text, nullable=False),
    sa.Column("rotation", Text, nullable=False),
    sa.Column("generation", BigInt, nullable=False),  # (generation, seq) is one order with the decisions
    sa.Column("seq", BigInt, nullable=False),
    sa.Column("offer_id", UUID(as_uuid=True), sa.ForeignKey("offers.id"), unique=True),
    sa.Column("effect", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("member", ARRAY(Int), nullable=False),
    sa.Column("delta", ARRAY(BigInt), nullable=False),
    sa.Column("at", Time, nullable=False),  # the turnstile's clock: the order of `seq`
    sa.UniqueConstraint("market", "generation", "seq"),
    sa.CheckConstraint("effect IN ('return', 'penalise', 'give', 'take', 'count', 'repay', 'forget')", name="effect"),
    sa.CheckConstraint("cardinality(member) = cardinality(delta) AND adds_up(delta) = 0", name="balanced"),
    comment="Turns that were set right, in one order with the decisions; rows are never changed.",
)
