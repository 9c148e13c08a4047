"""A worker that freezes in the middle of its work and wakes up when others have done it: nothing of it counts."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from routing import sweeper
from tests.integration.routing.house import MARKET, House

pytestmark = pytest.mark.long


@contextmanager
def frozen(house: House, point: str, ids: list[int]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has stopped at that point of its way."""
    command = [sys.executable, "-m", "tests.integration.routing.process", "freeze"]
    arguments = [house.database_url, house.redis_url, point, ",".join(map(str, ids))]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            last = time.monotonic() + 60
            while state_of(process.pid) != "T":
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert time.monotonic() < last
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a file of the kernel's
        return stat.read().rpartition(")")[2].split()[0]


def wakes_up(process: subprocess.Popen[bytes]) -> str:
    """Let it go on to its end; its last words."""
    process.send_signal(signal.SIGCONT)
    told, _ = process.communicate(timeout=60)
    return told.decode()


def its_session_ends(house: House) -> None:
    """As idle_in_transaction_session_timeout does after ten seconds."""
    ended = house.value(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
    )
    assert ended >= 1


def free(house: House, lead: int) -> None:
    """Wait until nobody has the lead under lock."""
    last = time.monotonic() + 20
    while not house.rows("SELECT FROM leads WHERE id = :id FOR UPDATE SKIP LOCKED", id=lead):
        assert time.monotonic() < last
        time.sleep(0.02)


@pytest.mark.parametrize("point", ["nothing reserved", "reserved"])
def test_G8_a_frozen_worker_that_wakes_up_after_its_lease_has_no_effect(
    house: House, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(sweeper, "UNSETTLED_S", 0.0)
    for n in range(3):
        house.member(f"m{n}", 40.01, capacity=2)
    first, lead = (house.lead(f"00Q00000000000000{n}") for n in range(2))
    house.log.clear()
    house.dispatcher.route([first])
    with frozen(house, point, [lead]) as worker:
        its_session_ends(house)
        free(house, lead)
        house.dispatcher.route([lead])
        offer = house.value("SELECT id FROM offers WHERE lead_id = :lead", lead=lead)
        wakes_up(worker)
        assert worker.returncode != 0
    assert house.rows("SELECT id FROM offers WHERE lead_id = :lead", lead=lead) == [(offer,)]
    assert house.decisions(lead) == 1
    house.sweeper.reap(MARKET)
    held = {row.id: row.open for row in house.rows("SELECT id, open FROM members WHERE open > 0")}
    assert house.turnstile.open_counts(MARKET) == held
    before = house.turnstile.standings(MARKET, "installers"), house.turnstile.offers(MARKET)
    house.dispatcher.rebuild(MARKET)
    after = house.turnstile.standings(MARKET, "installers"), house.turnstile.offers(MARKET)
    assert {m: one.standing for m, one in before[0].items()} == {m: one.standing for m, one in after[0].items()}
    assert before[1] == after[1]


def test_G8_a_rebuild_cuts_off_a_frozen_worker_and_waits_for_nobody(house: House) -> None:
    house.member("near", 40.01)
    lead = house.lead("00Q000000000000001")
    house.log.clear()
    with frozen(house, "reserved", [lead]) as worker:
        assert house.dispatcher.rebuild(MARKET)
        house.dispatcher.route([lead])
        assert house.state(lead) == ("offered", None)
        wakes_up(worker)
        assert worker.returncode != 0
    assert house.decisions(lead) == 1
    assert list(house.turnstile.open_counts(MARKET).values()) == [1]
    assert house.turnstile.pending(MARKET, older_than_s=0) == []


def test_G8_who_froze_in_the_middle_of_a_rebuild_undoes_nothing(house: House) -> None:
    house.member("near", 40.01)
    leads = [house.lead(f"00Q00000000000000{n}") for n in range(3)]
    house.log.clear()
    house.dispatcher.route(leads[:1])
    with frozen(house, "rebuilding", []) as worker:
        its_session_ends(house)
        house.dispatcher.rebuild(MARKET)
        house.dispatcher.route(leads[1:])
        wakes_up(worker)
        assert worker.returncode != 0
    assert list(house.turnstile.open_counts(MARKET).values()) == [3]
    last = house.value("SELECT max(seq) FROM decisions")
    assert house.turnstile.mark(MARKET).seq == last
