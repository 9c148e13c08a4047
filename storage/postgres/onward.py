"""What follows for a lead whose offers have ended without success; used inside transactions that hold its lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from routing.lane import Lane
from routing.lead import Reason
from routing.policy import Answering
from storage.postgres.ending import tell_salesforce
from storage.postgres.exhausted import to_open
from storage.postgres.steps import review

#: Where a lead's pool is no more, or it never had one.
NO_POOL = Answering()


@dataclass(slots=True)
class Onward:
    """Leads by what follows for them; those in neither have another open offer."""

    again: dict[int, Lane] = field(default_factory=dict)  # routed anew, by these lanes
    over: list[int] = field(default_factory=list)  # their last reassignment was used up, a person looks


def go_on(
    conn: sa.Connection,
    lead_ids: Sequence[int],
    answering: Mapping[str, Answering],
    task_id: str,
    *,
    counts: bool = True,
    stays: Reason | None = None,
) -> Onward:
    """Send leads on to the next member, or at the end of the chain to a person; who has an open offer stays.

    `counts`: this was one of the reassignments that the policy allows. `stays`: a person looks, whatever is left.
    """
    ids = sorted(set(lead_ids))
    rows = conn.execute(_NEXT, {"ids": ids, "counts": int(counts)}).all() if ids else []
    if stays:
        review(conn, [r.id for r in rows], stays, task_id)
        return Onward()
    last = {r.id for r in rows if counts and r.moves > answering.get(r.pool, NO_POOL).reassignments}
    if last:
        last -= set(conn.execute(_HAVE_CHANCES, {"ids": sorted(last)}).scalars())
        pools = {r.id: answering.get(r.pool, NO_POOL) for r in rows}
        opened = to_open(conn, [lead for lead in last if pools[lead].open_for], task_id)
        rows, last = [r for r in rows if r.id not in opened], last - opened
    onward = Onward({r.id: Lane(r.lane) for r in rows if r.id not in last}, sorted(last))
    review(conn, onward.over, Reason.EXHAUSTED, task_id)
    tell_salesforce(conn, list(onward.again))
    return onward


_NEXT = sa.text("""
    UPDATE leads SET attempt = attempt + 1, moves = moves + :counts, state = 'new', reason = NULL,
           version = version + 1, updated_at = clock_timestamp(), nudged_at = NULL, deaths = 0, delays = 0,
           next_try_at = NULL, lane = least(lane, 1) -- a lead that was offered before is no import any more
    WHERE id = ANY(CAST(:ids AS bigint[]))
      AND NOT EXISTS (SELECT FROM offers o WHERE o.lead_id = leads.id AND o.state IN ('offered', 'accepted'))
    RETURNING id, lane, pool, moves
""")
_HAVE_CHANCES = sa.text("""
    SELECT DISTINCT lead_id FROM chances WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND used_at IS NULL
""")
