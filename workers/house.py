"""The house as one: servers brought along where none are set, the pretend Salesforce, every process of the Procfile."""

import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from config import flower_login, settings, wiring
from routing.errors import BadInput
from storage.postgres import schema
from workers import embedded, watch
from workers.supervisor import Job, Supervisor

ROOT = Path(__file__).resolve().parents[1]
#: The org of the pretend Salesforce, in the data directory.
ORG = "sandbox-org.json"
#: A busy machine needs long to start five interpreters.
START_S = 180.0


@dataclass(frozen=True, slots=True)
class Pretend:
    """Where the pretend Salesforce is, and the settings that lead there."""

    argv: tuple[str, ...]
    http_port: int
    grpc_port: int
    env: Mapping[str, str]


@contextmanager
def opened(data_dir: Path | None = None, *, new: bool = True) -> Iterator[settings.Settings]:
    """The settings with servers behind them: those that are set, else the embedded ones of the data directory.

    Raises BadInput where they would be `new`, and the caller only wants to see what is there.
    """
    cfg = settings.load()
    directory = (data_dir or cfg.data_dir).resolve()
    if cfg.database_url and cfg.broker() and cfg.turnstile() and data_dir is None:
        with _environment({"FAIRTURN_DATA_DIR": str(directory)}) as known:
            yield known
        return
    if not new and not (directory / "postgres").is_dir() and (data_dir is not None or not cfg.database_url):
        raise BadInput(
            f"there is no ledger in {directory}",
            field="--dir",
            fix="Name the data directory of a demo or of `fairturn up`, or set DATABASE_URL and REDIS_URL.",
        )
    with embedded.servers(directory) as urls:
        env = {"FAIRTURN_DATA_DIR": str(directory), "FAIRTURN_PLACES_DIR": str(_places(cfg, directory))}
        env["FAIRTURN_SECRET"] = _secret(cfg, directory)
        if data_dir is not None or not cfg.database_url:
            env["DATABASE_URL"] = urls.database_url
        if data_dir is not None or not (cfg.broker() and cfg.turnstile()):
            env["REDIS_URL"] = urls.redis_url
            env["FAIRTURN_BROKER_URL"] = settings.with_database(urls.redis_url, 0)
            env["FAIRTURN_TURNSTILE_URL"] = settings.with_database(urls.redis_url, 1)
        with _environment(env) as known:
            yield known


def _places(cfg: settings.Settings, directory: Path) -> Path:
    """The file of places is the same for all houses of a checkout: it is made once, and outlives each demo."""
    shared = cfg.places().resolve()
    there = next(place for place in (shared, *shared.parents) if place.exists())
    return shared if os.access(there, os.W_OK) else directory / "places"


def _secret(cfg: settings.Settings, directory: Path) -> str:
    """The secret that is set, else this directory's own, made at its first start and readable for its owner alone."""
    if known := cfg.secret.get_secret_value():
        return known
    file = directory / "fairturn.secret"
    with contextlib.suppress(FileExistsError):
        half = file.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:
            written.write(secrets.token_urlsafe(36))
        try:
            os.link(half, file)  # whole or not at all; of two that start at once, the first one's counts
        finally:
            half.unlink()
    return file.read_text().strip()


def migrate() -> int:
    """Bring the ledger to the newest schema and publish the policy when there is none; the policy's version."""
    schema.upgrade(settings.load().sqlalchemy_url())
    current = wiring.policies().current()
    return current[0] if current else wiring.publish_policy(actor="fairturn migrate").version


def processes() -> dict[str, tuple[str, ...]]:
    """What runs in production, by the Procfile's names."""
    cfg = settings.load()
    celery = ("-m", "workers.start")
    few = (f"--concurrency={cfg.bulk_concurrency}",)
    web = ("-m", "uvicorn", "--factory", "web.main:app", "--host", cfg.web_host, "--port", str(cfg.web_port))
    return {
        "subscriber": ("-m", "workers.subscriber"),
        "worker": (*celery, "worker", "--queues", "leads.hot,leads,outbox,sweeps", "--hostname=worker@%h"),
        "bulk": (*celery, "worker", "--queues", "leads.bulk", "--hostname=bulk@%h", *few),
        "courier": (*celery, "worker", "--queues", "deliveries", "--hostname=courier@%h", "--concurrency=1"),
        "standby": ("-m", "workers.standby"),
        "beat": (*celery, "beat"),
        "web": (*web, "--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "3"),
        "flower": ("-m", "celery", "-A", "workers.main", "flower", f"--conf={flower_login.CONF_FILE}"),
    }


def start(supervisor: Supervisor) -> None:
    """Start every process; returns when the faces answer."""
    cfg = settings.load()
    faces = {"web": (cfg.web_host, cfg.web_port), "flower": (cfg.flower_host, cfg.flower_port)}
    for name, argv in processes().items():
        ready = answers(*faces[name]) if name in faces else None
        well = watch.over(name, argv[argv.index("--queues") + 1].split(",")) if "--queues" in argv else None
        supervisor.start(Job(name, [sys.executable, *argv], ready=ready, ready_within_s=START_S, well=well))


def pretend_salesforce(directory: Path, *, keep: bool) -> Pretend:
    """A local Salesforce on free ports; `keep` makes it remember across restarts, from `demo` to `up` as well."""
    http, https, grpc, grpc_tls = free_ports(4)
    ca = directory / "sandbox-ca.pem"
    argv = [sys.executable, "-m", "sandbox", "--http-port", str(http), "--https-port", str(https)]
    argv += ["--grpc-port", str(grpc), "--grpc-tls-port", str(grpc_tls), "--ca-out", str(ca)]
    if keep:
        argv += ["--state", str(directory / ORG)]
    env = {
        "SALESFORCE_LOGIN_URL": f"https://127.0.0.1:{https}",
        "SALESFORCE_CA_FILE": str(ca),
        "SALESFORCE_PUBSUB": f"127.0.0.1:{grpc}",
        "SALESFORCE_PUBSUB_PLAINTEXT": "true",
        "SALESFORCE_CLIENT_ID": "fairturn",
        "SALESFORCE_CLIENT_SECRET": secrets.token_urlsafe(16),
    }
    return Pretend(tuple(argv), http, grpc, env)


@contextmanager
def faces() -> Iterator[settings.Settings]:
    """The settings with ports for web and Flower that are free: theirs, or others when somebody has taken them."""
    cfg = settings.load()
    wanted = {"FAIRTURN_WEB_PORT": cfg.web_port, "FAIRTURN_FLOWER_PORT": cfg.flower_port}
    with ExitStack() as claims:
        ports = {name: str(_claimed(port, claims)) for name, port in wanted.items()}
        with _environment(ports) as known:
            yield known


@contextmanager
def pointed_at(env: Mapping[str, str]) -> Iterator[settings.Settings]:
    """The settings with these variables set."""
    with _environment(env) as known:
        yield known


def answers(host: str, port: int) -> Callable[[], bool]:
    """A question: does anybody listen there?"""

    def check() -> bool:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return False
        return True

    return check


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[settings.Settings]:
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    wiring.forget()
    try:
        yield settings.load()
    finally:
        wiring.forget()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _claimed(port: int, claims: ExitStack) -> int:
    """The port wanted, or another when it is taken or claimed by a second checkout that is starting as well.

    The processes bind seconds later, so the claim is the UDP port of the same number, held until the stack ends.
    """
    while True:
        claim = claims.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            claim.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            port = free_ports(1)[0]
        else:
            return port
