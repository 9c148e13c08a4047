"""The house in figures: for the end of a demo, for the screen, for whoever asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from routing.verify import Report
from storage.postgres.engine import transaction
from storage.postgres.export import TURN, stream

#: The invariants that the summary names one by one.
BREACHES = {
    "capacity": ("inv_over_capacity", "inv_chosen_while_full"),
    "double_offer": ("inv_two_open_offers",),
    "repeat_member": ("inv_repeat_member",),
}


@dataclass(frozen=True, slots=True)
class Live:
    """Cheap counts for a screen; `top` and `bottom` are (member, standing in turns, open, capacity)."""

    leads: Mapping[str, int]  # by state
    waiting: Mapping[str, int]  # by reason
    review: Mapping[str, int]
    offered_by_ring_miles: Mapping[float, int]
    outbox: int
    parked: int


@dataclass(frozen=True, slots=True)
class Account:
    """A member's standing in one rotation, in turns, by the ledger."""

    rotation: str
    member: str
    turns: int
    standing: float
    open: int


class Stats:
    """Counts what the ledger holds."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def summary(self, report: Report | None = None) -> dict[str, Any]:
        """The outcome of a run: leads by what became of them, latencies, breaches, throughput.

        `fairness` and further breaches come from a verification, when one is given.
        """
        with stream(self._engine) as connection:
            breaches = {name: _rows_in(connection, views) for name, views in BREACHES.items()}
            return {
                "leads": _leads(connection),
                "latency_ms": {
                    "event_to_offer": _percentiles(connection, "offered"),
                    "event_to_salesforce": _percentiles(connection, "written"),
                },
                "fairness": [
                    {
                        "pool": one.pool,
                        "rotation": one.rotation,
                        "mode": one.mode,
                        "members": one.members,
                        "decisions": one.decisions,
                        "worst_turns": one.worst_turns,
                    }
                    for one in (report.worst if report else ())
                ],
                "breaches": breaches,
                "throughput": {"leads_per_s": _throughput(connection)},
                "errors": [f"{b.check}: {b.subject} {b.detail}" for b in (report.breaches if report else ())],
            }

    def live(self) -> Live:
        """How things stand now."""
        with transaction(self._engine) as connection:
            by_state: dict[str, int] = {}
            reasons: dict[str, dict[str, int]] = {"waiting": {}, "review": {}}
            for row in connection.execute(_BY_STATE):
                by_state[row.state] = by_state.get(row.state, 0) + row.n
                if row.state in reasons:
                    reasons[row.state][row.reason] = row.n
            return Live(
                leads=by_state,
                waiting=reasons["waiting"],
                review=reasons["review"],
                offered_by_ring_miles={float(row.ring): row.n for row in connection.execute(_BY_RING)},
                outbox=int(connection.scalar(_OUTBOX) or 0),
                parked=int(connection.scalar(_PARKED) or 0),
            )

    def accounts(self, since_decisions: int = 2000) -> list[Account]:
        """Standings after the newest decisions, best first: for a screen, not for proof."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_ACCOUNTS, {"newest": since_decisions})
            return [Account(r.rotation, r.key, r.turns, float(r.standing) / TURN, r.open) for r in rows]


_BY_STATE = sa.text("SELECT state, reason, count(*) AS n FROM leads GROUP BY state, reason ORDER BY state, reason")
_BY_RING = sa.text("""
    SELECT round((ring_m / 1609.344)::numeric, 2) AS ring, count(*) AS n
    FROM offers WHERE state <> 'void' GROUP BY 1 ORDER BY 1
""")
_OUTBOX = sa.text("SELECT count(*) FROM outbox WHERE state = 'pending' AND kind = 'salesforce'")
_PARKED = sa.text("SELECT count(*) FROM parked WHERE resolved_at IS NULL")
_EVER_OFFERED = sa.text("SELECT count(DISTINCT lead_id) FROM offers WHERE state <> 'void'")
# The first time each lead got so far, counted from its commit in Salesforce.
_LATENCY = sa.text("""
    SELECT percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY ms) AS p FROM (
        SELECT extract(epoch FROM min(t.at) - l.received_at) * 1000 AS ms
        FROM timeline t JOIN leads l ON l.id = t.lead_id
        WHERE t.what = :what AND (:what = 'offered' OR t.detail ->> 'state' = 'offered')
        GROUP BY l.id
    ) first_time
""")
_SPAN = sa.text("""
    SELECT count(*) AS n, extract(epoch FROM max(at) - min(at)) AS seconds FROM timeline WHERE what = 'offered'
""")
_ACCOUNTS = sa.text("""
    WITH newest AS (
        SELECT * FROM decisions WHERE chosen IS NOT NULL ORDER BY at DESC LIMIT :newest
    ), seen AS (
        SELECT DISTINCT ON (d.market, d.rotation, c.member) d.rotation, c.member,
               c.standing + CASE WHEN d.mode <> 'fair' OR c.gate <> 0 THEN 0
                                 WHEN c.member = d.chosen THEN c.weight * 1000000.0 / w.total - 1000000
                                 ELSE c.weight * 1000000.0 / w.total END AS standing
        FROM newest d
        CROSS JOIN unnest(d.member, d.standing, d.weight, d.gate) AS c (member, standing, weight, gate)
        CROSS JOIN LATERAL (SELECT sum(x.weight) AS total FROM unnest(d.weight, d.gate) AS x (weight, gate)
                            WHERE x.gate = 0) w
        WHERE c.gate <> 2
        ORDER BY d.market, d.rotation, c.member, d.generation DESC, d.seq DESC
    ), turns AS (
        SELECT rotation, chosen, count(*) AS n FROM newest GROUP BY rotation, chosen
    )
    SELECT s.rotation, m.key, coalesce(t.n, 0) AS turns, s.standing, m.open
    FROM seen s JOIN members m ON m.id = s.member
    LEFT JOIN turns t ON t.rotation = s.rotation AND t.chosen = s.member
    ORDER BY s.standing DESC, m.key
""")


def _leads(connection: sa.Connection) -> dict[str, Any]:
    counts: dict[str, Any] = {"total": 0, "offered": 0, "accepted": 0, "waiting": {}, "review": {}, "parked": 0}
    for row in connection.execute(_BY_STATE):
        counts["total"] += row.n
        if row.reason is None:
            counts[row.state] = counts.get(row.state, 0) + row.n
        else:
            counts.setdefault(row.state, {})[row.reason] = row.n
    counts["ever_offered"] = int(connection.scalar(_EVER_OFFERED) or 0)
    counts["parked"] = int(connection.scalar(_PARKED) or 0)
    return counts


def _percentiles(connection: sa.Connection, what: str) -> dict[str, float | None]:
    found = connection.scalar(_LATENCY, {"what": what}) or [None, None, None]
    return {
        name: None if value is None else round(float(value), 1)
        for name, value in zip(("p50", "p90", "p99"), found, strict=True)
    }


def _throughput(connection: sa.Connection) -> float | None:
    """Offers a second between the first and the last; None before there are two."""
    row = connection.execute(_SPAN).one()
    return round((row.n - 1) / float(row.seconds), 2) if row.n > 1 and row.seconds else None


def _rows_in(connection: sa.Connection, views: tuple[str, ...]) -> int:
    counts = (connection.scalar(sa.select(sa.func.count()).select_from(sa.table(view))) for view in views)
    return sum(int(count or 0) for count in counts)
