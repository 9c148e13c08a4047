"""The steps shared by every change that ends an offer; used inside other transactions, which hold the lead's lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from routing.answering import By
from routing.offer import Actor, Notice, OfferState
from storage.postgres import tables as t
from storage.postgres.notices import tell_members
from storage.postgres.quotas import NOT_KEPT, give_back


@dataclass(frozen=True, slots=True)
class Ended:
    """An offer that ended just now."""

    offer: UUID
    lead_id: int
    member_id: int
    at: datetime


def end_offers(
    conn: sa.Connection,
    lead_ids: Sequence[int],
    state: str,
    reason: str,
    task_id: str,
    *,
    only_overdue: bool = False,
    besides: UUID | None = None,
    by: Actor = Actor.FAIRTURN,
    notice: Notice | None = None,
) -> list[Ended]:
    """End the open offers of these leads: members get their place back, they and the turnstile are told.

    `besides` leaves one of them as it is; `notice` says otherwise than by its name what is told.
    """
    values = {"ids": list(lead_ids), "state": state, "reason": reason, "overdue": only_overdue, "besides": besides}
    ended = [Ended(*row) for row in conn.execute(_END, values | {"actor": by})]
    conclude(conn, ended, OfferState(state), reason, By(by, task_id=task_id), notice=notice)
    return ended


def conclude(
    conn: sa.Connection, ended: Sequence[Ended], state: OfferState, reason: str, by: By, *, notice: Notice | None = None
) -> None:
    """What follows from the end of offers whose rows say so already: places, timeline, and who is told."""
    if not ended:
        return
    members = sorted(e.member_id for e in ended)
    conn.execute(_LOCK_MEMBERS, {"ids": members})
    offers = [e.offer for e in ended]
    if any(conn.execute(_GIVE_BACK, {"ids": offers}).scalars()) and state in NOT_KEPT:
        give_back(conn, offers)
    conn.execute(
        sa.insert(t.outbox),
        [{"kind": "turnstile", "lead_id": e.lead_id, "version": 0, "offer_id": e.offer} for e in ended],
    )
    conn.execute(sa.insert(t.timeline), [_entry(e, state, reason, by) for e in ended])
    what = notice or Notice(f"offer.{state}")
    tell_members(conn, [(e.member_id, e.offer, e.lead_id, what) for e in ended], locked=True)


def _entry(one: Ended, state: OfferState, reason: str, by: By) -> dict[str, object]:
    person = {"person": str(by.person)} if by.person else {}
    return {
        "lead_id": one.lead_id,
        "what": state,
        "actor": by.actor,
        "task_id": by.task_id or None,
        "detail": {"offer": str(one.offer), "member": one.member_id, "reason": reason, **person},
    }


def tell_salesforce(conn: sa.Connection, lead_ids: Sequence[int]) -> None:
    """Queue a write-back of each lead as it stands now."""
    if lead_ids:
        conn.execute(_TELL, {"ids": list(lead_ids)})


_END = sa.text("""
    UPDATE offers SET state = :state, reason = :reason, ended_at = clock_timestamp(), version = version + 1,
           actor = :actor, remind_at = NULL
    WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND id IS DISTINCT FROM CAST(:besides AS uuid)
      AND (CASE WHEN :overdue THEN state = 'offered' AND expires_at <= clock_timestamp()
                ELSE state IN ('offered', 'accepted') END)
    RETURNING id, lead_id, member_id, ended_at
""")
_LOCK_MEMBERS = sa.text("SELECT 1 FROM members WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR UPDATE")
_GIVE_BACK = sa.text("""
    UPDATE members SET open = open - g.n
    FROM (SELECT member_id, sum(units)::int AS n, bool_or(counts_kept) AS kept FROM offers
          WHERE id = ANY(CAST(:ids AS uuid[])) GROUP BY member_id) g
    WHERE members.id = g.member_id RETURNING g.kept
""")
_TELL = sa.text("""
    INSERT INTO outbox (kind, lead_id, version, lane)
    SELECT 'salesforce', id, version, lane FROM leads WHERE id = ANY(CAST(:ids AS bigint[]))
""")
