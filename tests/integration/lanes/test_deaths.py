"""Leads and events that end the process that handles them, and leads that are always put off."""

import signal
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from routing.errors import TryLater
from routing.journey import DEATHS
from storage.postgres import leads as leads_module
from tests.integration.routing.house import House

pytestmark = pytest.mark.long

WHOLE = {"lat": 40.0, "lon": -75.0, "country": "US", "city": "Town"}


def process(house: House, verb: str, ids: list[int], deadly: int) -> int:
    """Let a process of its own handle these rows; how it ended."""
    argv = [verb, house.database_url, house.redis_url, ",".join(map(str, ids)), str(deadly)]
    command = [sys.executable, "-m", "tests.integration.lanes.process", *argv]
    ended = subprocess.run(command, check=False, capture_output=True, timeout=120)
    assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr.decode()
    return ended.returncode


def bury(house: House) -> dict[str, int]:
    """As the relay does; the dead process's connections end a moment after it."""
    last = time.monotonic() + 20
    while time.monotonic() < last:
        found = house.journey.bury()
        if found["died_with"]:
            return found
        time.sleep(0.05)
    raise AssertionError("nobody died")


def until_dead(house: House) -> None:
    """The connections of a process end a moment after it."""
    last = time.monotonic() + 20
    alive = "SELECT count(*) FROM runs r JOIN pg_stat_activity a ON a.pid = r.backend"
    while house.value(alive):
        assert time.monotonic() < last
        time.sleep(0.02)


def test_a_lead_that_ends_its_process_is_tried_alone_and_parked_and_its_company_goes_on(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    leads = [house.lead(f"00Q00000000000001{n}") for n in range(5)]
    deadly = leads[2]
    house.log.clear()
    assert process(house, "route", leads, deadly) == -signal.SIGKILL
    assert bury(house) == {"died_with": 5, "parked": 0}
    alone = [ids for task, ids in house.log if task == "leads.route"]
    assert sorted(alone) == [[lead] for lead in leads]
    house.log.clear()
    runs = 1
    for lead in leads:
        if lead == deadly:
            runs += process(house, "route", [lead], deadly) != 0
        else:
            house.journey.route([lead])
    assert [house.state(lead)[0] for lead in leads] == ["offered", "offered", "new", "offered", "offered"]
    while house.state(deadly)[0] == "new":
        runs += process(house, "route", [deadly], deadly) != 0
        until_dead(house)
        house.journey.bury()
    assert house.state(deadly) == ("review", "error")
    assert runs == DEATHS
    letters = house.rows("SELECT kind, ref, reason FROM parked")
    assert [(row.kind, row.ref) for row in letters] == [("lead", str(deadly))]
    assert "ended its process 3 times" in letters[0].reason


def test_an_event_that_ends_its_process_is_parked_and_its_company_goes_on(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    events = house.store([house.change(f"00Q00000000000001{n}", body=WHOLE) for n in range(4)])
    assert process(house, "intake", events, events[0]) == -signal.SIGKILL
    bury(house)
    for event in events[1:]:
        assert house.journey.intake([event]) == {"new": 1}
    parked = 0
    while not parked:
        assert process(house, "intake", [events[0]], events[0]) == -signal.SIGKILL
        parked = bury(house)["parked"]
    states = [row.state for row in house.rows("SELECT state FROM events ORDER BY id")]
    assert states == ["parked", "done", "done", "done"]


@pytest.mark.long
def test_a_deadly_lead_ends_three_processes_also_when_the_relay_never_comes(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    leads = [house.lead(f"00Q00000000000001{n}") for n in range(5)]
    deadly, ended = leads[2], 0
    for named in (leads, [leads[0]], [deadly], leads, [deadly], [deadly], [deadly]):
        ended += process(house, "route", named, deadly) != 0
        until_dead(house)
        house.run("UPDATE runs SET begun_at = greatest(begun_at - interval '700 seconds', pg_postmaster_start_time())")
        house.run("UPDATE runs SET begun_at = begun_at + interval '1 microsecond'")
    assert ended == DEATHS
    assert house.state(deadly) == ("review", "error")
    assert house.value("SELECT deaths FROM leads WHERE id = :i", i=deadly) == DEATHS
    for lead in leads:
        house.journey.route([lead])
    assert {house.state(lead)[0] for lead in leads if lead != deadly} == {"offered"}


def test_a_waiting_lead_that_ends_its_process_when_it_is_planned_again_is_parked_too(house: House) -> None:
    lead = house.lead("00Q000000000000001")
    house.journey.route([lead])
    assert house.state(lead)[0] == "waiting"
    house.leads.wake()
    for _ in range(DEATHS):
        assert process(house, "route", [lead], lead) == -signal.SIGKILL
        bury(house)
    assert house.state(lead) == ("review", "error")


def test_what_was_parked_for_its_deaths_is_tried_anew_when_asked_for(house: House) -> None:
    (event,) = house.store([house.change("00Q000000000000001", body=WHOLE)])
    house.run("UPDATE events SET deaths = 3")
    assert house.journey.intake([event]) == {}
    assert house.value("SELECT state FROM events") == "parked"
    assert house.events.reopen(event)
    assert house.journey.intake([event]) == {"new": 1}


def test_who_waited_for_its_turn_sees_what_was_begun_meanwhile(house: House) -> None:
    lead = house.lead("00Q000000000000001")
    runs, found = house.journey.runs, []
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with house.engine.begin() as other:
        other.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('runs:route'))"))
        second = threading.Thread(target=lambda: found.append(runs.begin("route", [lead])))
        second.start()
        last = time.monotonic() + 1.5
        while not house.value(waits):
            assert time.monotonic() < last
        other.execute(sa.text("INSERT INTO runs (verb, rows) VALUES ('route', ARRAY[CAST(:i AS bigint)])"), {"i": lead})
    second.join()
    assert [run.rows for run in found] == [()]


def test_no_company_joins_a_row_that_ended_a_process(house: House) -> None:
    leads = [house.lead(f"00Q00000000000001{n}") for n in range(3)]
    house.run("UPDATE leads SET deaths = 1 WHERE id = :i", i=leads[0])
    runs = house.journey.runs
    assert runs.begin("route", [leads[0]]).rows == (leads[0],)
    assert set(runs.begin("route", [leads[0], leads[1]]).rows) == {leads[1], leads[2]}


def test_what_one_process_has_begun_no_other_takes(house: House) -> None:
    leads = [house.lead(f"00Q00000000000001{n}") for n in range(3)]
    runs = house.journey.runs
    first = runs.begin("route", [leads[0]])
    assert set(first.rows) == set(leads)
    assert runs.begin("route", leads).rows == ()
    runs.end(first)
    assert set(runs.begin("route", leads).rows) == set(leads)


def test_a_frozen_process_keeps_its_rows_for_a_while_only(house: House) -> None:
    lead = house.lead("00Q000000000000001")
    house.journey.runs.begin("route", [lead])
    house.run("UPDATE runs SET begun_at = begun_at - interval '11 seconds'")
    assert house.journey.runs.begin("route", [lead]).rows == (lead,)


def test_a_lead_that_began_to_wait_as_its_process_died_is_looked_at_again(house: House) -> None:
    house.member("full", 40.01, capacity=0)
    lead = house.lead("00Q000000000000001")
    house.log.clear()
    assert process(house, "wait", [lead], lead) == -signal.SIGKILL  # after the commit, before it looked round
    assert house.state(lead) == ("waiting", "no_room")
    last = time.monotonic() + 20
    while not house.leads.woken():
        assert time.monotonic() < last
        house.journey.bury()


def test_after_a_restart_of_the_server_nobody_is_counted_dead(house: House) -> None:
    lead = house.lead("00Q000000000000001")
    house.run(
        "INSERT INTO runs (verb, rows, backend, begun_at) VALUES "
        "('route', ARRAY[CAST(:lead AS bigint)], 1, pg_postmaster_start_time() - interval '1 second')",
        lead=lead,
    )
    assert house.journey.bury() == {"died_with": 0, "parked": 0}
    assert house.value("SELECT deaths FROM leads") == 0
    assert house.value("SELECT count(*) FROM runs") == 0


def test_a_lead_that_is_always_put_off_waits_longer_each_time_and_is_shown_in_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leads_module, "DELAYS", 4)
    body = {"country": "US", "city": "BUSY"}
    house.journey.intake(house.store([house.change("00Q000000000000001", body=body)]))
    lead = house.id_of("00Q000000000000001")
    pauses = []
    for _ in range(4):
        house.run("UPDATE leads SET next_try_at = NULL")
        house.journey.locate([lead])
        found = house.rows("SELECT extract(epoch FROM next_try_at - clock_timestamp()) AS s FROM leads")[0].s
        pauses.append(found and float(found))
    assert pauses[0] <= 0.5 < pauses[1] <= 1.0 < pauses[2] <= 2.0
    assert house.state(lead) == ("review", "error")
    (letter,) = house.rows("SELECT reason FROM parked")
    assert letter.reason == "put off 4 times, at last because: over quota"
    assert house.leads.reopen(lead)
    assert house.value("SELECT delays FROM leads") == 0


def test_a_lead_that_is_put_off_in_routing_holds_up_nobody(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    leads = [house.lead(f"00Q00000000000001{n}") for n in range(5)]
    slow, route = leads[1], house.dispatcher.route

    def reluctant(ids: list[int], **more: object) -> object:
        if slow in ids:
            raise TryLater("not now")
        return route(ids, **more)  # type: ignore[arg-type]  # as they came

    house.dispatcher.route = reluctant  # type: ignore[method-assign, assignment]
    counts = house.journey.route(leads)
    assert (counts["offered"], counts["put_off"]) == (4, 1)
    house.run("UPDATE leads SET next_try_at = clock_timestamp() WHERE delays > 0")
    house.aged()
    assert house.journey.bring_back() == {"route": 1}


def test_leads_put_off_one_after_the_other_are_no_leads_of_their_own(house: House) -> None:
    leads = [house.lead(f"00Q00000000000001{n}") for n in range(6)]

    def unwell(_ids: list[int], **_more: object) -> object:
        raise TryLater("not now")

    house.dispatcher.route = unwell  # type: ignore[method-assign, assignment]
    with pytest.raises(TryLater, match="it is not the leads"):
        house.journey.route(leads)
    assert house.value("SELECT count(*) FROM leads WHERE delays > 0") == 3
