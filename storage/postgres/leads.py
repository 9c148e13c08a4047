"""Leads in the ledger: taken in from events, placed, woken, withdrawn, expired. Routing itself is in routing_batch."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.change import Change
from routing.intake import Read, Taken
from routing.journey import Left
from routing.lane import Lane
from routing.lead import Located, Reason, ToLocate
from routing.policy import Answering, TurnEffect
from storage.postgres import tables as t
from storage.postgres.by_hand import leave
from storage.postgres.corrections import owe_correction
from storage.postgres.ending import end_offers
from storage.postgres.engine import transaction
from storage.postgres.intake import lock_events, take
from storage.postgres.onward import NO_POOL, go_on
from storage.postgres.placing import place, unplaced
from storage.postgres.steps import bigints, lock, note, review
from storage.postgres.values import clean_text

Row = sa.RowMapping

#: The pause before a lead that was put off is tried again doubles up to this.
LONGEST_PAUSE_S = 300
#: Put off so often, about a day long, a lead is shown to a person.
DELAYS = 300
#: Waiting leads that somebody must take or distribute.
NOT_WOKEN = (Reason.OPEN_POOL, Reason.HELD)
#: A row announced this recently is left alone by the relay.
LEASE_S = 10


class Leads:
    """The ledger's leads; each public method is one transaction and safe to repeat."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # --- taken in

    def intake(self, event_ids: Sequence[int], read: Read, *, task_id: str = "") -> Taken:
        """Read pending events into their leads with `read`, in the order Salesforce committed them."""
        with transaction(self._engine) as conn:
            changes = lock_events(conn, event_ids)
            return take(conn, changes, read, task_id)

    def clock(self) -> datetime:
        """The ledger's time, by which `snapshots` tells what is newer."""
        with transaction(self._engine) as conn:
            now: datetime = conn.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            return now

    def snapshots(self, changes: Sequence[Change], read: Read, *, as_of: datetime, task_id: str = "") -> Taken:
        """Read records that were asked for by REST at `as_of` into their leads.

        A lead that changed here since then is left as it is: the record may be older than what changed it.
        """
        with transaction(self._engine) as conn:
            return take(conn, list(changes), read, task_id, as_of=as_of)

    def park_event(self, event_id: int, reason: str, *, task_id: str = "") -> None:
        """Set one event aside with its reason; replaying it makes it pending again."""
        parking = (
            sa.update(t.events)
            .where(t.events.c.id == event_id, t.events.c.state == "pending")
            .values(state="parked", done_at=sa.func.clock_timestamp())
        )
        with transaction(self._engine) as conn:
            if conn.execute(parking).rowcount:
                _park(conn, "event", event_id, reason, task_id)

    def park_lead(self, lead_id: int, reason: str, *, task_id: str = "") -> None:
        """Put a lead that cannot be handled before a person, the error kept; one that has an offer is left alone."""
        with transaction(self._engine) as conn:
            if conn.execute(_LOCK_UNPLACED, {"id": lead_id}).first():
                _park(conn, "lead", lead_id, reason, task_id)
                review(conn, [lead_id], Reason.ERROR, task_id)

    def reopen(self, lead_id: int) -> bool:
        """Let a lead whose handling failed be tried again; False when it is not in review for an error."""
        again = sa.update(t.leads).where(
            t.leads.c.id == lead_id, t.leads.c.state == "review", t.leads.c.reason == "error"
        )
        fresh: dict[str, Any] = {"state": "new", "reason": None, "version": t.leads.c.version + 1, "nudged_at": None}
        fresh |= {"deaths": 0, "delays": 0, "next_try_at": None}
        with transaction(self._engine) as conn:
            reopened = conn.execute(again.values(**fresh, updated_at=sa.func.now())).rowcount == 1
            note(conn, [(lead_id, "tried again", {})] if reopened else [], "", actor="operator")
            return reopened

    def put_off(self, ids: Sequence[int], because: str, *, task_id: str = "") -> list[int]:
        """Let new leads be tried again after a pause that doubles; who was put off for a day goes to review: their ids.

        What a lead's handling says again and again is about that lead.
        """
        with transaction(self._engine) as conn:
            lock(conn, ids)
            rows = conn.execute(_PUT_OFF, {"ids": list(ids), "longest": LONGEST_PAUSE_S}).all()
            over = [row.id for row in rows if row.delays >= DELAYS]
            for lead in over:
                _park(conn, "lead", lead, f"put off {DELAYS} times, at last because: {because}", task_id)
            review(conn, over, Reason.ERROR, task_id)
            return over

    # --- placed

    def unplaced(self, ids: Sequence[int]) -> list[ToLocate]:
        """Those of the leads that wait for a place."""
        with transaction(self._engine) as conn:
            return unplaced(conn, ids)

    def placed(self, found: Sequence[tuple[ToLocate, Located | None]], *, task_id: str = "") -> list[int]:
        """Keep the places found; leads nobody can place go to review. Returns the ids that can be routed now."""
        known = [(lead, at) for lead, at in found if at is not None]
        lost = [lead for lead, at in found if at is None]
        with transaction(self._engine) as conn:
            lock(conn, [lead.id for lead, _ in found])
            ready = place(conn, known, task_id)
            review(conn, [lead.id for lead in lost], Reason.UNKNOWN_PLACE, task_id)
            return ready

    # --- ended

    def withdraw(self, ids: Sequence[int], reason: Reason, *, task_id: str = "") -> int:
        """End the leads and their open offers; returns how many offers ended. Ended leads are left alone."""
        with transaction(self._engine) as conn:
            return leave(conn, ids, reason, task_id)

    def expire(
        self, answering: Mapping[str, Answering], *, limit: int = 200, task_id: str = ""
    ) -> tuple[dict[int, Lane], list[int]]:
        """End offers whose deadline has passed: (leads to route again, each with its lane; those whose last this was).

        `answering` is the policy's, by pool. Three may do so at once: each offer expires once.
        """
        with transaction(self._engine) as conn:
            overdue = conn.execute(_OVERDUE, {"limit": limit}).all()
            ended = end_offers(conn, [r.id for r in overdue], "expired", "no answer", task_id, only_overdue=True)
            pools = {r.id: r.pool for r in overdue}
            for effect in TurnEffect:
                due = [e.offer for e in ended if answering.get(pools[e.lead_id], NO_POOL).expired_turn is effect]
                owe_correction(conn, due, effect, "no answer")
            leads = {e.lead_id for e in ended}
            free = {r.id for r in overdue if not answering.get(r.pool, NO_POOL).expiry_counts} & leads
            moved = go_on(conn, sorted(leads - free), answering, task_id)
            unmoved = go_on(conn, sorted(free), answering, task_id, counts=False)
            return moved.again | unmoved.again, moved.over

    # --- waiting

    def wake(self, ids: Sequence[int] | None = None) -> int:
        """Let waiting leads be planned again (all of them when no ids are given); returns how many."""
        which = sa.true() if ids is None else t.leads.c.id == sa.any_(bigints(ids))
        statement = (
            sa.update(t.leads)
            .where(t.leads.c.state == "waiting", t.leads.c.reason.not_in(NOT_WOKEN), which)
            .values(next_try_at=sa.func.clock_timestamp())
        )
        with transaction(self._engine) as conn:
            return int(conn.execute(statement).rowcount)

    def woken(self, *, limit: int = 100) -> list[int]:
        """Waiting leads that may be planned again: best priority, then oldest, first."""
        query = (
            sa.select(t.leads.c.id)
            .where(t.leads.c.state == "waiting", t.leads.c.next_try_at <= sa.func.clock_timestamp(), ~t.leads.c.dirty)
            .where(t.leads.c.deaths == 0, t.leads.c.reason.not_in(NOT_WOKEN))
            .order_by(t.leads.c.rank.desc(), t.leads.c.received_at, t.leads.c.id)
            .limit(limit)
        )
        with transaction(self._engine) as conn:
            return list(conn.execute(query).scalars())

    # --- found again by the relay

    def left_behind(
        self, *, older_than_s: float, lanes: Collection[Lane], died: bool = False, limit: int = 1000
    ) -> list[Left]:
        """Rows of these lanes whose message got lost; what once ended its process, or was put off, each by itself.

        With `died` only what a process died with. They are marked as announced, so that asking again at once finds
        nothing.
        """
        values: dict[str, Any] = {"age": older_than_s, "lease": LEASE_S, "limit": limit, "died": died}
        values["lanes"] = [int(lane) for lane in lanes]
        with transaction(self._engine) as conn:
            rows = [*conn.execute(_LOST_EVENTS, values), *conn.execute(_LOST_LEADS, values)]
        together: dict[tuple[str, int], list[int]] = {}
        for row in rows:
            if not row.frail:
                together.setdefault((row.verb, row.lane), []).append(row.id)
        alone = [Left(row.verb, Lane(row.lane), (row.id,), died=row.died) for row in rows if row.frail]
        return [Left(verb, Lane(lane), tuple(ids)) for (verb, lane), ids in together.items()] + alone

    def dirty(self, *, limit: int = 200, gather_s: float = 0.0) -> list[str]:
        """Salesforce ids of leads to read again; the caller asks for them, and others leave them alone meanwhile.

        None while there are few and the oldest is younger than `gather_s`: to ask for many at once costs one call.
        """
        values = {"limit": limit, "enough": limit // 4, "gather": gather_s, "lease": LEASE_S}
        with transaction(self._engine) as conn:
            return list(conn.execute(_ASK_FOR, values).scalars())

    def are_dirty(self, *, for_s: float) -> bool:
        """Whether leads have waited that long to be read again and nobody has asked for them."""
        with transaction(self._engine) as conn:
            return bool(conn.scalar(_MUST_ASK, {"gather": for_s, "lease": LEASE_S}))

    def park_record(self, record_id: str, reason: str, *, task_id: str = "") -> None:
        """Set a lead aside whose record cannot be read, so that Salesforce is not asked for it again and again."""
        with transaction(self._engine) as conn:
            lead = conn.execute(_CLEAN, {"record": record_id}).first()
            if lead is not None:
                _park(conn, "lead", lead.id, reason, task_id)
                if lead.state in {"new", "waiting"}:
                    review(conn, [lead.id], Reason.ERROR, task_id)


def _park(conn: sa.Connection, kind: str, ref: int, reason: str, task_id: str) -> None:
    row = {"kind": kind, "ref": str(ref), "reason": clean_text(reason), "task_id": task_id or None}
    news = {"reason": row["reason"], "task_id": row["task_id"], "parked_at": t.NOW, "resolved_at": None}
    conn.execute(insert(t.parked).values(row).on_conflict_do_update(index_elements=["kind", "ref"], set_=news))


_LOCK_UNPLACED = sa.text("SELECT 1 FROM leads WHERE id = :id AND state IN ('new', 'waiting') FOR UPDATE")
_OVERDUE = sa.text("""
    SELECT l.id, l.pool FROM offers o JOIN leads l ON l.id = o.lead_id
    WHERE o.state = 'offered' AND o.expires_at <= (SELECT clock_timestamp())
    ORDER BY o.expires_at LIMIT :limit FOR UPDATE OF l SKIP LOCKED
""")
_PUT_OFF = sa.text("""
    UPDATE leads SET delays = delays + 1, nudged_at = NULL,
           next_try_at = clock_timestamp() + make_interval(secs => least(0.5 * 2 ^ delays, :longest))
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'new' RETURNING id, delays
""")
_LOST_EVENTS = sa.text("""
    UPDATE events SET nudged_at = clock_timestamp() WHERE id IN (
        SELECT id FROM events WHERE state = 'pending' AND received_at < clock_timestamp() - make_interval(secs => :age)
          AND (nudged_at IS NULL OR nudged_at < clock_timestamp() - make_interval(secs => :lease))
          AND lane = ANY(CAST(:lanes AS smallint[])) AND (deaths > 0 OR NOT :died)
        ORDER BY lane, id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING id, lane, deaths > 0 AS frail, deaths > 0 AS died, 'intake' AS verb
""")
_LOST_LEADS = sa.text("""
    UPDATE leads SET nudged_at = clock_timestamp() WHERE id IN (
        SELECT id FROM leads
        WHERE ((state = 'new' AND (next_try_at IS NULL OR next_try_at <= clock_timestamp())) OR dirty
               OR (state = 'waiting' AND next_try_at <= clock_timestamp() AND deaths > 0))
          AND updated_at < clock_timestamp() - make_interval(secs => :age)
          AND (nudged_at IS NULL OR nudged_at < clock_timestamp() - make_interval(secs => :lease))
          AND lane = ANY(CAST(:lanes AS smallint[])) AND (deaths > 0 OR NOT :died)
        ORDER BY rank DESC, received_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING id, lane, deaths + delays > 0 AND NOT dirty AS frail, deaths > 0 AND NOT dirty AS died,
                CASE WHEN dirty THEN 'refresh' WHEN lat IS NULL THEN 'locate' ELSE 'route' END AS verb
""")
_UNASKED = "dirty AND (asked_at IS NULL OR asked_at < clock_timestamp() - make_interval(secs => :lease))"
_ASK_FOR = sa.text(f"""
    WITH due AS MATERIALIZED (
        SELECT id, updated_at FROM leads WHERE {_UNASKED} ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE leads SET asked_at = clock_timestamp() WHERE id IN (SELECT id FROM due) AND (
        (SELECT COUNT(*) FROM due) >= :enough
        OR (SELECT MIN(updated_at) FROM due) <= clock_timestamp() - make_interval(secs => :gather)
    ) RETURNING salesforce_id
""")  # noqa: S608 - our own condition
_MUST_ASK = sa.text(f"""
    SELECT EXISTS (SELECT FROM leads WHERE {_UNASKED}
                   AND updated_at <= clock_timestamp() - make_interval(secs => :gather))
""")  # noqa: S608 - as above
_CLEAN = sa.text("""
    UPDATE leads SET dirty = FALSE, updated_at = clock_timestamp() WHERE salesforce_id = :record RETURNING id, state
""")
