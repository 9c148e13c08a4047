"""What goes out to Salesforce and to callers, and what people changed there."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID

from storage.postgres.tables.base import NOW, BigInt, Bool, Int, Small, Text, Time, metadata

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
