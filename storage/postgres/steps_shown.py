"""The timeline as it is shown to others: every step once, in order, none skipped."""

from collections.abc import Sequence

import sqlalchemy as sa

from routing.step import Step
from storage.postgres.engine import transaction

#: A step is shown when no transaction can still be open that would add one before it: statements end after 5 s, and
#: a transaction in which nothing happens after 10 s.
SETTLED_S = 20


class StepsShown:
    """How far each reader of the timeline has come."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def next(self, to_whom: str, *, limit: int = 1000) -> list[Step]:
        """The steps after the last that was shown, oldest first; a reader who comes first begins with now."""
        with transaction(self._engine) as conn:
            conn.execute(_BEGIN_NOW, {"to_whom": to_whom})
            rows = conn.execute(_NEXT, {"to_whom": to_whom, "limit": limit, "settled": SETTLED_S})
            return [Step(*row) for row in rows]

    def mark(self, to_whom: str, shown: Sequence[Step]) -> None:
        """These steps were shown; safe to repeat, and never goes back."""
        if shown:
            with transaction(self._engine) as conn:
                conn.execute(_MARK, {"to_whom": to_whom, "id": max(step.id for step in shown)})


_BEGIN_NOW = sa.text("""
    INSERT INTO shown (to_whom, timeline_id) SELECT :to_whom, coalesce(max(id), 0) FROM timeline
    ON CONFLICT DO NOTHING
""")
_NEXT = sa.text("""
    SELECT t.id, t.lead_id, coalesce(before.at, CAST(t.detail ->> 'committed_at' AS timestamptz), t.at) AS since,
           t.at, t.what, before.at IS NULL AS is_first, t.actor, t.task_id, t.policy_version, t.detail
    FROM timeline t
    LEFT JOIN LATERAL (
        SELECT max(p.at) AS at FROM timeline p WHERE p.lead_id = t.lead_id AND p.id < t.id
    ) before ON TRUE
    WHERE t.id > (SELECT timeline_id FROM shown WHERE to_whom = :to_whom)
      AND t.at < clock_timestamp() - make_interval(secs => :settled)
    ORDER BY t.id LIMIT :limit
""")
_MARK = sa.text("""
    UPDATE shown SET timeline_id = greatest(timeline_id, :id), at = clock_timestamp() WHERE to_whom = :to_whom
""")
