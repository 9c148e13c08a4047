"""Places: taken by offers, freed by their end, given to whoever waits first."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing.dispatcher import Dispatcher, Routed
from routing.lead import Reason
from tests.integration.routing.house import MARKET, House, document

PAST = datetime.now(UTC) - timedelta(days=1)


def test_C6_a_pending_offer_holds_a_place_until_it_expires(house: House) -> None:
    house.member("only", 40.01, capacity=1)
    first = house.lead("00Q000000000000001")
    house.work()
    second = house.lead("00Q000000000000002")
    house.work()
    assert house.state(second) == ("waiting", "no_room")
    house.overdue(first)
    house.tick()
    assert house.state(second) == ("offered", None)
    ended = house.rows(
        "SELECT o.ended_at, n.offered_at FROM offers o, offers n WHERE o.lead_id = :a AND n.lead_id = :b",
        a=first,
        b=second,
    )[0]
    assert ended.offered_at - ended.ended_at < timedelta(seconds=2)


def test_an_unanswered_lead_moves_on_three_times_and_then_a_person_looks(house: House) -> None:
    for n in range(6):
        house.member(f"m{n}", 40.01 + n / 1000)
    lead = house.lead("00Q000000000000001")
    house.work()
    held = [house.holder(lead)]
    for _ in range(3):
        house.overdue()
        house.tick()
        held.append(house.holder(lead))
    assert len(set(held)) == 4
    assert None not in held
    house.overdue()
    house.tick()
    assert house.state(lead) == ("review", "exhausted")
    assert [tuple(r) for r in house.rows("SELECT attempt, state FROM offers ORDER BY attempt")] == [
        (n, "expired") for n in (1, 2, 3, 4)
    ]
    assert (house.written[-1].state, house.written[-1].reason) == ("review", "exhausted")
    assert house.turnstile.open_counts(MARKET) == {}


def test_when_everyone_in_reach_was_tried_a_person_looks(house: House) -> None:
    house.member("a", 40.01)
    house.member("b", 40.3)
    lead = house.lead("00Q000000000000001")
    house.work()
    for _ in range(2):
        house.overdue()
        house.tick()
    assert house.state(lead) == ("review", "everyone_tried")


def test_an_accepted_offer_does_not_expire(house: House) -> None:
    house.member("a", 40.01)
    lead = house.lead("00Q000000000000001")
    house.work()
    house.run("UPDATE leads SET state = 'accepted', version = version + 1")
    house.run("UPDATE offers SET state = 'accepted', expires_at = now() - interval '1 hour'")
    assert house.journey.expire() == {"expired": 0, "exhausted": 0}
    assert house.state(lead) == ("accepted", None)
    house.leads.withdraw([lead], Reason.DELETED)  # it ends like any open offer
    house.tick()
    assert house.turnstile.open_counts(MARKET) == {}


def test_C12_a_freed_place_goes_to_the_best_priority_oldest_waiting_lead_before_a_newer_one(house: House) -> None:
    house.member("only", 40.01, capacity=1)
    holding = house.lead("00Q000000000000001")
    house.work()
    young = house.lead("00Q000000000000002", at=PAST + timedelta(hours=2))
    old = house.lead("00Q000000000000003", at=PAST + timedelta(hours=1))
    older = house.lead("00Q000000000000004", at=PAST)
    urgent = house.lead("00Q000000000000005", at=PAST + timedelta(hours=3), priority=5)
    house.work()
    order: list[int] = []
    for newcomer in range(6, 10):
        last = order[-1] if order else holding
        house.overdue(last)
        house.journey.expire()
        new = house.lead(f"00Q00000000000000{newcomer}", at=datetime.now(UTC))
        house.journey.route([new])
        assert house.state(new) == ("waiting", "no_room")
        house.work()
        order.append(house.value("SELECT lead_id FROM offers WHERE state = 'offered'"))
    assert order == [urgent, older, old, young]


def test_waiting_leads_are_not_tried_again_before_something_changes(house: House) -> None:
    house.member("only", 40.01, capacity=1)
    leads = [house.lead(f"00Q00000000000000{n}") for n in range(5)]
    house.work()
    before = house.value("SELECT count(*) FROM decisions")
    assert before == len(leads)
    for _ in range(3):
        house.aged(7200)
        house.tick()
    house.sweeper.hourly()
    house.work()
    house.journey.route(leads)
    assert house.value("SELECT count(*) FROM decisions") == before


def test_a_freed_place_plans_one_waiting_lead_and_not_all(house: House) -> None:
    house.member("only", 40.01, capacity=1)
    leads = [house.lead(f"00Q00000000000000{n}") for n in range(6)]
    house.work()
    before = house.value("SELECT count(*) FROM decisions")
    house.overdue()
    house.tick()
    # The expired lead finds everyone tried; one waiting lead gets the place.
    assert house.value("SELECT count(*) FROM decisions") == before + 2
    assert sum(house.state(one) == ("offered", None) for one in leads) == 1


def test_a_lead_waits_for_the_member_it_may_have_not_for_one_who_had_it(house: House) -> None:
    house.member("a", 40.01, capacity=1)
    first = house.lead("00Q000000000000001")
    house.work()
    house.member("b", 40.02, capacity=0)
    house.overdue(first)
    house.tick()
    assert house.state(first) == ("waiting", "no_room")
    assert house.dispatcher.fill(MARKET) == 0
    house.member("b", 40.02, capacity=1)
    assert house.dispatcher.fill(MARKET) == 1


def test_a_raised_capacity_is_filled_with_waiting_leads(house: House) -> None:
    member = house.member("only", 40.01, capacity=1)
    leads = [house.lead(f"00Q00000000000000{n}") for n in range(5)]
    house.work()
    house.member("only", 40.01, capacity=3)
    assert house.dispatcher.fill(MARKET, [member]) == 2
    assert [house.state(one)[0] for one in leads] == ["offered"] * 3 + ["waiting"] * 2


def test_C2_a_changed_tier_counts_for_all_without_an_override_from_the_next_decision(house: House) -> None:
    gold = house.member("gold", 40.01, tier="gold")
    own = house.member("own", 40.02, tier="gold", capacity=3)
    for n in range(20):
        house.lead(f"00Q0000000000000{n:02}")
    house.work()
    assert house.turnstile.open_counts(MARKET) == {gold: 10, own: 3}
    raised = document()
    raised["tiers"][0]["capacity"] = 12
    house.publish_document(raised)
    house.tick()
    assert house.turnstile.open_counts(MARKET) == {gold: 12, own: 3}
    newest = house.rows("SELECT policy_version, member, capacity FROM decisions ORDER BY seq DESC LIMIT 1")[0]
    assert newest.policy_version == 2
    assert dict(zip(newest.member, newest.capacity, strict=True)) == {gold: 12, own: 3}


def test_a_paused_member_is_given_no_waiting_lead_when_its_place_is_freed(house: House) -> None:
    house.member("only", 40.01, capacity=1)
    first, second = house.lead("00Q000000000000001"), house.lead("00Q000000000000002")
    house.work()
    house.members.pause(["only"])
    house.overdue(first)
    house.tick()
    assert house.state(second) == ("waiting", "no_room")
    assert house.turnstile.open_counts(MARKET) == {}
    assert house.dispatcher.fill(MARKET, house.members.resume(["only"])) == 1
    assert house.state(second) == ("offered", None)


def test_F8_adding_pausing_and_changing_one_member_leaves_the_others_standings(house: House) -> None:
    members = [house.member(f"m{n}", 40.01, capacity=50) for n in range(4)]
    for n in range(10):
        house.lead(f"00Q0000000000000{n:02}")
    house.work()
    before = house.turnstile.standings(MARKET, "installers")
    house.member("new", 40.01, capacity=50)
    house.members.pause(["m0"])
    house.member("m1", 40.01, capacity=9)
    assert house.turnstile.standings(MARKET, "installers") == before
    house.dispatcher.rebuild(MARKET)
    after = house.turnstile.standings(MARKET, "installers")
    assert {m: after[m].standing for m in members if m in after} == {
        m: before[m].standing for m in members if m in before
    }
    house.lead("00Q000000000000099")
    house.work()
    chosen = house.rows(
        "SELECT chosen, member, standing, weight FROM decisions ORDER BY seq DESC, generation DESC LIMIT 1"
    )[0]
    seen = dict(zip(chosen.member, chosen.standing, strict=True))
    assert all(seen[m] == before[m].standing for m in members[1:] if m in before)
    assert members[0] not in seen


def test_a_place_freed_while_a_lead_is_being_decided_is_not_missed(house: House) -> None:
    """The place is freed after the turnstile said "full" and before the lead is known to wait."""
    house.member("only", 40.01, capacity=1)
    first, second = house.lead("00Q000000000000001"), house.lead("00Q000000000000002")
    house.dispatcher.route([first])
    asked = house.turnstile.reserve

    def reserve_then_free(*args: object, **values: object) -> object:
        answer = asked(*args, **values)  # type: ignore[arg-type]
        house.turnstile.reserve = asked  # type: ignore[method-assign]
        house.overdue(first)
        house.journey.expire()
        house.outbound.free()
        return answer

    house.turnstile.reserve = reserve_then_free  # type: ignore[method-assign, assignment]
    house.journey.route([second])
    house.tick()
    assert house.state(second) == ("offered", None)


def test_a_member_added_while_a_lead_is_being_decided_is_not_missed(house: House) -> None:
    house.member("far", 45.0)
    lead = house.lead("00Q000000000000001")
    asked = house.turnstile.reserve

    def reserve_then_add(*args: object, **values: object) -> object:
        answer = asked(*args, **values)  # type: ignore[arg-type]
        house.turnstile.reserve = asked  # type: ignore[method-assign]
        house.dispatcher.fill(MARKET, [house.member("near", 40.01)])
        return answer

    house.turnstile.reserve = reserve_then_add  # type: ignore[method-assign, assignment]
    house.journey.route([lead])
    house.tick()
    assert house.state(lead) == ("offered", None)


def test_two_who_free_places_at_once_and_think_of_the_same_lead_leave_no_place_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        house.member(key, 40.01, capacity=1)
    held = [house.lead(f"00Q00000000000000{n}") for n in (1, 2)]
    house.work()
    waiting = [house.lead(f"00Q00000000000000{n}") for n in (3, 4)]
    house.work()
    assert [house.state(lead) for lead in waiting] == [("waiting", "no_room")] * 2
    rightly, thoughts = house.dispatcher._waiting.next, [waiting[:1], waiting[:1]]
    monkeypatch.setattr(
        house.dispatcher._waiting, "next", lambda *a, **b: thoughts.pop() if thoughts else rightly(*a, **b)
    )
    house.leads.withdraw(held, Reason.DELETED)
    house.outbound.free()
    assert thoughts == []
    assert [house.state(lead) for lead in waiting] == [("offered", None)] * 2


def test_fifty_places_freed_at_once_go_to_the_right_leads_by_one_call_and_a_repeat_changes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    towns = [30.0 + 3 * n for n in range(5)]
    for n in range(50):
        house.member(f"m{n}", towns[n % 5] + 0.01, capacity=1)
    held = [house.lead(f"00Q{n:015}", towns[n % 5]) for n in range(50)]
    house.work()
    assert {house.state(one) for one in held} == {("offered", None)}
    waiting = {town: [_waiting(house, town, n) for n in range(12)] for town in towns}
    house.work()
    house.leads.withdraw(held, Reason.DELETED)
    newer = [house.lead(f"00Q{town:015}", town) for town in towns]
    house.journey.route(newer)
    calls, route = [], house.dispatcher.route

    def counted(self: object, ids: Sequence[int], **values: Any) -> Routed:
        calls.append(len(ids))
        return route(ids, **values)

    monkeypatch.setattr(Dispatcher, "route", counted)
    assert house.outbound.free() == {"freed": 50, "offered": 50}
    assert calls == [50]
    for leads in waiting.values():
        first = [lead for _, _, lead in sorted(leads)]
        assert [house.state(one)[0] for one in first] == ["offered"] * 10 + ["waiting"] * 2
    assert {house.state(one) for one in newer} == {("waiting", "no_room")}

    before = house.rows("SELECT id, version, state FROM leads ORDER BY id"), house.turnstile.open_counts(MARKET)
    house.run("UPDATE outbox SET state = 'pending', lease_until = NULL WHERE kind = 'turnstile'")
    assert house.outbound.free() == {"freed": 50, "offered": 0}
    assert before == (
        house.rows("SELECT id, version, state FROM leads ORDER BY id"),
        house.turnstile.open_counts(MARKET),
    )


def _waiting(house: House, town: float, n: int) -> tuple[int, datetime, int]:
    """What orders it (the negative priority, and when it came), and the lead."""
    priority, at = n % 3, PAST + timedelta(minutes=n * 7 % 12)
    return -priority, at, house.lead(f"00Q{town:012}{n:03}", town, priority=priority, at=at)
