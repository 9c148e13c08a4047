"""Several Valkeys that know of each other: a cluster of three primaries with a replica each, and a watched pair."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.embedded_servers import free_port, valkey_program

PASSWORD = "of-the-servers"
SLOTS = 16_384
COMMON = f"""\
bind 127.0.0.1
requirepass {PASSWORD}
masterauth {PASSWORD}
repl-diskless-sync-delay 0
repl-ping-replica-period 1
hash-max-listpack-entries 64
save ""
"""


@dataclass
class Node:
    """One server process."""

    port: int
    process: subprocess.Popen[bytes]
    client: redis.Redis = field(repr=False)

    def info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.info(section)
        return found

    def command(self, *words: str | int) -> Any:
        """The answer to one command."""
        return self.client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py leaves it untyped

    def cluster(self, *words: str | int) -> Any:
        """The answer to one CLUSTER command."""
        return self.command("CLUSTER", *words)

    def signal(self, number: signal.Signals) -> None:
        """Stop, continue or kill it; a killed one is gone afterwards."""
        os.kill(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()


@dataclass
class Cluster:
    """Three primaries, the third part of the slots each; `replicas` in the same order."""

    primaries: list[Node]
    replicas: list[Node]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.primaries)
        return f"redis+cluster://:{PASSWORD}@{hosts}"

    def holder(self, key: str) -> int:
        """Which primary held the slot of this key at first: 0, 1 or 2."""
        slot = int(self.replicas[0].cluster("KEYSLOT", key))
        return next(i for i, (first, last) in enumerate(shares()) if first <= slot <= last)

    def market_on(self, number: int) -> str:
        """A market's name whose keys the primary of this number holds."""
        names = (f"market{i}" for i in range(1000))
        return next(name for name in names if self.holder(f"turnstile:{{{name}}}:state") == number)


@dataclass
class Watched:
    """A primary and a replica under three sentinels that call them "turns"."""

    servers: list[Node]
    sentinels: list[Node]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        return f"sentinel://:{PASSWORD}@{hosts}/0?master=turns"

    def primary(self) -> Node:
        """The server that the first sentinel calls the primary."""
        found: Any = self.sentinels[0].command("SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", "turns")
        return next(node for node in self.servers if node.port == int(found[1]))


@contextmanager
def running_cluster(place: Path) -> Iterator[Cluster]:
    """Six servers, stopped at the end."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(_member(place / str(i))) for i in range(6)]
        primaries, replicas = nodes[:3], nodes[3:]
        for (first, last), node in zip(shares(), primaries, strict=True):
            node.cluster("ADDSLOTSRANGE", first, last)
        for node in nodes[1:]:
            nodes[0].cluster("MEET", "127.0.0.1", node.port, _bus(node))
        until(lambda: all(_knows(node, 6) for node in nodes), "the cluster meets")
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.cluster("REPLICATE", primary.cluster("MYID"))
        until(lambda: all(n.info("replication").get("master_link_status") == "up" for n in replicas), "replicas follow")
        until(lambda: all(_agrees(node) for node in nodes), "the cluster is whole")
        yield Cluster(primaries, replicas)


@contextmanager
def running_watched(place: Path) -> Iterator[Watched]:
    """Two servers and three sentinels, stopped at the end."""
    with ExitStack() as stack:
        first = stack.enter_context(_server(place / "first", ""))
        second = stack.enter_context(_server(place / "second", f"replicaof 127.0.0.1 {first.port}\n"))
        until(lambda: second.info("replication").get("master_link_status") == "up", "the replica follows")
        watch = (
            f"sentinel monitor turns 127.0.0.1 {first.port} 2\nsentinel auth-pass turns {PASSWORD}\n"
            "sentinel down-after-milliseconds turns 500\nsentinel failover-timeout turns 4000\n"
        )
        sentinels = [stack.enter_context(_sentinel(place / f"sentinel{i}", watch)) for i in range(3)]
        until(lambda: all(_sees(node) for node in sentinels), "the sentinels see all")
        yield Watched([first, second], sentinels)


def shares() -> list[tuple[int, int]]:
    """The slots of each primary: first and last."""
    return [(i * SLOTS // 3, (i + 1) * SLOTS // 3 - 1) for i in range(3)]


def until(holds: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    """Wait for a condition; servers that do not answer count as no."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain: {what}"
        time.sleep(0.02)


def _member(place: Path) -> Any:
    bus = free_port()
    timing = "cluster-node-timeout 1000\ncluster-replica-validity-factor 0\ncluster-require-full-coverage no\n"
    return _server(place, f"cluster-enabled yes\ncluster-port {bus}\n{timing}")


@contextmanager
def _server(place: Path, more: str) -> Iterator[Node]:
    port = free_port()
    with _started(place, f"port {port}\n{COMMON}{more}", []) as process:
        yield from _answering(port, process, PASSWORD)


@contextmanager
def _sentinel(place: Path, more: str) -> Iterator[Node]:
    port = free_port()
    with _started(place, f"port {port}\nbind 127.0.0.1\n{more}", ["--sentinel"]) as process:
        yield from _answering(port, process, None)


def _answering(port: int, process: subprocess.Popen[bytes], password: str | None) -> Iterator[Node]:
    with redis.Redis(port=port, password=password, retry=Retry(NoBackoff(), 0), socket_timeout=2) as client:
        until(client.ping, "a server answers")
        yield Node(port, process, client)


@contextmanager
def _started(place: Path, lines: str, options: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    place.mkdir(parents=True)
    configuration = place / "valkey.conf"  # a file of its own: sentinels write into theirs
    configuration.write_text(lines)
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [str(valkey_program()), str(configuration), *options], cwd=place, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _bus(node: Node) -> int:
    (port,) = node.client.config_get("cluster-port").values()
    return int(port or 0)


def _knows(node: Node, others: int) -> bool:
    return f"cluster_known_nodes:{others}".encode() in node.cluster("INFO")


def _agrees(node: Node) -> bool:
    slots = node.cluster("SLOTS")
    whole = sum(last - first + 1 for first, last, *_ in slots) == SLOTS
    return b"cluster_state:ok" in node.cluster("INFO") and whole and all(len(one) == 4 for one in slots)


def _sees(node: Node) -> bool:
    found: Any = node.command("SENTINEL", "MASTER", "turns")
    told = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    said = {_text(key): _text(value) for key, value in told.items()}
    return said["num-slaves"] == "1" and said["num-other-sentinels"] == "2"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
