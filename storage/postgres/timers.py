"""Reminders and warnings, and accepted leads on which nothing happened; by the ledger's clock."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.answering import By
from routing.lane import Lane
from routing.offer import Notice, OfferState
from routing.policy import Answering
from routing.timers import reminders
from storage.postgres.ending import Ended, conclude
from storage.postgres.engine import transaction
from storage.postgres.notices import tell_members
from storage.postgres.onward import NO_POOL, go_on
from storage.postgres.steps import note

#: The reason of an accepted offer that ended because nothing happened on it.
WORK_OVERDUE = "work_overdue"


class Timers:
    """Finds what is due; three may look at once, and each thing is done once."""

    def __init__(self, engine: sa.Engine, answering: Callable[[], Mapping[str, Answering]]) -> None:
        self._engine = engine
        self._answering = answering

    def remind(self, *, limit: int = 200, task_id: str = "") -> int:
        """Remind members of offers that wait, warn those who accepted and did nothing; how many times were due.

        Of several reminders that are due at once, as after an outage, one is sent.
        """
        answering = self._answering()
        with transaction(self._engine) as conn:
            due = conn.execute(_DUE, {"limit": limit}).all()
            if not due:
                return 0
            now = conn.execute(_NOW).scalar_one()
            steps = [_step(one, answering.get(one.pool, NO_POOL), now) for one in due]
            conn.execute(
                _REMINDED,
                {
                    "ids": [one.id for one in due],
                    "counts": [passed for passed, _ in steps],
                    "nexts": [upcoming for _, upcoming in steps],
                },
            )
            sent = [one for one, (passed, _) in zip(due, steps, strict=True) if passed > one.reminded]
            note(conn, [_entry(one) for one in sent], task_id)
            tell_members(conn, [(one.member_id, one.id, one.lead_id, _notice(one)) for one in sent])
            return len(due)

    def pull_back(self, *, limit: int = 200, task_id: str = "") -> tuple[dict[int, Lane], int]:
        """End accepted offers whose time for the next step is over: (leads to route again by lane, how many ended).

        This uses up a reassignment.
        """
        answering = self._answering()
        with transaction(self._engine) as conn:
            leads = list(conn.execute(_RESTING, {"limit": limit}).scalars())
            if not leads:
                return {}, 0
            ended = [Ended(*row) for row in conn.execute(_PULL_BACK, {"leads": leads, "reason": WORK_OVERDUE})]
            conclude(conn, ended, OfferState.WITHDRAWN, WORK_OVERDUE, By(task_id=task_id))
            onward = go_on(conn, [one.lead_id for one in ended], answering, task_id)
            return onward.again, len(ended)


def _step(one: sa.Row[Any], rules: Answering, now: datetime) -> tuple[int, datetime | None]:
    """How many reminders have been due by now, and when the next one is."""
    if one.state == OfferState.ACCEPTED:
        return one.reminded + 1, None
    return reminders(rules, one.offered_at, one.expires_at, now)


def _notice(one: sa.Row[Any]) -> Notice:
    return Notice.WARNING if one.state == OfferState.ACCEPTED else Notice.REMINDER


def _entry(one: sa.Row[Any]) -> tuple[int, str, dict[str, object]]:
    what = "warned" if one.state == OfferState.ACCEPTED else "reminded"
    return one.lead_id, what, {"offer": str(one.id), "member": one.member_id}


_NOW = sa.text("SELECT clock_timestamp()")
_DUE = sa.text("""
    WITH due AS MATERIALIZED (
        SELECT id, lead_id, member_id, state, offered_at, expires_at, reminded FROM offers
        WHERE remind_at <= (SELECT clock_timestamp())
          AND (state = 'offered' AND expires_at > clock_timestamp()
               OR state = 'accepted' AND work_by > clock_timestamp())
        ORDER BY remind_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    SELECT due.*, l.pool FROM due JOIN leads l ON l.id = due.lead_id
""")
_REMINDED = sa.text("""
    UPDATE offers SET reminded = s.count, remind_at = s.next
    FROM unnest(CAST(:ids AS uuid[]), CAST(:counts AS smallint[]), CAST(:nexts AS timestamptz[])) AS s(id, count, next)
    WHERE offers.id = s.id
""")
_RESTING = sa.text("""
    SELECT l.id FROM offers o JOIN leads l ON l.id = o.lead_id
    WHERE o.state = 'accepted' AND o.work_by <= (SELECT clock_timestamp())
    ORDER BY o.work_by LIMIT :limit FOR UPDATE OF l SKIP LOCKED
""")
_PULL_BACK = sa.text("""
    UPDATE offers SET state = 'withdrawn', reason = :reason, ended_at = clock_timestamp(), version = version + 1,
           actor = 'fairturn', remind_at = NULL
    WHERE lead_id = ANY(CAST(:leads AS bigint[])) AND state = 'accepted' AND work_by <= clock_timestamp()
    RETURNING id, lead_id, member_id, ended_at
""")
