"""The broker behind three sentinels: its primary is killed in mid-run, and tasks go on."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import celery
import pytest
from flower.utils.broker import Broker as FlowersBroker
from kombu.exceptions import OperationalError

from config import celery as celery_config
from config import flower_door
from config.settings import Settings
from storage.postgres.engine import connect
from storage.postgres.heartbeats import Heartbeats
from storage.redis.broker import Broker
from tests.integration.cluster.servers import Watched, running_watched, until

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with running_watched(tmp_path / "servers") as made:
        yield made


@pytest.fixture
def app(watched: Watched) -> Iterator[celery.Celery]:
    """Our Celery configuration, as one who sends."""
    made = celery.Celery("sender", set_as_current=False)
    made.config_from_object(celery_config.conf(Settings(broker_url=watched.url)))
    yield made
    made.close()


@pytest.fixture
def worker(watched: Watched, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process with our configuration."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "FAIRTURN_BROKER_URL": watched.url,
        "FAIRTURN_TURNSTILE_URL": redis_url,
        "FAIRTURN_DATA_DIR": str(tmp_path),
        "FAIRTURN_GEOCODERS": "nominatim",
        "FAIRTURN_WORKER_CONCURRENCY": "1",
    }
    command = [sys.executable, "-m", "celery", "-A", "workers.main", "worker", "--queues", "leads,sweeps"]
    with (tmp_path / "worker.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_tasks_go_on_when_the_brokers_primary_is_killed_and_what_waited_is_still_there(
    watched: Watched, app: celery.Celery, worker: subprocess.Popen[bytes], database_url: str
) -> None:
    engine = connect(database_url)
    broker = Broker(watched.url)
    numbers = count(1)

    def works() -> bool:
        """Whether a task sent now is done soon; messages are hints, so one that the fail-over lost is sent again."""
        name = f"canary {next(numbers)}"
        try:
            app.send_task("sweep.canary", args=[name], queue="sweeps")
            until(lambda: f"queue:{name}" in done(), "the task is done", within_s=1)
        except (OperationalError, AssertionError):
            return False
        return True

    def done() -> set[str]:
        return {beat.name for beat in Heartbeats(engine).all()}

    until(works, "the worker works")
    for number in range(30):
        app.send_task("sweep.canary", args=[f"{number}"], queue="outbox")  # nobody works on this queue
    primary = watched.primary()
    (heir,) = [node for node in watched.servers if node is not primary]
    until(lambda: heir.client.llen("outbox") == 30, "the replica has them")

    primary.signal(signal.SIGKILL)
    until(works, "tasks go on")
    assert watched.primary() is heir
    for number in range(20):
        app.send_task("sweep.canary", args=[f"after {number}"], queue="leads")
    until(lambda: {f"queue:after {n}" for n in range(20)} <= done(), "what is sent afterwards is done")
    assert worker.poll() is None, "the same worker process, never restarted"
    assert broker.depths(("outbox", "leads")) == {"outbox": 30, "leads": 0}
    assert asyncio.run(_flower_sees(app, Settings(broker_url=watched.url), "outbox")) == [
        {"name": "outbox", "messages": 30}
    ]
    engine.dispose()


async def _flower_sees(app: celery.Celery, settings: Settings, queue: str) -> list[dict[str, object]]:
    """What Flower finds in the queue, by its own reading of our broker's URL and options."""
    url = flower_door.broker_url(settings)
    broker = FlowersBroker(url, broker_options=app.conf.broker_transport_options, broker_use_ssl=None)
    try:
        found: list[dict[str, object]] = await broker.queues([queue])
    finally:
        pool = broker.redis.connection_pool
        await pool.disconnect()
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()
    return found
