"""Capacity under many workers at once."""

import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from routing.errors import TryLater
from tests.integration.routing.house import House

LIMIT = 5
PROCESSES, THREADS = 4, 50
LEADS = 100


def most_at_once(offers: Iterable[Any]) -> int:
    """The most offers one member held at any instant; an end and a start at one instant do not overlap."""
    moments: list[tuple[datetime, int]] = []
    for offer in offers:
        moments.append((offer.offered_at, 1))
        if offer.ended_at is not None:
            moments.append((offer.ended_at, -1))
    held = most = 0
    for _, step in sorted(moments):
        held += step
        most = max(most, held)
    return most


def test_C1_two_hundred_workers_never_pass_the_limit_at_any_instant(house: House) -> None:
    members = [house.member(f"m{n}", 40.01, capacity=LIMIT) for n in range(6)]
    house.journey.intake(
        house.store(
            house.change(f"00Q000000000000{n:03}", body={"lat": 40.0, "lon": -75.0, "country": "US", "city": "T"})
            for n in range(LEADS)
        )
    )
    house.log.clear()
    command = [sys.executable, "-m", "tests.integration.routing.process", "route"]
    workers = [
        subprocess.Popen([*command, house.database_url, house.redis_url, str(THREADS)], stdin=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    try:
        last = time.monotonic() + 90
        while house.value("SELECT count(*) FROM offers WHERE state = 'offered'") < len(members) * LIMIT:
            assert time.monotonic() < last  # everyone is full before the first place is freed
            time.sleep(0.05)
        while house.value("SELECT count(*) FROM offers") < 2 * len(members) * LIMIT:
            assert time.monotonic() < last
            assert all(one.poll() is None for one in workers)
            house.run("""
                UPDATE offers SET expires_at = clock_timestamp() WHERE id IN (
                    SELECT id FROM offers WHERE state = 'offered' ORDER BY random() LIMIT 3)""")
            try:
                house.journey.expire()
                house.outbound.free()
            except TryLater:
                continue
    finally:
        for one in workers:
            one.communicate(timeout=30)
    assert [one.returncode for one in workers] == [0] * PROCESSES
    offers = house.rows("SELECT member_id, offered_at, ended_at FROM offers")
    held = {member: most_at_once(o for o in offers if o.member_id == member) for member in members}
    assert max(held.values()) == LIMIT
    assert house.value("SELECT count(*) FROM leads WHERE state = 'waiting'") > 0
