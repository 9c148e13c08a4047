"""Real Postgres and Valkey beside the project, for as long as somebody uses them."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.embedded_guard import remembered
from workers.embedded_identity import AsRoot
from workers.embedded_servers import EmbeddedServersFailed

__all__ = ["EmbeddedServersFailed", "Urls", "running", "servers"]

ROOT = Path(__file__).resolve().parents[1]
ANSWERS_WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the embedded servers are; both URLs carry their passwords."""

    database_url: str
    redis_url: str


@contextmanager
def servers(data_dir: Path, *, as_root: AsRoot = "auto", postgres: Mapping[str, str] | None = None) -> Iterator[Urls]:
    """Embedded Postgres and Valkey of this directory, started or joined; the last user's leaving stops them.

    They outlive no user: a killed one counts as gone. `as_root` says how root starts Postgres, which refuses to be
    root: in a user namespace, as the user nobody, or whichever works. `postgres`: settings that go before ours, for the
    servers that this call starts.
    """
    data_dir = _made(data_dir)
    with _one_at_a_time(data_dir):
        held, urls = _join(data_dir) or _start(data_dir, as_root, postgres or {})
    try:
        yield urls
    finally:
        _let_go(held)


def running(data_dir: Path) -> bool:
    """Whether somebody uses this directory's servers now."""
    joined = _join(data_dir)
    if joined is None:
        return False
    _let_go(joined[0])
    return True


def _made(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        (data_dir / "logs").mkdir(exist_ok=True)
    except OSError as exc:
        raise EmbeddedServersFailed(
            f"{data_dir} cannot be used: {exc.strerror}. Choose another FAIRTURN_DATA_DIR."
        ) from exc
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise EmbeddedServersFailed(
            f"{data_dir} belongs to another user. Remove it, or choose another FAIRTURN_DATA_DIR."
        )
    return data_dir.resolve()


@contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[None]:
    with (data_dir / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _join(data_dir: Path) -> tuple[socket.socket, Urls] | None:
    """The running servers of this directory, if there are any."""
    facts = remembered(data_dir)
    if "guard_port" not in facts or "guard_token" not in facts:
        return None
    with contextlib.suppress(OSError, EmbeddedServersFailed):
        held = socket.create_connection(("127.0.0.1", int(facts["guard_port"])), timeout=5)
        try:
            held.sendall(f"{facts['guard_token']}\n".encode())
            return held, _hear(held)
        except (OSError, EmbeddedServersFailed):
            held.close()
    return None


def _start(data_dir: Path, as_root: AsRoot, postgres: Mapping[str, str]) -> tuple[socket.socket, Urls]:
    held, theirs = socket.socketpair()
    with theirs, (data_dir / "logs" / "guard.log").open("ab") as log:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "workers.embedded_guard",
                str(data_dir),
                f"--first={theirs.fileno()}",
                f"--as-root={as_root}",
                *(f"--postgres={name}={value}" for name, value in postgres.items()),
            ],
            cwd=data_dir,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
            start_new_session=True,  # Ctrl-C is meant for us; the guard hears of it when we leave
        )
    try:
        held.settimeout(ANSWERS_WITHIN_S)
        return held, _hear(held)
    except BaseException:
        held.close()
        raise


def _hear(held: socket.socket) -> Urls:
    with held.makefile("rb") as said:
        line = said.readline()
    if not line:
        raise EmbeddedServersFailed("The embedded servers ended while starting. See guard.log in the logs directory.")
    answer = json.loads(line)
    if "error" in answer:
        raise EmbeddedServersFailed(answer["error"])
    return Urls(**answer)


def _let_go(held: socket.socket) -> None:
    """Say that we are done; the last one waits until the servers have stopped."""
    with held, contextlib.suppress(OSError):
        held.shutdown(socket.SHUT_WR)
        held.settimeout(ANSWERS_WITHIN_S)
        while held.recv(1000):
            time.sleep(0)
