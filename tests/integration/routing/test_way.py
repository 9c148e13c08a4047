"""A lead's way from the stored event to its offer."""

from typing import Any

import pytest

from routing.errors import TryLater
from routing.lead import Precision
from tests.integration.routing.house import MARKET, House, city


def test_a_created_lead_is_offered_written_back_and_told_in_its_timeline(house: House) -> None:
    member = house.member("near", 40.01)
    lead = house.lead("00Q000000000000001")
    house.work()
    assert house.state(lead) == ("offered", None)
    assert house.holder(lead) == member
    assert house.story(lead) == ["received", "offered", "written"]
    write = house.written[-1]
    assert (write.lead_id, write.state, write.attempt, write.member_key, write.policy_version) == (
        lead, "offered", 1, "near", 1,
    )  # fmt: skip
    assert write.ring_m == pytest.approx(5 * 1609.344)
    assert house.turnstile.open_counts(MARKET) == {member: 1}
    assert house.turnstile.pending(MARKET, older_than_s=0) == []


def test_an_address_is_placed_before_its_lead_is_routed(house: House) -> None:
    house.member("near", 40.01)
    house.geography.cities["Town"] = city(40.0, -75.0)
    lead = house.lead("00Q000000000000001", None)
    assert house.log == [("leads.geocode", [lead])]
    house.work()
    assert house.story(lead) == ["received", "located", "offered", "written"]
    row = house.rows("SELECT geo_precision, geo_provider, cell FROM leads WHERE id = :i", i=lead)[0]
    assert tuple(row) == ("city", "atlas", 130 * 360 + 105)


def test_a_message_that_comes_twice_changes_nothing_more(house: House) -> None:
    house.member("a", 40.01)
    house.member("b", 40.02)
    events = house.store(
        [house.change("00Q000000000000001", body={"lat": 40.0, "lon": -75.0, "country": "US", "city": "T"})]
    )
    for _ in range(2):
        house.journey.intake(events)
    lead = house.id_of("00Q000000000000001")
    for _ in range(2):
        house.journey.route([lead])
    house.work()
    assert house.value("SELECT count(*) FROM offers") == 1
    assert house.value("SELECT count(*) FROM decisions") == 1
    assert house.story(lead).count("received") == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"country": "Atlantis"}, "unknown_country"),
        ({"lat": 140.0, "lon": 0.0}, "bad_coordinates"),
        ({"lat": "NaN", "lon": 0.0}, "bad_coordinates"),
        ({"lat": "here", "lon": "there"}, "bad_coordinates"),
        ({"lat": None, "lon": None, "city": "", "postal_code": ""}, "no_address"),
        ({"lat": None, "lon": None, "city": "Nowhere"}, "unknown_place"),
        ({"lat": None, "lon": None, "city": "Somewhere"}, "imprecise_place"),
    ],
)
def test_what_cannot_be_routed_goes_to_review_with_its_reason(house: House, body: dict[str, Any], reason: str) -> None:
    house.member("near", 40.01)
    house.geography.cities["Somewhere"] = city(40.0, -75.0, Precision.REGION)
    lead = house.lead("00Q000000000000001", **body)
    house.work()
    assert house.state(lead) == ("review", reason)
    assert [(w.lead_id, w.state, w.reason) for w in house.written[-1:]] == [(lead, "review", reason)]
    assert house.story(lead)[-2:] == ["review", "written"]


def test_a_lead_in_review_for_its_place_is_routed_when_the_place_is_mended(house: House) -> None:
    house.member("near", 40.01)
    lead = house.lead("00Q000000000000001", lat=140.0)
    house.work()
    house.journey.intake(house.store([house.change("00Q000000000000001", "UPDATE", body={"lat": 40.0, "lon": -75.0})]))
    house.work()
    assert house.state(lead) == ("offered", None)


def test_a_phone_number_in_review_is_not_told_to_salesforce_again(house: House) -> None:
    lead = house.lead("00Q000000000000001", country="Atlantis")
    house.work()
    told = len(house.written)
    house.journey.intake(house.store([house.change("00Q000000000000001", "UPDATE", body={"phone": "1"})]))
    house.work()
    assert len(house.written) == told
    assert house.state(lead) == ("review", "unknown_country")


def test_G7_a_lead_nobody_reaches_waits_with_the_nearest_distance_until_somebody_does(house: House) -> None:
    house.member("far", 41.0)
    lead = house.lead("00Q000000000000001")
    house.work()
    assert house.state(lead) == ("waiting", "no_partner_in_range")
    nearest = house.value("SELECT nearest_m FROM leads WHERE id = :i", i=lead)
    assert nearest == pytest.approx(69.0 * 1609.344, rel=0.005)
    assert house.written[-1].reason == "no_partner_in_range"
    before = house.decisions(lead)
    house.aged()
    house.tick()
    house.sweeper.hourly()
    assert house.decisions(lead) == before

    covering = house.member("covering", 40.3)
    assert house.dispatcher.fill(MARKET, [covering]) == 1
    assert house.holder(lead) == covering
    house.wanted.append("outbox.deliver")
    house.work()
    assert house.story(lead) == ["received", "waiting", "written", "offered", "written"]


def test_a_full_partner_is_passed_over_for_a_farther_free_one_and_then_leads_wait(house: House) -> None:
    house.member("near", 40.01, capacity=1)
    far = house.member("far", 40.5, capacity=1)
    first, second, third = (house.lead(f"00Q00000000000000{n}") for n in (1, 2, 3))
    house.work()
    assert [house.state(one) for one in (first, second, third)] == [
        ("offered", None), ("offered", None), ("waiting", "no_room"),
    ]  # fmt: skip
    assert house.holder(second) == far
    assert house.value("SELECT ring FROM decisions WHERE lead_id = :i", i=second) == 3


def test_paused_members_get_nothing(house: House) -> None:
    house.member("near", 40.01)
    house.members.pause(["near"])
    lead = house.lead("00Q000000000000001")
    house.work()
    assert house.state(lead) == ("waiting", "no_partner_in_range")
    resumed = house.members.resume(["near"])
    assert house.dispatcher.fill(MARKET, resumed) == 1


def test_without_a_policy_leads_stay_until_there_is_one(house: House) -> None:
    house.run("UPDATE policies SET state = 'retired'")
    house.member("near", 40.01)
    lead = house.lead("00Q000000000000001")
    with pytest.raises(TryLater):
        house.journey.route([lead])
    assert house.state(lead) == ("new", None)


def test_I2_one_message_clears_the_desk_when_others_are_late(house: House) -> None:
    house.member("near", 40.01)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(1, 6)]
    house.journey.route(leads[-1:])
    assert {house.state(lead) for lead in leads} == {("offered", None)}
