"""How the ledger is doing, in one cheap question: what waits, for how long, and how fast it went lately."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from storage.postgres.engine import transaction

#: Of the last five minutes, at most the newest so many decisions of a market: a scrape must stay cheap.
NEWEST = 5_000

_MEASURES = sa.text(
    """
WITH recent AS MATERIALIZED (
    SELECT d.market, d.rotation, d.reason, d.attempt, d.at, d.lead_id
    FROM markets m CROSS JOIN LATERAL (
        SELECT * FROM decisions d
        WHERE d.market = m.name AND d.generation = m.generation ORDER BY d.seq DESC LIMIT :newest
    ) d
    WHERE d.at > clock_timestamp() - interval '5 minutes'
), waits AS (
    SELECT EXTRACT(EPOCH FROM r.at - l.received_at)::float8 AS s
    FROM recent r JOIN leads l ON l.id = r.lead_id WHERE r.reason = 'chosen' AND r.attempt = 1
), waiting (kind, n, oldest) AS (
    SELECT 'salesforce', COUNT(*)::float8, EXTRACT(EPOCH FROM clock_timestamp() - MIN(created_at))::float8
    FROM outbox WHERE kind = 'salesforce' AND state = 'pending'
    UNION ALL
    SELECT 'turnstile', COUNT(*)::float8, EXTRACT(EPOCH FROM clock_timestamp() - MIN(created_at))::float8
    FROM outbox WHERE kind = 'turnstile' AND state = 'pending'
)
SELECT 'leads' AS name, jsonb_build_object('state', state, 'reason', COALESCE(reason, '')) AS labels,
       COUNT(*)::float8 AS value FROM leads GROUP BY state, reason
UNION ALL
SELECT 'leads_oldest_new_seconds', '{}', COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - MIN(updated_at)), 0)::float8
FROM leads WHERE state = 'new'
UNION ALL
SELECT 'events_pending', '{}', COUNT(*)::float8 FROM events WHERE state = 'pending'
UNION ALL
SELECT 'events_oldest_pending_seconds', '{}',
       COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - MIN(received_at)), 0)::float8
FROM events WHERE state = 'pending'
UNION ALL
SELECT 'outbox_pending', jsonb_build_object('kind', kind), n FROM waiting WHERE n > 0
UNION ALL
SELECT 'outbox_oldest_seconds', jsonb_build_object('kind', kind), oldest FROM waiting WHERE n > 0
UNION ALL
SELECT 'deliveries_late_seconds', '{}', COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - LEAST(
    (SELECT MIN(at) FROM notices WHERE fanned_at IS NULL),
    (SELECT MIN(due_at) FROM deliveries
     WHERE state = 'pending' AND attempts = 0 AND due_at <= clock_timestamp()))), 0)::float8
UNION ALL
SELECT 'parked', jsonb_build_object('kind', kind), COUNT(*)::float8
FROM parked WHERE resolved_at IS NULL GROUP BY kind
UNION ALL
SELECT 'offers_open', jsonb_build_object('state', state), COUNT(*)::float8
FROM offers WHERE state IN ('offered', 'accepted') GROUP BY state
UNION ALL
SELECT 'decisions_5m', jsonb_build_object('reason', reason), COUNT(*)::float8 FROM recent GROUP BY reason
UNION ALL
SELECT 'event_to_offer_5m_seconds', jsonb_build_object('quantile', q::text),
       (SELECT PERCENTILE_CONT(q) WITHIN GROUP (ORDER BY s) FROM waits)
FROM UNNEST(ARRAY[0.5, 0.9, 0.99]) AS q WHERE EXISTS (SELECT FROM waits)
UNION ALL
SELECT 'stream_quiet_seconds', jsonb_build_object('topic', topic),
       EXTRACT(EPOCH FROM clock_timestamp() - updated_at)::float8 FROM positions
UNION ALL
SELECT 'stream_lag_seconds', jsonb_build_object('topic', topic),
       EXTRACT(EPOCH FROM clock_timestamp() - committed_at)::float8 FROM positions WHERE committed_at IS NOT NULL
UNION ALL
SELECT 'comparison_open_seconds', jsonb_build_object('kind', kind),
       EXTRACT(EPOCH FROM clock_timestamp() - begun_at)::float8 FROM scans WHERE done_at IS NULL
UNION ALL
SELECT 'comparison_repaired', jsonb_build_object('kind', kind), repaired::float8 FROM scans
UNION ALL
SELECT 'leads_dirty', '{}', COUNT(*)::float8 FROM leads WHERE dirty
UNION ALL
SELECT 'stream_delay_1m_seconds', jsonb_build_object('topic', p.topic),
       COALESCE(MAX(EXTRACT(EPOCH FROM e.received_at - e.committed_at)), 0)::float8
FROM positions p LEFT JOIN (SELECT * FROM events ORDER BY id DESC LIMIT 500) e
  ON e.topic = p.topic AND e.received_at > clock_timestamp() - interval '1 minute'
GROUP BY p.topic
UNION ALL
SELECT 'heartbeat_age_seconds', jsonb_build_object('name', name),
       EXTRACT(EPOCH FROM clock_timestamp() - at)::float8 FROM heartbeats
UNION ALL
SELECT 'geocoder_down', jsonb_build_object('provider', substr(unwell.name, 17)),
       (unwell.at > COALESCE(well.at, '-infinity')
        AND unwell.at > clock_timestamp() - interval '15 minutes')::int::float8
FROM heartbeats unwell LEFT JOIN heartbeats well ON well.name = 'geocoder:' || substr(unwell.name, 17)
WHERE unwell.name LIKE 'geocoder-unwell:%'
UNION ALL
SELECT 'breaches', jsonb_build_object('invariant', name), violations::float8 FROM invariants
UNION ALL
SELECT 'generation', jsonb_build_object('market', name), generation::float8 FROM markets
UNION ALL
SELECT 'minimum_flagged', jsonb_build_object('pool', pool), COUNT(*)::float8
FROM minimum_flags WHERE cleared_at IS NULL GROUP BY pool
"""
)

#: What was written and is not sealed yet, by the oldest of it: of the timeline and the audit by number, of decisions by
#: market.
_UNSEALED = sa.text("""
SELECT 'seals_late_seconds' AS name, CAST('{}' AS jsonb) AS labels,
       CAST(COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - LEAST(
    (SELECT at FROM timeline WHERE id > COALESCE((SELECT MAX(high) FROM seals WHERE kind = 'timeline'), 0)
     ORDER BY id LIMIT 1),
    (SELECT at FROM audit WHERE id > COALESCE((SELECT MAX(high) FROM seals WHERE kind = 'audit'), 0)
     ORDER BY id LIMIT 1),
    (SELECT MIN(d.at) FROM markets m
     LEFT JOIN (SELECT upto FROM seals WHERE kind = 'decisions' ORDER BY number DESC LIMIT 1) s ON true
     CROSS JOIN LATERAL (
         SELECT at FROM decisions
         WHERE market = m.name AND (generation, seq) > (COALESCE(CAST(s.upto->m.name->>0 AS bigint), 0),
                                                        COALESCE(CAST(s.upto->m.name->>1 AS bigint), -1))
         ORDER BY generation, seq LIMIT 1
     ) d)
)), 0) AS float8) AS value
""")

_ROTATIONS = sa.text(
    """
SELECT d.market, d.rotation, greatest(max(d.turn), max(f.turn)) AS largest, coalesce(max(f.added), 0) AS added
FROM markets m CROSS JOIN LATERAL (
    SELECT market, rotation, at, turn FROM decisions d
    WHERE d.market = m.name AND d.generation = m.generation ORDER BY d.seq DESC LIMIT :newest
) d LEFT JOIN fairness_rotations f ON f.market = d.market AND f.rotation = d.rotation
WHERE d.rotation <> '' AND d.at > clock_timestamp() - interval '5 minutes'
GROUP BY d.market, d.rotation
"""
)


_TURNS = sa.text(
    """
SELECT d.rotation, m.id AS member_id, m.key, SUM(d.turn) / 1e6 AS received
FROM decisions d JOIN members m ON m.id = d.chosen
WHERE d.market = :market AND d.rotation IN (SELECT DISTINCT rotation FROM decisions WHERE pool = :pool)
GROUP BY d.rotation, m.id, m.key
"""
)


@dataclass(frozen=True, slots=True)
class Taken:
    """How many turns a member was given in a rotation, ever."""

    rotation: str
    member_id: int
    member: str  # the outside key
    received: float  # a lead may cost more or less than one turn


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns given in the rotations of a pool."""

    market: str
    mode: str
    taken: tuple[Taken, ...]
    members: Mapping[int, str]  # of the market: id -> outside key


@dataclass(frozen=True, slots=True)
class Measure:
    """One number about the ledger."""

    name: str
    labels: Mapping[str, str]
    value: float


class Vitals:
    """What /metrics and /readyz ask the ledger."""

    def __init__(self, engine: sa.Engine, *, sealing: bool = True) -> None:
        self._engine, self._sealing = engine, sealing  # False: nothing is to be sealed

    def measures(self) -> list[Measure]:
        """What waits and how long it has, what was decided lately, and how fast."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_MEASURES, {"newest": NEWEST}).all()
            if self._sealing:
                rows = [*rows, *connection.execute(_UNSEALED)]
            return [Measure(row.name, row.labels, row.value) for row in rows]

    def busy_rotations(self) -> list[tuple[str, str, int, int]]:
        """Market and rotation of the decisions of the last five minutes, the largest turn, and what corrections added.

        Both in micro-turns.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(_ROTATIONS, {"newest": NEWEST})
            return [(row.market, row.rotation, row.largest, int(row.added)) for row in rows]

    def open_counts(self) -> dict[str, dict[int, int]]:
        """How many offers each member holds by the ledger, by market; those that hold none are absent."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT k.name, m.id, m.open FROM markets k LEFT JOIN members m ON m.market = k.name AND m.open > 0"
                )
            )
            counts: dict[str, dict[int, int]] = {}
            for row in rows:
                held = counts.setdefault(row.name, {})
                if row.id is not None:
                    held[row.id] = row.open
            return counts

    def turns(self, pool: str) -> Turns | None:
        """The turns given in the rotations this pool takes part in; None for a pool nobody published."""
        with transaction(self._engine) as connection:
            found = connection.execute(sa.text("SELECT market, mode FROM pools WHERE name = :p"), {"p": pool}).first()
            if found is None:
                return None
            keys = connection.execute(sa.text("SELECT id, key FROM members WHERE market = :m"), {"m": found.market})
            members = {row.id: row.key for row in keys}
            rows = connection.execute(_TURNS, {"market": found.market, "pool": pool})
            taken = tuple(Taken(row.rotation, row.member_id, row.key, float(row.received)) for row in rows)
            return Turns(found.market, found.mode, taken, members)
