"""Leads that are open to those who let them expire, after everyone's turn (row O9)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.answering import By, work_times
from routing.lead import Reason
from routing.offer import (
    Actor,
    Answered,
    Kind,
    NoRoom,
    Notice,
    OfferExpired,
    OfferState,
    OfferTaken,
    UnknownOffer,
)
from routing.policy import Answering
from routing.timekeeper import OpenLead
from storage.postgres.accepting import accepted
from storage.postgres.engine import transaction
from storage.postgres.exhausted import ENTITLED, PAST
from storage.postgres.notices import tell_members
from storage.postgres.onward import NO_POOL
from storage.postgres.steps import note, review


class OpenPool:
    """Opens, closes and gives away; three may do so at once, and each thing is done once."""

    def __init__(
        self, engine: sa.Engine, answering: Callable[[], Mapping[str, Answering]], new_id: Callable[[], UUID]
    ) -> None:
        self._engine = engine
        self._answering = answering
        self._new_id = new_id

    def open(self, *, limit: int = 200, task_id: str = "") -> int:
        """Open leads whose last turn is over, and tell everyone who let them expire; how many leads."""
        answering = self._answering()
        with transaction(self._engine) as conn:
            rows = conn.execute(_TO_OPEN, {"limit": limit}).all()
            if not rows:
                return 0
            lengths = {row.id: answering.get(row.pool, NO_POOL).open_for for row in rows}
            open_, shut = [i for i, length in lengths.items() if length], [i for i, n in lengths.items() if not n]
            conn.execute(_OPEN, {"ids": open_, "lengths": [lengths[i] for i in open_]})
            review(conn, shut, Reason.EXHAUSTED, task_id)  # the policy has changed since
            note(conn, [(lead, "opened", {}) for lead in open_], task_id)
            entitled = conn.execute(ENTITLED, {"ids": open_}).all()
            tell_members(conn, [(e.member_id, e.offer_id, e.lead_id, Notice.OPENED) for e in entitled])
            return len(rows)

    def close(self, *, limit: int = 200, task_id: str = "") -> int:
        """Put leads before a person that nobody took in time; how many."""
        with transaction(self._engine) as conn:
            ids = list(conn.execute(_TO_CLOSE, {"limit": limit}).scalars())
            review(conn, ids, Reason.EXHAUSTED, task_id)
            return len(ids)

    def leads(self, member: int, *, limit: int = 100) -> Sequence[OpenLead]:
        """What the member may take now, the first to close first."""
        with transaction(self._engine) as conn:
            return [OpenLead(*row) for row in conn.execute(_MINE, {"member": member, "limit": limit})]

    def take(self, lead: int, *, member: int, person: UUID | None = None, task_id: str = "") -> Answered:
        """Give an open lead to this member, whose place it takes: an offer of kind open, accepted at once.

        Nobody's turn moves: it was everyone's turn before. Taking it twice is taking it once.
        """
        answering, by = self._answering(), By(Actor.MEMBER, member, person, task_id=task_id)
        with transaction(self._engine) as conn:
            asked = {"lead": lead, "member": member}
            row = _known(conn.execute(_LOOK, asked).one_or_none())
            if done := _judge(row, member):
                return done
            conn.execute(_STAY, {"market": row.market})
            conn.execute(_LOCK_LEAD, asked)
            row = _known(conn.execute(_LOOK, asked).one_or_none())
            if done := _judge(row, member):
                return done
            return self._give(conn, row, answering.get(row.pool, NO_POOL), by)

    def _give(self, conn: sa.Connection, row: sa.Row[Any], rules: Answering, by: By) -> Answered:
        entitled = conn.execute(ENTITLED, {"ids": [row.id]}).all()
        others = [(e.member_id, e.offer_id, row.id, Notice.TAKEN) for e in entitled if e.member_id != by.member]
        conn.execute(_LOCK_MEMBERS, {"ids": sorted({row.member_id, *(one for one, *_ in others)})})
        if conn.execute(_TAKE_PLACE, {"member": row.member_id, "units": row.units}).first() is None:
            raise NoRoom
        offer = self._new_id()
        now: datetime = conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        work_by, warn_at = work_times(now, rules)
        values = {"id": offer, "now": now, "work_by": work_by, "warn_at": warn_at, "person": by.person}
        conn.execute(_OFFER, values | {"past": row.offer_id, "lead": row.id, "until": row.open_until})
        conn.execute(_TELL_TURNSTILE, {"lead": row.id, "offer": offer})
        conn.execute(_TAKEN, {"lead": row.id})
        entry = {"offer": str(offer), "member": row.member_id, "kind": Kind.OPEN}
        note(conn, [(row.id, "offered", entry)], by.task_id)
        accepted(conn, [(offer, row.id, row.member_id)], by)
        tell_members(conn, others)
        return Answered(offer, row.id, row.member_id, OfferState.ACCEPTED, now)


def _known(row: sa.Row[Any] | None) -> sa.Row[Any]:
    if row is None:
        raise UnknownOffer("No lead that is open to you has this id.")
    return row


def _judge(row: sa.Row[Any], member: int) -> Answered | None:
    """What a taking comes to that changes nothing: the same one made before, or a refusal; None: it may be made."""
    if row.holder == member:
        return Answered(row.held, row.id, member, OfferState(row.held_state), row.accepted_at, repeated=True)
    if row.spoilt:
        raise UnknownOffer("No lead that is open to you has this id.")
    if row.holder is not None or row.state in {"accepted", "done"}:
        raise OfferTaken(state=row.state)
    if row.open_until is not None and row.open_until <= row.now:
        at = row.open_until
        raise OfferExpired(
            f"The lead was open until {at:%Y-%m-%d %H:%M:%S} UTC.", state=row.state, ended_at=at.isoformat()
        )
    if row.state != "waiting" or row.reason != Reason.OPEN_POOL or row.open_until is None:
        raise UnknownOffer("The lead is not open.")
    return None


_TO_OPEN = sa.text("""
    SELECT id, pool FROM leads WHERE state = 'waiting' AND reason = 'open_pool' AND open_until IS NULL
    ORDER BY open_until, id LIMIT :limit FOR UPDATE SKIP LOCKED
""")
_OPEN = sa.text("""
    UPDATE leads SET open_until = clock_timestamp() + s.length, updated_at = clock_timestamp()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:lengths AS interval[])) AS s(id, length) WHERE leads.id = s.id
""")
_TO_CLOSE = sa.text("""
    SELECT id FROM leads WHERE state = 'waiting' AND reason = 'open_pool' AND open_until <= (SELECT clock_timestamp())
    ORDER BY open_until LIMIT :limit FOR UPDATE SKIP LOCKED
""")
_MINE = sa.text(f"""
    SELECT past.lead_id, past.offer_id, l.open_until
    FROM ({PAST.format(which="o.member_id = :member")}) past JOIN leads l ON l.id = past.lead_id
    WHERE l.state = 'waiting' AND l.reason = 'open_pool' AND l.open_until > clock_timestamp()
    ORDER BY l.open_until, l.id LIMIT :limit
""")  # noqa: S608 - our own words
_LOOK = sa.text("""
    SELECT l.id, l.state, l.reason, l.pool, l.open_until, clock_timestamp() AS now,
           own.member_id, own.id AS offer_id, own.market, own.units,
           held.id AS held, held.member_id AS holder, held.state AS held_state, held.accepted_at,
           EXISTS (SELECT FROM offers o WHERE o.lead_id = l.id AND o.member_id = :member
                   AND o.state NOT IN ('void', 'expired')) AS spoilt
    FROM leads l
    JOIN LATERAL (
        SELECT o.* FROM offers o WHERE o.lead_id = l.id AND o.member_id = :member AND o.state = 'expired'
        ORDER BY o.offered_at DESC LIMIT 1
    ) own ON true
    LEFT JOIN LATERAL (
        SELECT o.* FROM offers o
        WHERE o.lead_id = l.id AND o.kind = 'open' AND o.state IN ('accepted', 'completed', 'lost')
        ORDER BY o.offered_at DESC LIMIT 1
    ) held ON true
    WHERE l.id = :lead
""")
_LOCK_LEAD = sa.text("SELECT 1 FROM leads WHERE id = :lead FOR UPDATE")
_LOCK_MEMBERS = sa.text("SELECT 1 FROM members WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR UPDATE")
_TAKE_PLACE = sa.text("""
    UPDATE members SET open = open + :units
    WHERE id = :member AND active AND left_at IS NULL AND open + :units <= coalesce(
        capacity, (SELECT capacity FROM tiers WHERE name = members.tier), (SELECT capacity FROM tiers WHERE name = ''))
    RETURNING id
""")
_OFFER = sa.text("""
    INSERT INTO offers (id, lead_id, member_id, market, attempt, state, kind, actor, distance_m, ring_m, offered_at,
                        expires_at, accepted_at, worked_at, work_by, remind_at, person_id, assignee_id, units)
    SELECT :id, l.id, past.member_id, past.market, l.attempt, 'accepted', 'open', 'member', past.distance_m,
           past.ring_m, :now, :until, :now, :now, :work_by, :warn_at, :person, :person, past.units
    FROM leads l JOIN offers past ON past.id = :past WHERE l.id = :lead
""").bindparams(sa.bindparam("person", type_=sa.Uuid))
_TELL_TURNSTILE = sa.text("""
    INSERT INTO outbox (kind, lead_id, version, offer_id) VALUES ('turnstile', :lead, 0, :offer)
""")
# No rebuild of the turnstile comes between this and the commit; before any other lock, as routing does.
_STAY = sa.text("SELECT pg_advisory_xact_lock_shared(hashtext('turnstile:' || :market))")
_TAKEN = sa.text("UPDATE leads SET open_until = NULL WHERE id = :lead")
