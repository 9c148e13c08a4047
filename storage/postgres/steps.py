"""Small steps on leads, used inside other transactions that hold the leads' locks."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from routing.lead import Reason
from storage.postgres import tables as t
from storage.postgres.ending import end_offers, tell_salesforce
from storage.postgres.recordset import to_json


def review(conn: sa.Connection, ids: Sequence[int], reason: Reason, task_id: str) -> None:
    """Put leads before a person, with the reason, and tell Salesforce."""
    if not ids:
        return
    statement = (
        sa.update(t.leads)
        .where(t.leads.c.id == sa.any_(bigints(ids)))
        .values(
            state="review",
            reason=reason,
            version=t.leads.c.version + 1,
            updated_at=sa.func.clock_timestamp(),
            next_try_at=None,
        )
    )
    conn.execute(statement)
    tell_salesforce(conn, ids)
    note(conn, [(i, "review", {"reason": reason}) for i in ids], task_id)


def withdraw(conn: sa.Connection, ids: Sequence[int], reason: Reason, task_id: str) -> int:
    """End the leads and their open offers; how many offers ended. An offer that ended has used up its attempt."""
    if not ids:
        return 0
    alive = (
        sa.select(t.leads.c.id)
        .where(t.leads.c.id == sa.any_(bigints(ids)), t.leads.c.state.not_in(["withdrawn", "done"]))
        .order_by(t.leads.c.id)
        .with_for_update()
    )
    leaving = list(conn.execute(alive).scalars())
    ended = end_offers(conn, leaving, "withdrawn", reason, task_id)
    conn.execute(
        sa.update(t.leads)
        .where(t.leads.c.id == sa.any_(bigints(leaving)))
        .values(
            state="withdrawn",
            reason=reason,
            version=t.leads.c.version + 1,
            attempt=t.leads.c.attempt
            + sa.case((t.leads.c.id == sa.any_(bigints([e.lead_id for e in ended])), 1), else_=0),
            next_try_at=None,
            updated_at=sa.func.clock_timestamp(),
        )
    )
    note(conn, [(i, "withdrawn", {"reason": reason}) for i in leaving], task_id)
    return len(ended)


def note(
    conn: sa.Connection,
    entries: Sequence[tuple[int, str, Mapping[str, Any]]],
    task_id: str,
    *,
    actor: str = "fairturn",
    policy_version: int | None = None,
) -> None:
    """Write timeline entries: (lead, what, detail); details are ids and numbers, never personal data."""
    if entries:
        rows = [{"lead_id": lead, "what": what, "detail": detail} for lead, what, detail in entries]
        of = {"actor": actor, "task": task_id or None, "policy": policy_version}
        conn.execute(_NOTE, {"rows": to_json(rows), **of})


def lock(conn: sa.Connection, ids: Sequence[int]) -> None:
    query = sa.select(t.leads.c.id).where(t.leads.c.id == sa.any_(bigints(ids))).order_by(t.leads.c.id)
    conn.execute(query.with_for_update())


def bigints(ids: Sequence[int]) -> Any:
    return sa.cast(list(ids), sa.ARRAY(sa.BigInteger))


_NOTE = sa.text("""
    INSERT INTO timeline (lead_id, what, actor, task_id, policy_version, detail)
    SELECT lead_id, what, :actor, :task, :policy, detail
    FROM json_to_recordset(CAST(:rows AS json)) AS row (lead_id bigint, what text, detail jsonb)
""")
