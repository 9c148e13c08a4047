"""What later events do to a lead: order, gaps, echoes, moves, deletion and return."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from routing.change import Change
from tests.integration.routing.house import MARKET, House, city

LEAD = "00Q000000000000001"
WHOLE = {"lat": 40.0, "lon": -75.0, "country": "US", "city": "Town", "postal_code": "19000"}


def take(house: House, *changes: object, work: bool = True) -> None:
    house.journey.intake(house.store(changes))  # type: ignore[arg-type]  # changes, as House.change makes them
    if work:
        house.work()


def test_an_event_overtaken_by_a_later_one_is_not_lost_but_read_again(house: House) -> None:
    house.member("near", 40.01)
    take(house, house.change(LEAD, number=1, body=WHOLE))
    take(house, house.change(LEAD, "UPDATE", number=3, body={"phone": "3"}))
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, phone="3", email="two@example.com")
    take(house, house.change(LEAD, "UPDATE", number=2, body={"email": "two@example.com"}))
    row = house.rows("SELECT email, phone FROM lead_contacts")[0]
    assert tuple(row) == ("two@example.com", "3")
    assert house.value("SELECT dirty FROM leads") is False
    assert house.value("SELECT commit_number FROM leads") == 3


def test_a_lead_known_only_by_an_update_is_read_whole_and_then_routed(house: House) -> None:
    house.member("near", 40.01)
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE)
    take(house, house.change(LEAD, "UPDATE", body={"phone": "1"}))
    assert house.state(house.id_of(LEAD)) == ("offered", None)
    assert house.story(house.id_of(LEAD)) == ["dirty", "received", "offered", "written"]


def test_a_record_read_before_a_later_event_does_not_undo_the_event(house: House) -> None:
    house.member("near", 40.01)
    take(house, house.change(LEAD, body=WHOLE | {"phone": "old"}))
    as_of = house.leads.clock()
    record = house.snapshot(LEAD, **WHOLE, phone="old")
    take(house, house.change(LEAD, "UPDATE", body={"phone": "new"}))
    assert house.journey.snapshots([record], as_of=as_of) == {"dirty": 1}
    assert house.value("SELECT phone FROM lead_contacts") == "new"
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, phone="newest")
    house.work()
    assert house.value("SELECT phone FROM lead_contacts") == "newest"


def test_a_record_read_long_before_a_later_event_is_stale(house: House) -> None:
    house.member("near", 40.01)
    take(house, house.change(LEAD, body=WHOLE, at=datetime.now(UTC) - timedelta(hours=2)))
    as_of = house.leads.clock()
    record = replace(house.snapshot(LEAD, **WHOLE, phone="old"), committed_at=datetime.now(UTC) - timedelta(hours=1))
    take(house, house.change(LEAD, "UPDATE", body={"phone": "new"}))
    assert house.journey.snapshots([record], as_of=as_of) == {"stale": 1}


def test_a_record_changed_after_all_we_know_of_it_is_read_although_we_worked_on_the_lead(house: House) -> None:
    house.member("near", 40.01)
    as_of = house.leads.clock()
    take(house, house.change(LEAD, body=WHOLE, at=datetime.now(UTC) - timedelta(hours=50)))
    record = replace(house.snapshot(LEAD, **WHOLE, phone="new"), committed_at=datetime.now(UTC) - timedelta(hours=49))
    assert house.journey.snapshots([record], as_of=as_of) == {"updated": 1}
    assert house.value("SELECT phone FROM lead_contacts") == "new"


def test_an_event_that_is_older_than_what_was_read_is_stale(house: House) -> None:
    house.member("near", 40.01)
    take(house, house.change(LEAD, body=WHOLE))
    house.journey.snapshots([house.snapshot(LEAD, **WHOLE, phone="new")], as_of=house.leads.clock())
    old = datetime.now(UTC) - timedelta(minutes=1)
    take(house, house.change(LEAD, "UPDATE", body={"phone": "old"}, at=old))
    assert house.value("SELECT phone FROM lead_contacts") == "new"


def test_our_own_write_coming_back_changes_nothing(house: House) -> None:
    house.member("near", 40.01)
    take(house, house.change(LEAD, body=WHOLE))
    lead = house.id_of(LEAD)
    before = house.story(lead)
    take(house, house.change(LEAD, "UPDATE", origin="ours", body={"phone": "1"}))
    assert house.story(lead) == before
    assert house.value("SELECT phone FROM lead_contacts") == ""


def test_a_waiting_lead_that_moves_is_routed_from_its_new_place(house: House) -> None:
    house.member("far", 41.0)
    take(house, house.change(LEAD, body=WHOLE))
    lead = house.id_of(LEAD)
    assert house.state(lead) == ("waiting", "no_partner_in_range")
    take(house, house.change(LEAD, "UPDATE", body={"city": "Other", "lat": 41.01, "lon": -75.0}))
    assert house.state(lead) == ("offered", None)
    assert house.story(lead) == ["received", "waiting", "written", "moved", "offered", "written"]


def test_a_place_found_for_the_old_address_is_not_used_after_a_move(house: House) -> None:
    house.member("near", 40.01)
    house.geography.cities |= {"Town": city(40.0, -75.0), "Other": city(60.0, -75.0)}
    take(house, house.change(LEAD, body={"country": "US", "city": "Town"}), work=False)
    lead = house.id_of(LEAD)
    asked = house.leads.unplaced([lead])
    take(house, house.change(LEAD, "UPDATE", body={"city": "Other"}), work=False)
    assert house.leads.placed([(asked[0], city(40.0, -75.0))]) == []
    house.work()
    assert house.state(lead) == ("waiting", "no_partner_in_range")


def test_a_move_after_the_offer_leaves_the_offer(house: House) -> None:
    member = house.member("near", 40.01)
    take(house, house.change(LEAD, body=WHOLE))
    take(house, house.change(LEAD, "UPDATE", body={"city": "Other", "lat": 50.0, "lon": 0.0}))
    assert house.holder(house.id_of(LEAD)) == member


@pytest.mark.parametrize("kind", ["DELETE", "GAP_DELETE"])
def test_a_deleted_lead_ends_its_offer_and_frees_the_place(house: House, kind: str) -> None:
    house.member("near", 40.01, capacity=1)
    take(house, house.change(LEAD, body=WHOLE))
    second = house.lead("00Q000000000000002")
    house.work()
    assert house.state(second) == ("waiting", "no_room")
    take(house, house.change(LEAD, kind))
    assert house.state(house.id_of(LEAD)) == ("withdrawn", "deleted")
    assert house.state(second) == ("offered", None)


def test_a_restored_lead_is_routed_again_and_never_to_the_same_member(house: House) -> None:
    house.member("near", 40.01)
    other = house.member("other", 40.02)
    take(house, house.change(LEAD, body=WHOLE))
    lead = house.id_of(LEAD)
    first = house.holder(lead)
    take(house, house.change(LEAD, "DELETE"))
    take(house, house.change(LEAD, "UNDELETE", body=WHOLE))
    assert house.holder(lead) not in {None, first}
    assert house.value("SELECT attempt FROM leads WHERE id = :i", i=lead) == 2
    assert other in {first, house.holder(lead)}


def test_a_converted_lead_is_withdrawn_and_no_later_edit_brings_it_back(house: House) -> None:
    house.member("near", 40.01)
    take(house, house.change(LEAD, body=WHOLE))
    take(house, house.change(LEAD, "UPDATE", body={"is_converted": True}))
    take(house, house.change(LEAD, "UPDATE", body={"phone": "9", "city": "Other"}))
    assert house.state(house.id_of(LEAD)) == ("withdrawn", "converted")
    assert house.turnstile.open_counts(MARKET) == {}


def test_a_lead_deleted_before_its_creation_is_read_is_never_routed(house: House) -> None:
    house.member("near", 40.01)
    creation, deletion = house.change(LEAD, body=WHOLE), house.change(LEAD, "DELETE")
    take(house, deletion)
    take(house, creation)
    assert house.state(house.id_of(LEAD)) == ("withdrawn", "deleted")


def test_the_sweep_finds_a_deletion_the_stream_did_not_tell(house: House) -> None:
    house.member("near", 40.01)
    take(house, house.change(LEAD, body=WHOLE))
    gone = house.snapshot(LEAD)
    house.changed.append([type(gone)(gone.event_id, LEAD, "DELETE", b"", gone.committed_at)])
    house.sweeper.hourly()
    house.work()
    assert house.state(house.id_of(LEAD)) == ("withdrawn", "deleted")


def test_a_gap_event_has_the_record_read_again_and_a_waiting_lead_planned_again(house: House) -> None:
    house.member("near", 40.01, capacity=1)
    take(house, house.change(LEAD, body=WHOLE))
    second = house.lead("00Q000000000000002")
    house.work()
    house.records["00Q000000000000002"] = house.snapshot("00Q000000000000002", **WHOLE, phone="5")
    house.journey.intake(house.store([house.change("00Q000000000000002", "GAP_UPDATE")]))
    take(house, house.change(LEAD, "DELETE"), work=False)
    house.wanted.remove("leads.refresh")
    house.work()
    assert house.state(second) == ("waiting", "no_room")
    house.wanted.append("leads.refresh")
    house.work()
    house.tick()
    assert house.state(second) == ("offered", None)


def test_an_overflow_asks_for_the_sweep(house: House) -> None:
    house.journey.intake(house.store([house.change("00Q*", "GAP_OVERFLOW")]))
    assert house.wanted == ["sweep.resync"]


def test_two_batches_that_add_one_lead_at_once_make_one_lead(house: House) -> None:
    house.member("near", 40.01)
    first = house.store([house.change(LEAD, number=1, body=WHOLE)])
    second = house.store([house.change(LEAD, "UPDATE", number=2, body={"phone": "2"})])
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, phone="2")
    house.journey.intake(second)
    house.journey.intake(first)
    house.work()
    assert house.value("SELECT count(*) FROM leads") == 1
    assert house.state(house.id_of(LEAD)) == ("offered", None)
    assert house.value("SELECT count(*) FROM events WHERE state <> 'done'") == 0


def test_records_to_read_again_are_gathered_and_asked_for_in_one_call(house: House) -> None:
    journey = replace(house.journey, gather_s=3600.0)
    asked: list[int] = []

    def fetch(ids: Sequence[str]) -> list[Change]:
        asked.append(len(ids))
        return [house.snapshot(one, **WHOLE) for one in ids]

    journey = replace(journey, fetch=fetch)
    house.journey.intake(house.store([house.change(f"00Q0000000000001{n:02}", "GAP_CREATE") for n in range(49)]))
    assert journey.refresh() == {}
    assert not house.leads.are_dirty(for_s=3600.0)
    house.journey.intake(house.store([house.change("00Q000000000000999", "GAP_CREATE")]))
    assert journey.refresh() == {"new": 50}
    assert asked == [50]
    house.journey.intake(house.store([house.change(LEAD, "GAP_CREATE")]))
    house.aged(3601)
    assert house.leads.are_dirty(for_s=3600.0)
    assert journey.refresh() == {"new": 1}


def test_a_record_is_asked_for_by_one_and_again_when_it_changes_again(house: House) -> None:
    house.journey.intake(house.store([house.change(LEAD, "GAP_CREATE")]))
    assert house.leads.dirty() == [LEAD]
    assert house.leads.dirty() == []
    house.journey.intake(house.store([house.change(LEAD, "GAP_UPDATE")]))
    assert house.leads.dirty() == [LEAD]


def test_a_record_that_cannot_be_read_is_parked_and_not_asked_for_again(house: House) -> None:
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, poison="bad")
    take(house, house.change(LEAD, "GAP_CREATE"))
    assert house.state(house.id_of(LEAD)) == ("review", "error")
    assert house.rows("SELECT kind, reason FROM parked") == [("lead", "ValueError: see the log of the task")]
    assert not house.leads.are_dirty(for_s=0)
