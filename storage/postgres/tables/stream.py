"""What came in from Salesforce, how far it was read, and what could not be used."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, UUID

from storage.postgres.tables.base import EMPTY, NOW, BigInt, Int, Small, Text, Time, metadata

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
