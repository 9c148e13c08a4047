"""Processes killed at the worst moments, servers that forget: what is left is found, nothing is done twice."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import redis

from routing import sweeper
from routing.ports import Standing
from tests.integration.routing.house import MARKET, House

pytestmark = pytest.mark.long

WHOLE = {"lat": 40.0, "lon": -75.0, "country": "US", "city": "Town"}


def killed_at(house: House, point: str, ids: list[int]) -> None:
    command = [sys.executable, "-m", "tests.integration.routing.process", "crash"]
    ended = subprocess.run(
        [*command, house.database_url, house.redis_url, point, ",".join(map(str, ids))],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def until(condition: Callable[[], bool], step: Callable[[], object]) -> None:
    """The killed process's transaction ends when Postgres notices: try until then."""
    last = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < last
        step()


def test_a_crash_after_intake_before_the_announcement_is_healed_by_the_relay(house: House) -> None:
    house.member("near", 40.01)
    events = house.store([house.change("00Q000000000000001", body=WHOLE)])
    killed_at(house, "intake committed, nothing announced", events)
    lead = house.id_of("00Q000000000000001")
    assert house.state(lead) == ("new", None)
    house.aged()
    house.tick()
    assert house.story(lead) == ["received", "offered", "written"]


def test_E1_the_timeline_is_complete_after_a_worker_was_killed_between_reservation_and_commit(house: House) -> None:
    members = [house.member(f"m{n}", 40.01) for n in range(3)]
    lead = house.lead("00Q000000000000001")
    house.log.clear()
    killed_at(house, "reserved, nothing committed", [lead])
    assert house.state(lead) == ("new", None)
    assert sum(house.turnstile.open_counts(MARKET).values()) == 1

    def relay() -> None:
        house.aged()
        house.tick()

    until(lambda: house.state(lead)[0] == "offered", relay)
    assert house.story(lead) == ["received", "offered", "written"]
    assert house.turnstile.open_counts(MARKET) == {house.holder(lead): 1}
    standings = house.turnstile.standings(MARKET, "installers")
    assert sum(one.standing for one in standings.values()) == 0
    assert {m: standings.get(m, Standing(0, 0)).served for m in members} == {
        m: int(m == house.holder(lead)) for m in members
    }
    offered = house.rows("SELECT at, actor, policy_version, detail FROM timeline WHERE what = 'offered'")[0]
    assert (offered.actor, offered.policy_version, offered.detail["member"]) == ("fairturn", 1, house.holder(lead))
    assert offered.detail["since_received_ms"] > 0


def test_a_reservation_whose_worker_died_is_undone_whole_and_its_place_offered_to_who_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "UNSETTLED_S", 0.0)
    house.member("only", 40.01, capacity=1)
    lead = house.lead("00Q000000000000001")
    house.log.clear()
    killed_at(house, "reserved, nothing committed", [lead])
    waiting = house.lead("00Q000000000000002")
    house.dispatcher.route([waiting])  # the journey would take the dead worker's lead along, and keep its reservation
    assert house.state(waiting) == ("waiting", "no_room")
    until(lambda: house.turnstile.pending(MARKET, older_than_s=0) == [], lambda: house.sweeper.reap(MARKET))
    assert house.state(waiting) == ("offered", None)
    standings = house.turnstile.standings(MARKET, "installers")
    assert list(standings.values()) == [Standing(0, 1)]


def test_a_reservation_that_became_an_offer_is_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "UNSETTLED_S", 0.0)
    member = house.member("near", 40.01)
    lead = house.lead("00Q000000000000001")
    house.log.clear()
    killed_at(house, "committed, nothing settled", [lead])
    assert house.holder(lead) == member
    assert len(house.turnstile.pending(MARKET, older_than_s=0)) == 1
    assert house.sweeper.reap(MARKET) == 1
    assert house.turnstile.open_counts(MARKET) == {member: 1}
    assert house.turnstile.pending(MARKET, older_than_s=0) == []
    house.tick()
    assert house.story(lead) == ["received", "offered", "written"]


def test_a_batch_still_at_work_keeps_its_reservations(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "UNSETTLED_S", 0.0)
    member = house.member("near", 40.01)
    lead = house.lead("00Q000000000000001")
    settle, reserve = house.turnstile.settle, house.turnstile.reserve
    reaped = []

    def reserve_and_reap(*args: object, **values: object) -> object:
        answer = reserve(*args, **values)  # type: ignore[arg-type]
        house.turnstile.reserve = reserve  # type: ignore[method-assign]
        reaped.append(house.sweeper.reap(MARKET))
        return answer

    house.turnstile.reserve = reserve_and_reap  # type: ignore[method-assign, assignment]
    house.journey.route([lead])
    assert reaped == [0]
    assert house.turnstile.settle == settle
    assert house.turnstile.open_counts(MARKET) == {member: 1}


def test_a_crash_after_expiry_is_healed_by_the_relay(house: House) -> None:
    house.member("a", 40.01)
    house.member("b", 40.02)
    lead = house.lead("00Q000000000000001")
    house.work()
    first = house.holder(lead)
    house.overdue()
    killed_at(house, "expired, nothing freed", [0])
    house.aged()
    house.tick()
    assert house.holder(lead) not in {None, first}
    assert house.turnstile.open_counts(MARKET) == {house.holder(lead): 1}


def test_the_turnstile_forgets_everything_in_mid_run_and_nobody_passes_capacity(house: House) -> None:
    for n in range(3):
        house.member(f"m{n}", 40.01, capacity=4)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(20)]
    house.log.clear()
    client = redis.Redis.from_url(house.redis_url)
    for at in range(0, 20, 5):
        house.journey.route(leads[at : at + 5])
        client.flushall()
    client.close()
    house.tick()
    assert house.value("SELECT count(*) FROM offers WHERE state = 'offered'") == 12
    house.dispatcher.rebuild(MARKET)
    assert sorted(house.turnstile.open_counts(MARKET).values()) == [4, 4, 4]
    standings = house.turnstile.standings(MARKET, "installers")
    assert sum(one.standing for one in standings.values()) == 0


def test_an_idle_turnstile_that_forgot_is_rebuilt_by_the_relay(house: House) -> None:
    member = house.member("near", 40.01)
    house.lead("00Q000000000000001")
    house.work()
    client = redis.Redis.from_url(house.redis_url)
    client.flushall()
    client.close()
    house.tick()
    assert house.turnstile.open_counts(MARKET) == {member: 1}


def test_many_who_find_the_turnstile_cold_rebuild_it_once(house: House) -> None:
    house.member("near", 40.01, capacity=100)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(16)]
    house.log.clear()
    together = threading.Barrier(8)

    def work(mine: list[int]) -> None:
        together.wait()
        house.journey.route(mine)

    threads = [threading.Thread(target=work, args=(leads[n::8],)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert house.value("SELECT generation FROM markets WHERE name = :m", m=MARKET) == 1
    assert house.value("SELECT count(*) FROM offers") == 16


def test_a_turnstile_set_back_in_time_is_rebuilt_instead_of_parking_leads(house: House) -> None:
    house.member("near", 40.01, capacity=100)
    first = house.lead("00Q000000000000001")
    house.work()
    client = redis.Redis.from_url(house.redis_url)
    state = f"turnstile:{{{MARKET}}}:state"
    assert client.exists(state)
    client.hset(state, "seq", 0)  # as after the loss of its last second
    client.close()
    second = house.lead("00Q000000000000002")
    house.work()
    assert [house.state(one) for one in (first, second)] == [("offered", None)] * 2
    assert house.value("SELECT generation FROM markets WHERE name = :m", m=MARKET) == 2


def test_a_turnstile_that_miscounts_is_rebuilt_and_the_lead_planned_again(house: House) -> None:
    house.member("near", 40.01, capacity=1)
    far = house.member("far", 40.3, capacity=1)
    house.lead("00Q000000000000001")
    house.work()
    near = house.value("SELECT id FROM offers")
    house.turnstile.release(MARKET, [near])
    second = house.lead("00Q000000000000002")
    house.work()
    assert house.holder(second) == far


def test_I5_sweeping_twice_and_at_once_changes_nothing_more_and_a_lead_left_is_retried(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    known = house.lead("00Q000000000000001")
    house.work()
    left = house.lead("00Q000000000000002")
    house.log.clear()
    missed = house.snapshot("00Q000000000000003", **WHOLE)
    house.changed.append([house.snapshot("00Q000000000000001", **WHOLE, postal_code="19000"), missed])
    house.aged(3600)
    house.tick()
    assert house.state(left) == ("offered", None)
    both = [threading.Thread(target=verb) for verb in (house.sweeper.hourly, house.sweeper.hourly)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    house.work()
    assert house.state(house.id_of("00Q000000000000003")) == ("offered", None)
    before = (
        house.rows("SELECT id, version, state FROM leads ORDER BY id"),
        house.value("SELECT count(*) FROM timeline"),
    )
    house.sweeper.hourly()
    house.tick()
    assert (house.rows("SELECT id, version, state FROM leads ORDER BY id"),
            house.value("SELECT count(*) FROM timeline")) == before  # fmt: skip
    assert house.value("SELECT count(*) FROM offers") == 3
    assert house.state(known) == ("offered", None)


def test_two_relays_at_once_end_each_offer_once(house: House) -> None:
    for n in range(4):
        house.member(f"m{n}", 40.01, capacity=50)
    for n in range(12):
        house.lead(f"00Q0000000000000{n:02}")
    house.work()
    house.overdue()
    counts: list[dict[str, int]] = []
    both = [threading.Thread(target=lambda: counts.append(house.sweeper.relay())) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    house.work()
    assert sum(one.get("expired", 0) for one in counts) == 12
    assert house.value("SELECT count(*) FROM offers WHERE state = 'offered'") == 12
    assert house.value("SELECT count(*) FROM outbox WHERE kind = 'turnstile'") == 12
