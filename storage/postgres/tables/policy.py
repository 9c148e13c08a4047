"""The policy in its versions, and what the published one says that statements ask for."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from storage.postgres.tables.base import NOW, BigInt, Bool, Int, Text, Time, Uuid, metadata

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("version", Int, primary_key=True),
    sa.Column("state", Text, nullable=False),
    sa.Column("document", JSONB, nullable=False),
    sa.Column("note", Text, nullable=False, server_default=""),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("published_at", Time),
    sa.Column("edition", Int, nullable=False, server_default="1"),  # raised by every change before it is published
    sa.Column("source", Text),  # the text it was read from, with its comments; NULL: it came as JSON
    sa.Column("digest", Text, nullable=False, server_default=""),  # SHA-256 of the document; '': of an older program
    sa.Column("author", Text, nullable=False, server_default=""),
    sa.Column("author_id", Uuid),  # NULL: no person, but a program or the command line
    sa.Column("base", Int),  # the version in force when it was written; that one it replaces, no other
    sa.Column("replaced", Int),  # the version that was in force before it
    sa.Column("restores", Int),  # the older version whose document it is
    sa.Column("publish_at", Time),
    sa.Column("published_by", Text, nullable=False, server_default=""),
    sa.Column("retired_at", Time),
    sa.Column("problem", Text, nullable=False, server_default=""),  # why it could not be published when it was due
    sa.Column("findings", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),  # of the check, when published
    sa.CheckConstraint("state IN ('draft', 'scheduled', 'published', 'retired')", name="state"),
    sa.CheckConstraint("(state = 'scheduled') = (publish_at IS NOT NULL)", name="scheduled"),
    comment="Every version of the policy; one is in force. What was published is never changed.",
)
sa.Index("uq_policies_one_published", policies.c.state, unique=True, postgresql_where=sa.text("state = 'published'"))
sa.Index("ix_policies_due", policies.c.publish_at, postgresql_where=sa.text("state = 'scheduled'"))

contents = sa.Table(
    "contents",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint("digest = 'sha256:' || encode(sha256(body), 'hex')", name="digest"),
    comment="Files of the policy's tables and areas by their SHA-256; never changed.",
)

policy_approvals = sa.Table(
    "policy_approvals",
    metadata,
    sa.Column("version", Int, sa.ForeignKey("policies.version", ondelete="CASCADE"), primary_key=True),
    sa.Column("person_id", Uuid, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("wrote", Bool, nullable=False, server_default="false"),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    comment="Who stands for a version: who wrote it, and who has read and approved it.",
)

markets = sa.Table(
    "markets",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("roster_version", BigInt, nullable=False, server_default="1"),  # raised by every change of its members
    sa.Column("generation", BigInt, nullable=False, server_default="0"),  # of the turnstile, raised by each rebuild
    sa.Column("rebuilt_at", Time),
    sa.Column("alone_since", Time),  # while the turnstile is away, the ledger decides alone
)

tiers = sa.Table(
    "tiers",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("rank", Int, nullable=False),
    sa.Column("capacity", Int, nullable=False),
    sa.Column("weight", Int, nullable=False),  # thousandths
    sa.CheckConstraint("capacity >= 0", name="capacity"),
    sa.CheckConstraint("weight > 0", name="weight"),
    comment="The tiers of the published policy, for statements that need a capacity; '' is the default tier.",
)

pools = sa.Table(
    "pools",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("market", Text, sa.ForeignKey("markets.name"), nullable=False),
    sa.Column("mode", Text, nullable=False),
    comment="The pools of the published policy.",
)
