"""Any number of workers comes to the turns that one would have given."""

import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from routing.lead import Point
from storage.postgres.members import MemberRow
from tests.integration.lanes.process import BATCH
from tests.integration.routing.house import House, document

PARTNERS = 20
#: `make proofs PROOFS=crowd` does the same with 10,000.
LEADS = int(os.environ.get("LEADS") or 300)
#: A market for each number of workers, all in one house: the same members, the same leads, each in its own country.
COUNTRIES = {"alone": "US", "four": "GB", "two-hundred": "DE"}


def markets(house: House) -> None:
    made = document()
    (pool,) = made["pools"]
    made["pools"] = [
        pool | {"name": f"pool-{name}", "market": name, "countries": [country]} for name, country in COUNTRIES.items()
    ]
    house.publish_document(made)
    for name in COUNTRIES:
        rows = [
            MemberRow(
                key=f"{name} {n}", name="M", market=name, places=(Point(40.01, -75.0),), capacity=LEADS,
                weight=1000 * (1 + n % 3),
            )
            for n in range(PARTNERS)
        ]  # fmt: skip
        house.members.upsert(rows, actor="test")


def leads(house: House, name: str, count: int) -> None:
    body = {"lat": 40.0, "lon": -75.0, "country": COUNTRIES[name], "city": "T"}
    number = list(COUNTRIES).index(name)
    house.journey.intake(house.store(house.change(f"00Q{number}{n:014}", body=body) for n in range(count)))
    house.log.clear()


def routed_by(house: House, name: str, *, processes: int, threads: int, patience_s: float = 3000) -> Counter[str]:
    """Route everything with so many workers; turns by member, whichever market it is in."""
    command = [sys.executable, "-m", "tests.integration.lanes.process", "crowd"]
    workers = [
        subprocess.Popen([*command, house.database_url, house.redis_url, str(threads)], stdin=subprocess.PIPE)
        for _ in range(processes)
    ]
    try:
        last = time.monotonic() + patience_s
        while house.value("SELECT count(*) FROM leads WHERE state = 'new'"):
            assert time.monotonic() < last
            assert all(one.poll() is None for one in workers)
            time.sleep(0.05)
    finally:
        for one in workers:
            one.communicate(timeout=60)
    assert [one.returncode for one in workers] == [0] * processes
    rows = house.rows(
        "SELECT m.key, count(o.id) AS n FROM members m LEFT JOIN offers o ON o.member_id = m.id "
        "WHERE m.market = :market GROUP BY m.key",
        market=name,
    )
    return Counter({row.key.removeprefix(name).strip(): row.n for row in rows})


def alone(house: House, count: int) -> Counter[str]:
    leads(house, "alone", count)
    ids = [row.id for row in house.rows("SELECT id FROM leads WHERE state = 'new' ORDER BY id")]
    for at in range(0, count, BATCH):
        house.dispatcher.route(ids[at : at + BATCH])
    return routed_by(house, "alone", processes=0, threads=0)


def worst(one: Counter[str], other: Counter[str]) -> int:
    return max(abs(one[key] - other[key]) for key in one.keys() | other.keys())


@pytest.mark.long
@pytest.mark.timeout(300)
def test_F11_two_hundred_workers_give_every_partner_the_turns_a_serial_run_gives(house: House) -> None:
    markets(house)
    serial = alone(house, LEADS)
    leads(house, "two-hundred", LEADS)
    found = routed_by(house, "two-hundred", processes=4, threads=50)
    assert found.total() == serial.total() == LEADS
    assert worst(found, serial) <= 1


@pytest.mark.timeout(300)
def test_F11_X2_more_workers_change_no_result(house: House) -> None:
    markets(house)
    serial = alone(house, 100)
    leads(house, "four", 100)
    assert worst(routed_by(house, "four", processes=4, threads=1), serial) <= 1
