"""The ledger's tables. What is impossible is refused here, by constraint, not by care."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, REAL, UUID

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigInt, Int, Small, Text, Float, Bool = sa.BigInteger, sa.Integer, sa.SmallInteger, sa.Text, sa.Double, sa.Boolean
Time = sa.DateTime(timezone=True)
Uuid = UUID(as_uuid=True)
NOW = sa.text("clock_timestamp()")
EMPTY = sa.text("'{}'::jsonb")

# --- what came in ---------------------------------------------------------------------------------------------------

positions = sa.Table(
    "positions",
    metadata,
    sa.Column("topic", Text, primary_key=True),
    sa.Column("replay_id", BYTEA),
    sa.Column("epoch", BigInt, nullable=False, server_default="0"),  # raised by each subscriber that takes over
    sa.Column("committed_at", Time),  # commit time of the last stored event, by Salesforce
    sa.Column("swept_to", Time),  # the hourly sweep has compared changes up to here
    sa.Column("known_from", Time, nullable=False, server_default=NOW),  # older leads are not for the nightly comparison
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    comment="Where each change stream has been read to.",
)

scans = sa.Table(
    "scans",
    metadata,
    sa.Column("kind", Text, primary_key=True),  # changed: records changed since a time; all: every open record
    sa.Column("why", Text, nullable=False),  # hourly, nightly, position refused, overflow ...
    sa.Column("since", Time),
    sa.Column("asks", BigInt, nullable=False, server_default="1"),  # raised when one that runs is asked for again
    sa.Column("begun_at", Time, nullable=False, server_default=NOW),
    sa.Column("at", Time),  # SystemModstamp of the last record read
    sa.Column("record", Text, nullable=False, server_default=""),  # and its id
    sa.Column("read", BigInt, nullable=False, server_default="0"),
    sa.Column("repaired", BigInt, nullable=False, server_default="0"),  # records that told us something new
    sa.Column("token", UUID(as_uuid=True)),
    sa.Column("lease_until", Time),
    sa.Column("done_at", Time),
    sa.CheckConstraint("kind IN ('changed', 'all')", name="kind"),
    comment="Comparisons with Salesforce, one row a kind, and how far each has come.",
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("topic", Text, nullable=False),
    sa.Column("event_id", Text, nullable=False),  # ProducerEvent.id: the identity, replay ids may repeat
    sa.Column("record_id", Text, nullable=False),  # 18 characters; may be a wildcard such as 00Q*
    sa.Column("replay_id", BYTEA, nullable=False),
    sa.Column("change_type", Text, nullable=False),
    sa.Column("origin", Text, nullable=False, server_default=""),
    sa.Column("commit_user", Text, nullable=False, server_default=""),
    sa.Column("commit_number", BigInt, nullable=False, server_default="0"),
    sa.Column("sequence_number", Int, nullable=False, server_default="0"),
    sa.Column("committed_at", Time),
    sa.Column("changed", ARRAY(Text), nullable=False, server_default="{}"),  # field names; Address.City for compounds
    sa.Column("nulled", ARRAY(Text), nullable=False, server_default="{}"),
    sa.Column("body", JSONB, nullable=False, server_default=EMPTY),  # only the fields in the event; personal data
    sa.Column("lane", Small, nullable=False, server_default="1"),  # routing.lane.Lane
    sa.Column("deaths", Small, nullable=False, server_default="0"),  # processes that ended while handling it
    sa.Column("state", Text, nullable=False, server_default="pending"),
    sa.Column("meaning", Text),  # what intake made of it: new, update, withdraw, echo, stale, dirty ...
    sa.Column("received_at", Time, nullable=False, server_default=NOW),
    sa.Column("nudged_at", Time),  # when the relay last announced it
    sa.Column("done_at", Time),
    sa.CheckConstraint("state IN ('pending', 'done', 'parked')", name="state"),
    sa.CheckConstraint("lane BETWEEN 0 AND 2", name="lane"),
    sa.UniqueConstraint("event_id", "record_id"),
)
sa.Index("ix_events_old", events.c.id, postgresql_where=sa.text("state = 'done'"))
sa.Index("ix_events_pending", events.c.lane, events.c.id, postgresql_where=sa.text("state = 'pending'"))

parked = sa.Table(
    "parked",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", Text, nullable=False),  # event, csv_lead, csv_member, outbox, lead
    sa.Column("ref", Text, nullable=False),  # what it was: event id, row number and file, outbox id
    sa.Column("reason", Text, nullable=False),  # one sentence: the field and the fix
    sa.Column("input", JSONB, nullable=False, server_default=EMPTY),
    sa.Column("raw", BYTEA),  # undecodable bytes, kept for replay
    sa.Column("task_id", Text),
    sa.Column("parked_at", Time, nullable=False, server_default=NOW),
    sa.Column("resolved_at", Time),
    sa.UniqueConstraint("kind", "ref"),
    comment="Dead letters: inspected with `fairturn parked`, replayed with `fairturn parked replay`.",
)

# --- who there is ---------------------------------------------------------------------------------------------------

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

# --- leads ----------------------------------------------------------------------------------------------------------

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
    sa.Column(
        "moves", Int, nullable=False, server_default="0"
    ),  # reassignments used: what was withdrawn is not counted
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

# --- decisions and offers -------------------------------------------------------------------------------------------

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
offers = sa.Table(
    "offers",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("lead_id", BigInt, sa.ForeignKey("leads.id"), nullable=False),
    sa.Column("member_id", Int, sa.ForeignKey("members.id"), nullable=False),
    sa.Column("market", Text, nullable=False),
    sa.Column("attempt", Int, nullable=False),
    sa.Column("state", Text, nullable=False, server_default="offered"),
    sa.Column("reason", Text),
    sa.Column("distance_m", REAL, nullable=False),
    sa.Column("ring_m", Float, nullable=False),
    sa.Column("offered_at", Time, nullable=False),
    sa.Column("expires_at", Time, nullable=False),
    sa.Column("ended_at", Time),
    sa.Column("kind", Text, nullable=False, server_default="turn"),  # routing.offer.Kind
    sa.Column("slot", Small, nullable=False, server_default="0"),  # of several members asked at once
    sa.Column("version", BigInt, nullable=False, server_default="1"),  # raised by each change that its member may see
    sa.Column("actor", Text, nullable=False, server_default="fairturn"),  # who changed it last: routing.offer.Actor
    sa.Column("person_id", UUID(as_uuid=True)),  # who of the partner's people answered
    sa.Column("assignee_id", UUID(as_uuid=True)),  # who of them works on it
    sa.Column("remind_at", Time),  # the next reminder, or after acceptance the next warning
    sa.Column("reminded", Small, nullable=False, server_default="0"),
    sa.Column("accepted_at", Time),
    sa.Column("worked_at", Time),  # the last step of its member since then
    sa.Column("work_by", Time),  # with no step until then it goes to another member
    sa.Column("extensions", Small, nullable=False, server_default="0"),
    sa.Column("units", Int, nullable=False, server_default="1"),  # of its member's capacity
    sa.Column("counts_kept", Bool, nullable=False, server_default="false"),  # in limits that count what is kept only
    sa.CheckConstraint("kind IN ('turn', 'second', 'open', 'manual')", name="kind"),
    sa.CheckConstraint("slot BETWEEN 0 AND 9", name="slot"),
    sa.CheckConstraint("units > 0", name="units"),
    sa.CheckConstraint(
        "state IN ('offered', 'accepted', 'rejected', 'expired', 'withdrawn', 'completed', 'lost', 'returned', 'void')",
        name="state",
    ),
    sa.CheckConstraint("(state IN ('offered', 'accepted')) = (ended_at IS NULL)", name="ended"),
)
OPEN_OFFER = sa.text("state IN ('offered', 'accepted')")
sa.Index("uq_offers_one_open_per_lead", offers.c.lead_id, offers.c.slot, unique=True, postgresql_where=OPEN_OFFER)
sa.Index("uq_offers_one_acceptor", offers.c.lead_id, unique=True, postgresql_where=sa.text("state = 'accepted'"))
sa.Index(
    "uq_offers_never_the_same_member_twice",
    offers.c.lead_id,
    offers.c.member_id,
    unique=True,
    postgresql_where=sa.text("state <> 'void' AND kind = 'turn'"),
)
sa.Index("ix_offers_remind", offers.c.remind_at, postgresql_where=sa.text("remind_at IS NOT NULL"))
sa.Index("ix_offers_work_by", offers.c.work_by, postgresql_where=sa.text("state = 'accepted'"))
sa.Index("ix_offers_of_member", offers.c.member_id, offers.c.offered_at)
sa.Index("ix_offers_of_lead", offers.c.lead_id)
sa.Index("ix_offers_open_of_member", offers.c.member_id, postgresql_where=OPEN_OFFER)
sa.Index("ix_offers_deadline", offers.c.expires_at, postgresql_where=sa.text("state = 'offered'"))

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", BigInt, primary_key=True),  # 1, 2, 3 ... of this member, in the order of commits, no gaps
    sa.Column("offer_id", UUID(as_uuid=True), nullable=False),
    sa.Column("lead_id", BigInt, nullable=False),
    sa.Column("what", Text, nullable=False),  # routing.offer.Notice
    sa.Column("at", Time, nullable=False, server_default=NOW),
    sa.Column("fanned_at", Time),  # when its deliveries to devices and endpoints were made out
    comment="What each member is told, ids only; the live stream reads it, deliveries are made from it.",
)
sa.Index("ix_notices_at", notices.c.at, postgresql_using="brin")
sa.Index(
    "ix_notices_to_fan",
    notices.c.at,
    postgresql_where=sa.text("fanned_at IS NULL"),
)

chances = sa.Table(
    "chances",
    metadata,
    sa.Column("lead_id", BigInt, sa.ForeignKey("leads.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("member_id", Int, sa.ForeignKey("members.id"), primary_key=True),
    sa.Column("offer_id", UUID(as_uuid=True), sa.ForeignKey("offers.id", ondelete="CASCADE"), nullable=False),
    sa.Column("asked_at", Time, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("used_at", Time),  # when it was offered again
    comment="Members who let an offer expire and ask for another, the first first.",
)

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

# --- what goes out --------------------------------------------------------------------------------------------------

edits = sa.Table(
    "edits",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("lead_id", BigInt, sa.ForeignKey("leads.id"), nullable=False),
    sa.Column("offer_id", UUID(as_uuid=True), nullable=False),
    sa.Column("asked", Text, nullable=False),  # the state the offer is to have
    sa.Column("reason", Text),
    sa.Column("at", Time, nullable=False),  # committed in Salesforce
    sa.Column("shown", Bool, nullable=False),  # in one of our fields: refused, it is shown again as it is here
    sa.Column("received_at", Time, nullable=False, server_default=NOW),
    sa.Column("done_at", Time),
    sa.Column("refused", Text),  # why
    comment="Answers that people gave in Salesforce; kept once they were carried out or refused.",
)
sa.Index("ix_edits_pending", edits.c.id, postgresql_where=sa.text("done_at IS NULL"))

watches = sa.Table(
    "watches",
    metadata,
    sa.Column("object", Text, primary_key=True),
    sa.Column("seen_to", Time, nullable=False),  # everybody who changed up to then is known
    sa.Column("looked_at", Time, nullable=False),
    comment="How far we have looked who became inactive in Salesforce, by object.",
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", Text, nullable=False),  # salesforce: write the lead; offer: it; turnstile: its place
    sa.Column("lead_id", BigInt, sa.ForeignKey("leads.id"), nullable=False),
    sa.Column("version", BigInt, nullable=False),  # the lead's; only the newest is sent
    sa.Column("offer_id", UUID(as_uuid=True)),
    sa.Column("state", Text, nullable=False, server_default="pending"),
    sa.Column("attempts", Int, nullable=False, server_default="0"),  # leased so often, those of an unwell org apart
    sa.Column("due_at", Time, nullable=False, server_default=NOW),
    sa.Column("lease_until", Time),
    sa.Column("token", UUID(as_uuid=True)),
    sa.Column("error", Text),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("done_at", Time),
    sa.Column("lane", Small, nullable=False, server_default="1"),  # the lead's: the hottest first, then the oldest
    sa.Column("deaths", Small, nullable=False, server_default="0"),  # leases in a row that their process died with
    sa.CheckConstraint("kind IN ('salesforce', 'turnstile', 'offer')", name="kind"),
    sa.CheckConstraint("state IN ('pending', 'done', 'superseded', 'parked')", name="state"),
)
sa.Index("ix_outbox_offers", outbox.c.due_at, postgresql_where=sa.text("kind = 'offer' AND state = 'pending'"))
sa.Index("ix_outbox_frees", outbox.c.due_at, postgresql_where=sa.text("kind = 'turnstile' AND state = 'pending'"))
sa.Index(
    "ix_outbox_writes",
    outbox.c.lane,
    outbox.c.id,
    postgresql_where=sa.text("kind = 'salesforce' AND state = 'pending'"),
)
sa.Index("ix_outbox_lead", outbox.c.lead_id)

gates = sa.Table(
    "gates",
    metadata,
    sa.Column("org", Text, primary_key=True),
    sa.Column("failures", Int, nullable=False, server_default="0"),  # in a row; 0: the org is well
    sa.Column("open_until", Time),  # nobody calls before
    sa.Column("probe_until", Time),  # somebody tries whether it is well again, until then at the latest
    sa.Column("because", Text, nullable=False, server_default=""),
    sa.Column("since", Time),  # of the first failure in a row
    sa.Column("used", Int),  # API calls of 24 hours, as the org told last
    sa.Column("allowed", Int),
    sa.Column("seen_at", Time),
    comment="One row an org: may it be called now, and how much of its API allowance is used.",
)

api_calls = sa.Table(
    "api_calls",
    metadata,
    sa.Column("org", Text, primary_key=True),
    sa.Column("hour", Time, primary_key=True),
    sa.Column("purpose", Text, primary_key=True),  # write, read
    sa.Column("calls", BigInt, nullable=False, server_default="0"),
    comment="Our own API calls, an hour a row.",
)

replays = sa.Table(
    "replays",
    metadata,
    sa.Column("caller", Text, primary_key=True),  # who sent the key: kind, id and member of a principal
    sa.Column("key", Text, primary_key=True),
    sa.Column("asked", BYTEA, nullable=False),  # SHA-256 of the request
    sa.Column("status", Small),  # NULL: being answered
    sa.Column("body", JSONB),
    sa.Column("at", Time, nullable=False, server_default=NOW),
    comment="What was answered under an Idempotency-Key, kept for a day; never personal data.",
)
sa.Index("ix_replays_at", replays.c.at)

# --- what happened --------------------------------------------------------------------------------------------------

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

from storage.postgres import (  # noqa: E402 - they add to the metadata made above
    tables_history,  # noqa: F401 - as above
    tables_identity,  # noqa: F401 - as above
    tables_notify,  # noqa: F401 - as above
    tables_rotation,  # noqa: F401 - as above
    tables_shadow,  # noqa: F401 - as above
)
