"""When places were taken and freed is read out of what the choosers saw."""

from dataclasses import replace
from uuid import UUID

from routing.decision import Gate
from routing.offer import Kind, OfferState
from routing.simulation.past import Past, PastDecision, PastOffer
from routing.simulation.script import script

SECOND = 1_000_000
MEMBER = 7


def offer(number: int, offered: int, ended: int | None, kind: Kind = Kind.TURN) -> PastOffer:
    state = OfferState.OFFERED if ended is None else OfferState.EXPIRED
    return PastOffer(
        UUID(int=number), number, MEMBER, "main", 1, 0, kind, state, "", offered, offered + SECOND, None, ended
    )


def look(seq: int, at: int, held: int, lead: int = 99) -> PastDecision:
    """Somebody looked how many the member holds, and gave it nothing."""
    gate = (int(Gate.FULL if held else Gate.ELIGIBLE),)
    rest = ("installers", "installers:0:gold", "fair", None, "no_room")
    return PastDecision("main", 1, seq, at, lead, 1, 1, 1, *rest, member=(MEMBER,), gate=gate, open=(held,))


def given(one: PastOffer, seq: int) -> PastDecision:
    rest = ("installers", "installers:0:gold", "fair", MEMBER, "chosen")
    return PastDecision("main", 1, seq, one.offered, one.lead, 1, 1, 1, *rest)


def test_a_place_is_free_from_the_first_look_that_no_longer_sees_it_held() -> None:
    one = offer(1, 10 * SECOND, 20 * SECOND)
    looks = [look(2, 25 * SECOND, 1), look(3, 30 * SECOND, 0)]
    made = script(Past(0, 60 * SECOND, (), (), decisions=[given(one, 1), *looks], offers=[one]))
    assert made.freed[one.id] == 30 * SECOND


def test_a_place_that_was_seen_held_after_its_offer_ended_is_not_free_before() -> None:
    one = offer(1, 10 * SECOND, 20 * SECOND)
    made = script(Past(0, 60 * SECOND, (), (), decisions=[given(one, 1), look(2, 25 * SECOND, 1)], offers=[one]))
    assert made.freed[one.id] > 25 * SECOND


def test_a_place_taken_without_a_turn_counts_from_the_first_look_that_sees_it() -> None:
    gift = offer(1, 10 * SECOND, None, Kind.MANUAL)
    looks = [look(1, 15 * SECOND, 0), look(2, 25 * SECOND, 1)]
    assert script(Past(0, 60 * SECOND, (), (), decisions=looks, offers=[gift])).held[gift.id] == 25 * SECOND


def test_a_place_taken_without_a_turn_that_nobody_saw_counts_from_after_the_last_look() -> None:
    gift = offer(1, 10 * SECOND, None, Kind.MANUAL)
    made = script(Past(0, 60 * SECOND, (), (), decisions=[look(1, 15 * SECOND, 0)], offers=[gift]))
    assert made.held[gift.id] > 15 * SECOND
    assert not script(Past(0, 60 * SECOND, (), (), decisions=[look(1, 5 * SECOND, 0)], offers=[gift])).held


def test_what_one_call_decided_is_asked_for_together_again() -> None:
    rows = [look(1, 10 * SECOND, 1, lead=5), look(2, 10 * SECOND + 1, 1, lead=3), look(3, 20 * SECOND, 1, lead=5)]
    made = script(Past(0, 60 * SECOND, (), (), decisions=rows))
    assert made.calls == {("main", 10 * SECOND): [5, 3], ("main", 20 * SECOND): [5]}


def test_a_call_that_asks_several_members_for_each_lead_is_one_call() -> None:
    asked = [(1, 1, 0, 10 * SECOND), (2, 1, 0, 11 * SECOND), (1, 2, 1, 12 * SECOND), (2, 2, 1, 12 * SECOND + 1)]
    offers = [replace(offer(n, at, None), lead=lead, attempt=a, slot=s) for n, (lead, a, s, at) in enumerate(asked)]
    rows = [replace(given(one, seq), attempt=one.attempt) for seq, one in enumerate(offers, 1)]
    made = script(Past(0, 60 * SECOND, (), (), decisions=rows, offers=offers))
    assert made.calls == {("main", 10 * SECOND): [1, 2, 1, 2]}
    assert made.routed[2, 2] == 10 * SECOND
