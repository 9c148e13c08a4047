"""Batches that are being worked on: nobody takes a row twice, and what ended its process is found and counted."""

from collections.abc import Sequence

import sqlalchemy as sa

from routing.journey import DEATHS, Dead, Run, Verb
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
        ended a process or was put off is taken only when it is the only one named, and alone; one that ended too many
        is not taken any more. The dead are buried first, so nobody takes their rows as if nothing had happened.
        """
        values = {"ids": list(ids), "more": max(0, AT_ONCE - len(ids)), "alone": len(ids) == 1, "holds": HOLDS_S[verb]}
        with transaction(self._engine) as conn:
            # Losing this row in a crash of the server loses nothing: the processes it tells of have failed, too.
            conn.execute(_QUICKLY)
            conn.execute(_TURN, {"turn": f"runs:{verb}"})
            _bury(conn, [verb], told=False)
            row = conn.execute(_BEGIN[verb], values).first()
            if row is not None:
                return Run(row.id, tuple(row.rows))
            spent = conn.execute(_SPENT[verb], {"id": ids[0]}).scalars().all() if len(ids) == 1 else ()
            return Run(0, (), tuple(spent))

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
            return _bury(conn, list(HOLDS_S), told=True)


def _bury(conn: sa.Connection, verbs: Sequence[str], *, told: bool) -> list[Dead]:
    """Count the deaths; what nobody is `told` of is announced by the relay as any row that lost its message."""
    found: list[Dead] = []
    for run in conn.execute(_BURY, {"forgotten": FORGOTTEN_S, "verbs": verbs}).all():
        values = {"rows": run.rows, "alone": len(run.rows) == 1, "told": told}
        if run.counts:
            rows = conn.execute(_MARK_EVENTS if run.verb == "intake" else _MARK_LEADS, values).all()
            found += [Dead(run.verb, row.id, row.deaths, row.lane) for row in rows]
        if run.verb == "route":
            conn.execute(_LOOK_AGAIN, values)
    return found


_QUICKLY = sa.text("SET LOCAL synchronous_commit = off")
# Batches are begun one after the other, so that no two take the same rows. A statement of its own: the next one sees
# what was committed while this one waited.
_TURN = sa.text("SELECT pg_advisory_xact_lock(hashtext(:turn))")
_BEGIN_SQL = """
    WITH busy AS MATERIALIZED (
        SELECT unnest(rows) AS id FROM runs
        WHERE verb = '{verb}' AND begun_at > clock_timestamp() - make_interval(secs => :holds)
    ), asked AS MATERIALIZED (
        SELECT id, lane, {frail} AS frail, {open} AND deaths < {deaths} AS open, deaths >= {deaths} AS spent
        FROM {table} WHERE id = ANY(CAST(:ids AS bigint[]))
    ), named AS MATERIALIZED (
        SELECT id FROM asked WHERE open AND (NOT frail OR :alone) AND id NOT IN (SELECT id FROM busy)
    ), lanes AS MATERIALIZED (
        SELECT CASE WHEN min(lane) = 2 THEN 2 ELSE 0 END AS first, CASE WHEN min(lane) = 2 THEN 2 ELSE 1 END AS last,
               coalesce(bool_or(frail AND (open OR spent)) AND :alone, false) AS alone
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
    return sa.text(_BEGIN_SQL.format(verb=verb, table=table, frail=frail, open=open_, company=company, deaths=DEATHS))


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
_SPENT: dict[str, sa.TextClause] = {
    verb: sa.text(f"SELECT id FROM {table} WHERE id = :id AND deaths >= {DEATHS} AND state IN ({states})")  # noqa: S608 - ours
    for verb, table, states in (
        ("intake", "events", "'pending'"),
        ("locate", "leads", "'new', 'waiting'"),
        ("route", "leads", "'new', 'waiting'"),
    )
}
# A process ends its connections as it dies. After a restart of the server nobody's death can be told: no count.
_BURY = sa.text("""
    WITH seen AS MATERIALIZED (
        SELECT id, NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = r.backend
                               AND (a.backend_start IS NULL OR a.backend_start <= r.begun_at)) AS is_dead
        FROM runs r WHERE verb = ANY(CAST(:verbs AS text[]))
    )
    DELETE FROM runs r USING seen
    WHERE r.id = seen.id
      AND (is_dead OR begun_at < clock_timestamp() - make_interval(secs => :forgotten))
    RETURNING verb, rows, is_dead AND begun_at > pg_postmaster_start_time() AS counts
""")
_DEATHS = "CASE WHEN :alone THEN deaths + 1 ELSE greatest(deaths, 1) END"
_MARK_EVENTS = sa.text(f"""
    UPDATE events SET deaths = {_DEATHS}, nudged_at = CASE WHEN :told THEN clock_timestamp() END
    WHERE id IN (SELECT id FROM events WHERE id = ANY(CAST(:rows AS bigint[])) AND state = 'pending'
                 ORDER BY id FOR UPDATE)
    RETURNING id, deaths, lane
""")  # noqa: S608 - our own words
_MARK_LEADS = sa.text(f"""
    UPDATE leads SET deaths = {_DEATHS}, nudged_at = CASE WHEN :told THEN clock_timestamp() END
    WHERE id IN (SELECT id FROM leads WHERE id = ANY(CAST(:rows AS bigint[]))
                   AND (state = 'new' OR (state = 'waiting' AND next_try_at <= clock_timestamp()))
                 ORDER BY id FOR UPDATE)
    RETURNING id, deaths, lane
""")  # noqa: S608 - our own words
_LOOK_AGAIN = sa.text("""
    UPDATE leads SET next_try_at = clock_timestamp()
    WHERE id = ANY(CAST(:rows AS bigint[])) AND state = 'waiting' AND next_try_at IS NULL
""")
