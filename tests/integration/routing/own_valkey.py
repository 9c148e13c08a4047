"""A Valkey of one test's own, to be killed, frozen, filled and set back in time."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.embedded_servers import free_port, valkey_program


@dataclass
class OwnValkey:
    """One server process with its append-only file in `place`."""

    place: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.place.mkdir(exist_ok=True)
        files = ["--dir", str(self.place), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        command = [str(valkey_program()), "--port", str(self.port), "--bind", "127.0.0.1", *files, *self.options]
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < until, "Valkey did not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def may(self, rule: str) -> None:
        """Change what everybody may do, such as `-hmget`."""
        with self.client as client:
            client.execute_command("ACL", "SETUSER", "default", rule)

    def kill(self) -> None:
        """End it as by a power failure."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """It accepts connections and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def save(self) -> Path:
        """A copy of what is on the disk now."""
        copy = self.place.with_name(f"{self.place.name}-{time.monotonic_ns()}")
        shutil.copytree(self.place / "appendonlydir", copy)
        return copy

    def set_back(self, copy: Path) -> None:
        """Kill it, and let it come back with an older disk."""
        self.kill()
        shutil.rmtree(self.place / "appendonlydir")
        shutil.copytree(copy, self.place / "appendonlydir")
        self.start()


@contextmanager
def own_valkey(place: Path, *options: str) -> Iterator[OwnValkey]:
    """A running server; nothing of it is left behind."""
    server = OwnValkey(place, options=options)
    server.start()
    try:
        yield server
    finally:
        server.thaw()
        server.kill()


def listens(port: int) -> bool:
    """Whether anybody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
