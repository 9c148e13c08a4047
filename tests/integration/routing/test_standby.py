"""Redis away, broker and turnstile both: leads are offered all the same, by a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.routing.house import MARKET, House
from tests.integration.routing.own_valkey import OwnValkey, own_valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    with own_valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def house(database_url: str, valkey: OwnValkey) -> Iterator[House]:
    made = House(database_url, valkey.url)
    made.publish()
    yield made
    assert {name: rows for name, rows in made.breaches().items() if name != "inv_never_written"} == {}
    made.close()


@pytest.fixture
def standby(house: House, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = os.environ | {
        "DATABASE_URL": house.database_url,
        "REDIS_URL": house.redis_url,
        "FAIRTURN_BROKER_URL": house.redis_url,
        "FAIRTURN_TURNSTILE_URL": house.redis_url,
        "FAIRTURN_DATA_DIR": str(tmp_path / "data"),
    }
    with (tmp_path / "standby.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "workers.standby"], env=env, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0, (tmp_path / "standby.log").read_text()


def until(condition: Callable[[], object], what: str) -> None:
    last = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < last, what
        time.sleep(0.1)


def offered(house: House) -> int:
    found: int = house.value("SELECT count(*) FROM offers WHERE state = 'offered'")
    return found


def test_X4_while_redis_is_away_the_standby_does_the_work_and_then_stops(
    house: House, valkey: OwnValkey, standby: subprocess.Popen[bytes]
) -> None:
    for n in range(4):
        house.member(f"m{n}", 40.01, capacity=50)
    until(lambda: house.rows("SELECT FROM heartbeats WHERE name = 'standby'"), "the standby shows itself")
    first = house.lead("00Q000000000000001")
    house.dispatcher.route([first])
    house.aged()
    assert house.value("SELECT count(*) FROM leads WHERE state = 'new'") == 0
    whole = {"lat": 40.0, "lon": -75.0, "country": "US", "city": "Town"}
    valkey.kill()
    house.journey.intake(house.store([house.change(f"00Q000000001{n:06}", body=whole) for n in range(30)]))
    until(lambda: offered(house) == 31, "every lead is offered")
    house.overdue(first)
    until(lambda: house.decisions(first) == 2, "the lead goes on to the next member")
    assert house.value("SELECT alone_since IS NOT NULL FROM markets WHERE name = :m", m=MARKET)
    valkey.start()
    until(
        lambda: not house.value("SELECT alone_since IS NOT NULL FROM markets WHERE name = :m", m=MARKET),
        "the turnstile decides again",
    )
    assert sum(house.turnstile.open_counts(MARKET).values()) == 31
    late = house.lead("00Q000000002000000")
    house.dispatcher.route([late])
    assert "by" not in house.value("SELECT detail FROM timeline WHERE lead_id = :l AND what = 'offered'", l=late)
    standby.send_signal(signal.SIGTERM)
    assert standby.wait(timeout=30) == 0
