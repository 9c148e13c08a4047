"""Postgres and Valkey as `fairturn up` brings them, held by the run itself, so that it can break them."""

import contextlib
import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from workers.embedded_servers import Postgres, Valkey, free_port, new_password


def process_of(server: Any) -> psutil.Process:
    """The main process of a running server."""
    return psutil.Process(server._process.pid)


@dataclass(slots=True)
class Servers:
    """The two servers of one run; what is down stays down until it is started again."""

    directory: Path
    postgres: Postgres = field(init=False)
    valkey: Valkey = field(init=False)

    def __post_init__(self) -> None:
        self.postgres = Postgres(self.directory, new_password(), free_port())
        self.valkey = Valkey(self.directory, new_password(), free_port())

    def start(self) -> None:
        """Start what does not run."""
        for server in (self.postgres, self.valkey):
            if not server.running():
                server.start()

    def stop(self) -> None:
        self.thaw_valkey()
        self.valkey.stop()
        self.postgres.stop()

    # --- Valkey

    def kill_valkey(self) -> None:
        """As by kill -9; what it wrote is on the disk."""
        _kill(self.valkey)

    def freeze_valkey(self) -> None:
        process_of(self.valkey).suspend()

    def thaw_valkey(self) -> None:
        if self.valkey.running():
            process_of(self.valkey).resume()

    def keep_valkey(self) -> Path:
        """A copy of what is on Valkey's disk now."""
        kept = self.directory / f"valkey.kept.{time.monotonic_ns()}"
        shutil.copytree(self.directory / "valkey", kept)
        return kept

    def roll_back_valkey(self, kept: Path) -> None:
        """Valkey is as it was when the copy was made: as after a lost fsync, or a fail-over to a late replica."""
        self.kill_valkey()
        place = self.directory / "valkey"
        for entry in place.iterdir():  # the directory itself may be a mount
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        shutil.copytree(kept, place, dirs_exist_ok=True)
        shutil.rmtree(kept)
        self.valkey.start()

    # --- Postgres

    def use_up_wal(self) -> None:
        """Let Postgres begin new files of its log of writes until it cannot: those it made ahead hide a full disk."""
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            for _ in range(8):
                connection.execute("SELECT pg_logical_emit_message(false, 'chaos', 'full'), pg_switch_wal()")

    def crash_postgres(self) -> None:
        """`pg_ctl restart -m immediate`: no checkpoint, every session broken off, recovery at the start."""
        if self.postgres.running():
            os.kill(process_of(self.postgres).pid, signal.SIGQUIT)
            self.postgres._process.wait(30)  # type: ignore[union-attr]  # it runs, so there is one
        self.postgres.start()


def _kill(server: Any) -> None:
    if server.running():
        process_of(server).kill()
        server._process.wait(10)
