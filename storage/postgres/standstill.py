"""The one lock that stops routing in a market: for a rebuild, and for the ledger that decides alone."""

import sqlalchemy as sa

from routing.errors import Away

#: How long one try waits for batches at work, and how many tries there are.
PATIENCE_MS, TRIES = 1500, 8
#: A batch that has done nothing for so long while somebody waits for it is cut off: its process is frozen or gone.
IDLE_S = 2.0


class RoutingGoesOn(Away):
    """Batches of this market kept coming or would not end; routing was not stopped."""


def stop_routing(connection: sa.Connection, market: str) -> None:
    """Wait until no batch of the market is at work; until this transaction ends, none begins.

    A worker that froze inside its batch loses its session, and with it everything it has not committed.
    """
    connection.execute(_PATIENCE, {"ms": f"{PATIENCE_MS}ms"})
    for _ in range(TRIES):
        if _locked(connection, market):
            connection.execute(_PATIENCE, {"ms": f"{PATIENCE_MS + 500}ms"})
            return
        connection.execute(_CUT_OFF, {"market": market, "idle": IDLE_S})
    raise RoutingGoesOn(market=market)


def _locked(connection: sa.Connection, market: str) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(_STOP_ROUTING, {"market": market})
    except sa.exc.OperationalError as exc:
        if getattr(exc.orig, "sqlstate", "") != _LOCK_TIMEOUT:
            raise
        return False
    return True


_LOCK_TIMEOUT = "55P03"
_PATIENCE = sa.text("SELECT set_config('lock_timeout', :ms, true)")
#: Routing batches hold this lock shared until they have committed.
_STOP_ROUTING = sa.text("SELECT pg_advisory_xact_lock(hashtext('turnstile:' || :market))")
_CUT_OFF = sa.text("""
    SELECT pg_terminate_backend(a.pid)
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid,
         CAST(hashtext('turnstile:' || :market) AS bigint) AS key
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND CAST(l.classid AS bigint) = ((key >> 32) & 4294967295) AND CAST(l.objid AS bigint) = (key & 4294967295)
      AND a.state LIKE 'idle in transaction%' AND a.pid <> pg_backend_pid()
      AND a.state_change < clock_timestamp() - make_interval(secs => :idle)
""")
