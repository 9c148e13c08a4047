"""What is going on this moment, in one cheap question, for whoever watches."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage.postgres.engine import transaction


@dataclass(frozen=True, slots=True)
class Moment:
    """Counts now; latencies in milliseconds of the newest offers and write-backs."""

    states: dict[str, int]
    reasons: dict[str, int]  # of waiting leads and those in review, as "waiting: no_room"
    rings_m: dict[str, int]  # offers by the ring used
    events_pending: int
    outbox_pending: int
    dirty: int
    parked: int
    offer_ms: tuple[float, float] | None  # p50, p99
    written_ms: tuple[float, float] | None

    @property
    def leads(self) -> int:
        return sum(self.states.values())

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way any more."""
        return not (self.states.get("new") or self.events_pending or self.outbox_pending or self.dirty)


class Live:
    """Watches the ledger."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def moment(self) -> Moment:
        """The counts of this moment."""
        with transaction(self._engine) as conn:
            row: dict[str, Any] = dict(conn.execute(_MOMENT).mappings().one())
        return Moment(
            states=row["states"] or {},
            reasons=row["reasons"] or {},
            rings_m=row["rings"] or {},
            events_pending=row["events_pending"],
            outbox_pending=row["outbox_pending"],
            dirty=row["dirty"],
            parked=row["parked"],
            offer_ms=tuple(row["offer_ms"]) if row["offer_ms"] else None,
            written_ms=tuple(row["written_ms"]) if row["written_ms"] else None,
        )


_MOMENT = sa.text("""
    SELECT
      (SELECT jsonb_object_agg(state, n) FROM (SELECT state, count(*) AS n FROM leads GROUP BY state) s) AS states,
      (SELECT jsonb_object_agg(reason, n) FROM (
          SELECT state || ': ' || reason AS reason, count(*) AS n FROM leads
          WHERE state IN ('waiting', 'review') GROUP BY 1) r) AS reasons,
      (SELECT jsonb_object_agg(ring, n) FROM (
          SELECT ring_m::text AS ring, count(*) AS n FROM offers GROUP BY 1) g) AS rings,
      (SELECT count(*) FROM events WHERE state = 'pending') AS events_pending,
      (SELECT count(*) FROM outbox WHERE kind = 'salesforce' AND state = 'pending')
      + (SELECT count(*) FROM outbox WHERE kind = 'turnstile' AND state = 'pending') AS outbox_pending,
      (SELECT count(*) FROM leads WHERE dirty) AS dirty,
      (SELECT count(*) FROM parked WHERE resolved_at IS NULL) AS parked,
      (SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY ms) FROM (
          SELECT (t.detail ->> 'since_received_ms')::float8 AS ms FROM timeline t
          WHERE what = 'offered' ORDER BY id DESC LIMIT 500) o) AS offer_ms,
      (SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY ms) FROM (
          SELECT (t.detail ->> 'since_received_ms')::float8 AS ms FROM timeline t
          WHERE what = 'written' ORDER BY id DESC LIMIT 500) w) AS written_ms
""")
