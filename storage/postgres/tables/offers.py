"""Offers, what their members were told of them, and second chances."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REAL, UUID

from storage.postgres.tables.base import NOW, BigInt, Bool, Float, Int, Small, Text, Time, metadata

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
sa.Index(
    "ix_offers_given_back",
    offers.c.ended_at,
    postgresql_where=sa.text("counts_kept AND state IN ('rejected', 'expired', 'withdrawn')"),
)
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
