"""`fairturn offer`: a manager's hand on an offer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.routing.house import House

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def routed(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    made.publish()
    made.member("near", 40.01)
    made.member("far", 40.05)
    made.lead("00Q000000000000001")
    made.work()
    yield made
    assert made.breaches() == {}
    made.close()


def fairturn(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"DATABASE_URL": house.database_url, "REDIS_URL": house.redis_url, "COLUMNS": "200"}
    command = [sys.executable, "-m", "workers.cli", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False)


def test_O7_a_manager_takes_an_offer_back_by_its_lead_and_hears_what_follows(routed: House) -> None:
    lead = routed.id_of("00Q000000000000001")
    before = routed.holder(lead)
    told = fairturn(routed, "offer", "rescind", "00Q000000000000001", "--reason", "complaint")
    assert (told.returncode, told.stdout.strip()) == (
        0, "The offer is withdrawn. The lead goes on to another member.",
    ), told.stderr  # fmt: skip
    routed.aged()
    routed.tick()
    assert routed.holder(lead) not in {before, None}
    wrong = fairturn(routed, "offer", "rescind", "nobody")
    assert (wrong.returncode, "no such lead" in wrong.stderr) == (2, True)
