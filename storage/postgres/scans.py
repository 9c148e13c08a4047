"""Comparisons with Salesforce: how far each has come, who holds it, and what differs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from routing.compare import Kind, Scan, Seen
from storage.postgres.engine import transaction

#: Whoever holds a comparison and is not heard of for so long has lost it.
LEASE_S = 60.0


class Scans:
    """The ledger's comparisons; each public method is one transaction and safe to repeat."""

    def __init__(self, engine: sa.Engine, topic: str, *, lease_s: float = LEASE_S) -> None:
        self._engine = engine
        self._topic = topic
        self._lease_s = lease_s

    def ask(self, kind: Kind, why: str, *, since: datetime | None = None, again: bool = True) -> None:
        """Have a comparison made. One that runs already is led back to `since` (or, unless `again`, left to run)."""
        with transaction(self._engine) as conn:
            ask(conn, kind, why, since=since, again=again)

    def claim(self) -> Scan | None:
        """A comparison that nobody holds, now held by the caller; None when there is none."""
        with transaction(self._engine) as conn:
            row = conn.execute(_CLAIM, {"token": uuid4(), "lease": self._lease_s}).mappings().first()
            return _scan(row) if row else None

    def advance(self, scan: Scan, *, read: int, repaired: int, done: bool) -> Scan | None:
        """Remember how far it has come. None when it is done or held by another.

        When it was asked for again meanwhile, it stays where that led it: the caller goes on from what is returned.
        """
        news = {"read": read, "repaired": repaired, "done": done, "lease": self._lease_s, "topic": self._topic}
        place = {"token": scan.token, "asks": scan.asks, "at": scan.at, "record": scan.record}
        with transaction(self._engine) as conn:
            row = conn.execute(_ADVANCE, news | place).mappings().first()
            if row is not None and row["done_at"] is not None and row["kind"] == Kind.CHANGED:
                conn.execute(_MARK, {"topic": self._topic, "since": row["since"], "to": row["begun_at"]})
            return _scan(row) if row is not None and row["done_at"] is None else None

    def rest(self, scan: Scan, seconds: float) -> None:
        """Let nobody go on with it for so long."""
        with transaction(self._engine) as conn:
            conn.execute(_REST, {"token": scan.token, "seconds": seconds})

    def waiting(self) -> bool:
        """Whether there is a comparison to go on with that nobody holds."""
        with transaction(self._engine) as conn:
            return bool(conn.scalar(_WAITING))

    def swept(self) -> datetime | None:
        """Up to when everything that changed has been compared."""
        with transaction(self._engine) as conn:
            row = conn.execute(_SWEPT, {"topic": self._topic}).first()
            return row.swept_to if row else None

    def differing(self, seen: Sequence[Seen], *, after: str, last: bool) -> list[str]:
        """Ids to read again: open records we do not know, or as of another time; and leads that are not open there.

        `seen` is every open record behind the id `after` up to the last one seen, or to the end.
        """
        values = {
            "ids": [one.record_id for one in seen],
            "changed": [one.changed_at for one in seen],
            "created": [one.created_at for one in seen],
            "after": after,
            "upto": None if last or not seen else seen[-1].record_id,
        }
        with transaction(self._engine) as conn:
            return list(conn.execute(_DIFFERING, values).scalars())

    def alive(self, ids: Sequence[str]) -> list[str]:
        """Those of these records that are leads with something still to come."""
        with transaction(self._engine) as conn:
            return list(conn.execute(_ALIVE, {"ids": list(ids)}).scalars())


def ask(conn: sa.Connection, kind: Kind, why: str, *, since: datetime | None = None, again: bool = True) -> None:
    """Ask for a comparison inside another transaction."""
    conn.execute(_ASK, {"kind": kind, "why": why, "since": since, "again": again})


def _scan(row: Any) -> Scan:
    return Scan(
        kind=Kind(row["kind"]),
        token=row["token"],
        asks=row["asks"],
        begun_at=row["begun_at"],
        since=row["since"],
        at=row["at"],
        record=row["record"],
    )


_ASK = sa.text("""
    INSERT INTO scans AS s (kind, why, since) VALUES (:kind, :why, CAST(:since AS timestamptz))
    ON CONFLICT (kind) DO UPDATE SET (why, since, asks, begun_at, at, record, read, repaired, token, lease_until,
                                      done_at) = (
        SELECT n.why, n.since, n.asks, n.begun_at, n.at, n.record, n.read, n.repaired, n.token, n.lease_until,
               CAST(NULL AS timestamptz)
        FROM (
            SELECT excluded.why, excluded.since, s.asks + 1 AS asks, clock_timestamp() AS begun_at,
                   CAST(NULL AS timestamptz) AS at, '' AS record, CAST(0 AS bigint) AS read,
                   CAST(0 AS bigint) AS repaired, CAST(NULL AS uuid) AS token,
                   CAST(NULL AS timestamptz) AS lease_until
            WHERE s.done_at IS NOT NULL
            UNION ALL
            SELECT left(s.why || ', ' || excluded.why, 200), LEAST(s.since, excluded.since), s.asks + 1, s.begun_at,
                   CASE WHEN s.at > excluded.since THEN excluded.since ELSE s.at END,
                   CASE WHEN s.at > excluded.since THEN '' ELSE s.record END,
                   s.read, s.repaired, s.token, s.lease_until
            WHERE s.done_at IS NULL
        ) n
    )
    WHERE s.done_at IS NOT NULL OR excluded.since < s.since OR (:again AND excluded.since IS NOT NULL)
""")
_CLAIM = sa.text("""
    UPDATE scans SET token = :token, lease_until = clock_timestamp() + make_interval(secs => :lease)
    WHERE kind = (
        SELECT kind FROM scans
        WHERE done_at IS NULL AND (lease_until IS NULL OR lease_until < clock_timestamp())
        ORDER BY kind = 'all', begun_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING *
""")
_ADVANCE = sa.text("""
    UPDATE scans SET
        at = CASE WHEN asks = :asks THEN CAST(:at AS timestamptz) ELSE at END,
        record = CASE WHEN asks = :asks THEN :record ELSE record END,
        read = read + :read, repaired = repaired + :repaired,
        lease_until = clock_timestamp() + make_interval(secs => :lease),
        done_at = CASE WHEN asks = :asks AND :done THEN clock_timestamp() END
    WHERE token = :token AND done_at IS NULL RETURNING *
""")

_SWEPT = sa.text("SELECT swept_to FROM positions WHERE topic = :topic")
# What was compared without a hole behind it moves the mark.
_MARK = sa.text("""
    INSERT INTO positions AS p (topic, swept_to) VALUES (:topic, :to)
    ON CONFLICT (topic) DO UPDATE SET swept_to = GREATEST(p.swept_to, excluded.swept_to)
    WHERE p.swept_to IS NULL OR p.swept_to >= :since
""")
_REST = sa.text("""
    UPDATE scans SET token = NULL, lease_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE token = :token AND done_at IS NULL
""")
_WAITING = sa.text("""
    SELECT EXISTS (SELECT FROM scans
                   WHERE done_at IS NULL AND (lease_until IS NULL OR lease_until < clock_timestamp()))
""")
_DIFFERING = sa.text("""
    WITH org AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:changed AS timestamptz[]), CAST(:created AS timestamptz[]))
                      AS o(id, changed_at, created_at)
    ), known AS (
        SELECT COALESCE(MIN(known_from), clock_timestamp()) - interval '72 hours' AS since FROM positions
    )
    SELECT org.id FROM org CROSS JOIN known LEFT JOIN leads l ON l.salesforce_id = org.id
    WHERE CASE WHEN l.id IS NULL THEN org.created_at >= known.since
               ELSE l.changed_at IS NULL OR l.changed_at < org.changed_at
                    OR (l.state = 'withdrawn' AND l.reason = 'deleted') END
    UNION ALL
    SELECT l.salesforce_id FROM leads l
    WHERE l.state NOT IN ('done', 'withdrawn') AND l.salesforce_id ~>~ :after
      AND (CAST(:upto AS text) IS NULL OR l.salesforce_id ~<=~ :upto)
      AND NOT EXISTS (SELECT FROM org WHERE org.id = l.salesforce_id)
""")
_ALIVE = sa.text("""
    SELECT salesforce_id FROM leads
    WHERE salesforce_id = ANY(CAST(:ids AS text[])) AND state NOT IN ('done', 'withdrawn')
""")
