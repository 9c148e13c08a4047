"""Leads whose turns are over, and whom somebody let expire; used inside transactions that hold their locks."""

from collections.abc import Collection

import sqlalchemy as sa

from routing.lead import Reason
from storage.postgres.ending import tell_salesforce
from storage.postgres.steps import note


def to_open(conn: sa.Connection, ids: Collection[int], task_id: str) -> set[int]:
    """Let those of the leads wait for the open pool whom somebody let expire; inside a transaction that locks them."""
    if not ids:
        return set()
    found = sorted({row.lead_id for row in conn.execute(ENTITLED, {"ids": sorted(ids)})})
    if found:
        conn.execute(_WAIT, {"ids": found})
        tell_salesforce(conn, found)
        note(conn, [(lead, "waiting", {"reason": Reason.OPEN_POOL}) for lead in found], task_id)
    return set(found)


PAST = """
    SELECT o.lead_id, o.member_id, (array_agg(o.id ORDER BY o.offered_at DESC))[1] AS offer_id
    FROM offers o JOIN members m ON m.id = o.member_id
    WHERE {which} AND o.state <> 'void' AND m.active
    GROUP BY o.lead_id, o.member_id HAVING bool_and(o.state = 'expired')
"""
ENTITLED = sa.text(
    PAST.format(which="o.lead_id = ANY(CAST(:ids AS bigint[])) AND m.present") + " ORDER BY o.lead_id, o.member_id"
)
_WAIT = sa.text("""
    UPDATE leads SET state = 'waiting', reason = 'open_pool', open_until = NULL, rung = NULL, version = version + 1,
           updated_at = clock_timestamp(), next_try_at = NULL, nudged_at = NULL
    WHERE id = ANY(CAST(:ids AS bigint[]))
""")
