"""N2, W2: ten thousand leads through the real house, simulated again under live and under a draft.

    python -m tests.proofs.simulate [--leads 10000] [--dir DIR]

The history is made on real servers: leads come in, are answered, expire, wait and go on, members come and leave. Under
the live policy at least 99.9 % of the decisions must come out as they did; each simulation must take less than two
minutes. Exit code 1 when one of these is broken; every difference is printed with its cause.
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

from config.policy import parse
from routing.simulation.habits import Habits
from routing.simulation.past import Past
from routing.simulation.report import Report, simulate
from storage.postgres import schema
from tests.integration.routing.house import House
from tests.integration.simulation.history import Town, policy, read
from workers import embedded

SHARE, SECONDS = 0.999, 120.0
#: Leads that come in together, and members for each thousand of all leads.
TOGETHER, MEMBERS = 50, 60


def made(house: House, count: int) -> Past:
    """A history of so many leads."""
    town = Town(house, seed=1)
    town.settle(max(20, count * MEMBERS // 1000))
    for number in range(count // TOGETHER):
        town.arrive(TOGETHER)
        town.answer()
        town.tick()
        if number % 20 == 10:
            town.member(f"late{number}", tier="gold")
            house.dispatcher.fill("main")
            house.work()
        sys.stdout.write(f"\r{(number + 1) * TOGETHER:,} leads lived through")
        sys.stdout.flush()
    sys.stdout.write("\n")
    return read(house, town.begun)


def timed(past: Past, name: str, document: dict[str, object] | None = None) -> tuple[Report, float]:
    habits = Habits.seen(past.offers, {one.id: one.tier for one in past.members.values()})
    gc.disable()
    begun = time.process_time()
    report = simulate(past, parse(document, 0) if document else None, habits, name=name)
    took = time.process_time() - begun
    gc.enable()
    return report, took


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    options.add_argument("--leads", type=int, default=10_000)
    options.add_argument("--dir", type=Path)
    given = options.parse_args()
    with embedded.servers(given.dir or Path(tempfile.mkdtemp())) as urls:
        schema.upgrade(urls.database_url)
        house = House(urls.database_url, urls.redis_url)
        past = made(house, given.leads)
        house.close()
    live, first = timed(past, "live")
    draft, second = timed(past, "draft", policy(rings={"unit": "mi", "radii": [10, 40]}, mode="least_recent"))
    found = live.comparison
    if found is None:
        raise RuntimeError("live was not compared with history")
    say(f"live: {found.same:,} of {found.decided:,} decisions alike ({found.share:.4%}), {first:.1f} s of CPU")
    for one in found.differences:
        say(f"  lead {one.lead}, attempt {one.attempt}: {one.then} then, {one.here} here: {one.cause}")
    say(f"draft: {draft.here.total.offers:,} offers beside {live.here.total.offers:,}, {second:.1f} s of CPU")
    return 0 if found.share >= SHARE and max(first, second) < SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
