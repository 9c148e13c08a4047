"""How each thing breaks, and how it mends by itself after a while. What is done is noted in the history."""

import base64
import json
import os
import random
import signal
import sys
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import redis

from config.celery import QUEUES
from tests.chaos.schedule import FAULTS, STREAM_FAULTS, Strike
from tests.chaos.world import World, named
from workers import house

FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)


def strike(world: World, order: Strike) -> None:
    """Let it break now, unless this machine does not allow it."""
    if order.nemesis in world.skipped:
        world.history.note("nemesis", "skipped", nemesis=order.nemesis, why=world.skipped[order.nemesis])
        return
    world.history.note("nemesis", order.nemesis, **order.facts)
    NEMESES[order.nemesis](world, **order.facts)


def _mended(world: World, nemesis: str, action: Callable[[], object]) -> Callable[[], None]:
    def mend() -> None:
        action()
        world.history.note("nemesis", "over", nemesis=nemesis)

    return mend


def kill(world: World, role: str, child: int | None = None) -> None:
    """N1: kill -9 of a process of the house, or of one that it forked."""
    victim = world.supervised.running().get(role)
    below = world.children(role) if child is not None else []
    if below:
        victim = below[(child or 0) % len(below)]
    if victim is not None:
        doomed = world.under_way([victim] if below else [victim, *world.children(role)])
        os.kill(victim, signal.SIGKILL)
        world.history.note("nemesis", "killed", role=role, pid=victim, main=not below, doomed=doomed)


def freeze(world: World, role: str, for_s: float) -> None:
    """N2: a process and its children stand still, and wake up."""
    world.freeze(role)
    world.later(for_s, _mended(world, "freeze", partial(world.thaw, role)))


def kill_valkey(world: World, for_s: float) -> None:
    """N3: kill -9, back after a while with what is on its disk."""
    world.servers.kill_valkey()
    world.later(for_s, _mended(world, "kill_valkey", world.servers.start))


def roll_back(world: World, by_s: float) -> None:
    """N4: some seconds are forgotten."""
    if not world.servers.valkey.running():
        return
    kept = world.servers.keep_valkey()

    def forget() -> None:
        world.history.note("nemesis", "rolled_back", by_s=by_s)
        world.servers.roll_back_valkey(kept)

    world.later(by_s, _mended(world, "roll_back", forget))


def flush(world: World, database: int | None) -> None:
    """N5: everything is forgotten, or all of one database."""
    if world.servers.valkey.running():
        with redis.Redis.from_url(world.servers.valkey.url(), db=database or 0, socket_timeout=5) as client:
            client.flushall() if database is None else client.flushdb()
        world.history.note("nemesis", "flushed", database=database)


def freeze_valkey(world: World, for_s: float) -> None:
    """N6: the connections stand, nobody answers."""
    world.servers.freeze_valkey()
    world.later(for_s, _mended(world, "freeze_valkey", world.servers.thaw_valkey))


def crash_postgres(world: World) -> None:
    """N7: every session broken off, recovery at the start."""
    world.servers.crash_postgres()
    world.history.note("nemesis", "over", nemesis="crash_postgres")


def cut(world: World, wire: str, word: str, count: int) -> None:
    """N8, N9: requests are done, and their answers lost."""
    world.wires[wire].order(f"cut {word} {count}")


def stall(world: World, wire: str, for_s: float) -> None:
    """The wire takes everything and passes nothing on."""
    world.wires[wire].order("stall")
    world.later(for_s, _mended(world, "stall", partial(world.wires[wire].order, "pass")))


def org_fault(world: World, which: int, for_s: float) -> None:
    """N10: the org refuses, is slow, or late. Only our own collections of updates are meant, not the web forms."""
    order = {"count": None, **FAULTS[which]}
    match = {"verb": "update"} if order["place"] == "record" else {"method": "PATCH", "path": "composite/sobjects"}
    _fault(world, order | {"match": match}, for_s)


def stream_fault(world: World, which: int, for_s: float) -> None:
    """N11: the stream repeats, reorders, leaves out, breaks."""
    _fault(world, {"count": None, **STREAM_FAULTS[which]}, for_s)


def _fault(world: World, order: Mapping[str, Any], for_s: float) -> None:
    world.org.admin("POST", "faults", order)
    world.later(for_s, _mended(world, "fault", partial(world.org.admin, "DELETE", "faults")))


def clock_off(world: World, by_s: int, for_s: float) -> None:
    """N12: one more worker, whose clock is wrong."""
    library = next((path for path in FAKETIME if Path(path).exists()), None)
    if library is None:
        world.history.note("nemesis", "skipped", nemesis="clock_off", why="libfaketime is not installed")
        return
    env = {"LD_PRELOAD": library, "FAKETIME": f"{by_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    argv = [sys.executable, *named(house.processes()["worker"], "clock")]
    name = f"worker-clock-{by_s}"
    world.add(name, argv, env)
    world.later(for_s, _mended(world, "clock_off", partial(world.dismiss, name)))


def disk_full(world: World, disk: str, for_s: float) -> None:
    """N13: no room on one disk; a server that ends for it is started again when there is room."""
    if disk not in world.disks:
        return
    world.disks[disk].fill()
    if disk == "wal":
        world.servers.use_up_wal()

    def room() -> None:
        world.disks[disk].empty()
        world.servers.start()

    world.later(for_s, _mended(world, "disk_full", room))


def garbage(world: World, which: int) -> None:
    """N16: messages that nobody of ours sent."""
    if not world.servers.valkey.running():
        return
    bodies = list(_rubbish())
    body = bodies[which % len(bodies)]
    with redis.Redis.from_url(world.servers.valkey.url(), db=0, socket_timeout=5) as client:
        for queue in QUEUES:
            client.lpush(queue, body)


def _rubbish() -> list[bytes]:
    return [
        b"\x00\xff not JSON",
        b"{}",
        b'{"body": 5, "headers": null}',
        _message("no.such.task", []),
        _message("leads.route", ["a", None, {"b": 1e400}]),
        _message("leads.route", [[-1, 2**70, "x"]]),
        _message("leads.intake", [[10**15]], {"event_ids": 3}),
        _message("leads.route", [], content_type="application/x-python-serialize"),
        _message("leads.route", [], content_type="application/json", body="!" * 99),
        _message("sweep.canary", ["\x00" * 5000]),
        _message("leads.route", [list(range(50_000))]),
        b'{"body": "' + b"A" * 50_000_000 + b'"}',
    ]


def _message(
    task: str,
    args: list[Any],
    keywords: Mapping[str, Any] | None = None,
    *,
    content_type: str = "application/json",
    body: str | None = None,
) -> bytes:
    """A message as kombu and Celery's protocol 2 write it."""
    text = json.dumps([args, keywords or {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return json.dumps(
        {
            "body": body or base64.b64encode(text.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": {"lang": "py", "task": task, "id": str(uuid.uuid4()), "retries": 0, "root_id": None},
            "properties": {
                "correlation_id": str(uuid.uuid4()),
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "leads"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    ).encode()


def pause(world: World, pick: int, for_s: float) -> None:
    """N17: some members take no leads for a while."""
    some = random.Random(pick).sample(sorted(world.town.members), len(world.town.members) // 10)

    def switched(active: bool) -> None:
        for key in some:
            world.town.members[key].active = active
        world.import_members()
        world.history.note("config", "active", members=some, active=active)

    world.insist(lambda: switched(False))
    world.later(for_s, lambda: world.insist(_mended(world, "pause", lambda: switched(True))))


def shrink(world: World, pick: int, for_s: float) -> None:
    """N17: some members' capacity falls below what they hold, and rises again."""
    some = random.Random(pick).sample(sorted(world.town.members), len(world.town.members) // 5)
    before = {key: world.town.members[key].capacity for key in some}

    def resized(capacities: Mapping[str, int]) -> None:
        for key, capacity in capacities.items():
            world.town.members[key].capacity = capacity
        world.import_members()
        world.history.note("config", "capacity", capacities=dict(capacities))

    world.insist(lambda: resized(dict.fromkeys(some, 1)))
    world.later(for_s, lambda: world.insist(_mended(world, "shrink", lambda: resized(before))))


def new_policy(world: World, pick: int, for_s: float) -> None:
    """N17: a policy with other rings and less time to answer, and back."""
    radii = random.Random(pick).choice([[5, 15, 30, 50], [10, 50], [3, 8, 20, 35, 50]])
    within = world.wanted.answer_within
    rings = {"unit": "mi", "radii": radii}

    def publish() -> None:
        version = world.publish(answer_within=within, rings=rings)
        world.history.note("config", "policy", version=version, radii=radii)

    world.insist(publish)
    back = _mended(world, "new_policy", lambda: world.publish(answer_within=within))
    world.later(for_s, lambda: world.insist(back))


def crowd(world: World, for_s: float) -> None:
    """N18: two more beats, and a second subscriber."""
    for name, argv in house.processes().items():
        if name in {"beat", "subscriber"}:
            schedule = ["--schedule", str(world.directory / "beat-2")] if name == "beat" else []
            world.add(f"{name}-2", [sys.executable, *argv, *schedule], {})
    beat = house.processes()["beat"]
    world.add("beat-3", [sys.executable, *beat, "--schedule", str(world.directory / "beat-3")], {})

    def gone() -> None:
        for name in ("beat-2", "beat-3", "subscriber-2"):
            world.dismiss(name)

    world.later(for_s, _mended(world, "crowd", gone))


def cut_off(world: World, host: str, for_s: float) -> None:
    """A worker's host loses its cable: nothing arrives, nobody is told."""
    if host in world.hosts:
        world.hosts[host].pull()
        world.later(for_s, _mended(world, "cut_off", world.hosts[host].plug))


NEMESES: Mapping[str, Callable[..., None]] = {
    each.__name__: each
    for each in (
        *(kill, freeze, kill_valkey, roll_back, flush, freeze_valkey, crash_postgres, cut, stall, org_fault),
        *(stream_fault, clock_off, disk_full, garbage, pause, shrink, new_policy, crowd, cut_off),
    )
}
