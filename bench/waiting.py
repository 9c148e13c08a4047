"""Everything is full and very many leads wait: what that costs while nothing changes, and when a place is freed."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import sqlalchemy as sa

from bench import way
from bench.meter import Meter
from bench.servers import Base
from config import wiring
from routing.lead import Point
from workers import house

#: Where all members and leads of this part are.
HERE = Point(40.75, -73.99)
#: What one row of `leads` has of its own.
OWN = ("id", "salesforce_id")


def cost(
    meter: Meter,
    base: Base,
    directory: Path,
    *,
    members: int,
    waiting: int,
    watch_s: float,
    frees: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fill all members, let leads wait, watch the idle house, then free places one by one."""
    url = base.url.replace("+psycopg", "")
    with house.pointed_at({"DATABASE_URL": base.url}):
        with way.workers(meter, directory, 1) as going:
            going.place = lambda: HERE
            going.leads(members + 100, write_back=True)
            idle_before = _idle(url, meter, watch_s)
            made = _multiply(url, waiting)
            say(f"{made} leads wait")
            time.sleep(min(3.0, watch_s))  # whatever wakes up at the sight of them
            idle_after = _idle(url, meter, watch_s)
        freed = _freed(url, meter, frees)
    return {
        "waiting": made,
        "idle_without": idle_before,
        "idle_with": idle_after,
        "freed_place": freed,
    }


def _idle(url: str, meter: Meter, seconds: float) -> dict[str, float]:
    """Database time and CPU a minute of a house with a worker and beat, in which nothing happens."""
    before = _active_ms(url)
    with meter.measured() as found:
        time.sleep(seconds)
    spent = _active_ms(url) - before
    workers = sum(cpu for name, cpu in found.cpu_s.items() if name.startswith("worker"))
    share = 60 / found.wall_s
    return {
        "database_ms_per_minute": round(spent * share, 1),
        "postgres_cpu_ms_per_minute": round(1000 * found.cpu_s["postgres"] * share, 1),
        "valkey_cpu_ms_per_minute": round(1000 * found.cpu_s["valkey"] * share, 1),
        "worker_cpu_ms_per_minute": round(1000 * workers * share, 1),
    }


def _multiply(url: str, wanted: int) -> int:
    """Copies of the leads that wait, with ids of their own, until so many wait."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'leads' AND is_generated = 'NEVER'"
        ).fetchall()
        columns = ", ".join(sorted({name for (name,) in found} - set(OWN)))
        connection.execute(
            f"INSERT INTO leads (salesforce_id, {columns}) "
            f"SELECT 'B' || lpad(n::text, 17, '0'), {columns} FROM leads, generate_series(1, %s) AS n "
            "WHERE leads.id = (SELECT max(id) FROM leads WHERE state = 'waiting')".encode(),
            (wanted,),
        )
        connection.execute("VACUUM ANALYZE leads")
        row = connection.execute("SELECT count(*) FROM leads WHERE state = 'waiting'").fetchone()
        return int(row[0]) if row else 0


def _freed(url: str, meter: Meter, count: int) -> dict[str, Any]:
    """Offers that end one by one, each time until the freed place has found its lead."""
    journey = wiring.journey(_say_nothing, _say_nothing)
    outbound = wiring.outbound(_say_nothing)
    clock = _Statements(wiring.engine())
    each: list[float] = []
    offers, before, ours = _offers(url), _active_ms(url), 0.0
    expiring: list[float] = []
    freeing: list[float] = []
    with meter.measured() as whole, psycopg.connect(url, autocommit=True) as connection:
        for _ in range(count):
            ours += _end_one(connection)
            began = time.perf_counter()
            expiring.append(clock.during(journey.expire))
            freeing.append(clock.during(outbound.free))
            each.append(1000 * (time.perf_counter() - began))
    wiring.engine().dispose()  # ended sessions tell the server what they took
    time.sleep(1.0)
    return {
        "freed": count,
        "filled": _offers(url) - offers,
        "statements_ms_to_expire": round(median(expiring), 2),
        "statements_ms_to_fill": round(median(freeing), 2),
        "server_ms": round((_active_ms(url) - before - ours) / count, 2),
        "postgres_cpu_ms": round(1000 * whole.cpu_s["postgres"] / count, 2),
        "wall_ms": round(median(each), 2),
    }


class _Statements:
    """How long this process has waited for statements; what goes past SQLAlchemy, such as COPY, is not seen."""

    def __init__(self, engine: sa.Engine) -> None:
        self._spent = self._began = 0.0
        sa.event.listen(engine, "before_cursor_execute", self._begin)
        sa.event.listen(engine, "after_cursor_execute", self._end)

    def during(self, work: Callable[[], object]) -> float:
        """Milliseconds of statements in this work."""
        before = self._spent
        work()
        return 1000 * (self._spent - before)

    def _begin(self, *_: object) -> None:
        self._began = time.perf_counter()

    def _end(self, *_: object) -> None:
        self._spent += time.perf_counter() - self._began


def _end_one(connection: psycopg.Connection[Any]) -> float:
    """Let the deadline of one open offer have passed; the milliseconds that took the server."""
    found = connection.execute(
        "EXPLAIN (ANALYZE, FORMAT JSON) UPDATE offers SET offered_at = offered_at - interval '1 day', "
        "expires_at = now() - interval '1 second' "
        "WHERE id = (SELECT id FROM offers WHERE state = 'offered' ORDER BY offered_at DESC LIMIT 1)"
    ).fetchone()
    plan = found[0][0] if found else {}
    return float(plan["Planning Time"]) + float(plan["Execution Time"])


def _say_nothing(*_: object) -> bool:
    return True


def _offers(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM offers").fetchone()
        return int(row[0]) if row else 0


def _active_ms(url: str) -> float:
    """Milliseconds the server has spent on this database's statements; sessions tell theirs when they have been idle.

    Asked by a connection to another database, whose own time is not in it.
    """
    name = url.rpartition("/")[2]
    with psycopg.connect(url.rpartition("/")[0] + "/postgres") as connection:
        row = connection.execute("SELECT active_time FROM pg_stat_database WHERE datname = %s", (name,)).fetchone()
        return float(row[0]) if row else 0.0
