"""The house in figures: for the end of a demo, and for whoever asks."""

from typing import Any

import sqlalchemy as sa

from routing.verify import Report
from storage.postgres.export import stream

#: The invariants that the summary names one by one.
BREACHES = {
    "capacity": ("inv_over_capacity", "inv_chosen_while_full"),
    "double_offer": ("inv_two_open_offers",),
    "repeat_member": ("inv_repeat_member",),
}


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
                        "bound_turns": one.bound_turns,
                    }
                    for one in (report.worst if report else ())
                ],
                "breaches": breaches,
                "throughput": {"leads_per_s": _throughput(connection)},
                "errors": [f"{b.check}: {b.subject} {b.detail}" for b in (report.breaches if report else ())],
            }


_BY_STATE = sa.text("SELECT state, reason, count(*) AS n FROM leads GROUP BY state, reason ORDER BY state, reason")
# Leads that never came to be: rows and events that could not be read. Other letters belong to leads counted by state.
_PARKED = sa.text("SELECT count(*) FROM parked WHERE resolved_at IS NULL AND kind IN ('csv_lead', 'event')")
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
    SELECT count(*) AS n, extract(epoch FROM max(t.at) - min(l.received_at)) AS seconds
    FROM timeline t JOIN leads l ON l.id = t.lead_id WHERE t.what = 'offered'
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
    """Offers a second, from the first lead's commit in Salesforce to the last offer; None before there is one."""
    row = connection.execute(_SPAN).one()
    return round(row.n / float(row.seconds), 2) if row.seconds and row.seconds > 0 else None


def _rows_in(connection: sa.Connection, views: tuple[str, ...]) -> int:
    counts = (connection.scalar(sa.select(sa.func.count()).select_from(sa.table(view))) for view in views)
    return sum(int(count or 0) for count in counts)
