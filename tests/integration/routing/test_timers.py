"""What comes to pass by the clock: deadlines, reminders, work that rests; and other ways to a lead than one's turn."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from routing.errors import BadInput
from routing.lane import Lane
from routing.offer import (
    ExtensionRefused,
    NoRoom,
    NoSecondChance,
    OfferExpired,
    OfferState,
    OfferTaken,
    UnknownOffer,
)
from routing.policy import Mode
from storage.postgres.verify import Verify
from tests.integration.routing.house import MARKET, House, document

HOUR = timedelta(hours=1)


def passed(house: House, share: float, lead: int) -> None:
    """Let this share of the time to answer have passed."""
    house.run(
        "UPDATE offers SET offered_at = offered_at - (expires_at - offered_at) * :s, remind_at = remind_at - "
        "(expires_at - offered_at) * :s, expires_at = expires_at - (expires_at - offered_at) * :s "
        "WHERE lead_id = :lead AND state = 'offered'",
        s=share,
        lead=lead,
    )


def expire(house: House, lead: int) -> UUID:
    """Let the lead's open offer expire, and be dealt with; which one it was."""
    offer = house.offer(lead)
    house.overdue(lead)
    house.tick()
    return offer


def sound(house: House) -> None:
    report = Verify(house.engine).run()
    assert report.breaches == ()


# --- deadlines


def test_O2_a_hot_lead_is_to_be_answered_sooner_and_in_working_time(house: House) -> None:
    week = {day: ["00:00-24:00"] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
    house.publish(answer_within="4h", answers={"hot_within": "30m", "hours": {"zone": "America/New_York", **week}})
    house.member("one")
    hot, other = house.lead("hot"), house.lead("other")
    house.run("UPDATE leads SET lane = :lane WHERE id = :lead", lane=int(Lane.HOT), lead=hot)
    house.work()
    lengths = {
        row.lead_id: row.length for row in house.rows("SELECT lead_id, expires_at - offered_at AS length FROM offers")
    }
    assert lengths == {hot: HOUR / 2, other: 4 * HOUR}


def test_O2_a_night_is_no_working_time(house: House) -> None:
    now = datetime.now(UTC)
    hours = {"zone": "UTC", f"{now + timedelta(days=2):%a}".lower(): ["08:00-17:00"]}
    house.publish(answer_within="1h", answers={"hours": hours})
    house.member("one")
    lead = house.lead("late")
    house.work()
    due = house.value("SELECT expires_at FROM offers WHERE lead_id = :lead", lead=lead)
    day = (now + timedelta(days=2)).date()
    assert due == datetime(day.year, day.month, day.day, 9, tzinfo=UTC)


# --- reminders


def test_O11_a_reminder_goes_at_half_and_at_four_fifths_of_the_time_and_none_after(house: House) -> None:
    one = house.member("one")
    lead = house.lead("slow")
    house.work()
    house.tick()
    assert house.told(one) == ["offer.created"]
    for share, told in ((0.51, 1), (0.0, 1), (0.3, 2), (0.0, 2), (0.15, 2)):
        passed(house, share, lead)
        house.tick()
        assert house.told(one) == ["offer.created"] + ["offer.reminder"] * told
    assert house.story(lead).count("reminded") == 2


def test_O11_who_has_answered_is_not_reminded(house: House) -> None:
    one = house.member("one")
    lead = house.lead("quick")
    house.work()
    house.desk.accept(house.offer(lead), member=one)
    house.run("UPDATE offers SET remind_at = clock_timestamp() - interval '1 h', work_by = NULL")
    house.tick()
    assert house.told(one) == ["offer.created", "offer.accepted"]


def test_O11_after_an_outage_one_reminder_goes_for_all_that_were_due(house: House) -> None:
    one = house.member("one")
    lead = house.lead("slow")
    house.work()
    passed(house, 0.9, lead)
    house.tick()
    assert house.told(one) == ["offer.created", "offer.reminder"]
    assert house.value("SELECT remind_at FROM offers") is None


def test_O11_three_relays_at_once_remind_each_member_once(house: House) -> None:
    members = [house.member(f"m{n}") for n in range(4)]
    leads = [house.lead(f"lead-{n}") for n in range(12)]
    house.work()
    for lead in leads:
        passed(house, 0.51, lead)
    with ThreadPoolExecutor(3) as three:
        done = list(three.map(lambda _: house.timers.remind(limit=5), range(9)))
    assert sum(done) == 12
    assert sum(house.told(member).count("offer.reminder") for member in members) == 12


# --- work


def working(house: House, **over: object) -> tuple[int, UUID, int]:
    """A lead that was accepted where work may rest for two days."""
    house.publish(answers={"work_within": "48h"} | over)
    one = house.member("one")
    lead = house.lead("resting")
    house.work()
    offer = house.offer(lead)
    house.desk.accept(offer, member=one)
    house.work()
    return lead, offer, one


def rested(house: House, time: timedelta) -> None:
    house.run(
        "UPDATE offers SET accepted_at = accepted_at - :t, worked_at = worked_at - :t, remind_at = remind_at - :t, "
        "work_by = work_by - :t WHERE state = 'accepted'",
        t=time,
    )


def test_O12_a_lead_on_which_nothing_happens_is_warned_of_then_pulled_back_and_goes_on(house: House) -> None:
    lead, _, one = working(house)
    rested(house, 38 * HOUR)
    house.tick()
    assert house.told(one)[2:] == []
    rested(house, HOUR)
    house.tick()
    house.tick()
    assert house.told(one)[2:] == ["offer.warning"]
    two = house.member("two")
    rested(house, 10 * HOUR)
    house.tick()
    assert house.told(one)[2:] == ["offer.warning", "offer.withdrawn"]
    assert house.holder(lead) == two
    assert house.value("SELECT moves FROM leads WHERE id = :lead", lead=lead) == 1
    assert house.value("SELECT reason FROM offers WHERE member_id = :one", one=one) == "work_overdue"
    assert house.turnstile.open_counts(MARKET) == {two: 1}
    sound(house)


def test_O12_a_step_begins_the_time_anew(house: House) -> None:
    lead, offer, one = working(house)
    rested(house, 47 * HOUR)
    house.desk.progress(offer, member=one)
    rested(house, 38 * HOUR)
    house.tick()
    assert house.holder(lead) == one
    assert "offer.warning" not in house.told(one)


def test_O12_an_extension_needs_a_reason_and_gives_the_time_again_as_often_as_may_be(house: House) -> None:
    lead, offer, one = working(house)
    rested(house, 47 * HOUR)
    with pytest.raises(BadInput, match="reason"):
        house.desk.extend(offer, None, member=one)
    reason = next(iter(house.answering()["installers"].extend_reasons))
    house.desk.extend(offer, reason, member=one)
    rested(house, 10 * HOUR)
    house.tick()
    assert house.holder(lead) == one
    with pytest.raises(ExtensionRefused):
        house.desk.extend(offer, reason, member=one)


def test_O12_three_relays_pull_a_lead_back_once(house: House) -> None:
    lead, _, one = working(house)
    house.member("two")
    rested(house, 49 * HOUR)
    with ThreadPoolExecutor(3) as three:
        done = [ended for _, ended in three.map(lambda _: house.timers.pull_back(), range(6))]
    assert sum(done) == 1
    assert house.told(one).count("offer.withdrawn") == 1
    assert house.value("SELECT attempt FROM leads WHERE id = :lead", lead=lead) == 2


# --- ladder


def test_O13_each_attempt_asks_where_the_ladder_says(house: House) -> None:
    house.publish(
        mode=str(Mode.NEAREST), answers={"ladder": [{"tiers": ["gold"], "rings": 1}, {"tiers": ["gold"]}, {}]}
    )
    near_silver, near_gold = house.member("near silver", 40.01), house.member("near gold", 40.02, tier="gold")
    far_gold = house.member("far gold", 40.3, tier="gold")
    lead = house.lead("climbing")
    house.work()
    asked = []
    for _ in range(3):
        asked.append(house.holder(lead))
        expire(house, lead)
    assert asked == [near_gold, far_gold, near_silver]
    gates = house.rows("SELECT gate, member FROM decisions WHERE lead_id = :l ORDER BY attempt", l=lead)
    assert dict(zip(gates[0].member, gates[0].gate, strict=True)) == {near_gold: 0, near_silver: 3}
    sound(house)


def test_O13_a_freed_place_goes_to_a_lead_that_waits_on_a_rung_for_that_tier(house: House) -> None:
    house.publish(answers={"ladder": [{"tiers": ["gold"]}, {}]})
    gold, silver = house.member("gold", tier="gold", capacity=1), house.member("silver", capacity=1)
    first = house.lead("first")
    house.work()
    assert house.holder(first) == gold
    waiting = house.lead("waiting")
    house.work()
    assert house.state(waiting) == ("waiting", "no_room")
    house.desk.reject(house.offer(first), "too_far", member=gold)
    house.work()
    assert (house.holder(waiting), house.holder(first)) == (gold, silver)


# --- once more


def test_O5_who_let_it_expire_is_asked_once_more_when_everyone_was(house: House) -> None:
    house.publish(reassignments=5, answers={"again_when_exhausted": True})
    one, two = house.member("one"), house.member("two")
    lead = house.lead("unloved")
    house.work()
    first = house.holder(lead)
    expire(house, lead)
    second = house.holder(lead)
    assert {first, second} == {one, two}
    house.desk.reject(house.offer(lead), "too_far", member=second)
    house.work()
    assert house.holder(lead) == first
    assert house.value("SELECT kind FROM offers WHERE state = 'offered'") == "second"
    assert house.value("SELECT reason FROM decisions ORDER BY seq DESC LIMIT 1") == "chosen_again"
    expire(house, lead)
    assert house.state(lead) == ("review", "everyone_tried")
    sound(house)


def test_O5_a_lead_that_waits_for_who_let_it_expire_gets_its_freed_place(house: House) -> None:
    house.publish(answers={"again_when_exhausted": True})
    one = house.member("one", capacity=1)
    lead = house.lead("unloved")
    house.work()
    newer = house.lead("urgent", priority=9)
    house.work()
    expire(house, lead)
    assert house.holder(newer) == one
    assert house.state(lead) == ("waiting", "no_room")
    house.desk.reject(house.offer(newer), "too_far", member=one)
    house.work()
    assert house.holder(lead) == one


# --- another chance


def chance(house: House, members: int = 3, **over: object) -> tuple[int, UUID, int]:
    """A lead whose first member let it expire and queued again while the second is asked."""
    house.publish(answers={"second_chance": True}, **over)
    for number in range(members):
        house.member(f"m{number}")
    lead = house.lead("wanted")
    house.work()
    first = house.holder(lead)
    assert first is not None
    offer = expire(house, lead)
    house.openings.second_chance(offer, member=first)
    house.work()
    return lead, offer, first


def test_O18_a_second_chance_comes_when_the_offer_of_now_ends_without_accept(house: House) -> None:
    lead, offer, first = chance(house)
    second = house.holder(lead)
    assert second not in {None, first}
    assert house.openings.second_chance(offer, member=first).repeated
    house.desk.reject(house.offer(lead), "too_far", member=second)
    house.work()
    assert house.holder(lead) == first
    assert house.value("SELECT kind FROM offers WHERE state = 'offered'") == "second"
    assert house.value("SELECT used_at IS NOT NULL FROM chances")
    expire(house, lead)
    assert house.holder(lead) not in {None, first, second}
    sound(house)


def test_O18_who_accepts_first_leaves_no_second_chance(house: House) -> None:
    lead, offer, first = chance(house)
    second = house.holder(lead)
    house.desk.accept(house.offer(lead), member=second)
    house.work()
    assert house.holder(lead) == second
    house.run("DELETE FROM chances")
    with pytest.raises(OfferTaken):
        house.openings.second_chance(offer, member=first)


def test_O18_a_second_chance_is_given_at_the_end_of_the_chain_before_a_person_looks(house: House) -> None:
    lead, _, first = chance(house, members=2, reassignments=1)
    house.desk.reject(house.offer(lead), "too_far", member=house.holder(lead))
    house.work()
    assert house.holder(lead) == first
    expire(house, lead)
    assert house.state(lead) == ("review", "exhausted")
    sound(house)


def test_O18_a_second_chance_waits_for_nobody(house: House) -> None:
    lead, _, first = chance(house, members=3)
    house.run("UPDATE members SET capacity = 0 WHERE id = :m", m=first)
    house.run("UPDATE markets SET roster_version = roster_version + 1")
    house.desk.reject(house.offer(lead), "too_far", member=house.holder(lead))
    house.work()
    assert house.holder(lead) not in {None, first}
    sound(house)


def test_O18_only_who_let_it_expire_may_ask_and_only_where_the_policy_says_so(house: House) -> None:
    one, two = house.member("one"), house.member("two")
    lead = house.lead("wanted")
    house.work()
    holder = house.holder(lead)
    other = two if holder == one else one
    offer = house.offer(lead)
    for stranger in (other, 0):
        with pytest.raises(UnknownOffer):
            house.openings.second_chance(offer, member=stranger)
    with pytest.raises(NoSecondChance, match="offered"):
        house.openings.second_chance(offer, member=holder or 0)
    expire(house, lead)
    with pytest.raises(NoSecondChance, match="no second chances"):
        house.openings.second_chance(offer, member=holder or 0)


# --- the open pool


def opened(house: House, **over: object) -> tuple[int, dict[str, int]]:
    """A lead that one member rejected and two let expire, open to those two."""
    house.publish(reassignments=2, answers={"open_for": "24h"}, **over)
    for name in ("x", "y", "z"):
        house.member(name)
    lead = house.lead("left over")
    house.work()
    rejecter = house.holder(lead) or 0
    house.desk.reject(house.offer(lead), "too_far", member=rejecter)
    house.work()
    first = house.holder(lead) or 0
    expire(house, lead)
    second = house.holder(lead) or 0
    expire(house, lead)
    house.tick()
    return lead, {"rejecter": rejecter, "first": first, "second": second}


def test_O9_after_the_last_attempt_a_lead_is_open_to_all_who_let_it_expire(house: House) -> None:
    lead, who = opened(house)
    assert house.state(lead) == ("waiting", "open_pool")
    length = house.value("SELECT open_until - clock_timestamp() FROM leads WHERE id = :lead", lead=lead)
    assert 23.9 * HOUR < length <= 24 * HOUR
    assert [one.lead_id for one in house.openings.open_leads(who["first"])] == [lead]
    assert house.openings.open_leads(who["rejecter"]) == []
    assert {name: house.told(member)[-1] for name, member in who.items()} == {
        "rejecter": "offer.rejected", "first": "lead.opened", "second": "lead.opened",
    }  # fmt: skip
    house.leads.wake()
    house.tick()
    assert house.state(lead) == ("waiting", "open_pool")


def test_O9_the_first_to_take_it_has_it_and_no_turn_is_charged(house: House) -> None:
    lead, who = opened(house)
    before = house.turnstile.standings(MARKET, "installers")
    with pytest.raises(UnknownOffer):
        house.openings.take(lead, member=who["rejecter"])
    taken = house.openings.take(lead, member=who["first"])
    house.work()
    assert (taken.state, house.state(lead), house.holder(lead)) == (
        OfferState.ACCEPTED, ("accepted", None), who["first"],
    )  # fmt: skip
    assert house.openings.take(lead, member=who["first"]).repeated
    with pytest.raises(OfferTaken):
        house.openings.take(lead, member=who["second"])
    assert house.told(who["second"])[-1] == "offer.taken"
    assert house.value("SELECT kind FROM offers WHERE state = 'accepted'") == "open"
    assert house.turnstile.standings(MARKET, "installers") == before
    assert house.turnstile.open_counts(MARKET) == {who["first"]: 1}
    assert house.written[-1].state == "accepted"
    sound(house)


def test_O9_of_many_who_take_it_at_once_one_has_it(house: House) -> None:
    lead, who = opened(house)

    def take(member: int) -> str:
        try:
            house.openings.take(lead, member=member)
        except OfferTaken:
            return "taken"
        return "mine"

    with ThreadPoolExecutor(8) as many:
        outcomes = list(many.map(take, [who["first"], who["second"]] * 8))
    house.work()
    assert outcomes.count("mine") == outcomes.count("taken") == 8
    assert house.value("SELECT count(*) FROM offers WHERE state = 'accepted'") == 1
    assert sum(house.turnstile.open_counts(MARKET).values()) == 1


def test_O9_who_is_full_cannot_take_it(house: House) -> None:
    lead, who = opened(house)
    house.run("UPDATE members SET capacity = 0 WHERE id = :m", m=who["first"])
    with pytest.raises(NoRoom):
        house.openings.take(lead, member=who["first"])
    assert house.state(lead) == ("waiting", "open_pool")


def test_O9_after_its_time_a_person_looks(house: House) -> None:
    lead, who = opened(house)
    house.run("UPDATE leads SET open_until = clock_timestamp() WHERE id = :lead", lead=lead)
    with pytest.raises(OfferExpired):
        house.openings.take(lead, member=who["first"])
    house.tick()
    assert house.state(lead) == ("review", "exhausted")
    with pytest.raises(OfferExpired):
        house.openings.take(lead, member=who["first"])
    assert house.openings.open_leads(who["first"]) == []


def test_O9_a_lead_that_everybody_rejected_is_open_to_nobody(house: House) -> None:
    house.publish(reassignments=0, answers={"open_for": "24h"})
    one = house.member("one")
    lead = house.lead("disliked")
    house.work()
    house.desk.reject(house.offer(lead), "too_far", member=one)
    house.work()
    house.tick()
    assert house.state(lead) == ("review", "exhausted")


def test_O9_a_lead_whose_everyone_was_tried_is_opened_too(house: House) -> None:
    house.publish(reassignments=5, answers={"open_for": "24h"})
    one = house.member("one")
    lead = house.lead("only one")
    house.work()
    expire(house, lead)
    house.tick()
    assert house.state(lead) == ("waiting", "open_pool")
    assert [o.lead_id for o in house.openings.open_leads(one)] == [lead]


def test_a_ladder_names_tiers_that_there_are(house: House) -> None:
    with pytest.raises(BadInput, match="'bronze', which tiers does not name"):
        house.publish_document(document(answers={"ladder": [{"tiers": ["bronze"]}]}))
