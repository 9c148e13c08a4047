"""The process that owns the embedded servers: it holds them as long as somebody uses them, and not a moment longer.

Each user holds a connection to the guard. The kernel closes it when the user ends, however it ends; with the last
connection the servers go. They also go with the guard itself, by die_with_parent.
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from routing.errors import GiveUp
from workers.embedded_identity import AsRoot
from workers.embedded_servers import EmbeddedServersFailed, Postgres, Server, Valkey, free_port, new_password

OTHER_GUARD_LEAVES_WITHIN_S = 60.0
TRIES = 3
#: A server that crashes more often than this within a minute is not started again.
CRASHES_A_MINUTE = 5


def remembered(data_dir: Path) -> dict[str, Any]:
    """What an earlier guard wrote down: ports and passwords; nothing when there was none or it is unreadable."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((data_dir / "run.json").read_text())
        return found if isinstance(found, dict) else {}
    return {}


def _remember(data_dir: Path, facts: dict[str, Any]) -> None:
    half = data_dir / f"run.json.{os.getpid()}"
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(facts, file, indent=2)
    half.replace(data_dir / "run.json")


def main() -> None:
    """Start the servers, serve until the last user is gone, stop the servers."""
    options = argparse.ArgumentParser()
    options.add_argument("data_dir", type=Path)
    options.add_argument("--first", type=int, required=True, help="descriptor of the first user's connection")
    options.add_argument("--as-root", choices=("auto", "namespace", "nobody"), default="auto")
    options.add_argument("--postgres", action="append", default=[], help="a setting of Postgres: NAME=VALUE")
    chosen = options.parse_args()
    if os.fork():  # the guard is nobody's child: it may outlive the user that started it
        os._exit(0)
    first = socket.socket(fileno=chosen.first)
    first.set_inheritable(False)
    guard = Guard(chosen.data_dir, chosen.as_root, dict(one.split("=", 1) for one in chosen.postgres))
    try:
        with _sole_guard(chosen.data_dir):
            guard.serve(first)
    except (GiveUp, OSError) as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - into guard.log
        with contextlib.suppress(OSError):
            first.sendall(json.dumps({"error": str(exc)}).encode() + b"\n")
    sys.stderr.flush()
    os._exit(0)  # the last user hears its connection close when nothing of us is left


@contextmanager
def _sole_guard(data_dir: Path) -> Iterator[None]:
    """Held for the guard's life; a guard that is just leaving is waited for."""
    until = time.monotonic() + OTHER_GUARD_LEAVES_WITHIN_S
    with (data_dir / "guard.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() > until:
                    raise EmbeddedServersFailed(
                        f"The servers of {data_dir} are held by a process that does not answer. "
                        "End the embedded_guard process of that directory, then try again."
                    ) from exc
                time.sleep(0.05)
        yield


class Guard:
    """Servers, their users, and what happens between them."""

    def __init__(self, data_dir: Path, as_root: AsRoot, postgres: dict[str, str]) -> None:
        self._data_dir = data_dir
        self._as_root = as_root
        self._postgres = postgres
        self._servers: list[Server] = []
        self._users: set[socket.socket] = set()
        self._crashes: list[float] = []
        self._selector = selectors.DefaultSelector()
        self._leaving = False

    def serve(self, first: socket.socket) -> None:
        try:
            with self._signals():
                self._start()
                with socket.create_server(("127.0.0.1", 0)) as door:
                    self._open(door)
                    self._welcome(first)
                    while self._users and not self._leaving:
                        self._turn()
                # The door is shut: who comes now starts a guard of its own, which waits for this one's lock.
        finally:
            for server in reversed(self._servers):
                server.stop()

    def _start(self) -> None:
        old = remembered(self._data_dir)
        password = {name: old.get(f"{name}_password") or new_password() for name in ("postgres", "valkey")}
        for make in (
            lambda port: Postgres(
                self._data_dir,
                password["postgres"],
                port,
                self._as_root,
                self._postgres,
                "postgres_password" not in old,
            ),
            lambda port: Valkey(self._data_dir, password["valkey"], port),
        ):
            self._servers.append(self._start_one(make, old))
        self._token = secrets.token_urlsafe(24)
        self._facts = {f"{s.name}_port": s.port for s in self._servers} | {
            f"{name}_password": word for name, word in password.items()
        }

    @staticmethod
    def _start_one(make: Callable[[int], Server], old: dict[str, Any]) -> Server:
        """Started on its remembered port; on another one when somebody took that in the meantime."""
        for left in reversed(range(TRIES)):
            server = make(free_port(old.get(f"{make(0).name}_port")))
            try:
                server.start()
            except EmbeddedServersFailed as exc:
                if not left or "in use" not in str(exc):
                    raise
            else:
                return server
        raise AssertionError("unreachable")

    def _open(self, door: socket.socket) -> None:
        self._selector.register(door, selectors.EVENT_READ, self._greet)
        _remember(
            self._data_dir,
            self._facts | {"guard_port": door.getsockname()[1], "guard_token": self._token, "guard_pid": os.getpid()},
        )

    def _turn(self) -> None:
        for key, _ in self._selector.select():
            key.data(key.fileobj)

    def _greet(self, door: socket.socket) -> None:
        """Let in who knows the token; a stranger is shown out."""
        user, _ = door.accept()
        user.settimeout(2)
        try:
            with user.makefile("rb") as said:
                known = secrets.compare_digest(said.readline(100).strip(), self._token.encode())
        except OSError:
            known = False
        if known:
            self._welcome(user)
        else:
            user.close()

    def _welcome(self, user: socket.socket) -> None:
        postgres, valkey = self._servers
        answer = {"database_url": postgres.url(), "redis_url": valkey.url()}
        self._users.add(user)
        self._selector.register(user, selectors.EVENT_READ, self._hear)
        with contextlib.suppress(OSError):  # gone already: the selector tells
            user.sendall(json.dumps(answer).encode() + b"\n")

    def _hear(self, user: socket.socket) -> None:
        """A user only ever says that it is done. The last one is let go when the servers have stopped."""
        with contextlib.suppress(OSError):
            if user.recv(100):
                return
        self._selector.unregister(user)
        self._users.discard(user)
        if self._users:
            user.close()
        else:
            self._last_user = user

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM ends the guard; SIGCHLD makes it look after its servers; both wake the selector."""
        hears, tells = socket.socketpair()
        hears.setblocking(False)
        tells.setblocking(False)
        self._selector.register(hears, selectors.EVENT_READ, self._awake)
        signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._leave)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        yield
        signal.set_wakeup_fd(-1)
        hears.close()
        tells.close()

    def _leave(self, *_: object) -> None:
        self._leaving = True

    def _awake(self, hears: socket.socket) -> None:
        hears.recv(1000)
        if self._leaving:
            return
        for server in self._servers:
            if not server.running():
                self._again(server)

    def _again(self, server: Server) -> None:
        now = time.monotonic()
        self._crashes = [at for at in self._crashes if at > now - 60] + [now]
        if len(self._crashes) > CRASHES_A_MINUTE:
            raise EmbeddedServersFailed(f"{server.name} keeps crashing. See its log in {self._data_dir / 'logs'}.")
        server.start()


if __name__ == "__main__":
    main()
