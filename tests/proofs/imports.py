"""I9: an import beside people who ask today.

    python -m tests.proofs.imports [--leads 10000] [--live-per-s 4] [--partners 500] [--dir DIR]

Every process of the house as `fairturn up` runs them, the pretend Salesforce over its real wires. The import is written
in calls of 200 records as fast as it goes, people's leads one by one meanwhile and for a while after. Printed: how long
people's leads took from their commit in Salesforce to their offer, how long the import took, how far any partner was
ever from its fair share, and what the processes held. Exit code 1 when a promise is broken.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from config import settings, wiring
from gateways.salesforce.seed import MOST, Seeder
from routing.errors import TryLater
from storage.postgres.engine import transaction
from tests.proofs.land import Land, Memory, percentile, worst_turns
from workers import house
from workers.demo import _until_alive
from workers.supervisor import Job, Supervisor

PROMISED_P95_S = 5.0
_WAITED = sa.text("""
    SELECT l.source, l.lane, extract(epoch FROM o.offered_at - l.received_at)::float8 AS s
    FROM leads l JOIN offers o ON o.lead_id = l.id AND o.attempt = 1
""")
_STATES = sa.text("SELECT state, count(*) AS n FROM leads GROUP BY state")
_CHOSEN = sa.text("""
    SELECT rotation, chosen, member, weight, gate FROM decisions WHERE chosen IS NOT NULL ORDER BY generation, seq
""")


def record(land: Land, name: str, source: str, number: int) -> dict[str, object]:
    lat, lon = land.place()
    return {
        "LastName": name, "Company": "Household", "LeadSource": source, "Country": "United States",
        "City": "Town", "PostalCode": "10001", "Latitude": lat, "Longitude": lon,
        "Fairturn_Source_Id__c": f"{source}-{number}",
    }  # fmt: skip


def send(seeder: Seeder, records: list[dict[str, object]]) -> None:
    while True:
        try:
            made = seeder.leads(records)
        except TryLater:
            time.sleep(0.5)
            continue
        assert all(one.salesforce_id for one in made), made
        return


def run(leads: int, live_per_s: float, partners: int, directory: Path) -> dict[str, Any]:
    """The figures of one import."""
    land, memory = Land(random.Random(1)), Memory()
    with ExitStack() as stack:
        stack.enter_context(house.opened(directory))
        cfg = stack.enter_context(house.faces())
        pretend = house.pretend_salesforce(cfg.data_dir, keep=False)
        cfg = stack.enter_context(house.pointed_at({**pretend.env, "FAIRTURN_DATA_DIR": str(cfg.data_dir)}))
        supervised = stack.enter_context(Supervisor(cfg.data_dir / "logs", os.environ))
        supervised.start(Job("sandbox", pretend.argv, ready=house.answers("127.0.0.1", pretend.grpc_port)))
        house.migrate()
        market = next(iter(wiring.ledger().published().pools)).market
        room = 2 + 3 * leads // partners
        wiring.members().upsert(list(land.partners(partners, market=market, capacity=room)), actor="proof")
        house.start(supervised)
        _until_alive(supervised)

        def seeder() -> Seeder:
            return Seeder(wiring.tokens(), version=cfg.salesforce_api_version, ca_file=cfg.salesforce_ca_file)

        imported, live = threading.Event(), 0

        def bring() -> None:
            sender = seeder()
            for at in range(0, leads, MOST):
                some = range(at, min(at + MOST, leads))
                send(sender, [record(land, f"Import {n}", "Import", n) for n in some])
            imported.set()

        threading.Thread(target=bring, daemon=True).start()
        began, person = time.monotonic(), seeder()
        undecided = _count("leads", "state = 'new'")
        took = None
        while took is None or time.monotonic() - began < took + 5:
            send(person, [record(land, f"Person {live}", "Web", live)])
            live += 1
            supervised.tend()
            memory.look(supervised.running())
            if took is None and imported.is_set() and _count("leads", "true")() >= leads and undecided() == 0:
                took = time.monotonic() - began
            time.sleep(max(0.0, began + live / live_per_s - time.monotonic()))
        while _count("leads", "true")() < leads + live or undecided():
            supervised.tend()
            time.sleep(0.2)
        with transaction(wiring.engine()) as connection:
            waited = connection.execute(_WAITED).all()
            states = {row.state: row.n for row in connection.execute(_STATES)}
            worst = worst_turns(connection.execute(_CHOSEN))
            most = max((len(r.member) for r in connection.execute(_CHOSEN)), default=0)
        people = [row.s for row in waited if row.source == "Web"]
        return {
            "imported": leads, "people": live, "states": states, "import_took_s": round(took, 1),
            "lanes": {str(lane): sum(row.lane == lane for row in waited) for lane in (0, 1, 2)},
            "people_event_to_offer_s": {f"p{int(q * 100)}": round(percentile(people, q), 3) for q in (0.5, 0.95, 0.99)},
            "import_event_to_offer_s": {
                f"p{int(q * 100)}": round(percentile([r.s for r in waited if r.source == "Import"], q), 3)
                for q in (0.5, 0.95)
            },
            "worst_turns": round(worst, 3), "bound_turns": (most - 1) / 2, "memory": memory.told(),
        }  # fmt: skip


def _count(table: str, where: str) -> Callable[[], int]:
    statement = sa.text(f"SELECT count(*) FROM {table} WHERE {where}")  # noqa: S608 - our own words

    def count() -> int:
        with transaction(wiring.engine()) as connection:
            return int(connection.execute(statement).scalar_one())

    return count


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--leads", type=int, default=int(os.environ.get("LEADS") or 10_000))
    options.add_argument("--live-per-s", type=float, default=4.0)
    options.add_argument("--partners", type=int, default=500)
    options.add_argument("--dir", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairturn-imports-") as made:
        settings.load.cache_clear()
        told = run(given.leads, given.live_per_s, given.partners, given.dir or Path(made))
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    late = told["people_event_to_offer_s"]["p95"] > PROMISED_P95_S
    unfair = told["worst_turns"] > max(told["bound_turns"], 1.0)
    return int(late or unfair)


if __name__ == "__main__":
    sys.exit(main())
