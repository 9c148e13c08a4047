"""One process does everything in turn, so that the cost of each step can be told."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import median

from bench import people
from bench.meter import Cost, Meter
from bench.way import Org
from config import settings, wiring
from gateways.salesforce.seed import Seeder
from gateways.salesforce.stream import Batch
from workers import house
from workers.supervisor import Job, Supervisor

Around = Callable[[str], AbstractContextManager[object]]
STEPS = ("read", "store", "take in", "locate", "route", "write back")


def _nothing_around(_step: str) -> AbstractContextManager[None]:
    return nullcontext()


class Steps:
    """The verbs of a lead's way, called directly; what they announce is kept for the next step."""

    def __init__(self, meter: Meter, org: Org) -> None:
        self._meter, self._org = meter, org
        self._told: dict[str, list[int]] = {}
        self.journey = wiring.journey(self._announce, self._nudge)
        self._dice = random.Random(4)

    def run(self, count: int, *, around: Around = _nothing_around) -> dict[str, Cost]:
        """Bring so many new leads through, each step inside of what `around` gives for it; the cost of each step."""
        self._org.make(count, lambda: people.american(self._dice))
        topic = settings.load().salesforce_topic
        with wiring.positions().stand(topic, stop=threading.Event()) as position:
            assert position is not None
            batches: list[Batch] = []
            found = {
                "read": self._timed("read", count, around, lambda: batches.extend(self._read(topic, position, count)))
            }
            events: list[int] = []
            found["store"] = self._timed(
                "store", count, around, lambda: events.extend(self._store(topic, batches, position.epoch))
            )
        verbs = {
            "take in": lambda: self._each(events, self.journey.intake),
            "locate": lambda: self._each(self._take("leads.geocode"), self.journey.locate),
            "route": lambda: self._each(self._take("leads.route"), self.journey.route),
            "write back": self._deliver,
        }
        return found | {step: self._timed(step, count, around, verb) for step, verb in verbs.items()}

    def _read(self, topic: str, position: object, count: int) -> Iterator[Batch]:
        stream = wiring.stream(topic, threading.Event())
        items, left = stream.items(position.replay_id, position.committed_at), count  # type: ignore[attr-defined]
        for item in items:
            if isinstance(item, Batch):
                yield item
                left -= sum(change.change_type == "CREATE" for change in item.changes)
            if left <= 0:
                break
        items.close()

    def _store(self, topic: str, batches: Sequence[Batch], epoch: int) -> Iterator[int]:
        for batch in batches:
            yield from wiring.events().store(
                topic, batch.changes, batch.unreadable, replay_id=batch.replay_id, epoch=epoch
            )

    def _deliver(self) -> None:
        outbound = wiring.outbound(self._nudge)
        while wiring.outbox().due("salesforce"):
            outbound.deliver()

    def _timed(self, step: str, count: int, around: Around, work: Callable[[], object]) -> Cost:
        with around(step), self._meter.measured() as cost:
            work()
        cost.units = count
        return cost

    @staticmethod
    def _each(ids: Sequence[int], verb: Callable[[Sequence[int]], object]) -> None:
        for start in range(0, len(ids), 100):
            verb(ids[start : start + 100])

    def _take(self, task: str) -> list[int]:
        """What was announced for a task since it was taken last."""
        return self._told.pop(task, [])

    def _announce(self, task: str, ids: Sequence[int], *_: object, **__: object) -> bool:
        self._told.setdefault(task, []).extend(ids)
        return True

    def _nudge(self, _task: str, *_: object, **__: object) -> bool:
        return True


@contextmanager
def stepping(meter: Meter, directory: Path) -> Iterator[Steps]:
    """Steps on the house that is open, with a pretend Salesforce of their own."""
    pretend = house.pretend_salesforce(directory, keep=False)
    with house.pointed_at(dict(pretend.env)) as cfg, Supervisor(directory / "logs", {}) as supervisor:
        supervisor.start(Job("sandbox", pretend.argv, ready=house.answers("127.0.0.1", pretend.http_port)))
        meter.follow({"sandbox": supervisor.running()["sandbox"]})
        seeder = Seeder(wiring.tokens(), version=cfg.salesforce_api_version, ca_file=cfg.salesforce_ca_file)
        try:
            yield Steps(meter, Org(seeder))
        finally:
            meter.forget("sandbox")


def medians(rounds: Sequence[dict[str, Cost]]) -> dict[str, dict[str, float]]:
    """CPU microseconds a lead, by step and process."""
    names = ("python", "postgres", "valkey", "sandbox")
    return {
        step: {f"{name}_us": round(median(one[step].us(name) for one in rounds), 1) for name in names} for step in STEPS
    }
