"""Tables of the past: rosters as they were, seals over what was written, accounts of what was removed."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

from storage.postgres.tables.base import NOW, BigInt, Float, Int, Text, Time, metadata

roster_versions = sa.Table(
    "roster_versions",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("version", BigInt, primary_key=True),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    comment="Since when each version of a market's roster counts.",
)

member_history = sa.Table(
    "member_history",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("member_id", Int, primary_key=True),
    sa.Column("version", BigInt, primary_key=True),  # of the roster, from which on it was so
    sa.Column("member", JSONB),  # its row; NULL: it left the market
    sa.Column("lats", ARRAY(Float), nullable=False, server_default="{}"),
    sa.Column("lons", ARRAY(Float), nullable=False, server_default="{}"),
    comment="Each member as it was from a version of the roster on; no member: it left the market.",
)

seals = sa.Table(
    "seals",
    metadata,
    sa.Column("number", BigInt, primary_key=True, autoincrement=False),  # 1, 2, 3 ... without gaps
    sa.Column("kind", Text, nullable=False),  # the table
    sa.Column("at", Time, nullable=False),
    sa.Column("columns", ARRAY(Text), nullable=False),  # that were sealed of each row
    sa.Column("key", BYTEA, nullable=False),  # from which the salts of its rows are made
    sa.Column("refs", ARRAY(Text), nullable=False),  # ids of the rows
    sa.Column("leaves", BYTEA, nullable=False),  # their hashes, 32 bytes each
    sa.Column("root", BYTEA, nullable=False),
    sa.Column("links", ARRAY(BYTEA), nullable=False),  # heads of the seal before, and of some farther back
    sa.Column("head", BYTEA, nullable=False),
    sa.Column("upto", JSONB, nullable=False),  # where the next one begins to look
    sa.Column("low", BigInt, nullable=False),  # of the rows' numbers
    sa.Column("high", BigInt, nullable=False),
    sa.Column("removed_at", Time),  # when its rows were removed for their age
    sa.CheckConstraint("kind IN ('decisions', 'corrections', 'timeline', 'policies', 'audit')", name="kind"),
    comment="Hashes over batches of rows, each over the seal before; rows are never changed.",
)
sa.Index("ix_seals_kind", seals.c.kind, seals.c.number)
sa.Index("ix_seals_high", seals.c.kind, seals.c.high)
sa.Index("ix_seals_kept", seals.c.kind, seals.c.number, postgresql_where=sa.text("removed_at IS NULL"))

bases = sa.Table(
    "bases",
    metadata,
    sa.Column("market", Text, primary_key=True),
    sa.Column("generation", BigInt, nullable=False),
    sa.Column("seq", BigInt, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("books", JSONB, nullable=False),
    comment="The fairness accounts as of the last decision or correction that was removed for its age.",
)

removals = sa.Table(
    "removals",
    metadata,
    sa.Column("what", Text, primary_key=True),
    sa.Column("before", Time, nullable=False),  # what was written before is gone, where it is over
    sa.Column("position", BigInt, nullable=False, server_default="0"),  # how far a round over all of it has come
    sa.Column("at", Time, nullable=False, server_default=NOW),
    comment="What was removed for its age, and up to which time.",
)
