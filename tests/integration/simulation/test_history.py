"""Simulations of history that the real house made."""

import pytest

from routing.simulation.compared import compare
from routing.simulation.habits import Habits
from routing.simulation.past import Past
from routing.simulation.script import script
from routing.simulation.world import World
from tests.integration.routing.house import House
from tests.integration.simulation.history import KINDS, Town, read, ruled


def simulated(past: Past) -> World:
    habits = Habits.seen(past.offers, {one.id: one.tier for one in past.members.values()})
    world = World(past, script(past), habits)
    world.run()
    return world


def lived(house: House, leads: int, rounds: int, seed: int = 1) -> Town:
    """A town in which leads come in, wait, are answered, expire and come back; a member comes and one leaves."""
    town = Town(house, seed)
    town.settle(16)
    for number in range(rounds):
        town.arrive(leads // rounds)
        town.answer()
        town.tick()
        if number == rounds // 3:
            town.member("late", tier="gold")
            house.dispatcher.fill("main")
            house.work()
        if number == rounds // 2:
            house.members.pause(["m3"], actor="test")
        if number == 2 * rounds // 3:
            house.members.resume(["m3"], actor="test")
            house.dispatcher.fill("main")
            house.work()
    return town


def test_N2_the_live_policy_over_its_own_history_decides_alike(house: House) -> None:
    town = lived(house, leads=110, rounds=11)
    past = read(house, town.begun)
    world = simulated(past)
    found = compare(past, world)
    assert found.decided > 150
    assert found.share >= 0.999, found.differences[:5]


@pytest.mark.long
def test_N2_rules_limits_and_what_others_do_to_leads_are_played_again(house: House) -> None:
    town = Town(house, seed=4)
    town.settle(14)
    house.publish_document(ruled(answer_within="3s"))
    house.member("m2", *town._place(), attributes={"languages": "es; en"}, tier="gold")
    for number in range(6):
        _, held, waiting, spam, _, roof, heavy, _, plain = [town.lead(**facts) for facts in KINDS]
        house.work()
        town.answer()
        town.tell(waiting, attributes={"score": 80})
        town.tell(roof, attributes={"product": "battery"})
        town.tell(heavy, attributes={"score": 10})
        town.release(held, spam)
        if number == 2:
            town.tell(plain, owner_id="005STRANGER00001AAA")
            house.members.pause(["m3"], actor="test")
        if number == 3:
            house.publish_document(ruled(answer_within="2s", mode="least_loaded"))
            house.journey.wake()
        house.work()
        town.tick()
    past = read(house, town.begun)
    found = compare(past, simulated(past))
    assert found.decided > 40
    assert {edit.what for one in past.leads for edit in one.edits} >= {"released", "ruled_again", "updated"}
    assert any(offer.by_rule for offer in past.offers)
    assert found.share >= 0.999, found.differences[:5]
