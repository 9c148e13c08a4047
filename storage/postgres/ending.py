"""The steps shared by every change that ends an offer; used inside other transactions, which hold the lead's lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from storage.postgres import tables as t


@dataclass(frozen=True, slots=True)
class Ended:
    """An offer that ended just now."""

    offer: UUID
    lead_id: int
    member_id: int


def end_offers(
    conn: sa.Connection,
    lead_ids: Sequence[int],
    state: str,
    reason: str,
    task_id: str,
    *,
    only_overdue: bool = False,
) -> list[Ended]:
    """End the open offers of these leads: members get their place back, the turnstile is told by the outbox."""
    values = {"ids": list(lead_ids), "state": state, "reason": reason, "task": task_id or None, "overdue": only_overdue}
    ended = [Ended(*row) for row in conn.execute(_END, values)]
    if ended:
        members = sorted(e.member_id for e in ended)
        conn.execute(_LOCK_MEMBERS, {"ids": members})
        conn.execute(_GIVE_BACK, {"ids": members})
        conn.execute(
            sa.insert(t.outbox),
            [{"kind": "turnstile", "lead_id": e.lead_id, "version": 0, "offer_id": e.offer} for e in ended],
        )
        conn.execute(
            sa.insert(t.timeline),
            [
                {
                    "lead_id": e.lead_id,
                    "what": state,
                    "actor": "fairturn",
                    "task_id": task_id or None,
                    "detail": {"offer": str(e.offer), "member": e.member_id, "reason": reason},
                }
                for e in ended
            ],
        )
    return ended


def tell_salesforce(conn: sa.Connection, lead_ids: Sequence[int]) -> None:
    """Queue a write-back of each lead as it stands now."""
    if lead_ids:
        conn.execute(_TELL, {"ids": list(lead_ids)})


_END = sa.text("""
    UPDATE offers SET state = :state, reason = :reason, ended_at = clock_timestamp()
    WHERE lead_id = ANY(CAST(:ids AS bigint[]))
      AND (CASE WHEN :overdue THEN state = 'offered' AND expires_at <= clock_timestamp()
                ELSE state IN ('offered', 'accepted') END)
    RETURNING id, lead_id, member_id
""")
_LOCK_MEMBERS = sa.text("SELECT 1 FROM members WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR UPDATE")
_GIVE_BACK = sa.text("""
    UPDATE members SET open = open - g.n
    FROM (SELECT id, count(*)::int AS n FROM unnest(CAST(:ids AS int[])) AS x(id) GROUP BY id) g
    WHERE members.id = g.id
""")
_TELL = sa.text("""
    INSERT INTO outbox (kind, lead_id, version, lane)
    SELECT 'salesforce', id, version, lane FROM leads WHERE id = ANY(CAST(:ids AS bigint[]))
""")
