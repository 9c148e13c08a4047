"""Leads, what is being done with them, and where they are."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, REAL

from storage.postgres.tables.base import EMPTY, NOW, BigInt, Bool, Float, Int, Small, Text, Time, metadata

LEAD_STATES = "'new', 'waiting', 'offered', 'accepted', 'done', 'review', 'withdrawn'"

leads = sa.Table(
    "leads",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("salesforce_id", Text, nullable=False, unique=True),  # 18 characters
    sa.Column("source_id", Text),  # the outside id, such as the CSV's lead_id
    sa.Column("source", Text, nullable=False, server_default=""),  # where it came from: web, referral ...
    sa.Column("state", Text, nullable=False, server_default="new"),
    sa.Column("reason", Text),  # why it waits, is in review or withdrawn
    sa.Column("version", BigInt, nullable=False, server_default="1"),  # raised by each change of state
    sa.Column("attempt", Int, nullable=False, server_default="1"),  # number of the next (or open) offer
    # reassignments used: what was withdrawn is not counted
    sa.Column("moves", Int, nullable=False, server_default="0"),
    sa.Column("priority", Int, nullable=False, server_default="0"),
    sa.Column("lane", Small, nullable=False, server_default="1"),  # routing.lane.Lane
    sa.Column("deaths", Small, nullable=False, server_default="0"),  # processes that ended while handling it
    sa.Column("delays", Small, nullable=False, server_default="0"),  # times its handling was put off
    sa.Column("pool", Text),
    # what rules made of it
    sa.Column("rank", BigInt, nullable=False, server_default="0"),  # the highest goes first, equals by age
    sa.Column("score", BigInt),  # its priority with the policy's points
    sa.Column("rule", Text, nullable=False, server_default=""),  # that sent it where it is
    sa.Column("basket", Text),  # in which it waits to be distributed
    sa.Column("ruled", JSONB, nullable=False, server_default=EMPTY),  # routing.lead.Ruled
    # where it is
    sa.Column("country", Text, nullable=False, server_default=""),  # ISO alpha-2 once located
    sa.Column("postal_code", Text, nullable=False, server_default=""),
    sa.Column("city", Text, nullable=False, server_default=""),
    sa.Column("region", Text, nullable=False, server_default=""),
    sa.Column("lat", Float),
    sa.Column("lon", Float),
    sa.Column("cell", Int),  # routing.near.cell(): a coarse square, so that a freed place finds its leads
    sa.Column("geo_precision", Text),
    sa.Column("geo_provider", Text),
    sa.Column("nearest_m", REAL),  # of the nearest member when none is in range
    # attributes that rules may use; unknown input columns are kept here
    sa.Column("attributes", JSONB, nullable=False, server_default=EMPTY),
    # the stream's side
    sa.Column("commit_number", BigInt, nullable=False, server_default="0"),
    sa.Column("sequence_number", Int, nullable=False, server_default="0"),
    sa.Column("dirty", Bool, nullable=False, server_default="false"),  # must be read again from Salesforce
    sa.Column("snapshot_at", Time),  # as of when it was last read by REST: older events are stale
    sa.Column("told_lat", Float),  # the coordinates Salesforce told last; its place may be another
    sa.Column("told_lon", Float),
    sa.Column("asked_at", Time),  # when Salesforce was last asked for it, while it is dirty
    sa.Column("changed_at", Time),  # the latest change in Salesforce that we have read
    sa.Column("owner_id", Text),
    sa.Column("stage", Text, nullable=False, server_default=""),  # what its own Status stood for, when last told
    # times
    sa.Column("received_at", Time, nullable=False),  # committed in Salesforce
    sa.Column("next_try_at", Time),  # waiting: woken when this is past; NULL = only by a change
    sa.Column("open_until", Time),  # waiting for whoever takes it from the open pool
    sa.Column("rung", Small),  # of its pool's ladder, on which it waits; -1: for those who let it expire
    sa.Column("units", Int, nullable=False, server_default="1"),  # of capacity, when it was last planned
    sa.Column("nudged_at", Time),  # when the relay last announced it
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint(f"state IN ({LEAD_STATES})", name="state"),
    sa.CheckConstraint("lane BETWEEN 0 AND 2", name="lane"),
    sa.CheckConstraint("(state IN ('waiting', 'review', 'withdrawn')) = (reason IS NOT NULL)", name="one_reason"),
    sa.CheckConstraint("lat BETWEEN -90 AND 90", name="lat"),
    sa.CheckConstraint("lon BETWEEN -180 AND 180", name="lon"),
)
sa.Index("ix_leads_source", leads.c.source_id)
sa.Index("ix_leads_received", leads.c.received_at, leads.c.id)
sa.Index("ix_leads_new", leads.c.id, postgresql_where=sa.text("state = 'new'"))
sa.Index(
    "ix_leads_alive",
    leads.c.salesforce_id,
    postgresql_ops={"salesforce_id": "text_pattern_ops"},  # byte by byte: the order in which Salesforce gives ids
    postgresql_where=sa.text("state NOT IN ('done', 'withdrawn')"),
)
sa.Index("ix_leads_dirty", leads.c.id, postgresql_where=sa.text("dirty"))
sa.Index(
    "ix_leads_waiting",
    leads.c.cell,
    leads.c.rank.desc(),
    leads.c.received_at,
    leads.c.id,
    postgresql_where=sa.text("state = 'waiting'"),
)
for name, per_degree, columns in (("quarter", 4, 2048), ("sixteenth", 16, 8192)):
    sa.Index(
        f"ix_leads_waiting_{name}",
        sa.text(f"(floor(lat * {per_degree})::int * {columns} + floor(lon * {per_degree})::int)"),
        leads.c.rank.desc(),
        leads.c.received_at,
        leads.c.id,
        postgresql_where=sa.text("state = 'waiting'"),
    )
sa.Index(
    "ix_leads_waiting_first",
    leads.c.rank.desc(),
    leads.c.received_at,
    leads.c.id,
    postgresql_where=sa.text("state = 'waiting'"),
)
sa.Index(
    "ix_leads_woken",
    leads.c.rank.desc(),
    leads.c.received_at,
    leads.c.id,
    postgresql_where=sa.text("state = 'waiting' AND next_try_at IS NOT NULL"),
)
sa.Index(
    "ix_leads_ready",
    leads.c.lane,
    leads.c.id,
    postgresql_where=sa.text("state = 'new' AND lat IS NOT NULL AND NOT dirty AND deaths = 0 AND delays = 0"),
)
sa.Index(
    "ix_leads_basket",
    leads.c.basket,
    leads.c.rank.desc(),
    leads.c.received_at,
    leads.c.id,
    postgresql_where=sa.text("basket IS NOT NULL"),
)
sa.Index(
    "ix_leads_quarantined",
    leads.c.id,
    postgresql_where=sa.text("state = 'review' AND reason = 'quarantined'"),
)
sa.Index("ix_leads_scored", leads.c.id, postgresql_where=sa.text("score IS NOT NULL"))
sa.Index(
    "ix_leads_open_until",
    leads.c.open_until,
    postgresql_where=sa.text("state = 'waiting' AND reason = 'open_pool'"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("verb", Text, nullable=False),
    sa.Column("rows", ARRAY(BigInt), nullable=False),  # ids of events (intake) or leads
    sa.Column("backend", Int, nullable=False, server_default=sa.text("pg_backend_pid()")),
    sa.Column("begun_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint("verb IN ('intake', 'locate', 'route')", name="verb"),
    comment="Batches that are being worked on, by ids of events (intake) or leads.",
)

lead_contacts = sa.Table(
    "lead_contacts",
    metadata,
    sa.Column("lead_id", BigInt, sa.ForeignKey("leads.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", Text, nullable=False, server_default=""),
    sa.Column("company", Text, nullable=False, server_default=""),
    sa.Column("email", Text, nullable=False, server_default=""),
    sa.Column("phone", Text, nullable=False, server_default=""),
    sa.Column("street", Text, nullable=False, server_default=""),
    comment="Personal data of leads, apart from everything else.",
)

geocodes = sa.Table(
    "geocodes",
    metadata,
    sa.Column("address_hash", BYTEA, primary_key=True),  # SHA-256 of the normalised address: no address is kept here
    sa.Column("provider", Text, nullable=False),
    sa.Column("lat", Float),  # NULL: the provider does not know the address
    sa.Column("lon", Float),
    sa.Column("precision", Text),
    sa.Column("found_at", Time, nullable=False, server_default=NOW),
)
