"""Which members are inactive in Salesforce, and how far we have looked."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.leavers import ROUND, TOGETHER, Active
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.members import ONE_AT_A_TIME
from storage.postgres.tables import NOW, watches


class LeaverRows:
    """Keeps routing.leavers.LeaverBook's promises."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def clock(self) -> datetime:
        """The ledger's time."""
        with transaction(self._engine) as conn:
            now: datetime = conn.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            return now

    def kinds(self) -> set[str]:
        """How the Salesforce ids of members begin."""
        with transaction(self._engine) as conn:
            return set(conn.execute(_KINDS).scalars())

    def seen_to(self, record: str) -> tuple[datetime, datetime] | None:
        """Up to when everybody who changed is known, and when we looked; None before the first look."""
        query = sa.select(watches.c.seen_to, watches.c.looked_at).where(watches.c.object == record)
        with transaction(self._engine) as conn:
            row = conn.execute(query).one_or_none()
            return (row.seen_to, row.looked_at) if row else None

    def unasked(self, prefix: str, limit: int = TOGETHER) -> Sequence[str]:
        """Salesforce ids of members that nobody has asked for yet."""
        with transaction(self._engine) as conn:
            return list(conn.execute(_UNASKED, {"prefix": prefix, "limit": limit}).scalars())

    def told(self, found: Sequence[Active], *, asked: Sequence[str] = ()) -> tuple[list[int], list[int]]:
        """Keep who is inactive; the members who left just now, and those who are back.

        `asked`: the ids that were asked for; whoever of them was not found has left as well.
        """
        active = {one.record_id[:15]: one.active for one in found}
        active = {one[:15]: False for one in asked} | active
        if not active:
            return [], []
        values = {"ids": list(active), "active": list(active.values()), "asked": list(asked)}
        with transaction(self._engine) as conn:
            conn.execute(ONE_AT_A_TIME)
            rows = conn.execute(_TELL, values).all()
            if asked:
                conn.execute(_ASKED, {"asked": list(asked)})
            left = [row for row in rows if row.left]
            back = [row for row in rows if not row.left]
            if rows:
                conn.execute(_RAISE, {"markets": sorted({row.market for row in rows})})
            for action, which in (("members.left", left), ("members.returned", back)):
                if which:
                    record(conn, "salesforce", action, members=sorted(row.key for row in which))
            return [row.id for row in left], [row.id for row in back]

    def looked(self, record: str, seen_to: datetime) -> None:
        """Remember how far we have looked."""
        values = {"seen_to": seen_to, "looked_at": NOW}
        statement = insert(watches).values(object=record, **values)
        with transaction(self._engine) as conn:
            conn.execute(statement.on_conflict_do_update(index_elements=["object"], set_=values))

    def pending(self, limit: int = ROUND) -> Sequence[UUID]:
        """Open offers of members who left, not yet answered."""
        with transaction(self._engine) as conn:
            return list(conn.execute(_PENDING, {"limit": limit}).scalars())


_KINDS = sa.text("SELECT DISTINCT left(salesforce_id, 3) FROM members WHERE salesforce_id IS NOT NULL")
_UNASKED = sa.text("""
    SELECT salesforce_id FROM members
    WHERE salesforce_id IS DISTINCT FROM watched_id AND left(salesforce_id, 3) = :prefix ORDER BY id LIMIT :limit
""")
_TELL = sa.text("""
    UPDATE members m SET left_at = CASE WHEN told.active THEN NULL ELSE clock_timestamp() END,
           updated_at = clock_timestamp()
    FROM unnest(CAST(:ids AS text[]), CAST(:active AS boolean[])) AS told (id, active)
    WHERE left(m.salesforce_id, 15) = told.id AND (m.left_at IS NULL) <> told.active
    RETURNING m.id, m.key, m.market, m.left_at IS NOT NULL AS left
""")
_ASKED = sa.text("UPDATE members SET watched_id = salesforce_id WHERE salesforce_id = ANY(CAST(:asked AS text[]))")
_RAISE = sa.text("""
    UPDATE markets SET roster_version = roster_version + 1 WHERE name = ANY(CAST(:markets AS text[]))
""")
_PENDING = sa.text("""
    SELECT o.id FROM offers o JOIN members m ON m.id = o.member_id
    WHERE o.state = 'offered' AND m.left_at IS NOT NULL ORDER BY o.offered_at LIMIT :limit
""")
