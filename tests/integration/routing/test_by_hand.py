"""What people do to leads in Salesforce: they give them away, set their status, delete, merge, convert, restore."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.postgres.verify import Verify
from tests.integration.routing.house import MARKET, House

LEAD = "00Q000000000001AAA"
WHOLE = {
    "lat": 40.0,
    "lon": -75.0,
    "country": "US",
    "city": "Town",
    "postal_code": "19000",
    "owner_id": "005000000000001AAA",
}
NEAR, FAR = "001000000000001AAA", "001000000000002AAA"
REP = "005000000000009AAA"


@pytest.fixture
def near(house: House) -> int:
    return house.member("near", 40.01, salesforce_id=NEAR, capacity=1)


@pytest.fixture
def far(house: House) -> int:
    return house.member("far", 40.05, salesforce_id=FAR, capacity=1)


def take(house: House, *changes: Any) -> None:
    house.journey.intake(house.store(changes))
    house.work()


def lead_of(house: House, record: str = LEAD, **body: Any) -> int:
    take(house, house.change(record, body=WHOLE | body))
    return house.id_of(record)


def edit(house: House, _record: str = LEAD, **body: Any) -> None:
    at = body.pop("at", datetime.now(UTC))
    take(house, house.change(_record, "UPDATE", at=at, body=body))


def offers(house: House, lead: int) -> list[tuple[str, str, str | None, str]]:
    query = """SELECT m.key, o.state, o.reason, o.kind FROM offers o JOIN members m ON m.id = o.member_id
               WHERE lead_id = :lead ORDER BY o.offered_at, o.id"""
    return [tuple(row) for row in house.rows(query, lead=lead)]


def sound(house: House) -> None:
    """No invariant is broken, and the turnstile holds what the ledger says."""
    assert house.breaches() == {}
    held = {row.id: row.open for row in house.rows("SELECT id, open FROM members WHERE open > 0")}
    assert house.turnstile.open_counts(MARKET) == held


# --- U4: given away


def test_U4_C7_a_lead_given_to_somebody_else_is_taken_out_and_its_place_is_freed(house: House, near: int) -> None:
    lead, waiting = lead_of(house), lead_of(house, "00Q000000000002AAA")
    assert (house.state(lead)[0], house.state(waiting)) == ("offered", ("waiting", "no_room"))
    edit(house, owner_id=REP)
    assert house.state(lead) == ("withdrawn", "owned")
    assert offers(house, lead) == [("near", "withdrawn", "owned", "turn")]
    assert house.holder(waiting) == near
    assert house.told(near) == ["offer.created", "offer.withdrawn", "offer.created"]
    assert [(w.state, w.reason) for w in house.written if w.lead_id == lead][-1] == ("withdrawn", "owned")
    house.tick()
    assert house.state(lead) == ("withdrawn", "owned")
    sound(house)


def test_U4_a_lead_given_to_a_member_is_held_by_it_even_beyond_its_capacity(house: House, near: int, far: int) -> None:
    lead, other = lead_of(house), lead_of(house, "00Q000000000002AAA")
    first, second = house.holder(lead), house.holder(other)
    assert {first, second} == {near, far}
    record = FAR if first == near else NEAR
    edit(house, shown_partner=record)
    assert house.state(lead) == ("accepted", None)
    assert house.holder(lead) == second
    kept = house.rows("SELECT kind, actor, attempt, distance_m > 500 AS far FROM offers WHERE state = 'accepted'")
    assert [tuple(row) for row in kept] == [("manual", "salesforce", 2, True)]
    assert house.turnstile.open_counts(MARKET) == {second: 2}
    assert house.decisions(lead) == 1
    sound(house)
    third = lead_of(house, "00Q000000000003AAA")
    assert house.holder(third) == first
    house.desk.complete(house.offer(lead))
    house.work()
    assert house.state(lead) == ("done", None)
    assert house.turnstile.open_counts(MARKET) == {first: 1, second: 1}
    sound(house)


def test_U4_the_owner_may_be_a_member_as_well(house: House, near: int) -> None:
    rep = house.member("rep", 41.9, salesforce_id=REP)
    lead = lead_of(house)
    edit(house, owner_id=REP)
    assert house.holder(lead) == rep
    assert house.written[-1].member_salesforce_id == REP
    edit(house, owner_id=REP)  # told again, it is no news
    assert offers(house, lead) == [("near", "withdrawn", "owned", "turn"), ("rep", "accepted", None, "manual")]
    sound(house)


def test_U4_our_own_writes_and_what_the_org_does_upon_them_give_nothing_away(house: House, near: int) -> None:
    lead = lead_of(house)
    take(house, house.change(LEAD, "UPDATE", origin="ours", body={"owner_id": REP, "shown_status": "offered"}))
    take(house, house.change(LEAD, "UPDATE", origin="by us", body={"owner_id": "005000000000007AAA", "phone": "1"}))
    assert offers(house, lead) == [("near", "offered", None, "turn")]
    assert house.value("SELECT owner_id FROM leads") == "005000000000007AAA"
    edit(house, owner_id="005000000000007AAA")
    assert house.state(lead) == ("offered", None)


def test_U4_a_lead_that_waits_is_given_away_too_and_one_that_was_given_away_can_come_to_a_member(
    house: House, near: int
) -> None:
    full = lead_of(house)
    lead = lead_of(house, "00Q000000000002AAA")
    edit(house, "00Q000000000002AAA", owner_id=REP)
    assert house.state(lead) == ("withdrawn", "owned")
    edit(house, "00Q000000000002AAA", shown_partner=NEAR)
    assert (house.state(lead), house.holder(lead)) == (("accepted", None), near)
    assert house.turnstile.open_counts(MARKET) == {near: 2}
    assert house.holder(full) == near
    sound(house)


def test_U4_an_emptied_partner_is_shown_again(house: House, near: int) -> None:
    lead = lead_of(house)
    written = len(house.written)
    edit(house, shown_partner="")
    assert house.state(lead) == ("offered", None)
    assert [w.member_salesforce_id for w in house.written[written:]] == [NEAR]
    assert "edit refused" in house.story(lead)


def test_U4_a_missed_owner_change_is_found_in_the_record_itself(house: House, near: int) -> None:
    lead = lead_of(house)
    shown = {
        "shown_version": house.value("SELECT version FROM leads"),
        "shown_status": "offered",
        "shown_partner": NEAR,
    }
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, **shown)
    take(house, house.change(LEAD, "GAP_UPDATE"))
    assert house.state(lead) == ("offered", None)
    house.records[LEAD] = house.snapshot(LEAD, **(WHOLE | {"owner_id": REP}), **shown)
    take(house, house.change(LEAD, "GAP_UPDATE"))
    assert house.state(lead) == ("withdrawn", "owned")


def test_U4_the_turn_goes_with_the_lead(house: House, near: int, far: int) -> None:
    lead = lead_of(house)
    first = house.holder(lead)
    assert first is not None
    second = far if first == near else near
    before = standings(house)
    edit(house, shown_partner=FAR if first == near else NEAR)
    house.tick()
    after = standings(house)
    assert (after[second], after[first]) == (before[first], before[second])
    assert sum(after.values()) == 0
    edit(house, owner_id=REP)  # now it is nobody's of ours, and so is the turn; what was given by hand cost none
    house.tick()
    assert house.state(lead) == ("withdrawn", "owned")
    assert standings(house) == after
    assert Verify(house.engine).run().breaches == ()
    sound(house)


def standings(house: House) -> dict[int, int]:
    rotation = house.value("SELECT rotation FROM decisions LIMIT 1")
    found = {member: one.standing for member, one in house.turnstile.standings(MARKET, rotation).items()}
    return dict.fromkeys((1, 2), 0) | found


# --- U6: gone, merged, converted, back


def test_U6_C7_a_converted_lead_completes_the_offer_that_was_accepted(house: House, near: int) -> None:
    lead, waiting = lead_of(house), lead_of(house, "00Q000000000002AAA")
    house.desk.accept(house.offer(lead))
    edit(house, is_converted=True, owner_id=REP)
    edit(house, is_converted=True)
    assert house.state(lead) == ("done", None)
    assert offers(house, lead) == [("near", "completed", "converted", "turn")]
    assert house.holder(waiting) == near
    assert house.story(lead).count("completed") == 1
    sound(house)


def test_U6_a_converted_lead_that_was_only_offered_is_withdrawn(house: House, near: int) -> None:
    lead = lead_of(house)
    edit(house, is_converted=True)
    assert (house.state(lead), offers(house, lead)) == (
        ("withdrawn", "converted"),
        [("near", "withdrawn", "converted", "turn")],
    )
    sound(house)


@pytest.mark.parametrize("accepted", [False, True])
def test_U6_C7_a_deleted_lead_frees_its_place_once_and_comes_back_with_its_history(
    house: House, near: int, far: int, accepted: bool
) -> None:
    lead = lead_of(house)
    first = house.holder(lead)
    if accepted:
        house.desk.accept(house.offer(lead))
    gone = house.change(LEAD, "DELETE")
    take(house, gone, gone)
    take(house, house.change(LEAD, "DELETE"))
    assert house.turnstile.open_counts(MARKET) == {}
    take(house, house.change(LEAD, "UNDELETE", body=WHOLE))
    assert house.holder(lead) not in {None, first}
    assert house.value("SELECT attempt FROM leads") == 2
    assert [state for _, state, *_ in offers(house, lead)] == ["withdrawn", "offered"]
    sound(house)


def test_U6_the_winner_of_a_merge_keeps_what_it_has_and_the_loser_ends(house: House, near: int, far: int) -> None:
    loser, winner = lead_of(house), lead_of(house, "00Q000000000002AAA")
    holder = house.holder(winner)
    merged = {"number": 900}
    take(
        house,
        house.change(LEAD, "DELETE", **merged, sequence_number=1),
        house.change("00Q000000000002AAA", "UPDATE", **merged, sequence_number=2, body={"phone": "1"}),
    )
    assert house.state(loser) == ("withdrawn", "deleted")
    assert (house.state(winner), house.holder(winner)) == (("offered", None), holder)
    sound(house)


# --- B4: answered there


def test_B4_an_offer_is_accepted_and_completed_by_its_status_in_salesforce(house: House, near: int) -> None:
    lead = lead_of(house)
    edit(house, shown_status="accepted")
    assert house.state(lead) == ("accepted", None)
    assert house.told(near)[-1] == "offer.accepted"
    edit(house, shown_status="completed")
    assert house.state(lead) == ("done", None)
    assert [w.state for w in house.written] == ["offered", "accepted", "done"]
    actors = house.rows("SELECT what, actor FROM timeline WHERE what IN ('accepted', 'completed') ORDER BY id")
    assert [tuple(row) for row in actors] == [("accepted", "salesforce"), ("completed", "salesforce")]
    sound(house)


def test_B4_a_rejected_lead_goes_on_to_the_next_member(house: House, near: int, far: int) -> None:
    lead = lead_of(house)
    first = house.holder(lead)
    edit(house, shown_status="rejected", shown_reason="Too far")
    assert house.holder(lead) not in {None, first}
    assert offers(house, lead)[0][1:3] == ("rejected", "too_far")
    assert house.value("SELECT moves FROM leads") == 1
    sound(house)


@pytest.mark.parametrize(
    ("status", "state", "offer"),
    [("lost", ("done", None), "lost"), ("returned", ("waiting", "no_partner_in_range"), "returned")],
)
def test_B4_an_accepted_lead_is_lost_or_returned(
    house: House, near: int, status: str, state: tuple[str, str | None], offer: str
) -> None:
    lead = lead_of(house)
    house.desk.accept(house.offer(lead))
    edit(house, shown_status=status)
    assert offers(house, lead)[0][1:3] == (offer, "by_hand")
    assert house.state(lead)[0] == state[0] or house.state(lead)[0] == "review"
    sound(house)


@pytest.mark.parametrize(
    ("status", "state"),
    [("withdrawn", ("withdrawn", "rescinded")), ("review", ("review", "by_hand"))],
)
@pytest.mark.parametrize("accepted", [False, True])
def test_B4_a_lead_is_taken_out_or_put_before_a_person(
    house: House, near: int, status: str, state: tuple[str, str], accepted: bool
) -> None:
    lead = lead_of(house)
    if accepted:
        house.desk.accept(house.offer(lead))
    edit(house, shown_status=status)
    assert house.state(lead) == state
    assert house.turnstile.open_counts(MARKET) == {}
    assert (house.written[-1].state, house.written[-1].reason) == state
    sound(house)


def test_B4_a_lead_set_back_to_waiting_goes_to_another_member(house: House, near: int, far: int) -> None:
    lead = lead_of(house)
    first = house.holder(lead)
    edit(house, shown_status="waiting")
    assert house.holder(lead) not in {None, first}
    assert house.value("SELECT moves FROM leads") == 0
    edit(house, shown_status="withdrawn")
    edit(house, shown_status="waiting")
    assert house.state(lead)[0] in {"waiting", "review"}
    sound(house)


@pytest.mark.parametrize("status", ["completed", "lost", "returned", "sold!", ""])
def test_B4_what_cannot_be_is_shown_again_as_it_is(house: House, near: int, status: str) -> None:
    lead = lead_of(house)
    edit(house, shown_status=status)
    assert offers(house, lead) == [("near", "offered", None, "turn")]
    assert [w.state for w in house.written] == ["offered", "offered"]
    assert house.story(lead)[-2:] == ["edit refused", "written"]


def test_B4_an_answer_given_before_this_offer_was_made_does_not_mean_it(house: House, near: int, far: int) -> None:
    lead = lead_of(house)
    before = datetime.now(UTC)
    house.desk.reject(house.offer(lead), "other")
    house.work()
    second = house.holder(lead)
    edit(house, shown_status="accepted", at=before)
    assert (house.state(lead), house.holder(lead)) == (("offered", None), second)
    assert house.story(lead)[-2:] == ["edit refused", "written"]


def test_B4_an_answer_that_expires_on_its_way_is_refused_and_the_truth_is_shown(house: House, near: int) -> None:
    lead = lead_of(house)
    house.journey.intake(house.store([house.change(LEAD, "UPDATE", body={"shown_status": "accepted"})]))
    house.overdue()
    house.work()
    assert house.rows("SELECT refused FROM edits")[0].refused == "OfferExpired"
    house.tick()
    assert offers(house, lead)[0][1] == "expired"
    assert house.written[-1].state != "accepted"


def test_B4_the_stage_of_the_lead_speaks_once_and_only_where_it_can(house: House, near: int) -> None:
    lead = lead_of(house, stage="")
    edit(house, stage="lost")  # nobody has accepted it: not our field, so nothing is shown again
    assert (house.state(lead), len(house.written)) == (("offered", None), 1)
    house.desk.accept(house.offer(lead))
    house.work()
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, stage="lost", shown_version=1)
    take(house, house.change(LEAD, "GAP_UPDATE"))
    assert house.state(lead) == ("accepted", None)
    edit(house, stage="completed")
    assert house.state(lead) == ("done", None)


def test_B4_a_missed_status_is_found_in_the_record_while_it_shows_our_version(house: House, near: int) -> None:
    lead = lead_of(house)
    version = house.value("SELECT version FROM leads")
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, shown_version=version - 1, shown_status="rejected")
    take(house, house.change(LEAD, "GAP_UPDATE"))
    assert house.state(lead) == ("offered", None)
    house.records[LEAD] = house.snapshot(LEAD, **WHOLE, shown_version=version, shown_status="accepted")
    take(house, house.change(LEAD, "GAP_UPDATE"))
    assert house.state(lead) == ("accepted", None)


def test_B4_an_answer_survives_the_process_that_read_it(house: House, near: int) -> None:
    lead = lead_of(house)
    house.journey.intake(house.store([house.change(LEAD, "UPDATE", body={"shown_status": "accepted"})]))
    house.wanted.clear()
    house.log.clear()
    house.tick()
    assert house.state(lead) == ("accepted", None)
    assert timedelta() < house.value("SELECT done_at - received_at FROM edits")
