"""The ledger's tables of how members are told: webhooks, devices, and what is delivered to them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, UUID

from storage.postgres.tables.base import NOW, BigInt, Int, Small, Text, Time, metadata

Uuid = UUID(as_uuid=True)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    sa.Column("url", Text, nullable=False),
    sa.Column("state", Text, nullable=False, server_default="active"),
    sa.Column("why", Text),  # it is disabled
    sa.Column("sealed", BYTEA, nullable=False),  # its secret
    sa.Column("old_sealed", BYTEA),  # the one before, which signs besides
    sa.Column("old_until", Time),  # until then
    sa.Column("failures", Int, nullable=False, server_default="0"),  # in a row
    sa.Column("failing_since", Time),
    sa.Column("rests_until", Time),  # after failures it is left alone for a while
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint("state IN ('active', 'disabled')", name="state"),
    sa.UniqueConstraint("member_id", "url"),
    comment="Webhooks of members; their secrets are sealed under FAIRTURN_SECRET.",
)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    sa.Column("person_id", Uuid, sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    sa.Column("mark", BYTEA, nullable=False, unique=True),  # the hash of where it is reached
    sa.Column("sealed", BYTEA, nullable=False),  # where it is reached, and the keys of its browser
    sa.Column("label", Text, nullable=False, server_default=""),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    comment="Browsers of people that take web push; where they are reached is sealed under FAIRTURN_SECRET.",
)
sa.Index("ix_devices_person_id", devices.c.person_id)

contact_wishes = sa.Table(
    "contact_wishes",
    metadata,
    sa.Column("person_id", Uuid, sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("channels", ARRAY(Text), nullable=False),
    comment="In which order a person wants to be told: push, sms, email; who is not in it follows the default.",
)

push_keys = sa.Table(
    "push_keys",
    metadata,
    sa.Column("id", Int, primary_key=True, autoincrement=False, server_default="1"),
    sa.Column("sealed", BYTEA, nullable=False),
    sa.Column("made_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint("id = 1", name="one"),
    comment="By what push services know us (VAPID), sealed under FAIRTURN_SECRET; made once, devices are bound to it.",
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", BigInt, sa.Identity(always=True), primary_key=True),
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE")),  # NULL: a letter to one of our own
    sa.Column("number", BigInt),  # of the member's notice; NULL: a letter
    sa.Column("what", Text, nullable=False),  # routing.offer.Notice, or the kind of letter
    sa.Column("offer_id", Uuid),
    sa.Column("lead_id", BigInt),
    sa.Column("channel", Text, nullable=False),
    sa.Column("target", Uuid, nullable=False),  # endpoint, device, or the person itself
    sa.Column("person_id", Uuid, sa.ForeignKey("people.id", ondelete="CASCADE")),  # NULL: to an endpoint
    sa.Column("step", Small, nullable=False, server_default="0"),  # of the person's channels; later ones fall back
    sa.Column("sealed", BYTEA),  # what a letter says
    sa.Column("state", Text, nullable=False, server_default="pending"),
    sa.Column("why", Text),
    sa.Column("attempts", Int, nullable=False, server_default="0"),
    sa.Column("due_at", Time, nullable=False, server_default=NOW),
    sa.Column("until", Time, nullable=False),  # it is worth nothing afterwards
    sa.Column("lease_until", Time),
    sa.Column("token", Uuid),
    sa.Column("opened_at", Time),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("done_at", Time),
    sa.CheckConstraint("channel IN ('webhook', 'push', 'sms', 'email')", name="channel"),
    sa.CheckConstraint("state IN ('pending', 'sent', 'failed', 'expired', 'skipped')", name="state"),
    sa.UniqueConstraint("member_id", "number", "channel", "target"),
    comment="One notice to one endpoint, device or person, or one letter of the house to a person; ids only.",
)
sa.Index("ix_deliveries_due", deliveries.c.due_at, postgresql_where=sa.text("state = 'pending'"))
sa.Index(
    "ix_deliveries_flying",
    deliveries.c.lease_until,
    postgresql_where=sa.text("state = 'pending' AND lease_until IS NOT NULL"),
)
sa.Index("ix_deliveries_offer", deliveries.c.offer_id, deliveries.c.person_id)

links_used = sa.Table(
    "links_used",
    metadata,
    sa.Column("mark", BYTEA, primary_key=True),
    sa.Column("offer_id", Uuid, nullable=False),
    sa.Column("used_at", Time, nullable=False, server_default=NOW),
    comment="One-tap links that did their work, by the hash of their token: none works twice.",
)
sa.Index("ix_links_used_used_at", links_used.c.used_at)
