"""Workers and Redis off while deadlines pass: every overdue offer expires once when they are back (row O17)."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from config.celery import QUEUES
from tests.integration.routing.house import House
from tests.integration.routing.own_valkey import OwnValkey, own_valkey
from tests.integration.routing.test_races import lay_out

OVERDUE, LATER = 1000, 50
#: From the first offer that ends after the outage to the last.
RECOVERY = timedelta(seconds=30)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    with own_valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def house(database_url: str, valkey: OwnValkey) -> Iterator[House]:
    made = House(database_url, valkey.url)
    made.publish()
    yield made
    assert made.breaches() == {}
    made.close()


@contextmanager
def workers(house: House, place: Path) -> Iterator[None]:
    """A worker for every queue and beat, as in production; killed at the end."""
    env = os.environ | {
        "DATABASE_URL": house.database_url,
        "REDIS_URL": house.redis_url,
        "FAIRTURN_BROKER_URL": house.redis_url,
        "FAIRTURN_TURNSTILE_URL": house.redis_url,
        "FAIRTURN_DATA_DIR": str(place),
        "SALESFORCE_LOGIN_URL": "http://127.0.0.1:1",
    }
    with ExitStack() as stack:
        for name, more in (("worker", ("--queues", ",".join(QUEUES))), ("beat", ())):
            log = stack.enter_context((place / f"{name}.log").open("ab"))
            command = [sys.executable, "-m", "workers.start", name, *more]
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
        yield


def until(condition: Callable[[], object], place: Path) -> None:
    last = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < last, (place / "worker.log").read_text()[-3000:]
        time.sleep(0.1)


@pytest.mark.timeout(400)  # two starts of a worker, on a machine that may be busy
def test_O17_every_overdue_offer_expires_once_after_an_outage_and_none_early(
    house: House, valkey: OwnValkey, tmp_path: Path
) -> None:
    one = house.member("one", 40.01, capacity=OVERDUE + LATER + 1)
    lay_out(house, one, OVERDUE + LATER + 1)
    offers = [row.id for row in house.rows("SELECT id FROM offers ORDER BY lead_id")]
    overdue, first = offers[:OVERDUE], offers[-1]
    due = "UPDATE offers SET expires_at = clock_timestamp() - random() * :by WHERE id = ANY(:ids)"

    def expired() -> int:
        found: int = house.value("SELECT count(*) FROM offers WHERE state = 'expired'")
        return found

    with workers(house, tmp_path):
        house.run(due, by=timedelta(0), ids=[first])
        until(lambda: expired() == 1, tmp_path)
    valkey.kill()
    shutil.rmtree(valkey.place / "appendonlydir")
    house.run(due, by=timedelta(minutes=10), ids=overdue)
    valkey.start()
    with workers(house, tmp_path):
        until(lambda: expired() == 1 + OVERDUE, tmp_path)
    took = house.value("SELECT max(ended_at) - min(ended_at) FROM offers WHERE id = ANY(:ids)", ids=overdue)
    assert took <= RECOVERY
    once = "SELECT detail ->> 'offer' AS id, count(*) AS n FROM timeline WHERE what = 'expired' GROUP BY 1"
    assert {row.id: row.n for row in house.rows(once)} == dict.fromkeys(map(str, [*overdue, first]), 1)
    assert house.value("SELECT open FROM members WHERE id = :m", m=one) == LATER
    assert house.value("SELECT count(*) FROM notices WHERE what = 'offer.expired'") == OVERDUE + 1
