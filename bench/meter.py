"""What work costs: wall time by perf_counter, and CPU time by process, which other people's load hardly changes."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

import psutil
import psycopg
import redis


@dataclass(slots=True)
class Cost:
    """What a round cost: `units` of work, seconds by the clock, and CPU seconds by process."""

    units: int = 0
    wall_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    def us(self, name: str) -> float:
        """CPU microseconds a unit."""
        return 1e6 * self.cpu_s.get(name, 0.0) / max(self.units, 1)


@dataclass(frozen=True, slots=True)
class Lane:
    """One thing that is measured: `step` does some units, `before` prepares each step off the clock."""

    name: str
    step: Callable[[], int]
    before: Callable[[], object] | None = None
    settle: Callable[[], object] | None = None  # off the clock, after each step


class Meter:
    """Reads the CPU clocks of this process, of the servers, and of whoever is named."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        with psycopg.connect(database_url) as connection:
            backend = psutil.Process(connection.info.backend_pid)
            self._pids = {"postgres": backend.ppid()}
        with redis.Redis.from_url(redis_url) as client:
            self._pids["valkey"] = int(client.info("server")["process_id"])

    def follow(self, pids: Mapping[str, int]) -> None:
        """Read these processes, too, each with its children."""
        self._pids |= pids

    def forget(self, *names: str) -> None:
        """Read these no more."""
        for name in names:
            self._pids.pop(name, None)

    def read(self) -> dict[str, float]:
        """CPU seconds so far, by name; `python` is this process."""
        return {"python": time.process_time()} | {name: tree_cpu(pid) for name, pid in self._pids.items()}

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        """What is done inside, as a cost; the caller says how many units it was."""
        cost, before, began = Cost(), self.read(), time.perf_counter()
        yield cost
        cost.wall_s = time.perf_counter() - began
        cost.cpu_s = {name: now - before.get(name, 0.0) for name, now in self.read().items()}

    def round(self, lane: Lane, seconds: float) -> Cost:
        """Run a lane's steps for about so long, once at least; preparing and settling are off both clocks of ours.

        The servers' clocks tick a hundred times a second and cover the whole round, settling included.
        """
        cost, before, deadline = Cost(), self.read(), time.perf_counter() + seconds
        own = 0.0
        while True:
            if lane.before:
                lane.before()
            began, cpu = time.perf_counter(), time.process_time()
            cost.units += lane.step()
            own += time.process_time() - cpu
            cost.wall_s += time.perf_counter() - began
            if lane.settle:
                lane.settle()
            if time.perf_counter() >= deadline:
                break
        cost.cpu_s = {name: now - before.get(name, 0.0) for name, now in self.read().items()} | {"python": own}
        return cost


def interleaved(meter: Meter, lanes: list[Lane], *, rounds: int, seconds: float) -> dict[str, list[Cost]]:
    """Every lane once a round, in turn, so that whatever else the machine does falls on all of them alike."""
    found: dict[str, list[Cost]] = {lane.name: [] for lane in lanes}
    for lane in lanes:
        meter.round(lane, 0)  # warm
    for number in range(rounds):
        for lane in lanes if number % 2 == 0 else reversed(lanes):
            found[lane.name].append(meter.round(lane, seconds))
    return found


def summary(costs: list[Cost]) -> dict[str, float]:
    """The medians of the rounds: units a second by the clock, and microseconds of CPU a unit by process."""
    names = {name for cost in costs for name in cost.cpu_s}
    cpu = {f"{name}_us": round(median(cost.us(name) for cost in costs), 2) for name in sorted(names)}
    rate = median(cost.units / cost.wall_s for cost in costs)
    return {
        "per_s": round(rate, 1),
        "wall_us": round(1e6 / rate, 2),
        **cpu,
        "cpu_us": round(median(sum(cost.cpu_s.values()) * 1e6 / max(cost.units, 1) for cost in costs), 2),
        "units": sum(cost.units for cost in costs),
        "spread": round(spread([cost.units / cost.wall_s for cost in costs]), 2),
    }


def ratio(one: list[Cost], other: list[Cost]) -> dict[str, float]:
    """How many times the rate of `other` is `one`: round by round, then the median; by clock and by CPU time."""
    clock = [(a.units / a.wall_s) / (b.units / b.wall_s) for a, b in zip(one, other, strict=True)]
    cpu = [_cpu(b) / _cpu(a) for a, b in zip(one, other, strict=True)]
    return {"by_clock": round(median(clock), 2), "by_cpu": round(median(cpu), 2)}


def spread(values: list[float]) -> float:
    """Largest through smallest."""
    return max(values) / min(values) if values and min(values) > 0 else 0.0


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process and of its children, those that have ended included."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        own = root.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in root.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def _cpu(cost: Cost) -> float:
    return sum(cost.cpu_s.values()) / max(cost.units, 1) or 1e-9
