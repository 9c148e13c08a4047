"""One hanging endpoint in ten leaves the others as they are (`python -m tests.proofs.deliveries`).

Ten members have a webhook each. Notices come at a steady rate; how long each takes from its commit to its arrival is
measured with all ten well, and with one that takes every call and never answers, in turns, so that whatever else the
machine does falls on both. The p99 of the nine others may differ by 10 percent at most; `--rounds 1` is the short form.
"""

import argparse
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import numpy as np
import orjson

from routing.offer import Notice
from storage.postgres import schema
from storage.postgres.engine import transaction
from storage.postgres.notices import tell_members
from tests.fakes.receiver import Receiver, hangs, says
from tests.integration.delivery.post import Post
from tests.integration.routing.house import House
from workers import embedded

MEMBERS = 10
AT_MOST = 1.10


@dataclass
class Street:
    """Ten members and their servers."""

    post: Post
    members: list[int]
    receivers: list[Receiver]
    lead: int
    sent: dict[tuple[int, int], float] = field(default_factory=dict)

    def round(self, notices: int, per_second: float, *, hanging: bool) -> list[float]:
        """How long each notice of the nine took, in milliseconds."""
        self.receivers[0].answer = hangs if hanging else says(200)
        for receiver in self.receivers:
            receiver.calls.clear()
        self.sent.clear()
        stop = threading.Event()
        worker = threading.Thread(target=self._work, args=(stop,))
        worker.start()
        start = time.monotonic()
        for n in range(notices):
            self._tell(self.members[n % MEMBERS])
            time.sleep(max(0.0, start + (n + 1) / per_second - time.monotonic()))
        took = self._took()
        stop.set()
        worker.join()
        self.post.courier.rest(20)
        self.post.house.run("UPDATE deliveries SET state = 'skipped' WHERE state = 'pending'")
        self.post.house.run("UPDATE endpoints SET rests_until = NULL, failures = 0, failing_since = NULL")
        return took

    def _tell(self, member: int) -> None:
        with transaction(self.post.house.engine) as connection:
            tell_members(connection, [(member, uuid4(), self.lead, Notice.CHANGED)])
            number = connection.exec_driver_sql("SELECT notices FROM members WHERE id = %s", (member,)).scalar()
        self.sent[member, int(number or 0)] = time.monotonic()

    def _work(self, stop: threading.Event) -> None:
        """As a worker does that is nudged."""
        while not stop.is_set():
            self.post.courier.work()
            stop.wait(0.005)

    def _took(self) -> list[float]:
        well = dict(zip(self.members, self.receivers, strict=True))
        del well[self.members[0]]
        found: list[float] = []
        for member, receiver in well.items():
            told = {number: at for (whose, number), at in self.sent.items() if whose == member}
            calls = receiver.wait_for(len(told), 60)
            found += [(call.at - told[orjson.loads(call.body)["data"]["number"]]) * 1000 for call in calls]
        return found


def street(house: House, receivers: list[Receiver]) -> Street:
    """Members with an endpoint each."""
    post = Post(house)
    members = [house.member(f"m{n}", lat=40 + n / 100) for n in range(MEMBERS)]
    for member, receiver in zip(members, receivers, strict=True):
        post.hook(member, receiver.url())
    return Street(post, members, receivers, house.lead("00Q1"))


def measure(house: House, *, rounds: int, notices: int, per_second: float) -> tuple[np.ndarray, np.ndarray]:
    """The times of the nine with all well, and with one hanging."""
    receivers = [Receiver() for _ in range(MEMBERS)]
    for receiver in receivers:
        receiver.__enter__()
    try:
        there = street(house, receivers)
        there.round(50, per_second, hanging=False)  # connections, caches
        well: list[float] = []
        beside: list[float] = []
        for _ in range(rounds):
            well += there.round(notices, per_second, hanging=False)
            beside += there.round(notices, per_second, hanging=True)
        there.post.close()
        return np.array(well), np.array(beside)
    finally:
        for receiver in receivers:
            receiver.__exit__()


def main(argv: list[str] | None = None) -> int:
    """Measure, say it, and fail when the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--notices", type=int, default=1000)
    parser.add_argument("--per-second", type=float, default=25.0)
    given = parser.parse_args(argv)
    with embedded.servers(Path(mkdtemp(prefix="fairturn-deliveries-"))) as urls:
        schema.upgrade(urls.database_url)
        house = House(urls.database_url, urls.redis_url)
        house.publish()
        well, beside = measure(house, rounds=given.rounds, notices=given.notices, per_second=given.per_second)
        house.close()
    figures = {
        name: [float(np.percentile(one, p)) for p in (50, 99)] for name, one in (("well", well), ("beside", beside))
    }
    ratio = figures["beside"][1] / figures["well"][1]
    for name, (median, p99) in figures.items():
        sys.stdout.write(f"{name:<8} {len(well):>6} calls  p50 {median:7.1f} ms  p99 {p99:7.1f} ms\n")
    sys.stdout.write(f"p99 of the nine beside a hanging one: {ratio:.2f} times (at most {AT_MOST})\n")
    return 0 if ratio <= AT_MOST else 1


if __name__ == "__main__":
    sys.exit(main())
