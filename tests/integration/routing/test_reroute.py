"""Leads whose facts change in Salesforce while they wait, or while an offer is out: what the policy says follows."""

from typing import Any

import pytest

from routing.errors import Refused
from routing.offer import Actor
from tests.integration.routing.house import MARKET, House, city
from tests.integration.routing.test_special_cases import facts, ruled, standings, steps, when

RECORD = "00Q000000000000001"
BATTERY = when("battery", "lead.product == 'battery'", skills=[{"name": "languages", "wanted": "es"}])


def change(house: House, **body: Any) -> None:
    house.journey.intake(house.store([house.change(RECORD, "UPDATE", body=body)]))
    house.work()


def reroute_on(*names: str, **more: Any) -> dict[str, Any]:
    return {"reroute_on": {"facts": list(names), **more}}


def test_an_open_offer_is_taken_back_where_the_policy_names_what_has_changed(house: House) -> None:
    house.publish_document(ruled(BATTERY) | reroute_on("lead.product", open_offers="withdraw"))
    near = house.member("near")
    other = house.member("other", lat=40.1, attributes={"languages": ["es"]})
    lead = house.lead(RECORD, attributes={"product": "solar"})
    house.work()
    assert house.holder(lead) == near
    offer = house.offer(lead)
    change(house, **facts(product="battery"))
    assert house.holder(lead) == other
    assert house.told(near) == ["offer.created", "offer.withdrawn"]
    assert steps(house, lead, "withdrawn")[0]["reason"] == "rerouted"
    assert "rerouted" in house.story(lead)
    assert (house.value("SELECT attempt FROM leads"), house.value("SELECT moves FROM leads")) == (2, 0)
    with pytest.raises(Refused):
        house.desk.accept(offer, actor=Actor.MANAGER)
    house.tick()
    assert house.value("SELECT count(*) FROM corrections WHERE reason = 'rerouted' AND effect = 'return'") == 1
    assert sum(standings(house).values()) == 0
    assert house.turnstile.open_counts(MARKET).get(near, 0) == 0
    assert not house.breaches()


def test_nothing_follows_from_what_the_policy_does_not_name(house: House) -> None:
    house.publish_document(ruled(BATTERY) | reroute_on("lead.product", open_offers="withdraw"))
    house.member("near")
    lead = house.lead(RECORD, attributes={"product": "solar"})
    far = house.lead("00Q000000000000002", 50.0, 10.0)
    house.work()
    offer, asked = house.offer(lead), house.decisions(far)
    change(house, **facts(score=7), phone="+1 555 0100")
    body = facts(score=7)
    house.journey.intake(house.store([house.change("00Q000000000000002", "UPDATE", body=body)]))
    house.work()
    assert house.offer(lead) == offer
    assert house.decisions(far) == asked
    assert "ruled_again" not in house.story(far)


def test_an_open_offer_stays_unless_the_policy_takes_it_back_and_an_accepted_lead_always_does(house: House) -> None:
    house.publish_document(ruled(BATTERY) | reroute_on("lead.product"))
    house.member("near")
    lead = house.lead(RECORD, attributes={"product": "solar"})
    house.work()
    offer = house.offer(lead)
    change(house, **facts(product="battery"))
    assert house.offer(lead) == offer
    house.publish_document(ruled(BATTERY) | reroute_on("lead.product", open_offers="withdraw"))
    house.desk.accept(offer, actor=Actor.MANAGER)
    change(house, **facts(product="solar"))
    assert house.state(lead) == ("accepted", None)


def test_an_offered_lead_that_moves_is_searched_for_from_where_it_is_now(house: House) -> None:
    house.publish_document(ruled() | reroute_on("lead.postal_code", open_offers="withdraw"))
    house.geography.cities["Elsewhere"] = city(45.0, -70.0)
    near, there = house.member("near"), house.member("there", lat=45.0, lon=-70.0)
    lead = house.lead(RECORD)
    house.work()
    assert house.holder(lead) == near
    change(house, city="Elsewhere", postal_code="04000")
    assert house.holder(lead) == there
    assert not house.breaches()


def test_a_change_that_is_read_twice_takes_back_one_offer(house: House) -> None:
    house.publish_document(ruled(BATTERY) | reroute_on("lead.product", open_offers="withdraw"))
    house.member("near")
    house.member("next")
    lead = house.lead(RECORD, attributes={"product": "solar"})
    house.work()
    told = house.change(RECORD, "UPDATE", body=facts(product="heat pump"))
    for _ in range(2):
        house.journey.intake(house.store([told]))
        house.work()
    assert house.rows("SELECT state FROM offers ORDER BY offered_at")[0].state == "withdrawn"
    assert house.value("SELECT count(*) FROM offers WHERE state = 'withdrawn'") == 1
    assert house.state(lead) == ("offered", None)


def test_a_held_lead_goes_on_when_a_named_fact_changes_so_that_nothing_holds_it(house: House) -> None:
    hold = when("hold", "lead.product == 'someday'", hold="later")
    house.publish_document(ruled(hold) | reroute_on("lead.product"))
    near = house.member("near")
    lead = house.lead(RECORD, attributes={"product": "someday"})
    house.work()
    assert house.state(lead) == ("waiting", "held")
    change(house, **facts(score=3))
    assert house.state(lead) == ("waiting", "held")
    change(house, **facts(product="solar"))
    assert house.holder(lead) == near


def test_a_lead_that_waits_for_facts_hears_of_them_whether_they_are_named_or_not(house: House) -> None:
    wait = when("wait", "lead.source == 'Web'", wait={"facts": ["lead.score"], "up_to": "10m"})
    house.publish_document(ruled(wait) | reroute_on("lead.product"))
    house.member("near")
    lead = house.lead(RECORD, source="Web")
    house.work()
    assert house.state(lead) == ("waiting", "missing_facts")
    change(house, **facts(score=3))
    assert house.state(lead) == ("offered", None)


def test_M4_what_salesforce_shows_of_a_lead_that_was_ours_is_set_right_once_when_a_rule_leaves_it_alone(
    house: House,
) -> None:
    rival = when("rival", "lead.product == 'rival'", ignore=True)
    house.publish_document(ruled(rival) | reroute_on("lead.product", open_offers="withdraw"))
    near = house.member("near")
    lead = house.lead(RECORD, attributes={"product": "solar"})
    house.work()
    house.tick()
    assert house.holder(lead) == near
    change(house, **facts(product="rival"))
    house.tick()
    assert house.state(lead) == ("withdrawn", "not_ours")
    assert [(one.state, one.reason) for one in house.written][-1] == ("withdrawn", "not_ours")
    written = len(house.written)
    change(house, **facts(product="rival", score=8))
    house.tick()
    assert len(house.written) == written
    assert not house.breaches()


OWNER = when("key", "lead.product == 'battery'", owner="near")


@pytest.mark.parametrize("answer", ["none", "reject"])
def test_M3_a_named_owner_has_the_lead_that_was_taken_back_from_it_unless_it_turned_it_down(
    house: House, answer: str
) -> None:
    house.publish_document(ruled(OWNER) | reroute_on("lead.product", open_offers="withdraw"))
    near, other = house.member("near"), house.member("other", lat=40.1)
    lead = house.lead(RECORD, attributes={"product": "solar"})
    house.work()
    assert house.holder(lead) == near
    if answer == "reject":
        house.desk.reject(house.offer(lead), "too_far", actor=Actor.MANAGER)
        house.work()
        assert house.holder(lead) == other
    change(house, **facts(product="battery"))
    house.tick()
    if answer == "reject":
        assert house.state(lead) == ("review", "ruled")
        assert steps(house, lead, "not given")[0]["because"] == "asked before"
        return
    assert house.state(lead) == ("accepted", None)
    assert house.holder(lead) == near
    assert house.told(near)[:3] == ["offer.created", "offer.withdrawn", "offer.created"]
    assert house.turnstile.open_counts(MARKET)[near] == 1
    assert not house.breaches()
