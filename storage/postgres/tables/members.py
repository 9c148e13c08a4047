"""Members and where they are."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from storage.postgres.tables.base import EMPTY, NOW, BigInt, Bool, Float, Int, Text, Time, metadata

members = sa.Table(
    "members",
    metadata,
    sa.Column("id", Int, sa.Identity(always=True), primary_key=True),
    sa.Column("key", Text, nullable=False, unique=True),  # the outside id, such as partner_id
    sa.Column("salesforce_id", Text, unique=True),  # Account (001...) or User (005...)
    sa.Column("name", Text, nullable=False),
    sa.Column("market", Text, sa.ForeignKey("markets.name"), nullable=False),
    sa.Column("country", Text, nullable=False, server_default=""),
    sa.Column("tier", Text, nullable=False, server_default=""),
    sa.Column("capacity", Int),  # override; NULL = the tier's
    sa.Column("weight", Int),  # override, thousandths
    sa.Column("active", Bool, nullable=False, server_default="true"),
    sa.Column("open", Int, nullable=False, server_default="0"),  # offers held, guarded
    sa.Column("attributes", JSONB, nullable=False, server_default=EMPTY),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    sa.Column("present", Bool, nullable=False, server_default="true"),  # its own word: on or off duty
    sa.Column("auto_accept", Bool, nullable=False, server_default="false"),
    sa.Column("notices", BigInt, nullable=False, server_default="0"),  # the number of its last notice
    sa.Column("left_at", Time),  # since when Salesforce says that it is inactive: it gets nothing
    sa.Column("watched_id", Text),  # the Salesforce id by which that was asked for
    sa.CheckConstraint("open >= 0", name="open"),
    sa.CheckConstraint("capacity >= 0", name="capacity"),
    sa.CheckConstraint("weight > 0", name="weight"),
)
sa.Index("ix_members_market", members.c.market)

places = sa.Table(
    "places",
    metadata,
    sa.Column("id", Int, sa.Identity(always=True), primary_key=True),
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    sa.Column("label", Text, nullable=False, server_default=""),
    sa.Column("lat", Float, nullable=False),
    sa.Column("lon", Float, nullable=False),
    sa.CheckConstraint("lat BETWEEN -90 AND 90", name="lat"),
    sa.CheckConstraint("lon BETWEEN -180 AND 180", name="lon"),
)
sa.Index("ix_places_member", places.c.member_id)
