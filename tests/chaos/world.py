"""The house under fire: every process as `fairturn up` runs it, on servers and wires that the run may break."""

import contextlib
import heapq
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
from rich.console import Console

from config import policy, settings, wiring
from routing.access import Scope
from routing.errors import TryLater
from tests.chaos import disks, hosts
from tests.chaos.disks import Disk
from tests.chaos.history import History
from tests.chaos.hosts import Host
from tests.chaos.ledger import LedgerView
from tests.chaos.members import Members
from tests.chaos.org import MOST, Org
from tests.chaos.servers import Servers
from tests.chaos.town import Town
from workers import demo, house, imports, supervisor
from workers.embedded_servers import free_port
from workers.lifeline import die_with_parent
from workers.supervisor import Job, Supervisor

#: Far more often than a sound process ever ends; the supervisor must not give up on a house that is shot at.
RESTARTS_A_MINUTE, LONGEST_PAUSE_S = 10_000, 2.0
WIRES = ("postgres", "valkey")
TURNS_BACK = {"too_far": "return", "no_capacity": "consume", "other": "penalise"}
TURNS_MORE = {"unreachable": "consume", "duplicate": "return", "not_interested": "penalise"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What kind of house a run wants."""

    workers: int = 2  # so many take the usual queues
    without: frozenset[str] = frozenset({"flower"})  # processes of the house to leave out
    answer_within: str = "20s"
    work_within: str = "45s"  # who accepts and does nothing for so long loses the lead
    answers_a_second: float = 3.0  # looks of members at one of their offers; 0: nobody answers
    own_disks: bool = False
    own_hosts: int = 0  # so many workers run on hosts of their own
    points: str = ""  # fail-points of the workers, with their probabilities
    killers: bool = False


@dataclass(slots=True)
class Wire:
    """A proxy before one server."""

    process: subprocess.Popen[str]
    port: int

    def order(self, text: str) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(text + "\n")
                self.process.stdin.flush()


@dataclass(slots=True)
class World:
    """Everything of one run that a nemesis may touch. Only the main thread does: processes die with their thread."""

    directory: Path
    history: History
    town: Town
    wanted: Wanted
    servers: Servers
    org: Org = field(init=False)
    supervised: Supervisor = field(init=False)
    wires: dict[str, Wire] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    extras: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    frozen: dict[str, int] = field(default_factory=dict)  # role -> process group
    skipped: dict[str, str] = field(default_factory=dict)  # what this machine does not allow, with a word why
    jobs: dict[str, Job] = field(default_factory=dict)
    _todo: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)
    _pids: dict[str, int] = field(default_factory=dict)

    # --- time

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something when so many seconds have passed."""
        heapq.heappush(self._todo, (time.monotonic() + seconds, next(self._number), action))

    def insist(self, action: Callable[[], None]) -> None:
        """Do what a person does who is told to try again later: that, every second, until it is done."""
        try:
            action()
        except TryLater:
            self.later(1.0, lambda: self.insist(action))

    def live(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let the house run for so long, or until something holds; whether it did."""
        end = time.monotonic() + seconds
        while not (held := until()) and time.monotonic() < end:
            self.supervised.tend()
            self._watch()
            while self._todo and self._todo[0][0] <= time.monotonic():
                heapq.heappop(self._todo)[2]()
            time.sleep(0.02)
        return held

    def _watch(self) -> None:
        """Note which processes came up under which number."""
        for role, pid in self.supervised.running().items():
            if self._pids.get(role) != pid:
                self._pids[role] = pid
                self.history.note("runner", "up", role=role, pid=pid)

    # --- processes

    def children(self, role: str) -> list[int]:
        """The processes below this role's main one, oldest first."""
        pid = self.supervised.running().get(role)
        if pid is None:
            return []
        with contextlib.suppress(psutil.Error):
            return sorted(child.pid for child in psutil.Process(pid).children(recursive=True))
        return []

    def under_way(self, pids: Sequence[int]) -> list[str]:
        """The leads that these processes are working on; none when the ledger does not answer."""
        with contextlib.suppress(psycopg.Error):
            return LedgerView(self.servers.postgres.url()).under_way(pids)
        return []

    def freeze(self, role: str) -> None:
        pid = self.supervised.running().get(role)
        if pid is not None and role not in self.frozen:
            self.frozen[role] = pid
            os.killpg(pid, signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        pid = self.frozen.pop(role, None)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)

    def add(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """One more process, which nobody starts again."""
        with (self.directory / "logs" / f"{name}.log").open("ab") as log:
            self.extras[name] = subprocess.Popen(
                list(argv),
                cwd=house.ROOT,
                env={**os.environ, **self.through_wires(), "PYTHONPATH": str(house.ROOT), "PYTHONSAFEPATH": "1", **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - only prctl
            )

    def dismiss(self, name: str) -> None:
        process = self.extras.pop(name, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def let_go(self) -> None:
        """Whoever stands still goes on; whoever was added goes."""
        for role in list(self.frozen):
            self.thaw(role)
        for name in list(self.extras):
            self.dismiss(name)

    # --- the house

    def through_wires(self, host: str = "127.0.0.1") -> dict[str, str]:
        """Where the processes find the servers: behind the wires."""
        postgres, valkey = self.servers.postgres, self.servers.valkey
        redis_url = valkey.url().replace(f"127.0.0.1:{valkey.port}", f"{host}:{self.wires['valkey'].port}")
        return {
            "DATABASE_URL": postgres.url().replace(
                f"127.0.0.1:{postgres.port}", f"{host}:{self.wires['postgres'].port}"
            ),
            "REDIS_URL": redis_url,
            "FAIRTURN_BROKER_URL": settings.with_database(redis_url, 0),
            "FAIRTURN_TURNSTILE_URL": settings.with_database(redis_url, 1),
        }

    def import_members(self) -> None:
        """Make the ledger's roster what the town's is."""
        quiet = Console(file=StringIO())
        imports.members(self.town.write(self.directory / "members.csv"), actor="chaos", console=quiet)

    def publish(self, **changes: Any) -> int:
        """Publish the default policy with changes to its pool; some ends of offers give turns back or take more."""
        document: Any = dict(policy.default_document())
        answers = {"work_within": self.wanted.work_within, "reject_reasons": TURNS_BACK, "return_reasons": TURNS_MORE}
        document["pools"] = [
            dict(pool) | changes | {"answers": dict(pool.get("answers", {})) | answers} for pool in document["pools"]
        ]
        return wiring.publish_policy(document, actor="chaos").version

    def members(self, seed: int) -> Members:
        """Those who answer through the web process, with one key for all of them."""
        scopes = {Scope.NETWORK, Scope.OFFERS_READ, Scope.OFFERS_ANSWER}
        key = wiring.api_keys().add("members", member=None, scopes=scopes, actor="chaos")
        host, port = _face("FAIRTURN_WEB_HOST", "FAIRTURN_WEB_PORT")
        ledger = LedgerView(self.servers.postgres.url())
        return Members(f"http://{host}:{port}", key, ledger, self.history, seed, self.wanted.answers_a_second)

    def heal(self) -> None:
        """Nothing fails any more, and everybody who should run does."""
        self._todo.clear()
        (self.directory / "calm").touch()
        self.let_go()
        for wire in self.wires.values():
            wire.order("pass")
            wire.order("cut - 0")
        for disk in self.disks.values():
            disk.empty()
        for host in self.hosts.values():
            host.plug()
        self.servers.thaw_valkey()
        self.servers.start()
        self.org.admin("DELETE", "faults")
        self.history.note("runner", "healed")


@contextmanager
def opened(directory: Path, history: History, town: Town, wanted: Wanted) -> Iterator[World]:
    """A house that works, with its roster and a pretend org; nothing of it is left afterwards."""
    supervisor.RESTARTS_A_MINUTE, supervisor.LONGEST_PAUSE_S = RESTARTS_A_MINUTE, LONGEST_PAUSE_S
    (directory / "logs").mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(
            house.pointed_at(
                {"FAIRTURN_CHAOS_DEATHS": str(history.file), "FAIRTURN_CHAOS_CALM": str(directory / "calm")}
            )
        )
        world = World(directory, history, town, wanted, Servers(directory))
        _mount(world, stack)
        stack.callback(world.servers.stop)
        world.servers.start()
        for name in WIRES:
            world.wires[name] = stack.enter_context(
                _wire(f"127.0.0.1:{free_port()}", f"127.0.0.1:{getattr(world.servers, name).port}")
            )
        postgres, valkey = world.servers.postgres, world.servers.valkey
        env = {
            "DATABASE_URL": postgres.url(),
            "REDIS_URL": valkey.url(),
            "FAIRTURN_BROKER_URL": settings.with_database(valkey.url(), 0),
            "FAIRTURN_TURNSTILE_URL": settings.with_database(valkey.url(), 1),
            "FAIRTURN_DATA_DIR": str(directory),
        }
        stack.enter_context(house.pointed_at(env))
        stack.enter_context(house.faces())
        pretend = house.pretend_salesforce(directory, keep=False)
        stack.enter_context(house.pointed_at(pretend.env))
        world.org = Org(f"http://127.0.0.1:{pretend.http_port}")
        world.supervised = stack.enter_context(Supervisor(directory / "logs", os.environ))
        stack.callback(world.let_go)
        world.supervised.start(Job("sandbox", pretend.argv, ready=house.answers("127.0.0.1", pretend.grpc_port)))
        house.migrate()
        world.publish(answer_within=wanted.answer_within)
        _admit(world)
        _connect(world, stack, pretend.env["SALESFORCE_LOGIN_URL"])
        for job in _jobs(world):
            world.jobs[job.name] = job
            world.supervised.start(job)
        demo._until_alive(world.supervised)
        yield world


def _mount(world: World, stack: ExitStack) -> None:
    if not world.wanted.own_disks:
        return
    places = {"aof": world.directory / "valkey", "logs": world.directory / "logs"}
    for name, place in places.items():
        disk = disks.mounted(place)
        if disk is None:
            world.skipped["disk_full"] = "mounting a file system is refused here"
            return
        world.disks[name] = disk
        stack.callback(disk.unmount)
    # Postgres prepares its own directory; its log of writes moves to the disk once it is there.
    wal = disks.mounted(world.directory / "wal")
    if wal is not None:
        stack.callback(wal.unmount)
        world.servers.postgres.start()
        world.servers.postgres.stop()
        inside = (world.directory / "postgres").resolve() / "pg_wal"
        moved = world.directory / "wal" / "pg_wal"
        subprocess.run(["cp", "-a", str(inside), str(moved)], check=True)
        subprocess.run(["rm", "-rf", str(inside)], check=True)
        inside.symlink_to(moved)
        world.disks["wal"] = wal


def _admit(world: World) -> None:
    """The members' accounts in the org, and the roster that names them."""
    keys = list(world.town.members)
    ids: dict[str, str] = {}
    for start in range(0, len(keys), MOST):
        some = keys[start : start + MOST]
        records = [{"attributes": {"type": "Account"}, "Name": key, "Fairturn_Partner_Key__c": key} for key in some]
        made = world.org.call("POST", "composite/sobjects", {"allOrNone": False, "records": records})
        ids |= {key: answer["id"] for key, answer in zip(some, made, strict=True)}
    world.town.link(ids)
    world.import_members()


def _jobs(world: World) -> Iterator[Job]:
    """Every process of the house; workers as often as wanted, the later ones on hosts of their own where there are."""
    armed = bool(world.wanted.points or world.wanted.killers)
    for name, argv in house.processes().items():
        if name in world.wanted.without:
            continue
        works = "worker" in argv and "celery" in argv
        faces = {"web": ("FAIRTURN_WEB_HOST", "FAIRTURN_WEB_PORT")}
        for copy in range(1, 1 + (world.wanted.workers if name == "worker" else 1)):
            role = name if copy == 1 else f"{name}-{copy}"
            host = world.hosts.get(role)
            env = world.through_wires(host.gateway if host else "127.0.0.1")
            words = named(argv, role) if works else argv
            before = ["-m", "tests.chaos.armed"] if armed and (works or name in {"subscriber", "standby"}) else []
            if before:
                env["FAIRTURN_CHAOS_POINTS"] = world.wanted.points
                env["FAIRTURN_CHAOS_KILLERS"] = "yes" if world.wanted.killers else ""
            ready = house.answers(*(_face(*faces[name]))) if name in faces else None
            command = [*(host.enter() if host else []), sys.executable, *before, *words]
            yield Job(role, command, ready=ready, ready_within_s=house.START_S, env=env, grace_s=5.0)


def _face(host: str, port: str) -> tuple[str, int]:
    return os.environ.get(host, "127.0.0.1"), int(os.environ[port])


def named(argv: Sequence[str], role: str) -> list[str]:
    """The same worker under a node name of its own."""
    words = [word for word in argv if not word.startswith("--hostname=")]
    return [*words, f"--hostname={role}@{socket.gethostname()}"]


@contextmanager
def _wire(listen: str, target: str, enter: Sequence[str] = ()) -> Iterator[Wire]:
    process = subprocess.Popen(
        [*enter, sys.executable, "-m", "tests.chaos.proxy", listen, target],
        cwd=house.ROOT,
        env=os.environ | {"PYTHONPATH": str(house.ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - only prctl
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError(f"no wire from {listen} to {target}")
        yield Wire(process, int(listen.rpartition(":")[2]))
    finally:
        process.kill()
        process.communicate()


def _connect(world: World, stack: ExitStack, login_url: str) -> None:
    """The hosts wanted, each with a way to the servers and to the org at the addresses it knows them by."""
    org = urlsplit(login_url).port
    for number in range(world.wanted.own_hosts):
        host = hosts.made(number)
        if host is None:
            world.skipped["cut_off"] = "network namespaces are refused here"
            return
        stack.callback(host.remove)
        world.hosts[f"worker-{number + 2}"] = host
        for wire in world.wires.values():
            stack.enter_context(_wire(f"{host.gateway}:{wire.port}", f"127.0.0.1:{wire.port}"))
        stack.enter_context(_wire(f"{host.gateway}:{org}", f"127.0.0.1:{org}"))
        stack.enter_context(_wire(f"127.0.0.1:{org}", f"{host.gateway}:{org}", host.enter()))
