"""X1, scaled to two cores: decisions a second for an hour beside a hundred thousand open leads.

    python -m tests.proofs.volume [--minutes 60] [--rate 50] [--partners 10000] [--open 100000] [--dir DIR]

Real Postgres, Valkey, workers and beat; events are stored as the subscriber stores them. No Salesforce is there: what
is to be written back waits, and its breaker is open. First the open leads are routed, as an import; then leads arrive
at the rate, and as many are ended. Every minute: decisions, how long they took from the stored event to the decision,
and what each process held. Exit code 1 when the rate, 250 ms at the 95th percentile or 5 % of memory an hour is broken.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from config import wiring
from routing.change import Change
from routing.lane import Lane
from routing.lead import Reason
from storage.postgres.engine import transaction
from storage.postgres.positions import Position
from tasks.app import announce, nudge
from tests.proofs.land import Land, Memory, percentile
from workers import house
from workers.supervisor import Job, Supervisor

PROMISED_P95_S, GROWTH_AN_HOUR = 0.250, 0.05
TOPIC = "/data/LeadChangeEvent"
STEP_S = 0.2
_DECIDED = sa.text("""
    SELECT extract(epoch FROM d.at - e.received_at)::float8 AS s FROM events e
    JOIN leads l ON l.salesforce_id = e.record_id JOIN decisions d ON d.lead_id = l.id
    WHERE e.id > :after AND e.id <= :upto
""")
_OLDEST = sa.text("SELECT lead_id FROM offers WHERE state = 'offered' ORDER BY id LIMIT :n")
_OPEN = sa.text("SELECT count(*) FROM leads WHERE state IN ('offered', 'waiting')")


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute came to."""

    leads: int
    decided: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    open: int


@contextmanager
def running(directory: Path) -> Iterator[Supervisor]:
    """A house without Salesforce: servers, workers, beat."""
    with ExitStack() as stack:
        cfg = stack.enter_context(house.opened(directory))
        stack.enter_context(house.pointed_at({"SALESFORCE_LOGIN_URL": "http://127.0.0.1:1"}))
        house.migrate()
        supervised = stack.enter_context(Supervisor(cfg.data_dir / "logs", os.environ))
        for name, argv in house.processes().items():
            if name in {"worker", "bulk", "beat"}:
                supervised.start(Job(name, [sys.executable, *argv]))
        yield supervised


@dataclass(slots=True)
class Feed:
    """Stores leads as the subscriber does, and tells the workers."""

    land: Land
    position: Position
    numbers: Iterator[int]

    def bring(self, leads: int, lane: Lane) -> Sequence[int]:
        now = datetime.now(UTC)
        changes = [self._change(next(self.numbers), lane, now) for _ in range(leads)]
        ids = wiring.events().store(TOPIC, changes, replay_id=b"1", epoch=self.position.epoch)
        announce("leads.intake", ids, lane)
        return ids

    def _change(self, number: int, lane: Lane, now: datetime) -> Change:
        lat, lon = self.land.place()
        body = {"CreatedDate": 0, "LastName": "H", "Country": "United States", "Latitude": lat, "Longitude": lon}
        body |= {"LeadSource": "Web", "City": "Town", "PostalCode": "10001"}
        return Change(
            event_id=f"event-{number}", record_id=f"00QF0{number:013}", change_type="CREATE",
            replay_id=number.to_bytes(8, "big"), committed_at=now, commit_number=number,
            changed=tuple(body), body=body, lane=lane,
        )  # fmt: skip


def run(*, minutes: float, rate: float, partners: int, open_leads: int, directory: Path) -> tuple[list[Minute], Memory]:
    """The figures, minute by minute."""
    land, memory, found = Land(random.Random(1)), Memory(), list[Minute]()
    with running(directory) as supervised, wiring.positions().stand(TOPIC) as position:
        assert position is not None
        market = wiring.ledger().published().pools[0].market
        room = 4 + 2 * open_leads // partners
        wiring.members().upsert(list(land.partners(partners, market=market, capacity=room)), actor="proof")
        feed = Feed(land, position, count(1))
        for _ in range(0, open_leads, 100):
            feed.bring(min(100, open_leads), Lane.BULK)
        while _ask(_OPEN) < open_leads:
            supervised.tend()
            time.sleep(0.5)
        last = 0
        while len(found) < max(1, minutes):
            last, minute = _minute(feed, supervised, memory, rate, min(60.0, minutes * 60), last)
            found.append(minute)
            sys.stderr.write(json.dumps(asdict(minute)) + "\n")
    return found, memory


def _minute(  # noqa: PLR0917 - one caller, right above
    feed: Feed, supervised: Supervisor, memory: Memory, rate: float, seconds: float, last: int
) -> tuple[int, Minute]:
    began, sent, first, newest = time.monotonic(), 0, last, last
    while (now := time.monotonic() - began) < seconds:
        if (due := int(rate * now) - sent) > 0:
            ids = feed.bring(due, Lane.LIVE)
            first, newest, sent = first or ids[0] - 1, ids[-1], sent + due
            with transaction(wiring.engine()) as connection:
                oldest = list(connection.execute(_OLDEST, {"n": due}).scalars())
            wiring.leads().withdraw(oldest, Reason.CONVERTED)
            nudge("outbox.free")
        supervised.tend()
        time.sleep(STEP_S)
    memory.look(supervised.running())
    with transaction(wiring.engine()) as connection:
        waited = [row.s for row in connection.execute(_DECIDED, {"after": first, "upto": newest})]
    p50, p95, p99 = (round(percentile(waited, share) * 1000, 1) for share in (0.5, 0.95, 0.99))
    return newest, Minute(sent, len(waited), p50, p95, p99, _ask(_OPEN))


def _ask(statement: sa.TextClause) -> int:
    with transaction(wiring.engine()) as connection:
        return int(connection.execute(statement).scalar_one())


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 60))
    options.add_argument("--rate", type=float, default=50.0)
    options.add_argument("--partners", type=int, default=10_000)
    options.add_argument("--open", type=int, default=100_000)
    options.add_argument("--dir", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairturn-volume-") as made:
        found, memory = run(
            minutes=given.minutes, rate=given.rate, partners=given.partners, open_leads=given.open,
            directory=given.dir or Path(made),
        )  # fmt: skip
    worst = max(minute.p95_ms for minute in found)
    told = {"minutes": [asdict(one) for one in found], "worst_p95_ms": worst, "memory": memory.told()}
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    hours = max(1.0, len(found) / 60)
    grown = [n for n, first in memory.first.items() if memory.last[n] > first * (1 + GROWTH_AN_HOUR * hours)]
    slow = any(one.decided < 0.98 * one.leads for one in found[:-1]) or worst > PROMISED_P95_S * 1000
    return int(slow or bool(grown))


if __name__ == "__main__":
    sys.exit(main())
