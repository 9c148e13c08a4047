"""Offers answered: each way once, again, too late, and by somebody else."""

from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from routing.errors import BadInput
from routing.offer import (
    Actor,
    AlreadyAnswered,
    Answered,
    ExtensionRefused,
    OfferChanged,
    OfferExpired,
    OfferState,
    OfferWithdrawn,
    RejectLimitReached,
    ReturnWindowClosed,
    UnknownOffer,
    WrongState,
)
from tests.integration.routing.house import MARKET, House

LEAD = "00Q000000000000001"


@pytest.fixture
def offered(house: House) -> tuple[int, UUID, int]:
    """A lead, its offer, and the member it was offered to; another member is a little farther away."""
    house.member("near", 40.01)
    house.member("far", 40.05)
    lead = house.lead(LEAD)
    house.work()
    member = house.holder(lead)
    assert member is not None
    return lead, house.offer(lead), member


def test_O1_an_accepted_offer_gives_the_lead_to_its_member_and_says_so_everywhere(
    house: House, offered: tuple[int, UUID, int]
) -> None:
    lead, offer, member = offered
    person = uuid4()
    answered = house.desk.accept(offer, member=member, person=person)
    assert (answered.state, answered.repeated, answered.route) == (OfferState.ACCEPTED, False, False)
    house.work()
    assert house.state(lead) == ("accepted", None)
    assert house.holder(lead) == member
    row = house.rows("SELECT actor, person_id, version, accepted_at FROM offers WHERE id = :offer", offer=offer)[0]
    assert tuple(row) == ("member", person, 2, answered.at)
    assert house.written[-1].state == "accepted"
    assert house.told(member) == ["offer.created", "offer.accepted"]
    told = house.rows("SELECT actor, detail FROM timeline WHERE lead_id = :lead AND what = 'accepted'", lead=lead)
    assert [(r.actor, r.detail) for r in told] == [
        ("member", {"offer": str(offer), "member": member, "person": str(person)})
    ]
    assert house.turnstile.open_counts(MARKET) == {member: 1}


def test_O1_only_the_current_offeree_can_answer(house: House, offered: tuple[int, UUID, int]) -> None:
    lead, offer, member = offered
    other = member + 1 if member == house.value("SELECT min(id) FROM members") else member - 1
    for answer in (house.desk.accept, house.desk.complete, house.desk.progress):
        with pytest.raises(UnknownOffer):
            answer(offer, member=other)
    for answer_why in (house.desk.reject, house.desk.lose, house.desk.give_back, house.desk.extend):
        with pytest.raises(UnknownOffer):
            answer_why(offer, "other", member=other)
        with pytest.raises(UnknownOffer):
            answer_why(uuid4(), "other", member=member)
    assert house.state(lead) == ("offered", None)


def test_B5_the_same_answer_sent_five_times_has_one_effect(house: House, offered: tuple[int, UUID, int]) -> None:
    lead, offer, member = offered
    answers = [house.desk.accept(offer, member=member) for _ in range(5)]
    assert [a.repeated for a in answers] == [False, True, True, True, True]
    assert len({a.at for a in answers}) == 1
    assert house.told(member).count("offer.accepted") == 1
    ends = [house.desk.lose(offer, "no_interest", member=member) for _ in range(5)]
    assert [a.repeated for a in ends] == [False, True, True, True, True]
    assert house.value("SELECT open FROM members WHERE id = :m", m=member) == 0
    house.work()
    assert house.story(lead).count("lost") == 1
    assert house.turnstile.open_counts(MARKET).get(member, 0) == 0


def test_B5_a_late_accept_says_when_the_offer_expired(house: House, offered: tuple[int, UUID, int]) -> None:
    lead, offer, member = offered
    house.overdue(lead)
    until = house.value("SELECT expires_at FROM offers WHERE id = :offer", offer=offer)
    for _ in ("before its end is written down", "and after"):
        with pytest.raises(OfferExpired, match=f"{until:%Y-%m-%d %H:%M:%S} UTC") as late:
            house.desk.accept(offer, member=member)
        assert late.value.facts["state"] == "expired"
        house.tick()
    assert house.told(member) == ["offer.created", "offer.expired"]


def test_O3_a_reject_needs_a_reason_of_the_list(house: House, offered: tuple[int, UUID, int]) -> None:
    lead, offer, member = offered
    for said in (None, "", "because", "x" * 5000):
        with pytest.raises(BadInput, match="too_far, no_capacity, wrong_product") as wrong:
            house.desk.reject(offer, said, member=member)
        assert wrong.value.field == "reason"
        assert len(str(wrong.value)) < 400
    assert house.state(lead) == ("offered", None)
    assert house.desk.reject(offer, "too_far", member=member).route
    assert house.value("SELECT reason FROM offers WHERE id = :offer", offer=offer) == "too_far"


def test_O1_a_rejected_lead_goes_to_the_next_member_and_a_second_answer_is_too_late(
    house: House, offered: tuple[int, UUID, int]
) -> None:
    lead, offer, member = offered
    house.desk.reject(offer, "too_far", member=member)
    house.work()
    assert house.state(lead) == ("offered", None)
    assert house.holder(lead) not in {member, None}
    assert house.value("SELECT moves FROM leads WHERE id = :lead", lead=lead) == 1
    with pytest.raises(AlreadyAnswered, match="before"):
        house.desk.accept(offer, member=member)
    with pytest.raises(AlreadyAnswered, match="too_far"):
        house.desk.reject(offer, "other", member=member)
    assert house.turnstile.open_counts(MARKET).get(member, 0) == 0
    assert house.told(member) == ["offer.created", "offer.rejected"]


@pytest.mark.parametrize("end", ["complete", "lose"])
def test_C7_a_completed_or_lost_lead_is_done_and_frees_its_place_once(
    house: House, offered: tuple[int, UUID, int], end: str
) -> None:
    lead, offer, member = offered
    finish = house.desk.complete if end == "complete" else partial(house.desk.lose, reason="too_expensive")
    with pytest.raises(WrongState):
        finish(offer, member=member)
    house.desk.accept(offer, member=member)
    house.work()
    assert finish(offer, member=member).frees
    house.work()
    assert house.state(lead) == ("done", None)
    assert house.written[-1].state == "done"
    assert house.turnstile.open_counts(MARKET).get(member, 0) == 0
    assert house.value("SELECT open FROM members WHERE id = :m", m=member) == 0


def test_an_answer_to_an_offer_of_another_version_changes_nothing(house: House, offered: tuple[int, UUID, int]) -> None:
    lead, offer, member = offered
    with pytest.raises(OfferChanged):
        house.desk.accept(offer, member=member, version=7)
    assert house.state(lead) == ("offered", None)
    assert house.desk.accept(offer, member=member, version=1).state is OfferState.ACCEPTED
    assert house.desk.accept(offer, member=member, version=1).repeated
    with pytest.raises(OfferChanged):
        house.desk.progress(offer, member=member, version=1)
    with pytest.raises(OfferChanged):
        house.desk.complete(offer, member=member, version=1)


def _members(house: House, count: int) -> None:
    for number in range(count):
        house.member(f"m{number}", 40.005 + number / 1000)


def _reject(house: House, lead: int) -> Answered:
    offer, holder = house.offer(lead), house.holder(lead)
    answered = house.desk.reject(offer, "other", member=holder)
    house.work()
    return answered


@pytest.mark.parametrize("limit", [3, 4])
def test_O4_a_lead_goes_to_at_most_one_and_so_many_members_then_to_review(house: House, limit: int) -> None:
    house.publish(reassignments=limit)
    _members(house, 7)
    lead = house.lead(LEAD)
    house.work()
    for _ in range(limit):
        assert _reject(house, lead).route
    assert not _reject(house, lead).route
    assert house.state(lead) == ("review", "exhausted")
    asked = house.rows("SELECT member_id FROM offers WHERE lead_id = :lead", lead=lead)
    assert len(asked) == len({row.member_id for row in asked}) == 1 + limit
    assert (house.written[-1].state, house.written[-1].reason) == ("review", "exhausted")


def test_O4_deadlines_count_like_rejects_unless_the_policy_says_otherwise(house: House) -> None:
    house.publish(reassignments=1, answers={"expiry_counts": False})
    _members(house, 6)
    lead = house.lead(LEAD)
    house.work()
    for _ in range(3):
        house.overdue(lead)
        house.tick()
        assert house.state(lead) == ("offered", None)
    assert house.value("SELECT moves FROM leads WHERE id = :lead", lead=lead) == 0
    assert _reject(house, lead).route
    house.publish(reassignments=1)
    house.overdue(lead)
    house.tick()
    assert house.state(lead) == ("review", "exhausted")


def test_O7_rescinding_frees_the_place_tells_the_member_and_does_not_count_as_an_attempt(
    house: House, offered: tuple[int, UUID, int]
) -> None:
    lead, offer, member = offered
    person = uuid4()
    answered = house.desk.rescind(offer, "complaint", then="route", actor=Actor.MANAGER, person=person)
    assert (answered.route, answered.frees) == (True, True)
    house.work()
    assert house.holder(lead) not in {member, None}
    assert house.value("SELECT moves FROM leads WHERE id = :lead", lead=lead) == 0
    assert house.told(member) == ["offer.created", "offer.withdrawn"]
    assert house.turnstile.open_counts(MARKET).get(member, 0) == 0
    told = house.rows("SELECT actor, detail FROM timeline WHERE lead_id = :lead AND what = 'withdrawn'", lead=lead)
    assert [(row.actor, row.detail["reason"]) for row in told] == [("manager", "complaint")]
    with pytest.raises(OfferWithdrawn):
        house.desk.accept(offer, member=member)
    assert house.desk.rescind(offer, "complaint", then="route", actor=Actor.MANAGER).repeated


def test_O7_a_rescinded_lead_may_be_held_back_also_after_it_was_accepted(
    house: House, offered: tuple[int, UUID, int]
) -> None:
    lead, offer, member = offered
    house.desk.accept(offer, member=member)
    assert not house.desk.rescind(offer, None, then="hold", actor=Actor.MANAGER).route
    house.work()
    assert house.state(lead) == ("withdrawn", "rescinded")
    assert house.value("SELECT reason FROM offers WHERE id = :offer", offer=offer) == "by_hand"
    assert house.value("SELECT open FROM members WHERE id = :m", m=member) == 0
    assert house.written[-1].state == "withdrawn"
    with pytest.raises(OfferWithdrawn):
        house.desk.complete(offer, member=member)


def test_O7_a_reason_by_hand_is_a_word_and_nothing_personal(house: House, offered: tuple[int, UUID, int]) -> None:
    lead, offer, _ = offered
    with pytest.raises(BadInput, match="reason"):
        house.desk.rescind(offer, "Mr Miller called: 0171 555 123", then="route", actor=Actor.MANAGER)
    assert house.state(lead) == ("offered", None)


def test_O14_a_returned_lead_goes_to_the_next_member_and_its_place_is_free_once(
    house: House, offered: tuple[int, UUID, int]
) -> None:
    lead, offer, member = offered
    with pytest.raises(WrongState):
        house.desk.give_back(offer, "unreachable", member=member)
    house.desk.accept(offer, member=member)
    with pytest.raises(BadInput, match="unreachable, wrong_contact"):
        house.desk.give_back(offer, "too_far", member=member)
    assert house.desk.give_back(offer, "unreachable", member=member).route
    assert house.desk.give_back(offer, "unreachable", member=member).repeated
    house.work()
    assert house.holder(lead) not in {member, None}
    assert house.value("SELECT moves FROM leads WHERE id = :lead", lead=lead) == 1
    assert house.value("SELECT open FROM members WHERE id = :m", m=member) == 0
    assert house.turnstile.open_counts(MARKET).get(member, 0) == 0
    assert house.told(member)[-1] == "offer.returned"


def test_O14_the_window_for_a_return_closes_to_the_minute(house: House, offered: tuple[int, UUID, int]) -> None:
    lead, offer, member = offered
    house.desk.accept(offer, member=member)
    earlier = "UPDATE offers SET offered_at = offered_at - :by, accepted_at = accepted_at - :by WHERE id = :offer"
    house.run(earlier, by=timedelta(hours=72, seconds=1), offer=offer)
    with pytest.raises(ReturnWindowClosed, match="could be returned until") as closed:
        house.desk.give_back(offer, "unreachable", member=member)
    assert "ended_at" in closed.value.facts
    house.run(earlier, by=timedelta(minutes=-1), offer=offer)
    assert house.desk.give_back(offer, "unreachable", member=member).state is OfferState.RETURNED
    house.work()
    assert house.state(lead)[0] == "offered"


def test_O14_beyond_a_tenth_of_the_month_a_person_looks(house: House) -> None:
    one = house.member("one", 40.01, capacity=100)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(20)]
    house.work()
    for lead in leads:
        house.desk.accept(house.offer(lead), member=one)
    assert house.desk.allowance(one)[0].returns_left == 2
    for lead in leads[:3]:
        house.desk.give_back(house.offer(lead), "duplicate", member=one)
    house.work()
    # Nobody else is there, so those that go on find that everyone was tried.
    assert [house.state(lead) for lead in leads[:3]] == [
        ("review", "everyone_tried"), ("review", "everyone_tried"), ("review", "returned"),
    ]  # fmt: skip
    [left] = house.desk.allowance(one)
    assert (left.accepted_this_month, left.returned_this_month, left.returns_left) == (20, 3, 0)


def test_O15_over_the_daily_limit_a_reject_needs_a_manager(house: House) -> None:
    house.publish(answers={"rejects_a_day": 2})
    one = house.member("one", 40.01)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(4)]
    house.work()
    assert house.desk.allowance(one)[0].rejects_left == 2
    for lead in leads[:2]:
        house.desk.reject(house.offer(lead), "other", member=one)
    assert house.desk.allowance(one)[0].rejects_left == 0
    offer = house.offer(leads[2])
    for _ in range(2):
        with pytest.raises(RejectLimitReached, match="2 offers today") as refused:
            house.desk.reject(offer, "other", member=one)
        assert refused.value.facts["until"] == house.desk.allowance(one)[0].day_ends.isoformat()
    assert house.state(leads[2]) == ("offered", None)
    assert house.told(one).count("offer.rejected") == 2
    assert house.desk.reject(offer, None, actor=Actor.MANAGER).state is OfferState.REJECTED
    house.run("UPDATE offers SET ended_at = ended_at - interval '1 day' WHERE state = 'rejected'")
    assert house.desk.reject(house.offer(leads[3]), "other", member=one).state is OfferState.REJECTED
    house.work()


def test_O16_an_offer_to_who_accepts_all_is_accepted_at_once_and_audited_as_offer_and_accept(house: House) -> None:
    house.publish(answers={"work_within": "48h"})
    ready = house.member("ready", 40.01)
    house.run("UPDATE members SET auto_accept = true WHERE id = :m", m=ready)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(3)]
    house.work()
    for lead in leads:
        assert house.state(lead) == ("accepted", None)
        told = house.rows("SELECT what, actor FROM timeline WHERE lead_id = :lead ORDER BY id", lead=lead)
        assert [(row.what, row.actor) for row in told][1:3] == [("offered", "fairturn"), ("accepted", "fairturn")]
    row = house.rows("SELECT accepted_at = offered_at AS at_once, work_by FROM offers LIMIT 1")[0]
    assert row.at_once
    assert row.work_by is not None
    assert house.told(ready) == ["offer.created", "offer.accepted"] * 3 or sorted(house.told(ready)) == (
        ["offer.accepted"] * 3 + ["offer.created"] * 3
    )
    assert {write.state for write in house.written} == {"accepted"}
    assert house.desk.complete(house.offer(leads[0]), member=ready).state is OfferState.COMPLETED
    house.work()


def test_O12_an_extension_needs_a_reason_and_is_given_as_often_as_the_policy_says(house: House) -> None:
    house.publish(answers={"work_within": "48h", "extensions": 1})
    one = house.member("one", 40.01)
    lead = house.lead(LEAD)
    house.work()
    offer = house.offer(lead)
    with pytest.raises(WrongState):
        house.desk.extend(offer, "other", member=one)
    house.desk.accept(offer, member=one)
    first = house.value("SELECT work_by FROM offers WHERE id = :offer", offer=offer)
    with pytest.raises(BadInput, match="appointment_made"):
        house.desk.extend(offer, None, member=one)
    house.desk.extend(offer, "appointment_made", member=one)
    assert house.value("SELECT work_by FROM offers WHERE id = :offer", offer=offer) > first
    with pytest.raises(ExtensionRefused):
        house.desk.extend(offer, "appointment_made", member=one)
    house.desk.progress(offer, member=one)
    assert house.told(one) == ["offer.created", "offer.accepted", "offer.extended", "offer.changed"]
    assert house.value("SELECT version FROM offers WHERE id = :offer", offer=offer) == 4
    house.work()


def test_O12_without_a_time_for_work_there_is_nothing_to_extend(house: House, offered: tuple[int, UUID, int]) -> None:
    _, offer, member = offered
    house.desk.accept(offer, member=member)
    with pytest.raises(ExtensionRefused, match="no time limit"):
        house.desk.extend(offer, "other", member=member)
    house.desk.progress(offer, member=member)
    house.work()


def test_C7_a_place_freed_by_an_answer_goes_to_the_lead_that_waited_first(house: House) -> None:
    one = house.member("one", 40.01, capacity=1)
    first, second, third = (house.lead(f"00Q0000000000000{n:02}") for n in range(3))
    house.work()
    assert [house.state(lead)[0] for lead in (first, second, third)] == ["offered", "waiting", "waiting"]
    for held, following in ((first, second), (second, third)):
        house.desk.accept(house.offer(held), member=one)
        house.desk.complete(house.offer(held), member=one)
        house.work()
        assert house.state(following) == ("offered", None)
    assert house.turnstile.open_counts(MARKET) == {one: 1}
