"""The process `courier` as it runs in production: a message in the queue, and the partner's server has the call."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from config import celery as celery_config
from config.settings import Settings
from tests.fakes.receiver import Receiver
from tests.integration.delivery.post import SECRET, Post, verified

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path)


@pytest.fixture
def courier(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    env = os.environ | {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "FAIRTURN_DATA_DIR": str(settings.data_dir),
        "FAIRTURN_SECRET": SECRET,
        "FAIRTURN_NOTIFY_LOOPBACK": "true",
    }
    command = [sys.executable, "-m", "workers.start", "worker", "--queues", "deliveries", "--concurrency=1"]
    with (settings.data_dir / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        yield process
        if process.poll() is None:
            process.kill()
        process.wait()


def test_a_message_in_the_queue_has_the_courier_call_and_a_stop_ends_it_whole(
    post: Post, settings: Settings, courier: subprocess.Popen[bytes]
) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        _, secret = post.hook(member, receiver.url())
        offer = post.offer()
        app = Celery("asking")
        app.conf.update(celery_config.conf(settings))
        app.send_task("deliveries.send", args=[])
        (call,) = receiver.wait_for(1, 90)
        assert verified(secret, call)["data"]["offer_id"] == str(offer)
        app.close()
    courier.send_signal(signal.SIGTERM)
    assert courier.wait(60) == 0
    assert post.states() == [("webhook", "sent", None)]
