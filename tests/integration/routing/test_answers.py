"""Offers answered: each way once, again, too late, and by somebody else."""

from functools import partial
from uuid import UUID, uuid4

import pytest

from routing.errors import BadInput
from routing.offer import (
    AlreadyAnswered,
    OfferChanged,
    OfferExpired,
    OfferState,
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
