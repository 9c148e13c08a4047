"""The ledger's tables of how turns are kept: absences, minimums, and how far each account is from what is due."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, REAL, UUID

from storage.postgres.tables.base import NOW, BigInt, Int, Small, Text, Time, metadata
from storage.postgres.tables.decisions import decisions

absences = sa.Table(
    "absences",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("member_id", Int, sa.ForeignKey("members.id"), nullable=False),
    sa.Column("began_at", Time, nullable=False, server_default=NOW),
    sa.Column("ended_at", Time),
    sa.Column("settled_at", Time),  # since when it is known what it is worth
    comment="From when to when a member was paused, off duty, or inactive in Salesforce.",
)
sa.Index("uq_absences_one_at_a_time", absences.c.member_id, unique=True, postgresql_where=sa.text("ended_at IS NULL"))
sa.Index(
    "ix_absences_unsettled",
    absences.c.id,
    postgresql_where=sa.text("ended_at IS NOT NULL AND settled_at IS NULL"),
)

absence_debts = sa.Table(
    "absence_debts",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("absence_id", BigInt, sa.ForeignKey("absences.id"), nullable=False),
    sa.Column("member_id", Int, sa.ForeignKey("members.id"), nullable=False),
    sa.Column("market", Text, nullable=False),
    sa.Column("rotation", Text, nullable=False),
    sa.Column("percent", Small, nullable=False),  # of it a day
    sa.Column("told", Text, nullable=False),  # the policy at the return, in words
    sa.Column("member", ARRAY(Int), nullable=False),
    sa.Column("delta", ARRAY(BigInt), nullable=False),  # micro-turns, one a member
    sa.Column("parts", Small, nullable=False),
    sa.Column("paid", Small, nullable=False, server_default="0"),
    sa.Column("next_at", Time, nullable=False),
    sa.CheckConstraint("cardinality(member) = cardinality(delta) AND adds_up(delta) = 0", name="balanced"),
    sa.CheckConstraint("paid BETWEEN 0 AND parts", name="paid"),
    comment="What a member is owed for an absence, by the policy at its return; paid in parts, a day each.",
)
sa.Index("ix_absence_debts_due", absence_debts.c.next_at, postgresql_where=sa.text("paid < parts"))

turns_to_count = sa.Table(
    "turns_to_count",
    metadata,
    sa.Column("offer_id", UUID(as_uuid=True), sa.ForeignKey("offers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    comment="Offers that were nobody's turn; each row leaves when it is settled whether it counts as one.",
)

minimum_flags = sa.Table(
    "minimum_flags",
    metadata,
    sa.Column("pool", Text, primary_key=True),
    sa.Column("member_id", Int, sa.ForeignKey("members.id"), primary_key=True),
    sa.Column("period", Text, primary_key=True),
    sa.Column("market", Text, nullable=False),
    sa.Column("received", Int, nullable=False),
    sa.Column("projected", REAL, nullable=False),  # at the period's end, at the pace so far
    sa.Column("minimum", Int, nullable=False),
    sa.Column("until", Time, nullable=False),
    sa.Column("flagged_at", Time, nullable=False, server_default=NOW),
    sa.Column("cleared_at", Time),
    comment="Members on the way to miss their minimum of a period; while one is not cleared, its member weighs more.",
)
sa.Index("ix_minimum_flags_market", minimum_flags.c.market, postgresql_where=sa.text("cleared_at IS NULL"))

fairness_accounts = sa.Table(
    "fairness_accounts",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("rotation", Text, primary_key=True),
    sa.Column("member_id", Int, primary_key=True),
    sa.Column("offers", BigInt, nullable=False),
    sa.Column("received", BigInt, nullable=False),  # micro-turns that were paid
    sa.Column("entitled", BigInt, nullable=False),  # micro-turns that were earned
    sa.Column("corrected", BigInt, nullable=False),  # micro-turns that corrections added
    sa.Column("worst", BigInt, nullable=False),
    comment="Offers, and micro-turns received, earned and corrected, of each account up to fairness_marks.",
)
fairness_rotations = sa.Table(
    "fairness_rotations",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("rotation", Text, primary_key=True),
    sa.Column("pool", Text, nullable=False),
    sa.Column("decisions", BigInt, nullable=False),
    sa.Column("turn", BigInt, nullable=False),  # the largest, in micro-turns
    sa.Column("worst", BigInt, nullable=False),
    sa.Column("worst_member", Int),
    sa.Column("worst_at", Time),
    sa.Column("other", BigInt, nullable=False, server_default="0"),  # decisions of modes that keep no accounts
    sa.Column("added", BigInt, nullable=False, server_default="0"),  # micro-turns that corrections added to the bound
    sa.Column("most_added", BigInt, nullable=False, server_default="0"),  # ever
    comment="How far anyone of a rotation ever was from what was due to it, and the largest turn.",
)
fairness_marks = sa.Table(
    "fairness_marks",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("generation", BigInt, nullable=False),
    sa.Column("seq", BigInt, nullable=False),
    comment="The last decision or correction that is in fairness_accounts.",
)
fairness_gaps = sa.Table(
    "fairness_gaps",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("generation", BigInt, primary_key=True),
    sa.Column("seq", BigInt, primary_key=True),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    comment="Numbers before the mark that the ledger had not when it was passed; one that comes late is added then.",
)
rolled = sa.Table(
    "rolled",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("rotation", Text, primary_key=True),
    sa.Column("generation", BigInt, nullable=False),
    sa.Column("seq", BigInt, nullable=False),
    sa.Column("upto", Time, nullable=False),
    comment="Of rotations with a rolling window: up to where turns were taken out again.",
)
sa.Index("ix_decisions_at", decisions.c.at, postgresql_using="brin")
