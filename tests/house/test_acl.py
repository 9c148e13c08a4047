"""The users of deploy/valkey/users.acl, on a real Valkey started as compose starts it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import celery
import pytest
import redis
from kombu.connection import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from routing.ports import Snapshot
from storage.redis.turnstile import RedisTurnstile
from workers.embedded_servers import free_port, valkey_program

ROOT = Path(__file__).resolve().parents[2]
USERS = ("broker", "turnstile", "flower")

pytestmark = pytest.mark.skipif(not shutil.which("sha256sum"), reason="the start script is for Linux images")

As = Callable[[str, int], str]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[As]:
    """URL of a user and a database."""
    place = tmp_path_factory.mktemp("acl")
    port = free_port()
    environment = os.environ | {
        "PATH": f"{valkey_program().parent}:{os.environ['PATH']}",
        "ACL_FILE": str(place / "users.acl"),
        "BROKER_PASSWORD": "of-broker",
        "TURNSTILE_PASSWORD": "of-turnstile",
        "FLOWER_BROKER_PASSWORD": "of-flower",
    }
    command = [
        str(ROOT / "deploy" / "valkey" / "start"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(place),
    ]
    with (place / "log").open("w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            _until_it_answers(port)
            yield lambda user, number: f"redis://{user}:of-{user}@127.0.0.1:{port}/{number}"
        finally:
            server.terminate()


def _until_it_answers(port: int) -> None:
    until = time.monotonic() + 20
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
        while time.monotonic() < until:
            try:
                client.ping()
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                time.sleep(0.02)
    raise AssertionError("Valkey did not start")


def _refused(url: str, *command: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            client.execute_command(*command)
        except redis.exceptions.NoPermissionError:
            return True
    return False


def test_nobody_gets_in_without_a_name(url: As) -> None:
    port = url("broker", 0).rpartition(":")[2].split("/")[0]
    with redis.Redis(port=int(port), retry=Retry(NoBackoff(), 0)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("CONFIG", "SET", "appendonly", "no"),
        ("SHUTDOWN",),
        ("ACL", "LIST"),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("CLIENT", "KILL", "TYPE", "normal"),
    ],
    ids=lambda c: c[0],
)
def test_nobody_may_do_what_only_an_administrator_does(url: As, user: str, command: tuple[str, ...]) -> None:
    assert _refused(url(user, 0), *command)


def test_each_user_keeps_to_its_own_keys(url: As) -> None:
    assert _refused(url("turnstile", 0), "LPUSH", "leads", "x")
    assert _refused(url("turnstile", 0), "HSET", "unacked", "x", "y")
    assert _refused(url("turnstile", 0), "SUBSCRIBE", "/0.celeryev")
    for other in ("broker", "flower"):
        assert _refused(url(other, 1), "HGETALL", "turnstile:{solar}:state")
        assert _refused(url(other, 1), "DEL", "rate:nominatim")
    assert _refused(url("flower", 0), "EVAL", "return 1", "0")


def test_the_turnstile_works_as_its_user(url: As) -> None:
    turnstile = RedisTurnstile(url("turnstile", 1))
    turnstile.rebuild("solar", Snapshot(generation=1, seq=0, open_offers={}, standings={}, ticks={}, cursors={}))
    assert turnstile.reserve("solar", [], generation=1, release=[]) == []
    assert turnstile.pending("solar", older_than_s=0) == []
    assert turnstile.open_counts("solar") == {}
    turnstile.close()


def test_messages_pass_through_the_broker_as_its_user(url: As) -> None:
    made = Connection(url("broker", 0))  # type: ignore[no-untyped-call] # kombu is partly typed
    with made as connection, connection.SimpleQueue("outbox") as queue:
        queue.put({"id": 1})
        message = queue.get(timeout=10)
        assert message.payload == {"id": 1}
        message.ack()


def test_flower_sees_workers_as_its_user(url: As, tmp_path: Path) -> None:
    worker = ["worker", "--queues", "leads", "--pool", "solo", "--without-gossip", "--hostname", "acl@here"]
    command = [sys.executable, "-m", "celery", "-b", url("broker", 0), *worker]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) as process,
    ):
        try:
            app = celery.Celery(broker=url("flower", 0))
            until = time.monotonic() + 30
            answer = None
            while not answer and time.monotonic() < until:
                answer = app.control.inspect(timeout=1).ping()
            assert answer == {"acl@here": {"ok": "pong"}}
            with app.connection() as connection:
                seen: list[str] = []
                receiver = app.events.Receiver(connection, handlers={"*": lambda event: seen.append(event["type"])})
                for _ in receiver.itercapture(limit=1, timeout=30, wakeup=True):
                    break
            app.close()
        finally:
            process.terminate()
