"""A worker process of its own: `python -m tests.integration.routing.process VERB ...`, killed where a test says.

crash DATABASE REDIS POINT IDS   route (or take in) these ids and die at the point, as by kill -9
freeze DATABASE REDIS POINT IDS  route these ids and stop at the point, as by SIGSTOP, until continued
route DATABASE REDIS THREADS     route new leads with that many threads until standard input ends
"""

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from routing.errors import TryLater
from tests.integration.routing.house import MARKET, House


def die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def after(verb: Callable[..., Any]) -> Callable[..., NoReturn]:
    def done_and_dead(*args: Any, **values: Any) -> NoReturn:
        verb(*args, **values)
        die()

    return done_and_dead


def crash(database_url: str, redis_url: str, point: str, ids: str) -> None:
    house = House(database_url, redis_url)
    numbers = [int(one) for one in ids.split(",")]
    if point == "intake committed, nothing announced":
        house.leads.intake = after(house.leads.intake)  # type: ignore[method-assign]
        house.journey.intake(numbers)
    elif point == "reserved, nothing committed":
        house.turnstile.reserve = after(house.turnstile.reserve)  # type: ignore[method-assign]
        house.journey.route(numbers)
    elif point == "committed, nothing settled":
        house.turnstile.settle = die  # type: ignore[method-assign]
        house.journey.route(numbers)
    elif point == "expired, nothing freed":
        house.leads.expire = after(house.leads.expire)  # type: ignore[method-assign]
        house.journey.expire()
    raise AssertionError(f"{point} was not reached")


def freeze(database_url: str, redis_url: str, point: str, ids: str) -> None:
    house = House(database_url, redis_url)
    house.dispatcher.fill(MARKET)  # nothing is left to load
    reserve, rebuild = house.turnstile.reserve, house.turnstile.rebuild

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def before(*args: Any, **values: Any) -> Any:
        stop()
        return reserve(*args, **values)

    def behind(*args: Any, **values: Any) -> Any:
        answer = reserve(*args, **values)
        stop()
        return answer

    def late(*args: Any, **values: Any) -> Any:
        stop()
        return rebuild(*args, **values)

    if point == "rebuilding":
        house.turnstile.rebuild = late  # type: ignore[method-assign]
        house.dispatcher.rebuild(MARKET)
    else:
        house.turnstile.reserve = before if point == "nothing reserved" else behind  # type: ignore[method-assign]
        house.dispatcher.route([int(one) for one in ids.split(",")])


def route(database_url: str, redis_url: str, threads: str) -> None:
    house = House(database_url, redis_url)
    house.dispatcher.fill(MARKET)  # the roster is loaded once, not by fifty threads that each hold a connection
    over = threading.Event()

    def worker() -> None:
        dice = random.Random()
        while not over.is_set():
            try:
                ids = [row.id for row in house.rows("SELECT id FROM leads WHERE state = 'new' LIMIT 40")]
                if ids:
                    house.dispatcher.route(dice.sample(ids, min(len(ids), dice.randint(1, 4))))
                else:
                    over.wait(dice.uniform(1.0, 4.0))  # nothing is new: who asks more often only takes the machine
            except TryLater:
                over.wait(dice.uniform(0.2, 1.0))

    workers = [threading.Thread(target=worker) for _ in range(int(threads))]
    for one in workers:
        one.start()
    sys.stdin.read()
    over.set()
    for one in workers:
        one.join()


if __name__ == "__main__":
    verbs: dict[str, Callable[..., None]] = {"crash": crash, "freeze": freeze, "route": route}
    verbs[sys.argv[1]](*sys.argv[2:])
