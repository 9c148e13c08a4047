"""A worker of its own: `python -m tests.integration.lanes.process VERB DATABASE REDIS ...`.

crowd THREADS        route new leads, a few at a time, with that many threads until standard input ends
route|intake|wait IDS DEADLY   handle these rows, and die by kill -9 over one of them
"""

import os
import random
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from routing.errors import TryLater
from tests.integration.routing.house import House

BATCH = 20
_SOME = "SELECT id FROM leads WHERE state = 'new' ORDER BY random() LIMIT :limit"


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crowd(house: House, threads: int) -> None:
    over = threading.Event()

    def worker() -> None:
        dice = random.Random()
        while not over.is_set():
            try:
                ids = [row.id for row in house.rows(_SOME, limit=dice.randint(1, BATCH))]
                if ids:
                    house.dispatcher.route(ids)
                else:
                    over.wait(dice.uniform(0.5, 2.0))
            except TryLater:
                over.wait(dice.uniform(0.1, 0.5))

    workers = [threading.Thread(target=worker) for _ in range(threads)]
    for one in workers:
        one.start()
    sys.stdin.read()
    over.set()
    for one in workers:
        one.join()


def deadly(house: House, verb: str, rows: Sequence[int], row: int) -> None:
    route, intake = house.dispatcher.route, house.leads.intake

    def deadly_route(some: Sequence[int], **more: Any) -> Any:
        if row in some:
            die()
        return route(some, **more)

    def deadly_intake(some: Sequence[int], *more: Any, **named: Any) -> Any:
        if row in some:
            die()
        return intake(some, *more, **named)

    if verb == "route":
        house.dispatcher.route = deadly_route  # type: ignore[method-assign, assignment]
    elif verb == "intake":
        house.leads.intake = deadly_intake  # type: ignore[method-assign, assignment]
    else:  # the moment between the commit and the look round
        house.dispatcher._wake_the_overtaken = die  # type: ignore[method-assign]
    (house.journey.intake if verb == "intake" else house.journey.route)(rows)


def main(verb: str, database_url: str, redis_url: str, *more: str) -> None:
    house = House(database_url, redis_url)
    if verb == "crowd":
        crowd(house, int(more[0]))
    else:
        deadly(house, verb, [int(one) for one in more[0].split(",")], int(more[1]))
    house.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
