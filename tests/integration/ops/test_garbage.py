"""What others put into the broker's queues: refused, counted, parked; our own messages go on meanwhile."""

import base64
import gzip
import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery

from config import celery as celery_config
from config.settings import Settings
from tests.integration.ops.conftest import a_database, start, stop, until
from workers.embedded import Urls

LANE = "leads"


class Worker:
    """One real Celery worker with one child, its ledger and its broker."""

    def __init__(self, process: subprocess.Popen[bytes], ledger: str, broker: str, app: Celery, log: Path) -> None:
        self.process, self.app, self.log = process, app, log
        self.ledger = psycopg.connect(ledger, autocommit=True)
        self.broker = redis.Redis.from_url(broker)

    def parked(self) -> dict[str, bytes | None]:
        return dict(self.ledger.execute("SELECT ref, raw FROM parked").fetchall())

    def heard(self) -> object:
        return self.ledger.execute("SELECT count(*) FROM heartbeats WHERE name = 'queue:leads.hot'").fetchone()

    def answers(self) -> None:
        """It takes a message of ours, with what came before it: from the end of the same queue."""
        sent = self.app.send_task("leads.route", args=[[987654]], queue=LANE)
        until(lambda: f'"task_id": "{sent.id}"' in self.log.read_text("utf-8"), lambda: self.log.read_text()[-3000:])


@pytest.fixture(scope="module")
def worker(servers: Urls, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    data_dir = tmp_path_factory.mktemp("garbage")
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    with a_database(servers, migrated_template) as ledger, (data_dir / "log").open("wb") as out:
        env = {"DATABASE_URL": ledger, "REDIS_URL": servers.redis_url, "FAIRTURN_DATA_DIR": str(data_dir)}
        queues = ",".join(celery_config.QUEUES)
        process = start(("workers.start", "worker", "--queues", queues, "--concurrency=1"), env, out)
        app = Celery("test", set_as_current=False)
        settings = Settings(database_url=ledger, redis_url=servers.redis_url, data_dir=data_dir)
        app.conf.update(celery_config.conf(settings) | {"include": ()})
        found = Worker(process, ledger, servers.redis_url, app, data_dir / "log")
        try:
            found.answers()
            yield found
        finally:
            stop([process])
            found.ledger.close()
            found.broker.close()
            app.close()


def message(*, task: str = "leads.route", body: object = (((1,),), {}, {}), **over: Any) -> dict[str, Any]:
    inside = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"id": str(uuid.uuid4()), "task": task, "lang": "py"} | over.pop("headers", {})
    return {
        "body": base64.b64encode(inside).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": LANE},
            "body_encoding": "base64",
            "delivery_mode": 2,
            "priority": 0,
        },
    } | over


BOMB = gzip.compress(b"[[[1]], {}, {}]" + b" " * 10_000_000)
REFUSED: dict[str, list[Any]] = {
    "not JSON": [b"hello", b"\xff\xfe\x00", b"", b'{"body": "'],
    "not a message": [b"[]", b"1", b"null"],
    "no headers": [b"{}", b'{"headers": []}'],
    "no address": [message(properties={}), message(properties=None), message(properties={"delivery_tag": 7})],
    "not JSON inside": [message(body=b"garbage"), message(**{"content-type": "application/x-python-serialize"})],
    "compressed": [message(body=BOMB, headers={"compression": "application/x-gzip"})],
    "no task": [message(headers={"task": None}), message(headers={"id": 7})],
    "unknown task": [message(task="other.app"), message(task="celery.starmap"), message(task="leads.nothing")],
    "has a time of its own": [message(headers={"eta": "9999-01-01T00:00:00"}), message(headers={"timelimit": [1, 1]})],
    "no body": [message(body=b"") | {"body": "%"}, message() | {"body": None}],
    "arguments in no order": [
        message(body={"args": 1}),
        message(body=[[[1]], {}]),
        message(body=[[[1]], {}, {"callbacks": [{"task": "leads.route"}]}]),
    ],
    "too large": [b"[" * 50_000_000],
}


def test_N16_garbage_in_a_queue_is_refused_and_parked_with_its_reason_and_the_worker_goes_on(worker: Worker) -> None:
    for pieces in REFUSED.values():
        for piece in pieces:
            worker.broker.lpush(LANE, piece if isinstance(piece, bytes) else json.dumps(piece))
    worker.answers()
    wanted = {f"{LANE}: {reason}" for reason in REFUSED}
    until(lambda: wanted <= worker.parked().keys(), lambda: wanted - worker.parked().keys())
    assert all(len(raw or b"") <= 300 for raw in worker.parked().values())
    assert worker.process.poll() is None
    assert worker.broker.llen(LANE) == 0
    assert worker.broker.hlen("unacked") == 0


WRONG = [
    [["1"]], [[[1]]], ["1"], [[-1]], [[2**80]], [[True]], [[1.5]], [{"a": 1}], [list(range(1, 1500))],
    [[1], [2]], [], [None],
]  # fmt: skip


def test_N16_wrong_arguments_reach_no_work_and_are_parked_once(worker: Worker) -> None:
    for args in WRONG:
        worker.broker.lpush(LANE, json.dumps(message(body=[args, {}, {}])))
    worker.broker.lpush(LANE, json.dumps(message(body=[[], {"lead_ids": [1], "self": 2}, {}])))
    worker.answers()
    letters = worker.ledger.execute("SELECT ref, reason FROM parked WHERE kind = 'task'").fetchall()
    assert [ref for ref, _ in letters] == ["leads.route: BadInput"]
    assert "Nothing is lost" in letters[0][1]
    assert '"outcome": "failed"' not in worker.log.read_text("utf-8")


def test_N16_a_flood_of_garbage_is_counted_whole_and_told_once(worker: Worker) -> None:
    before = worker.log.read_text("utf-8").count("message.rejected")
    worker.broker.lpush("outbox", *[f"flood {n}" for n in range(2_000)])
    worker.answers()
    until(lambda: worker.broker.llen("outbox") == 0)
    worker.answers()
    assert worker.log.read_text("utf-8").count("message.rejected") - before <= 3


def test_N16_a_forged_message_moves_nothing_that_is_settled(worker: Worker) -> None:
    lead = worker.ledger.execute(
        "INSERT INTO leads (salesforce_id, state, reason, received_at) "
        "VALUES ('00Q1', 'review', 'error', now()) RETURNING id"
    ).fetchone()
    assert lead is not None
    for task in ("leads.route", "leads.geocode", "leads.intake"):
        worker.broker.lpush(LANE, json.dumps(message(task=task, body=[[[lead[0]]], {}, {}])))
    worker.answers()
    seen = worker.ledger.execute("SELECT state, reason, version FROM leads WHERE id = %s", lead).fetchone()
    assert seen == ("review", "error", 1)


def test_a_queue_that_holds_enough_takes_no_more_of_ours_but_a_canary_passes_everybody(worker: Worker) -> None:
    os.kill(worker.process.pid, signal.SIGSTOP)
    try:
        for _ in range(70):
            worker.app.send_task("outbox.deliver", queue="outbox")
        assert worker.broker.llen("outbox") <= 52
        worker.app.send_task("sweep.canary", args=["outbox"], queue="outbox")
        (first,) = worker.broker.lrange("outbox", -1, -1)
        assert "sweep.canary" in str(first)
    finally:
        os.kill(worker.process.pid, signal.SIGCONT)
    until(lambda: worker.broker.llen("outbox") == 0)
