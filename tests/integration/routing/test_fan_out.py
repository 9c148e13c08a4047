"""Several members asked at once: the first who accepts has the lead."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from routing.offer import OfferTaken
from storage.postgres.verify import Verify
from tests.integration.routing.house import MARKET, House


@pytest.fixture
def three(house: House) -> Callable[..., int]:
    """A lead for which three of five members are asked at once."""

    def ask(**over: object) -> int:
        house.publish(answers={"fan_out": 3} | over.pop("answers", {}), **over)  # type: ignore[operator] # a mapping
        for number in range(5):
            house.member(f"m{number}", capacity=3)
        lead = house.lead("wanted")
        house.work()
        return lead

    return ask


def open_offers(house: House, lead: int) -> dict[int, UUID]:
    """The lead's open offers by member, in the order of asking."""
    query = "SELECT member_id, id FROM offers WHERE lead_id = :l AND state IN ('offered', 'accepted') ORDER BY slot"
    return {row.member_id: row.id for row in house.rows(query, l=lead)}


def sound(house: House) -> None:
    assert Verify(house.engine).run().breaches == ()
    assert house.breaches() == {}


def test_O8_several_are_asked_at_once_each_by_a_decision_of_its_own(house: House, three: Callable[..., int]) -> None:
    lead = three()
    offers = open_offers(house, lead)
    assert len(offers) == 3
    rows = house.rows("SELECT attempt, slot FROM offers ORDER BY slot")
    assert [tuple(row) for row in rows] == [(1, 0), (2, 1), (3, 2)]
    assert house.decisions(lead) == 3
    assert house.turnstile.open_counts(MARKET) == dict.fromkeys(offers, 1)
    assert house.state(lead) == ("offered", None)
    for member in offers:
        assert house.told(member) == ["offer.created"]
    sound(house)


def test_O8_the_first_accept_wins_and_the_others_are_told_that_it_is_taken(
    house: House, three: Callable[..., int]
) -> None:
    lead = three()
    offers = open_offers(house, lead)
    first, winner, third = offers
    house.desk.accept(offers[winner], member=winner)
    for loser in (first, third):
        assert house.told(loser) == ["offer.created", "offer.taken"]
        with pytest.raises(OfferTaken):
            house.desk.accept(offers[loser], member=loser)
    house.work()
    assert open_offers(house, lead) == {winner: offers[winner]}
    assert house.state(lead) == ("accepted", None)
    assert house.turnstile.open_counts(MARKET) == {winner: 1}
    assert house.written[-1].state == "accepted"
    sound(house)


def test_O8_only_who_has_the_lead_has_used_up_a_turn(house: House, three: Callable[..., int]) -> None:
    lead = three()
    offers = open_offers(house, lead)
    winner = next(iter(offers))
    house.desk.accept(offers[winner], member=winner)
    house.work()
    standings = {m: s.standing for m, s in house.turnstile.standings(MARKET, "installers").items()}
    assert sum(standings.values()) == 0
    assert [m for m, standing in standings.items() if standing < 0] == [winner]
    sound(house)


def test_O8_of_many_accepts_at_once_exactly_one_wins(house: House, three: Callable[..., int]) -> None:
    leads = [three(), *(house.lead(f"lead-{n}") for n in range(4))]
    house.work()
    answers = [(member, offer) for lead in leads for member, offer in open_offers(house, lead).items()]
    assert len(answers) == 15

    def accept(one: tuple[int, UUID]) -> bool:
        try:
            return not house.desk.accept(one[1], member=one[0]).repeated
        except OfferTaken:
            return False

    with ThreadPoolExecutor(8) as many:
        won = list(many.map(accept, answers * 2))
    assert sum(won) == 5
    house.work()
    assert house.value("SELECT count(*) FROM offers WHERE state IN ('offered', 'accepted')") == 5
    assert sum(house.turnstile.open_counts(MARKET).values()) == 5
    sound(house)


def test_O8_when_all_have_rejected_or_let_it_expire_the_chain_goes_on_by_one_move(
    house: House, three: Callable[..., int]
) -> None:
    lead = three(reassignments=1)
    first, second, third = offers = open_offers(house, lead)
    house.desk.reject(offers[first], "too_far", member=first)
    house.work()
    assert list(open_offers(house, lead)) == [second, third]
    assert house.state(lead) == ("offered", None)
    house.desk.reject(offers[second], "too_far", member=second)
    house.work()
    house.overdue(lead)
    house.tick()
    left = open_offers(house, lead)
    assert len(left) == 2
    assert not {first, second, third}.intersection(left)
    assert tuple(house.rows("SELECT moves, attempt FROM leads")[0]) == (1, 5)
    house.overdue(lead)
    house.tick()
    assert house.state(lead) == ("review", "exhausted")
    assert house.turnstile.open_counts(MARKET) == {}
    sound(house)


def test_O8_who_is_full_is_not_asked_and_fewer_than_wanted_are_enough(house: House) -> None:
    house.publish(answers={"fan_out": 3})
    one, full = house.member("one", capacity=5), house.member("full", capacity=0)
    lead = house.lead("wanted")
    house.work()
    assert list(open_offers(house, lead)) == [one]
    assert house.decisions(lead) == 1
    assert full not in house.turnstile.open_counts(MARKET)
    sound(house)


def test_O8_a_member_that_accepts_whatever_it_is_offered_has_it_at_once(house: House) -> None:
    house.publish(answers={"fan_out": 3})
    for number in range(3):
        house.member(f"m{number}")
    house.run("UPDATE members SET auto_accept = true")
    lead = house.lead("wanted")
    house.work()
    assert house.state(lead) == ("accepted", None)
    assert len(open_offers(house, lead)) == 1
    house.tick()
    assert sum(house.turnstile.open_counts(MARKET).values()) == 1
    sound(house)


def test_O8_the_ledger_alone_asks_several_too(house: House, three: Callable[..., int]) -> None:
    three()
    generation = house.ledger.standing_at(MARKET).generation
    assert house.ledger.stand_alone(MARKET, generation)
    lead = house.lead("alone")
    house.work()
    assert len(open_offers(house, lead)) == 3
    sound(house)


def test_O8_members_that_the_ledger_knows_to_be_full_leave_nothing_half_done(
    house: House, three: Callable[..., int]
) -> None:
    """The turnstile gives a place that is none; the ledger refuses one of three, and all are asked anew."""
    three()
    house.run("UPDATE members SET open = 3 WHERE key = 'm1'")
    lead = house.lead("second")
    house.work()
    for _ in range(3):
        house.aged()
        house.tick()
    assert "m1" not in [row.key for row in house.rows(
        "SELECT m.key FROM offers o JOIN members m ON m.id = o.member_id WHERE lead_id = :l", l=lead)]  # fmt: skip
    assert len(open_offers(house, lead)) == 3
    house.run("UPDATE members SET open = (SELECT count(*) FROM offers o WHERE o.member_id = members.id "
              "AND o.state IN ('offered', 'accepted'))")  # fmt: skip
    counts = {row.id: row.open for row in house.rows("SELECT id, open FROM members")}
    assert {m: n for m, n in counts.items() if n} == house.turnstile.open_counts(MARKET)


def test_O8_a_crash_between_asking_and_writing_leaves_nothing(house: House, three: Callable[..., int]) -> None:
    three()
    lead = house.lead("crashed")
    house.log.clear()

    class Crash(Exception):  # noqa: N818 - stands for the end of the process
        pass

    def crash(*_args: object, **_named: object) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("storage.postgres.routing_batch.LockedBatch.save", crash)
        with pytest.raises(Crash):
            house.dispatcher.route([lead])
    assert sum(house.turnstile.open_counts(MARKET).values()) == 6
    house.journey.route([lead])
    house.work()
    assert len(open_offers(house, lead)) == 3
    assert sum(house.turnstile.open_counts(MARKET).values()) == 6
    assert house.turnstile.pending(MARKET, older_than_s=-1) == []
    sound(house)
