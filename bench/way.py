"""End to end with real processes: change events on the wire, subscriber, broker, workers, ledger, write-back.

The leads are made in the pretend Salesforce while the subscriber is frozen. Then it goes on, and the clock runs: the
events are on the wire. Beside it, the same workers do nothing as often as they can.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import redis
from kombu.entity import Queue

from bench import people
from bench.meter import Cost, Meter
from config import settings, wiring
from config.celery import QUEUES
from gateways.salesforce.seed import MOST, Seeder
from routing.lead import Point
from workers import house
from workers.supervisor import Job, Supervisor

PATIENCE_S = 300.0
OUTBOX, TARGET, STAGED = "outbox", "leads", "bench.staged"


@dataclass(frozen=True, slots=True)
class Org:
    """A pretend Salesforce, and the way to make leads in it."""

    seeder: Seeder

    def make(self, count: int, place: Callable[[], Point]) -> None:
        """So many new leads with coordinates, as a web form that knows them would send them."""
        for start in range(0, count, MOST):
            made = self.seeder.leads([_record(place(), start + i) for i in range(min(MOST, count - start))])
            wrong = [one.error for one in made if not one.salesforce_id]
            assert not wrong, wrong[0]


class Way:
    """The processes of the house, started and stopped as a measurement wants them."""

    def __init__(self, meter: Meter, supervisor: Supervisor, org: Org, directory: Path) -> None:
        self._meter, self._supervisor, self._org, self._directory = meter, supervisor, org, directory
        self._db = psycopg.connect(settings.load().database_url.replace("+psycopg", ""), autocommit=True)
        self._broker = redis.Redis.from_url(settings.load().broker())
        self.pids: dict[str, int] = {}
        dice = random.Random(3)
        self.place: Callable[[], Point] = lambda: people.american(dice)

    def close(self) -> None:
        """Give the connections back."""
        self._db.close()
        self._broker.close()

    def await_subscriber(self) -> None:
        """Return when the stream is read."""
        self._until(lambda: self._one("SELECT count(*) FROM heartbeats WHERE name = 'subscriber'") > 0)

    def nothing(self, count: int) -> Cost:
        """No-op tasks, laid ready in another list and put before the workers in one step."""
        from bench.noop import app, noop  # noqa: PLC0415 - the app reads the settings of the house that is open now

        queue = Queue(STAGED, exchange="", routing_key=STAGED)  # type: ignore[no-untyped-call] # kombu's types are partial
        with app.producer_pool.acquire(block=True) as producer:
            for number in range(count):
                noop.apply_async((number,), queue=queue, producer=producer)
        self._until(self._quiet)
        with self._meter.measured() as cost:
            self._broker.rename(STAGED, TARGET)
            self._until(self._quiet, pause_s=0.01)
        cost.units = count
        return cost

    def leads(self, count: int, *, write_back: bool) -> Cost:
        """Leads from the wire to their offers, or on to Salesforce."""
        self._consume(OUTBOX, yes=write_back)
        before = self._ids()
        self._until(self._quiet)
        with _frozen(self.pids["subscriber"]):
            self._org.make(count, self.place)
        with self._meter.measured() as cost:
            self._until(lambda: self._offered(before) >= count)
            if write_back:
                self._until(lambda: self._pending(before) == 0 and self._written(before) >= count)
        cost.units = count
        self._consume(OUTBOX, yes=True)
        self._until(lambda: self._pending(before) == 0)
        return cost

    def _consume(self, queue: str, *, yes: bool) -> None:
        """Have every worker take tasks from a queue, or leave it alone."""
        from bench.noop import app  # noqa: PLC0415 - as above

        workers = sum(name.startswith("worker") for name in self.pids)
        order = app.control.add_consumer if yes else app.control.cancel_consumer
        order(queue, reply=True, timeout=5, limit=workers)

    def _quiet(self) -> bool:
        """Whether no message waits and no task runs."""
        with self._broker.pipeline(transaction=False) as pipe:
            for queue in QUEUES:
                pipe.llen(queue)
            pipe.hlen("unacked")
            return not any(pipe.execute())

    def _ids(self) -> dict[str, int]:
        return {
            table: self._one(f"SELECT coalesce(max(id), 0) FROM {table}") for table in ("events", "leads", "outbox")
        }

    def _count(self, table: str, before: Mapping[str, int]) -> int:
        return self._one(f"SELECT count(*) FROM {table} WHERE id > {before[table]}")

    def _offered(self, before: Mapping[str, int]) -> int:
        return self._one(f"SELECT count(*) FROM decisions WHERE lead_id > {before['leads']}")

    def _pending(self, before: Mapping[str, int]) -> int:
        return self._one(f"SELECT count(*) FROM outbox WHERE state = 'pending' AND id > {before['outbox']}")

    def _written(self, before: Mapping[str, int]) -> int:
        query = f"SELECT count(DISTINCT lead_id) FROM outbox WHERE kind = 'salesforce' AND id > {before['outbox']}"
        return self._one(query)

    def _one(self, query: str) -> int:
        row = self._db.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0

    def _until(self, holds: Callable[[], bool], *, pause_s: float = 0.05) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            self._supervisor.tend()
            if time.monotonic() > deadline:
                raise TimeoutError("the processes of the house do not get on; see their logs")
            time.sleep(pause_s)


@contextmanager
def workers(meter: Meter, directory: Path, count: int) -> Iterator[Way]:
    """A sandbox, and so many worker processes of one child each, with beat beside them; all warm."""
    pretend = house.pretend_salesforce(directory, keep=False)
    with house.pointed_at(dict(pretend.env)) as cfg, Supervisor(directory / "logs", {}) as supervisor:
        env = {"FAIRTURN_LOG_LEVEL": "INFO", "FAIRTURN_WORKER_CONCURRENCY": "1"}
        ready = house.answers("127.0.0.1", pretend.http_port)
        supervisor.start(Job("sandbox", pretend.argv, ready=ready))
        celery = [sys.executable, "-m", "celery", "-A", "bench.noop"]
        names = [f"worker{number}" for number in range(count)]
        for name in names:
            argv = [*celery, "worker", "--queues", ",".join(QUEUES), "-n", f"{name}@bench"]
            supervisor.start(Job(name, argv, env=env))
        supervisor.start(Job("beat", [*celery, "beat"], env=env))
        supervisor.start(Job("subscriber", [sys.executable, "-m", "workers.subscriber"], env=env))
        _await_workers(supervisor, count)
        pids = supervisor.running()
        meter.follow({name: pids[name] for name in ("sandbox", "beat", "subscriber", *names)})
        seeder = Seeder(wiring.tokens(), version=cfg.salesforce_api_version, ca_file=cfg.salesforce_ca_file)
        way = Way(meter, supervisor, Org(seeder), directory)
        way.pids = pids
        way.await_subscriber()
        try:
            yield way
        finally:
            way.close()
            meter.forget("sandbox", "beat", "subscriber", *names)


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def own(cost: Cost) -> Cost:
    """The cost without what is not ours: the pretend Salesforce, and this program."""
    theirs = {"sandbox", "python"}
    ours = {name: spent for name, spent in cost.cpu_s.items() if name not in theirs}
    worker = sum(spent for name, spent in ours.items() if name.startswith("worker"))
    rest = {name: spent for name, spent in ours.items() if not name.startswith("worker")}
    return Cost(cost.units, cost.wall_s, rest | {"workers": worker})


def _await_workers(supervisor: Supervisor, count: int) -> None:
    from bench.noop import app  # noqa: PLC0415 - as above

    deadline = time.monotonic() + PATIENCE_S
    while len(app.control.ping(timeout=1.0)) < count:
        supervisor.tend()
        assert time.monotonic() < deadline, "the workers do not answer"


def _record(place: Point, number: int) -> dict[str, Any]:
    return {
        "LastName": f"Household {number}",
        "Company": "Household",
        "LeadSource": "Web",
        "Street": f"{number} Main Street",
        "City": "Springfield",
        "State": "IL",
        "PostalCode": "62701",
        "Country": "US",
        "Latitude": round(place.lat, 6),
        "Longitude": round(place.lon, 6),
    }
