"""Batches that are being worked on: nobody takes a row twice, and what ended its process is found and counted."""

from collections.abc import Sequence

import sqlalchemy as sa

from routing.journey import Dead, Run, Verb
from storage.postgres.engine import transaction

#: So many rows are worked on together, also when fewer were named.
AT_ONCE = 100
#: For so long a batch keeps its rows from others; then its process may be frozen. Geocoders are asked slowly.
HOLDS_S = {"intake": 10, "route": 10, "locate": 120}
#: A batch this old is forgotten, even if the connection it was begun by still stands.
FORGOTTEN_S = 600


class Runs:
    """The ledger's list of begun batches; each public method is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, verb: Verb, ids: Sequence[int]) -> Run:
        """Those of the rows that wait for this verb and nobody works on; and, for company, the oldest of their lane.

        Whoever comes, clears the desk: of bulk only when bulk was named, else of hot and live. A row whose handling
        ended a process or was put off is taken only when it is the only one named, and alone.
        """
        values = {"ids": list(ids), "more": max(0, AT_ONCE - len(ids)), "alone": len(ids) == 1, "holds": HOLDS_S[verb]}
        with transaction(self._engine) as conn:
            # Losing this row in a crash of the server loses nothing: the processes it tells of have failed, too.
            conn.execute(_QUICKLY)
            row = conn.execute(_BEGIN[verb], values).first()
            return Run(row.id, tuple(row.rows)) if row else Run(0, ())

    def end(self, run: Run) -> None:
        """The batch is over, however it went."""
        if run.id:
            with transaction(self._engine) as conn:
                conn.execute(_QUICKLY)
                conn.execute(_END, {"id": run.id})

    def bury(self) -> list[Dead]:
        """What processes died of: rows still not done that they were working on, each with its count of deaths.

        A death in company counts as the first only; from then on each is handled alone. Leads that had begun to wait
        are planned again: what changed meanwhile was perhaps not looked at any more.
        """
        with transaction(self._engine) as conn:
            dead = conn.execute(_BURY, {"forgotten": FORGOTTEN_S}).all()
            found: list[Dead] = []
            for run in dead:
                values = {"rows": run.rows, "alone": len(run.rows) == 1}
                statement = _MARK_EVENTS if run.verb == "intake" else _MARK_LEADS
                if run.counts:
                    rows = conn.execute(statement, values).all()
                    found += [Dead(run.verb, row.id, row.deaths, row.lane) for row in rows]
                if run.verb == "route":
                    conn.execute(_LOOK_AGAIN, values)
            return found


_QUICKLY = sa.text("SET LOCAL synchronous_commit = off")
# Batches are begun one after the other, so that no two take the same rows.
_BEGIN_SQL = """
    WITH turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtext('runs:{verb}'))
    ), busy AS MATERIALIZED (
        SELECT unnest(rows) AS id FROM runs, turn
        WHERE verb = '{verb}' AND begun_at > clock_timestamp() - make_interval(secs => :holds)
    ), asked AS MATERIALIZED (
        SELECT id, lane, frail, open FROM (
            SELECT id, lane, {frail} AS frail, {open} AS open FROM {table} WHERE id = ANY(CAST(:ids AS bigint[]))
        ) a
    ), named AS MATERIALIZED (
        SELECT id FROM asked WHERE open AND (NOT frail OR :alone) AND id NOT IN (SELECT id FROM busy)
    ), lanes AS MATERIALIZED (
        SELECT CASE WHEN min(lane) = 2 THEN 2 ELSE 0 END AS first, CASE WHEN min(lane) = 2 THEN 2 ELSE 1 END AS last,
               coalesce(bool_or(frail AND open) AND :alone, false) AS alone
        FROM asked
    ), todo AS (
        SELECT id FROM named UNION {company}
    )
    INSERT INTO runs (verb, rows) SELECT '{verb}', array_agg(id) FROM todo HAVING count(*) > 0 RETURNING id, rows
"""
_COMPANY = """(
            SELECT id FROM {table}
            WHERE {ready} AND lane BETWEEN (SELECT first FROM lanes) AND (SELECT last FROM lanes)
              AND id NOT IN (SELECT id FROM busy) AND NOT (SELECT alone FROM lanes)
            ORDER BY lane, id LIMIT :more
        )"""
_DUE = "(next_try_at IS NULL OR next_try_at <= clock_timestamp())"


def _begin(verb: Verb, table: str, frail: str, open_: str, ready: str | None) -> sa.TextClause:
    company = _COMPANY.format(table=table, ready=ready) if ready else "SELECT id FROM named"
    return sa.text(_BEGIN_SQL.format(verb=verb, table=table, frail=frail, open=open_, company=company))


_BEGIN: dict[str, sa.TextClause] = {
    "intake": _begin("intake", "events", "deaths > 0", "state = 'pending'", "state = 'pending' AND deaths = 0"),
    "locate": _begin(
        "locate", "leads", "deaths + delays > 0", f"state = 'new' AND lat IS NULL AND NOT dirty AND {_DUE}", None
    ),
    "route": _begin(
        "route",
        "leads",
        "deaths + delays > 0",
        f"(state = 'waiting' OR (state = 'new' AND {_DUE}))",
        "state = 'new' AND lat IS NOT NULL AND NOT dirty AND deaths = 0 AND delays = 0",
    ),
}
_END = sa.text("DELETE FROM runs WHERE id = :id")
# A process ends its connections as it dies. After a restart of the server nobody's death can be told: no count.
_BURY = sa.text("""
    DELETE FROM runs r
    WHERE begun_at < clock_timestamp() - make_interval(secs => :forgotten)
       OR NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = r.backend
                      AND (a.backend_start IS NULL OR a.backend_start <= r.begun_at))
    RETURNING verb, rows, begun_at > pg_postmaster_start_time()
              AND begun_at > clock_timestamp() - make_interval(secs => :forgotten) AS counts
""")
_DEATHS = "CASE WHEN :alone THEN deaths + 1 ELSE greatest(deaths, 1) END"
_MARK_EVENTS = sa.text(f"""
    UPDATE events SET deaths = {_DEATHS}, nudged_at = clock_timestamp()
    WHERE id = ANY(CAST(:rows AS bigint[])) AND state = 'pending' RETURNING id, deaths, lane
""")  # noqa: S608 - our own words
_MARK_LEADS = sa.text(f"""
    UPDATE leads SET deaths = {_DEATHS}, nudged_at = clock_timestamp()
    WHERE id = ANY(CAST(:rows AS bigint[])) AND state = 'new' RETURNING id, deaths, lane
""")  # noqa: S608 - our own words
_LOOK_AGAIN = sa.text("""
    UPDATE leads SET next_try_at = clock_timestamp()
    WHERE id = ANY(CAST(:rows AS bigint[])) AND state = 'waiting' AND next_try_at IS NULL
""")
