"""Rows I3 and I4: whatever becomes of the stream, the leads end with whom they would have ended."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.proofs import resync, stream
from tests.proofs.live import Live
from tests.sandbox_fixture import SandboxOrg

#: Where members are: so far apart that each lead can go to one of them only, whatever the order.
PLACES = {"north": (45.0, -75.0), "south": (35.0, -75.0), "west": (40.0, -110.0)}


@pytest.fixture
def live(org: SandboxOrg, database_url: str, redis_url: str) -> Iterator[Live]:
    house = Live(database_url, redis_url, org)
    house.publish()
    for name, (lat, lon) in PLACES.items():
        house.member(name, lat, lon, capacity=2_000)
    yield house
    house.close()


def at(name: str, number: int = 0) -> dict[str, Any]:
    lat, lon = PLACES[name]
    return {"LastName": f"L{number}", "Company": "C", "Country": "US", "City": name, "Latitude": lat, "Longitude": lon}


def create(live: Live, *names: str) -> list[str]:
    return live.org.create_leads(*[at(name, n) for n, name in enumerate(names)])


def move(live: Live, ids: list[str], name: str) -> None:
    fields = {key: value for key, value in at(name).items() if key in {"City", "Latitude", "Longitude"}}
    live.org.admin("POST", "merged", {"ids": ids, "fields": fields})


def owners(live: Live) -> dict[str, str]:
    """Which member holds each lead."""
    found = live.rows(
        "SELECT l.salesforce_id, m.key FROM leads l JOIN offers o ON o.lead_id = l.id"
        " JOIN members m ON m.id = o.member_id WHERE o.state = 'offered'"
    )
    return {row.salesforce_id: row.key for row in found}


def offered_once(live: Live, ids: list[str]) -> bool:
    """Whether each of these leads, and no other, was offered exactly once in its life."""
    rows = live.rows("SELECT l.salesforce_id, count(*) AS n FROM leads l JOIN offers o ON o.lead_id = l.id GROUP BY 1")
    return {row.salesforce_id: row.n for row in rows} == dict.fromkeys(ids, 1)


def quiet(live: Live, events: int) -> Callable[[], bool]:
    """Whether the stream has brought so many events, echoes of our own writes not counted."""
    return lambda: live.value("SELECT count(*) FROM events WHERE origin NOT LIKE '%client=Fairturn%'") >= events


@contextmanager
def lost(live: Live) -> Iterator[None]:
    """What is written meanwhile, no event tells."""
    live.org.fault("event", "lost", count=None)
    yield
    live.org.admin("DELETE", "faults")


# --- I4: what single events would have said


def test_I4_a_merged_event_of_200_records_ends_as_200_single_events(live: Live) -> None:
    with live.following():
        ids = create(live, *["north"] * 200)
        live.settle(quiet(live, 200), route=False)
        move(live, ids, "south")
        live.settle(quiet(live, 400), route=False)
        assert live.value("SELECT count(DISTINCT event_id) FROM events WHERE change_type = 'UPDATE'") == 1
        alone = create(live, *["north"] * 5)
        for one in alone:
            live.org.rest(
                "PATCH", f"sobjects/Lead/{one}", json={k: v for k, v in at("south").items() if k != "LastName"}
            )
        live.settle(quiet(live, 410), route=False)
        live.settle(lambda: live.journey.route([]) is not None and len(owners(live)) == 205)
    assert set(owners(live).values()) == {"south"}
    assert offered_once(live, ids + alone)
    assert live.differences() == []


@pytest.mark.long
@pytest.mark.parametrize("kind", ["CREATE", "UPDATE", "UNDELETE"])
def test_I4_a_gap_ends_with_the_owner_the_event_would_have_given(live: Live, kind: str) -> None:
    with live.following():
        told = create(live, "north", "south", "west")
        live.settle(quiet(live, 3), route=kind == "UPDATE")
        if kind == "UNDELETE":
            live.org.rest("DELETE", "composite/sobjects", params={"ids": ",".join(told)})
        live.org.fault("event", "gap", count=None, match={"type": kind})
        if kind == "CREATE":
            told += create(live, "west", "north")
        elif kind == "UPDATE":
            live.org.admin("POST", "merged", {"ids": told, "fields": {"Phone": "+1555"}})
        else:
            live.org.admin("POST", "undelete", {"ids": told})
        live.settle(lambda: live.rows("SELECT 1 FROM events WHERE change_type = :kind", kind=f"GAP_{kind}"))
        live.settle(lambda: len(owners(live)) == len(told))
    names = ["north", "south", "west", "west", "north"][: len(told)]
    assert owners(live) == dict(zip(told, names, strict=True))
    assert live.differences() == []


@pytest.mark.long
def test_I4_a_gap_that_tells_of_a_deletion_ends_the_offer(live: Live) -> None:
    with live.following():
        ids = create(live, "north", "south")
        live.settle(lambda: len(owners(live)) == 2)
        live.org.fault("event", "gap", count=None, match={"type": "DELETE"})
        live.org.rest("DELETE", f"sobjects/Lead/{ids[0]}")
        live.settle(lambda: owners(live) == {ids[1]: "south"})
    assert live.differences() == []


@pytest.mark.long
@pytest.mark.parametrize("wildcard", ["overflow", "00Q*"])
def test_I4_what_names_no_record_has_all_compared_that_changed(live: Live, wildcard: str) -> None:
    with live.following():
        kept = create(live, "north", "north", "south")
        live.settle(lambda: len(owners(live)) == 3)
        with lost(live):
            new = create(live, *["west"] * 60)
            live.org.rest("DELETE", f"sobjects/Lead/{kept[0]}")
            live.org.rest("PATCH", f"sobjects/Lead/{kept[1]}", json={"Phone": "+1999"})
        if wildcard == "overflow":
            live.org.admin("POST", "overflow", {})
        else:
            live.org.admin("POST", "gap", {"type": "UPDATE", "ids": [wildcard]})
        live.settle(lambda: len(owners(live)) == 62)
    assert owners(live) == dict.fromkeys(new, "west") | {kept[1]: "north", kept[2]: "south"}
    assert live.differences() == []


@pytest.mark.long
def test_I4_an_update_whose_creation_nobody_told_and_one_out_of_order_end_as_told_in_order(live: Live) -> None:
    with live.following():
        with lost(live):
            [unknown] = create(live, "north")
        move(live, [unknown], "south")
        [known] = create(live, "north")
        live.settle(quiet(live, 2), route=False)
        live.org.fault("event", "reorder", args={"seconds": 30})
        move(live, [known], "west")
        move(live, [known], "south")
        live.settle(quiet(live, 4))
    assert owners(live) == {unknown: "south", known: "south"}
    assert live.differences() == []


def test_I4_a_field_added_in_mid_stream_disturbs_nobody(live: Live) -> None:
    with live.following():
        ids = create(live, "north")
        live.settle(quiet(live, 1))
        live.org.admin("POST", "fields", {"object": "Lead", "name": "Roof__c", "type": "string", "length": 40})
        ids += live.org.create_leads(at("south") | {"Roof__c": "slate"})
        move(live, [ids[0]], "west")
        live.settle(quiet(live, 3))
    assert owners(live) == dict(zip(ids, ["north", "south"], strict=True))


@pytest.mark.long
def test_I4_events_twice_out_of_order_as_gaps_and_a_breaking_stream_leave_the_ledger_as_the_org(live: Live) -> None:
    live.journey = replace(live.journey, gather_s=1.0)
    figures = stream.prove(live, events=1_000, every_s=1.0, seed=7)
    assert figures.differences == 0
    assert figures.gaps > 0
    assert figures.breaks > 0
    assert figures.resyncs == 0
    # One SOQL call reads up to 200 records; a few read less, as nobody waits for company for long.
    assert figures.calls <= 4 + figures.read_again / 10


# --- I3: an outage of the subscriber


def test_I3_500_leads_created_while_nobody_listened_are_each_routed_once(live: Live) -> None:
    with live.following():
        ids = create(live, "north")
        live.settle(lambda: len(owners(live)) == 1)
    ids += create(live, *["north", "south", "west", "north", "south"] * 100)
    with live.following():
        live.settle(lambda: len(owners(live)) == 501)
        live.settle(quiet(live, 501))
    assert not live.resyncs
    assert offered_once(live, ids)
    assert live.differences() == []


@pytest.mark.long
def test_I3_after_72_hours_the_sweep_alone_finds_all_500(live: Live) -> None:
    with live.following():
        ids = create(live, "north")
        live.settle(lambda: len(owners(live)) == 1)
    live.sweeper.hourly()
    ids += create(live, *["north", "south", "west", "north", "south"] * 100)
    live.org.admin("POST", "clock", {"advance_s": 80 * 3600})
    events = live.value("SELECT count(*) FROM events")
    live.sweeper.hourly()
    live.settle(lambda: len(owners(live)) == 501)
    assert live.value("SELECT count(*) FROM events") == events
    assert offered_once(live, ids)
    assert live.differences() == []


@pytest.mark.long
@pytest.mark.timeout(300)  # it starts four processes of its own, one after the other
def test_I3_2000_records_changed_in_80_hours_are_found_by_comparing_alone_through_kills(
    org: SandboxOrg, database_url: str, redis_url: str
) -> None:
    live = Live(database_url, redis_url, org, lease_s=resync.LEASE_S)
    live.publish()
    try:
        figures = resync.prove(live, changes=2_000, hours=80.0, kills=1, seed=3)
    finally:
        live.close()
    assert figures.differences == 0
    assert figures.destroyed > 0
    assert figures.withdrawn > 0
    assert figures.changes >= 2_000


# --- everything, every night


@pytest.mark.long
def test_I3_the_nightly_comparison_finds_what_every_other_way_missed(live: Live) -> None:
    with live.following():
        ids = create(live, *["north"] * 4)
        live.settle(lambda: len(owners(live)) == 4)
    live.sweeper.hourly()
    heard = int(time.time())
    live.wait(lambda: int(time.time()) > heard)  # SystemModstamp tells whole seconds: within one, a change looks known
    with lost(live):
        new = create(live, "south")
        live.org.rest("PATCH", f"sobjects/Lead/{ids[0]}", json={"Phone": "+1777"})
        live.org.rest("DELETE", f"sobjects/Lead/{ids[1]}")
        live.org.admin("POST", "purge", {})
        live.org.admin("POST", "purge", {"ids": [ids[2]]})
        live.org.admin("POST", "convert", {"leadId": ids[3]})
    calls = live.org.admin("GET", "state")["api_calls"]
    assert live.comparer.everything()["read"] == 2
    live.settle(lambda: set(owners(live)) == {ids[0], *new})
    assert live.org.admin("GET", "state")["api_calls"] - calls <= 6
    assert live.differences() == []
    live.comparer.everything()  # reads once more what we wrote ourselves: nobody listened for the echo
    assert live.comparer.everything() == {"read": 2}


# --- backpressure, and a long outage


@pytest.mark.long
def test_a_slow_ledger_holds_the_stream_back_and_never_more_than_100_events_are_outstanding(live: Live) -> None:
    create(live, *["north"] * 600)
    kept, most, stop = live.events.store, [0], threading.Event()

    def store(*args: Any, **kwargs: Any) -> Any:
        delivered = live.org.admin("GET", "state")["delivered"]
        most[0] = max(most[0], delivered - live.value("SELECT count(*) FROM events"))
        stop.wait(0.05)
        return kept(*args, **kwargs)

    live.events.store = store  # type: ignore[method-assign]  # the real one, only slower
    with live.following():
        live.wait(quiet(live, 600))
    assert 0 < most[0] <= 100
