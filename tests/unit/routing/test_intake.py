"""What one change means for a lead."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.change import MISSING, Change
from routing.intake import TOO_NEAR, Folded, Meaning, Sheet, fold, fold_late
from routing.lead import LeadState, Point, Reason

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEAD = "00Q000000000000001"
WHOLE = {"city": "Town", "country": "US", "postal_code": "1", "lat": 40.0, "lon": -75.0}


def alpha2(text: str) -> str | None:
    return {"US": "US", "USA": "US", "DE": "DE", "Germany": "DE"}.get(text)


def change(kind: str = "CREATE", number: int = 1, *, minutes: float | None = None, record: str = LEAD) -> Change:
    at = NOON + timedelta(minutes=number if minutes is None else minutes)
    replay_id = b"" if kind in {"SNAPSHOT", MISSING} else b"r"
    return Change("e", record, kind, replay_id, at, commit_number=0 if kind == "SNAPSHOT" else number)


def told(known: Sheet | None, one: Change, fields: Mapping[str, Any] | None = None, **over: Any) -> Folded:
    return fold(known, one, fields or {}, alpha2=alpha2, ours=over.pop("ours", False), **over)


def sheet(known: Sheet | None, one: Change, fields: Mapping[str, Any] | None = None, **over: Any) -> Sheet:
    found = told(known, one, fields, **over).sheet
    assert found is not None
    return found


@pytest.fixture
def known() -> Sheet:
    return replace(sheet(None, change(number=5), WHOLE), id=1)


def test_a_new_lead_with_coordinates_is_placed_at_once() -> None:
    folded = told(None, change(), WHOLE)
    assert folded.meaning is Meaning.NEW
    assert folded.sheet is not None
    assert (folded.sheet.place, folded.sheet.country, folded.sheet.state) == (Point(40, -75), "US", LeadState.NEW)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"country": "Atlantis", "city": "T"}, Reason.UNKNOWN_COUNTRY),
        ({"country": "US"}, Reason.NO_ADDRESS),
        ({"country": "US", "lat": 91, "lon": 0}, Reason.BAD_COORDINATES),
        ({"country": "US", "lat": "NaN", "lon": 0}, Reason.BAD_COORDINATES),
        ({"country": "US", "lat": float("inf"), "lon": 0}, Reason.BAD_COORDINATES),
        ({"country": "US", "lat": [], "lon": 0}, Reason.BAD_COORDINATES),
    ],
)
def test_a_lead_that_cannot_be_placed_is_in_review_with_its_reason(fields: dict[str, Any], reason: Reason) -> None:
    found = sheet(None, change(), fields)
    assert (found.state, found.reason) == (LeadState.REVIEW, reason)


def test_the_spelling_of_a_country_is_no_move(known: Sheet) -> None:
    assert told(known, change("UPDATE", 6), {"country": "USA"}).meaning is Meaning.NOTHING


def test_an_event_read_already_is_stale(known: Sheet) -> None:
    assert told(known, change("UPDATE", 5), {"phone": "1"}).meaning is Meaning.STALE


def test_an_event_overtaken_by_a_later_one_asks_for_the_record(known: Sheet) -> None:
    folded = told(known, change("UPDATE", 4), {"phone": "1"})
    assert folded.meaning is Meaning.DIRTY
    assert folded.sheet is not None
    assert (folded.sheet.dirty, folded.sheet.commit_number, folded.sheet.phone) == (True, 5, "")


def test_a_record_read_settles_what_was_unclear_and_makes_older_events_stale(known: Sheet) -> None:
    unclear = sheet(known, change("GAP_UPDATE", 6))
    clear = sheet(unclear, change("SNAPSHOT", minutes=7), WHOLE | {"phone": "7"})
    assert (clear.dirty, clear.phone, clear.commit_number) == (False, "7", 6)
    assert told(clear, change("UPDATE", 7, minutes=6.5), {"phone": "6"}).meaning is Meaning.STALE
    assert told(clear, change("UPDATE", 8), {"phone": "8"}).meaning is Meaning.UPDATED


@pytest.mark.parametrize("kind", ["GAP_CREATE", "GAP_UPDATE", "GAP_UNDELETE", "UPDATE"])
def test_an_unknown_lead_that_is_not_told_in_full_is_read(kind: str) -> None:
    folded = told(None, change(kind), {"phone": "1"})
    assert folded.meaning is Meaning.DIRTY
    assert folded.sheet is not None
    assert told(folded.sheet, change("SNAPSHOT", minutes=2), WHOLE).meaning is Meaning.NEW


def test_half_of_a_pair_asks_for_the_record(known: Sheet) -> None:
    assert told(known, change("UPDATE", 6), {"lat": 41.0}, partial=True).meaning is Meaning.DIRTY


@pytest.mark.parametrize("kind", ["CREATE", "UPDATE"])
def test_our_own_write_is_an_echo(known: Sheet, kind: str) -> None:
    folded = told(known, change(kind, 6), {"phone": "1"}, ours=True)
    assert folded.meaning is Meaning.ECHO
    assert folded.sheet == replace(known, commit_number=6, changed_at=change(kind, 6).committed_at)


@pytest.mark.parametrize("record", ["00Q*", "00Q000000000000001"])
def test_what_names_no_record_asks_for_a_comparison(record: str) -> None:
    assert told(None, change("GAP_OVERFLOW", record=record)).meaning is Meaning.RESYNC


@pytest.mark.parametrize(
    ("state", "reason", "meaning"),
    [
        (LeadState.NEW, None, Meaning.MOVED),
        (LeadState.WAITING, Reason.NO_ROOM, Meaning.MOVED),
        (LeadState.REVIEW, Reason.UNKNOWN_PLACE, Meaning.MOVED),
        (LeadState.OFFERED, None, Meaning.UPDATED),
        (LeadState.ACCEPTED, None, Meaning.UPDATED),
        (LeadState.WITHDRAWN, Reason.CONVERTED, Meaning.UPDATED),
    ],
)
def test_a_move_counts_until_the_lead_is_offered(
    known: Sheet, state: LeadState, reason: Reason | None, meaning: Meaning
) -> None:
    here = replace(known, state=state, reason=reason)
    folded = told(here, change("UPDATE", 6), {"city": "Other"})
    assert folded.meaning is meaning
    assert folded.sheet is not None
    assert (folded.sheet.place is None) == (meaning is Meaning.MOVED)


def test_changed_coordinates_are_a_move_and_the_same_ones_are_none(known: Sheet) -> None:
    waiting = replace(known, state=LeadState.WAITING, reason=Reason.NO_ROOM)
    assert told(waiting, change("UPDATE", 6), {"lat": 40.0, "lon": -75.0}).meaning is Meaning.NOTHING
    assert sheet(waiting, change("UPDATE", 6), {"lat": 41.0, "lon": -75.0}).place == Point(41, -75)


def test_deletion_withdraws_and_restoring_begins_anew(known: Sheet) -> None:
    gone = told(known, change("DELETE", 6))
    assert (gone.meaning, gone.withdrawn) == (Meaning.WITHDRAW, Reason.DELETED)
    withdrawn = replace(known, state=LeadState.WITHDRAWN, reason=Reason.DELETED, commit_number=6)
    assert told(withdrawn, change("DELETE", 7)).meaning is Meaning.NOTHING
    assert told(withdrawn, change("UNDELETE", 8), WHOLE).meaning is Meaning.NEW


def test_a_deletion_that_comes_before_its_creation_leaves_a_tombstone() -> None:
    tombstone = sheet(None, change("DELETE", 2))
    assert (tombstone.state, tombstone.reason) == (LeadState.WITHDRAWN, Reason.DELETED)
    assert told(tombstone, change("CREATE", 1), WHOLE).meaning is Meaning.STALE


def test_a_converted_lead_is_withdrawn_and_stays_so(known: Sheet) -> None:
    folded = told(known, change("UPDATE", 6), {"is_converted": True})
    assert (folded.meaning, folded.withdrawn) == (Meaning.WITHDRAW, Reason.CONVERTED)
    converted = replace(known, state=LeadState.WITHDRAWN, reason=Reason.CONVERTED)
    assert sheet(converted, change("SNAPSHOT", minutes=9), WHOLE | {"is_converted": False}).state is LeadState.WITHDRAWN


def test_attributes_are_added_to_those_known(known: Sheet) -> None:
    one = sheet(known, change("UPDATE", 6), {"attributes": {"roof": "flat"}})
    two = sheet(one, change("UPDATE", 7), {"attributes": {"kw": 9}})
    assert two.attributes == {"roof": "flat", "kw": 9}


@given(st.lists(st.sampled_from(["UPDATE", "DELETE", "UNDELETE", "GAP_UPDATE", "GAP_DELETE", "SNAPSHOT"]), max_size=8),
       st.randoms())  # fmt: skip
def test_no_order_of_events_is_refused_and_stamps_never_fall(kinds: list[str], dice: Any) -> None:
    changes = [change("CREATE", 1), *(change(kind, n) for n, kind in enumerate(kinds, start=2))]
    dice.shuffle(changes)
    known: Sheet | None = None
    for one in changes:
        folded = told(known, one, WHOLE if one.change_type in {"CREATE", "UNDELETE", "SNAPSHOT"} else {"phone": "1"})
        if folded.sheet is not None:
            assert known is None or folded.sheet.commit_number >= known.commit_number
            known = folded.sheet
        if folded.withdrawn is not None and known is not None:
            known = replace(known, state=LeadState.WITHDRAWN, reason=folded.withdrawn)
        if known is not None:
            assert (known.reason is not None) == (known.state in {LeadState.REVIEW, LeadState.WITHDRAWN})


def test_salesforces_own_geocoding_moves_no_lead_that_has_a_place_and_places_one_that_has_none(known: Sheet) -> None:
    spoken = {"lat": 41.0, "lon": -75.0}
    ignored = told(known, change("UPDATE", 6), spoken, geocoded=True)
    assert ignored.meaning is Meaning.NOTHING
    assert ignored.sheet is not None
    assert ignored.sheet.place == Point(40, -75)
    lost = replace(known, place=None, state=LeadState.REVIEW, reason=Reason.UNKNOWN_PLACE)
    assert sheet(lost, change("UPDATE", 6), spoken, geocoded=True).place == Point(41, -75)


def test_coordinates_heard_again_move_no_lead_and_place_no_new_address(known: Sheet) -> None:
    told_once = replace(known, place=Point(10.0, 20.0), told=Point(40.0, -75.0))
    whole = {"lat": 40.0, "lon": -75.0, "city": known.city}
    assert told(told_once, change("SNAPSHOT", 7), whole).meaning in {Meaning.NOTHING, Meaning.UPDATED}
    moved = told(told_once, change("SNAPSHOT", 7), whole | {"city": "Elsewhere"})
    assert moved.meaning is Meaning.MOVED
    assert moved.sheet is not None
    assert (moved.sheet.place, moved.sheet.told) == (None, Point(40.0, -75.0))
    news = told(told_once, change("UPDATE", 9), {"lat": 41.0, "lon": -75.0})
    assert news.meaning is Meaning.MOVED
    assert news.sheet is not None
    assert (news.sheet.place, news.sheet.told) == (Point(41.0, -75.0), Point(41.0, -75.0))


def test_what_salesforce_s_own_geocoding_told_is_no_news_in_a_later_reading(known: Sheet) -> None:
    placed = replace(known, place=Point(10.0, 20.0), told=None)
    heard = told(placed, change("UPDATE", 6), {"lat": 40.0, "lon": -75.0}, geocoded=True)
    assert heard.meaning is Meaning.NOTHING
    assert heard.sheet is not None
    later = told(heard.sheet, change("SNAPSHOT", 7), {"lat": 40.0, "lon": -75.0, "city": known.city})
    assert later.sheet is not None
    assert later.sheet.place == Point(10.0, 20.0)


def test_a_record_asked_for_before_its_lead_changed_is_left_to_what_is_newer(known: Sheet) -> None:
    at = change("UPDATE", 6).committed_at
    seen = replace(known, changed_at=at)
    record = change("SNAPSHOT", 7)
    newer = fold_late(seen, replace(record, committed_at=at + timedelta(seconds=1)))
    assert newer is None
    near = fold_late(seen, replace(record, committed_at=at - TOO_NEAR / 2))
    assert near is not None
    assert near.meaning is Meaning.DIRTY
    older = fold_late(seen, replace(record, committed_at=at - TOO_NEAR * 2))
    assert older == Folded(Meaning.STALE, None)
    missing = fold_late(seen, replace(record, change_type=MISSING, committed_at=at + timedelta(days=1)))
    assert missing is not None
    assert missing.meaning is Meaning.DIRTY


def test_a_record_that_is_not_there_is_withdrawn_whatever_the_clocks_say(known: Sheet) -> None:
    ahead = replace(known, snapshot_at=change("UPDATE", 6).committed_at + timedelta(hours=80))
    gone = told(ahead, change(MISSING, 0))
    assert (gone.meaning, gone.withdrawn) == (Meaning.WITHDRAW, Reason.DELETED)
    assert gone.sheet is not None
    assert gone.sheet.snapshot_at == ahead.snapshot_at


# --- what people ask for


OWNED = WHOLE | {"owner_id": "005A", "stage": ""}


def offered(**over: Any) -> Sheet:
    return replace(sheet(None, change(), OWNED), id=1, state=LeadState.OFFERED, version=3, **over)


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({"owner_id": "005B"}, {"owner": "005B"}),
        ({"shown_partner": "001B"}, {"partner": "001B"}),
        ({"shown_partner": ""}, {"partner": ""}),
        ({"shown_status": "accepted", "shown_reason": "nice"}, {"status": "accepted", "reason": "nice"}),
        ({"stage": "lost"}, {"stage": "lost"}),
    ],
)
def test_an_edit_by_a_person_asks_for_something(fields: dict[str, Any], wish: dict[str, Any]) -> None:
    folded = told(offered(), change("UPDATE", 2), fields)
    assert (folded.meaning, folded.withdrawn) == (Meaning.ASKED, None)
    asked = folded.asked
    assert asked is not None
    told_of = {name: getattr(asked, name) for name in ("owner", "partner", "status", "reason", "stage")}
    assert {name: value for name, value in told_of.items() if value is not None} == wish
    assert asked.at == change("UPDATE", 2).committed_at


@pytest.mark.parametrize(
    "fields",
    [{"owner_id": "005A"}, {"owner_id": "005B", "owner_is_nobody": True}, {"stage": ""}, {"shown_reason": "x"}],
)
def test_what_was_known_or_means_nobody_asks_for_nothing(fields: dict[str, Any]) -> None:
    assert told(offered(), change("UPDATE", 2), fields).asked is None


def test_what_the_org_does_upon_our_write_asks_for_nothing_and_is_known_afterwards() -> None:
    edit = {"owner_id": "005B", "shown_status": "accepted", "phone": "1"}
    folded = told(offered(), change("UPDATE", 2), edit, by_us=True)
    assert (folded.meaning, folded.asked) == (Meaning.UPDATED, None)
    assert folded.sheet is not None
    assert folded.sheet.owner_id == "005B"
    echo = sheet(offered(), change("UPDATE", 2), {"owner_id": "005C", "shown_status": "offered"}, ours=True)
    assert echo.owner_id == "005C"


def test_a_change_of_our_version_is_ours_whoever_seems_to_have_made_it() -> None:
    late = {"owner_id": "005B", "shown_status": "waiting", "shown_partner": "", "shown_version": 2}
    folded = told(offered(), change("UPDATE", 2), late)
    assert folded.asked is None


@given(st.sampled_from([None, 1, 2, 3, 4]), st.sampled_from(["offered", "accepted", "nonsense"]))
def test_a_record_asks_by_its_status_only_while_it_shows_our_version(version: int | None, status: str) -> None:
    shown = OWNED | {"shown_version": version, "shown_status": status, "shown_partner": "001B"}
    asked = told(offered(), change("SNAPSHOT", 9), shown).asked
    if version != 3:
        assert asked is None
    else:
        assert asked is not None
        assert asked.partner == "001B"
        assert asked.status == (None if status == "offered" else status)


def test_a_new_lead_a_gap_and_a_lead_that_is_gone_ask_for_nothing() -> None:
    assert told(None, change(), OWNED | {"shown_status": "accepted"}).asked is None
    assert told(offered(), change("GAP_UPDATE", 2), {"shown_status": "accepted"}).asked is None
    assert (
        told(offered(), change("UPDATE", 2), {"is_converted": True, "owner_id": "005B"}).withdrawn is Reason.CONVERTED
    )
    assert told(offered(), change("UPDATE", 2), {"is_converted": True, "owner_id": "005B"}).asked is None
