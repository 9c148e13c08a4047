"""A process of the house with fail-points, of which the product knows nothing.

`python -m tests.chaos.armed -m MODULE ARGS` sets the traps, then runs the module.

FAIRTURN_CHAOS_POINTS names steps with the probability to die there, as by kill -9:
`after_reserve=0.01,after_commit=0.002`.
Every death is a line in the file FAIRTURN_CHAOS_DEATHS. Nobody dies while there is a file FAIRTURN_CHAOS_CALM.
"""

import json
import os
import random
import runpy
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

#: Where a process dies: module, the function's name there, and whether before or after it has done its work.
POINTS: Mapping[str, tuple[str, str, str]] = {
    "after_store": ("storage.postgres.events", "Events.store", "after"),
    "after_intake": ("storage.postgres.leads", "Leads.intake", "after"),
    "after_reserve": ("storage.redis.turnstile", "RedisTurnstile.reserve", "after"),
    "before_commit": ("psycopg", "Connection.commit", "before"),
    "after_commit": ("psycopg", "Connection.commit", "after"),
    "after_settle": ("storage.redis.turnstile", "RedisTurnstile.settle", "after"),
    "after_http": ("gateways.salesforce.rest", "Salesforce.write", "after"),
    "before_announce": ("tasks.app", "_publish", "before"),
    "in_rebuild": ("storage.redis.turnstile", "RedisTurnstile.rebuild", "before"),
}
#: A lead by this last name kills whoever reads it, every time.
KILLER = "Chaos Killer"


def die(point: str, **facts: Any) -> None:
    """Say where, then be gone."""
    line = {"t": time.time(), "who": "failpoint", "what": point, "pid": os.getpid(), **facts}
    file = os.open(os.environ["FAIRTURN_CHAOS_DEATHS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (json.dumps(line) + "\n").encode())
    os.kill(os.getpid(), signal.SIGKILL)


def armed(verb: Callable[..., Any], point: str, probability: float, when: str) -> Callable[..., Any]:
    """The verb, which now and then is the last its process does."""
    dice: dict[int, random.Random] = {}

    @wraps(verb)
    def risky(*args: Any, **values: Any) -> Any:
        mine = dice.setdefault(os.getpid(), random.Random())  # forked children must not share their luck
        doomed = mine.random() < probability and not Path(os.environ["FAIRTURN_CHAOS_CALM"]).exists()
        if doomed and when == "before":
            die(point)
        answer = verb(*args, **values)
        if doomed:
            die(point)
        return answer

    return risky


def found(point: str) -> tuple[Any, str]:
    """What holds the function of this fail-point, and the function's name there. Raises AttributeError."""
    module, name, _ = POINTS[point]
    owner: Any = import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    getattr(owner, last)
    return owner, last


def arm(points: Mapping[str, float]) -> None:
    """Set the traps: each of these points kills with its probability."""
    for point, probability in points.items():
        owner, name = found(point)
        setattr(owner, name, armed(getattr(owner, name), point, probability, POINTS[point][2]))


def beware_of_killers() -> None:
    """Let the reading of a killer's event end the process, as a fault in a parser written in C would."""
    wiring: Any = import_module("config.wiring")
    read = wiring.read

    def deadly(change: Any, *args: Any, **values: Any) -> Any:
        if KILLER in str(change.body.get("Name", "")) + str(change.body.get("LastName", "")):
            die("killer", record=change.record_id)
        return read(change, *args, **values)

    wiring.read = deadly


def main() -> None:
    """Set the traps, then be the module that was asked for."""
    wanted = os.environ.get("FAIRTURN_CHAOS_POINTS", "")
    arm({name: float(chance) for name, _, chance in (one.partition("=") for one in wanted.split(",") if one)})
    if os.environ.get("FAIRTURN_CHAOS_KILLERS"):
        beware_of_killers()
    _, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
