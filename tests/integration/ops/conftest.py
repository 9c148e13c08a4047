"""A house with its real processes, once for these tests: worker, beat, Flower and web on their own database."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psycopg
import pytest
import redis
from celery import Celery
from psycopg import sql
from pydantic import SecretStr

from config import celery as celery_config
from config.settings import Settings
from workers.embedded import Urls

PATIENCE_S = 60.0
FLOWER_LOGIN = ("ann", "seen-only-here")


@dataclass(frozen=True)
class House:
    """The running processes and the way to each."""

    env: Mapping[str, str]
    settings: Settings
    data_dir: Path
    broker: Celery
    web: str
    flower: str
    http: httpx.Client

    def log(self, name: str) -> str:
        return (self.data_dir / f"{name}.log").read_text("utf-8")


def until(what: Callable[[], bool], says: Callable[[], object] = lambda: "") -> None:
    """Wait until it is so; fails with what `says` tells when it never is."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError(f"never so within {PATIENCE_S} s: {says()}")


def answers(http: httpx.Client, url: str) -> bool:
    try:
        http.get(url)
    except httpx.TransportError:
        return False
    return True


@pytest.fixture(scope="module")
def house(servers: Urls, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    data_dir = tmp_path_factory.mktemp("house")
    web, flower = free_port(), free_port()
    with ExitStack() as stack:
        database_url = stack.enter_context(a_database(servers, migrated_template))
        with redis.Redis.from_url(servers.redis_url) as client:
            client.flushall()
        env = {
            "DATABASE_URL": database_url,
            "REDIS_URL": servers.redis_url,
            "FAIRTURN_DATA_DIR": str(data_dir),
            "FAIRTURN_WEB_PORT": str(web),
            "FAIRTURN_FLOWER_PORT": str(flower),
            "FAIRTURN_FLOWER_USER": FLOWER_LOGIN[0],
            "FAIRTURN_FLOWER_PASSWORD": FLOWER_LOGIN[1],
            "SALESFORCE_LOGIN_URL": "http://127.0.0.1:1",
        }
        cfg = Settings(
            database_url=database_url,
            redis_url=servers.redis_url,
            data_dir=data_dir,
            web_port=web,
            flower_port=flower,
            flower_user=FLOWER_LOGIN[0],
            flower_password=SecretStr(FLOWER_LOGIN[1]),
        )
        broker = Celery("test", set_as_current=False)
        broker.conf.update(celery_config.conf(cfg) | {"include": ()})
        celery = ("workers.start",)
        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(stop, processes)
        for name, argv in {
            "flower": ("celery", "-A", "workers.main", "flower", "--conf=config/flower.py"),
            "worker": (*celery, "worker", "--queues", ",".join(celery_config.QUEUES)),
            "beat": (*celery, "beat"),
            "web": ("uvicorn", "--factory", "web.main:app", "--port", str(web), "--no-server-header"),
        }.items():
            out = stack.enter_context((data_dir / f"{name}.log").open("wb"))
            processes.append(start(argv, env, out))
        http = stack.enter_context(httpx.Client(timeout=10))
        found = House(env, cfg, data_dir, broker, f"http://127.0.0.1:{web}", f"http://127.0.0.1:{flower}", http)
        until(lambda: answers(http, found.web), lambda: found.log("web")[-3000:])
        until(lambda: answers(http, found.flower), lambda: found.log("flower")[-3000:])
        yield found
        broker.close()


def start(argv: tuple[str, ...], env: Mapping[str, str], out: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *argv],
        env={**os.environ, **env},
        cwd=Path(__file__).parents[3],
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """All of them at once, and for good."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def a_database(servers: Urls, template: str) -> Iterator[str]:
    name = f"house_{uuid.uuid4().hex}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        yield servers.database_url.rpartition("/")[0] + "/" + name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
