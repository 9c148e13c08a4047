"""One set of promises for every turnstile: the one in memory and the one on a real Valkey."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from routing.decision import Ask, Candidate, Grant, Group
from routing.errors import BadInput, ColdTurnstile
from routing.fairness import TURN
from routing.limits import PLENTY, Check, Stop, Use, Uses
from routing.policy import Mode
from routing.ports import Mark, Snapshot, Standing, Turnstile
from routing.turns import Correction, Effect, Uncertain
from storage.redis.turnstile import RedisTurnstile
from tests.fakes.turnstile import FakeTurnstile

MARKET = "solar"
EMPTY = Snapshot(generation=1, seq=0, open_offers={}, standings={}, ticks={}, cursors={})
ROOM = 1_000_000


@pytest.fixture(params=["fake", "valkey"])
def turnstile(request: pytest.FixtureRequest) -> Iterator[Turnstile]:
    """A turnstile warm at generation 1 with nothing in it."""
    if request.param == "fake":
        made: Turnstile = FakeTurnstile()
        made.rebuild(MARKET, EMPTY)
        yield made
        return
    real = RedisTurnstile(request.getfixturevalue("redis_url"))
    real.rebuild(MARKET, EMPTY)
    yield real
    real.close()


leads = count(1)


def a_candidate(
    member: int, *, weight: int = 1000, capacity: int = ROOM, distance_m: float = 1000.0, ring: int = 0
) -> Candidate:
    return Candidate(member, distance_m, ring, tier_rank=1, weight=weight, capacity=capacity)


def a_group(*candidates: Candidate | int, rotation: str = "installers") -> Group:
    made = tuple(c if isinstance(c, Candidate) else a_candidate(c) for c in candidates)
    return Group(0, rotation, made)


def an_ask(
    *groups: Group, lead: int | None = None, attempt: int = 1, mode: Mode = Mode.FAIR, units: int = 1, turn: int = TURN
) -> Ask:
    return Ask(lead or next(leads), attempt, uuid4(), mode, groups, units=units, turn=turn)


def ask(turnstile: Turnstile, *asks: Ask, release: Sequence[UUID] = ()) -> list[Grant]:
    return turnstile.reserve(MARKET, asks, generation=turnstile.mark(MARKET).generation, release=release)


def turns(turnstile: Turnstile, group: Group, number: int, mode: Mode = Mode.FAIR) -> list[int | None]:
    return [ask(turnstile, an_ask(group, mode=mode))[0].member for _ in range(number)]


def test_F1_a_hundred_leads_go_around_four_members_without_anyone_lapped(turnstile: Turnstile) -> None:
    grants = ask(turnstile, *(an_ask(a_group(1, 2, 3, 4)) for _ in range(100)))
    given_to = [grant.member for grant in grants]
    for upto in range(1, 101):
        counts = [given_to[:upto].count(member) for member in (1, 2, 3, 4)]
        assert max(counts) - min(counts) <= 1
    assert turnstile.open_counts(MARKET) == {1: 25, 2: 25, 3: 25, 4: 25}


def test_F2_least_recent_chooses_the_oldest_last_turn(turnstile: Turnstile) -> None:
    assert turns(turnstile, a_group(1, 2, 3), 3, Mode.LEAST_RECENT) == [1, 2, 3]
    assert turns(turnstile, a_group(2, 3), 1, Mode.LEAST_RECENT) == [2]
    assert turns(turnstile, a_group(1, 2, 3, 4), 4, Mode.LEAST_RECENT) == [4, 1, 3, 2]


def test_F4_rotations_do_not_move_each_others_turns(turnstile: Turnstile) -> None:
    gold, silver = a_group(1, 2, 3, rotation="gold"), a_group(2, 3, rotation="silver")
    first = turns(turnstile, gold, 2)
    turns(turnstile, silver, 3)
    assert first + turns(turnstile, gold, 4) == [1, 2, 3, 1, 2, 3]
    assert set(turnstile.standings(MARKET, "silver")) == {2, 3}


def test_F4_turns_survive_a_rebuild_from_what_was_recorded(turnstile: Turnstile) -> None:
    group = a_group(a_candidate(1, weight=2000), 2, 3)
    for mode in (Mode.FAIR, Mode.CURSOR):
        generation = turnstile.mark(MARKET).generation + 1
        turnstile.rebuild(MARKET, dataclasses.replace(EMPTY, generation=generation))
        grants = ask(turnstile, *(an_ask(group, mode=mode) for _ in range(5)))
        accounts = turnstile.standings(MARKET, "installers")
        held = {grant.offer: grant.member for grant in grants if grant.member}
        last = grants[-1].member or 0
        ticks, cursors = {"installers": 5}, {"installers": last}
        recorded = Snapshot(generation + 1, 5, held, {"installers": accounts}, ticks, cursors)
        straight_on = turns(turnstile, group, 6, mode)
        turnstile.rebuild(MARKET, recorded)
        assert turns(turnstile, group, 6, mode) == straight_on


def test_F8_adding_and_removing_a_member_leaves_the_order_of_the_others(turnstile: Turnstile) -> None:
    others, everyone = a_group(1, 2, 4), a_group(1, 2, 3, 4)
    assert turns(turnstile, others, 2) == [1, 2]
    assert turns(turnstile, everyone, 4) == [4, 3, 1, 2]
    assert turns(turnstile, others, 3) == [4, 1, 2]


def test_C1_nobody_gets_more_than_its_capacity(turnstile: Turnstile) -> None:
    group = a_group(a_candidate(1, capacity=5), a_candidate(2, capacity=3))
    grants = ask(turnstile, *(an_ask(group) for _ in range(20)))
    assert [grant.member for grant in grants].count(1) == 5
    assert [grant.member for grant in grants].count(2) == 3
    assert [grant.member for grant in grants][8:] == [None] * 12
    assert turnstile.open_counts(MARKET) == {1: 5, 2: 3}


def test_C6_a_pending_offer_holds_a_place_until_it_is_released(turnstile: Turnstile) -> None:
    group = a_group(a_candidate(1, capacity=1))
    (first,) = ask(turnstile, an_ask(group))
    assert ask(turnstile, an_ask(group))[0].member is None
    turnstile.release(MARKET, [first.offer, first.offer, uuid4()])
    assert turnstile.open_counts(MARKET) == {}
    (second,) = ask(turnstile, an_ask(group))
    assert second.member == 1
    assert ask(turnstile, an_ask(group), release=[second.offer])[0].member == 1


def test_C5_a_lead_of_two_units_fits_three_times_into_a_capacity_of_six(turnstile: Turnstile) -> None:
    group = a_group(a_candidate(1, capacity=6), a_candidate(2, capacity=5))
    heavy = [an_ask(group, units=2) for _ in range(7)]
    grants = ask(turnstile, *heavy)
    assert [grant.member for grant in grants].count(1) == 3
    assert [grant.member for grant in grants].count(2) == 2
    assert [grant.member for grant in grants][5:] == [None, None]
    assert turnstile.open_counts(MARKET) == {1: 6, 2: 4}
    assert [(s.member, s.eligible, s.open) for s in grants[-1].sights] == [(1, False, 6), (2, False, 4)]
    assert ask(turnstile, an_ask(group))[0].member == 2  # there is room for one of one unit
    turnstile.release(MARKET, [g.offer for g in grants if g.member == 1][:1])
    assert turnstile.open_counts(MARKET) == {1: 4, 2: 5}
    (again,) = ask(turnstile, an_ask(group, units=2))
    assert again.member == 1
    for _ in range(2):
        turnstile.settle(MARKET, cancel=[(again.lead, 1)])
    assert turnstile.open_counts(MARKET) == {1: 4, 2: 5}


def test_C5_units_survive_a_rebuild(turnstile: Turnstile) -> None:
    light, heavy = uuid4(), uuid4()
    held = Snapshot(2, 5, {light: 1, heavy: 1}, {}, {}, {}, units={heavy: 3})
    turnstile.rebuild(MARKET, held)
    assert turnstile.open_counts(MARKET) == {1: 4}
    turnstile.release(MARKET, [heavy])
    assert turnstile.open_counts(MARKET) == {1: 1}


def test_F12_a_lead_that_costs_two_turns_is_paid_with_two(turnstile: Turnstile) -> None:
    group = a_group(1, 2, 3)
    first, second, third = ask(turnstile, *(an_ask(group, turn=cost * TURN) for cost in (2, 1, 1)))
    assert [first.member, second.member, third.member] == [1, 2, 3]
    assert stand(turnstile) == {1: -666_666, 2: 333_333, 3: 333_333}
    assert turns(turnstile, group, 2) == [2, 3]
    turnstile.settle(MARKET, cancel=[(first.lead, 1)])
    assert sum(stand(turnstile).values()) == 0
    assert stand(turnstile)[1] > 0  # its two turns are given back whole


def test_F12_a_turn_too_large_to_be_exact_is_refused() -> None:
    turnstile = RedisTurnstile("redis://127.0.0.1:1/0")  # never asked
    for one in (an_ask(a_group(1), turn=2**31), an_ask(a_group(a_candidate(1, weight=2**31 - 1)), turn=2**23)):
        with pytest.raises(BadInput, match="does not fit"):
            turnstile.reserve(MARKET, [one], generation=1)


def test_the_first_group_with_anyone_eligible_decides_and_later_ones_are_not_looked_at(turnstile: Turnstile) -> None:
    full = a_group(a_candidate(1, capacity=0), rotation="near")
    (grant,) = ask(turnstile, an_ask(full, a_group(2, rotation="far"), a_group(3, rotation="farther")))
    assert (grant.member, grant.group) == (2, 1)
    assert [(sight.member, sight.eligible) for sight in grant.sights] == [(1, False), (2, True)]
    assert turnstile.standings(MARKET, "near") == {}


def test_the_same_ask_again_gets_the_same_answer(turnstile: Turnstile) -> None:
    group = a_group(1, 2)
    (first,) = ask(turnstile, an_ask(group, lead=500))
    turns(turnstile, group, 3)
    again, new, within = ask(turnstile, an_ask(group, lead=500), an_ask(group, lead=501), an_ask(a_group(9), lead=501))
    assert answer(again) == answer(first)
    assert answer(within) == answer(new)
    assert (again.repeated, within.repeated) == (True, True)
    assert sum(turnstile.open_counts(MARKET).values()) == 5


def answer(grant: Grant) -> Grant:
    """What a repeated answer tells; what was seen is told once."""
    return dataclasses.replace(grant, sights=(), repeated=False, stops={}, uses=())


def test_an_answer_with_nobody_is_not_kept_and_the_next_time_may_find_room(turnstile: Turnstile) -> None:
    group = a_group(a_candidate(1, capacity=1))
    (holder,) = ask(turnstile, an_ask(group))
    waiting = an_ask(group)
    assert ask(turnstile, waiting)[0].member is None
    assert len(turnstile.pending(MARKET, older_than_s=0)) == 1
    (found,) = ask(turnstile, waiting, release=[holder.offer])
    assert (found.member, found.repeated) == (1, False)


def test_answers_are_numbered_and_their_clock_goes_forward(turnstile: Turnstile) -> None:
    grants = ask(turnstile, *(an_ask(a_group(1)) for _ in range(50)), an_ask(a_group(a_candidate(1, capacity=0))))
    assert [grant.seq for grant in grants] == list(range(1, 52))
    times = [grant.at_us for grant in grants]
    assert times == sorted(set(times))


def test_an_answer_with_nobody_takes_no_number_when_more_will_be_asked(turnstile: Turnstile) -> None:
    full = a_group(a_candidate(1, capacity=0))
    more, found, nobody = ask(
        turnstile,
        dataclasses.replace(an_ask(full), last=False),
        dataclasses.replace(an_ask(a_group(2)), last=False),
        an_ask(full),
    )
    assert [(grant.member, grant.seq) for grant in (more, found, nobody)] == [(None, 0), (2, 1), (None, 2)]


def test_cancelling_gives_back_place_turn_and_shares(turnstile: Turnstile) -> None:
    group = a_group(a_candidate(1, weight=3000), 2, a_candidate(3, weight=7))
    turns(turnstile, group, 4)
    before = turnstile.standings(MARKET, "installers"), turnstile.open_counts(MARKET)
    for mode in Mode:
        (grant,) = ask(turnstile, an_ask(group, mode=mode))
        assert turnstile.open_counts(MARKET) != before[1]
        for _ in range(2):
            turnstile.settle(MARKET, cancel=[(grant.lead, grant.attempt), (9999, 1)])
        assert (turnstile.standings(MARKET, "installers"), turnstile.open_counts(MARKET)) == before


def test_cancelling_the_last_turn_gives_the_cursor_back_and_an_earlier_one_does_not(turnstile: Turnstile) -> None:
    three = a_group(1, 2, 3)
    assert turns(turnstile, three, 1, Mode.CURSOR) == [1]
    for _ in range(2):
        (second,) = ask(turnstile, an_ask(three, mode=Mode.CURSOR))
        assert second.member == 2
        turnstile.settle(MARKET, cancel=[(second.lead, 1)])
    second, third = ask(turnstile, *(an_ask(three, mode=Mode.CURSOR) for _ in range(2)))
    turnstile.settle(MARKET, cancel=[(second.lead, 1)])
    assert third.member == 3
    assert turns(turnstile, three, 3, Mode.CURSOR) == [1, 2, 3]
    accounts = turnstile.standings(MARKET, "installers")
    assert [accounts[member].served for member in (3, 1, 2)] == [6, 4, 5]  # ticks: none twice, none skipped


def test_cancelling_an_earlier_turn_leaves_the_later_ones(turnstile: Turnstile) -> None:
    group = a_group(1, 2)
    first, second = ask(turnstile, an_ask(group), an_ask(group))
    turnstile.settle(MARKET, cancel=[(first.lead, 1)])
    assert turnstile.standings(MARKET, "installers") == {
        1: Standing(TURN // 2, 0),
        2: Standing(-TURN // 2, second.seq),
    }


def test_cancelling_after_the_place_was_released_frees_no_other_place(turnstile: Turnstile) -> None:
    first, _ = ask(turnstile, an_ask(a_group(1)), an_ask(a_group(1)))
    turnstile.release(MARKET, [first.offer])
    turnstile.settle(MARKET, cancel=[(first.lead, 1)])
    assert turnstile.open_counts(MARKET) == {1: 1}


def test_kept_reservations_are_forgotten_and_hold_their_places(turnstile: Turnstile) -> None:
    first, second = ask(turnstile, an_ask(a_group(1)), an_ask(a_group(1), attempt=3))
    (one, two) = turnstile.pending(MARKET, older_than_s=0)
    assert (one.lead, one.attempt, one.offer, one.member) == (first.lead, 1, first.offer, 1)
    assert (two.lead, two.attempt) == (second.lead, 3)
    assert 0 <= two.age_s <= one.age_s < 60
    assert turnstile.pending(MARKET, older_than_s=60) == []
    turnstile.settle(MARKET, keep=[(first.lead, 1), (second.lead, 3)])
    turnstile.settle(MARKET, cancel=[(first.lead, 1)])
    assert turnstile.pending(MARKET, older_than_s=0) == []
    assert turnstile.open_counts(MARKET) == {1: 2}


def test_the_wrong_generation_is_cold_and_changes_nothing(turnstile: Turnstile) -> None:
    (held,) = ask(turnstile, an_ask(a_group(1)))
    with pytest.raises(ColdTurnstile):
        turnstile.reserve(MARKET, [an_ask(a_group(1))], generation=2, release=[held.offer])
    assert turnstile.open_counts(MARKET) == {1: 1}


def test_a_market_never_built_is_cold(turnstile: Turnstile) -> None:
    nowhere = "nowhere"
    calls: list[Callable[[], object]] = [
        lambda: turnstile.reserve(nowhere, [], generation=0),
        lambda: turnstile.release(nowhere, []),
        lambda: turnstile.pending(nowhere, older_than_s=0),
        lambda: turnstile.standings(nowhere, "installers"),
        lambda: turnstile.open_counts(nowhere),
        lambda: turnstile.correct(nowhere, [a_correction(m1=0)], generation=1),
        lambda: turnstile.uncertain(nowhere, older_than_s=0),
    ]
    for call in calls:
        with pytest.raises(ColdTurnstile):
            call()
    turnstile.settle(nowhere, keep=[(1, 1)], cancel=[(2, 1)])  # it knows of none, so none is left to settle


def test_a_rebuild_replaces_everything_at_once(turnstile: Turnstile) -> None:
    ask(turnstile, an_ask(a_group(7, 8, rotation="old")), an_ask(a_group(7)))
    held = {uuid4(): 3, uuid4(): 3, uuid4(): 4}
    accounts = {"installers": {3: Standing(-40, 2), 4: Standing(40, 1)}, "new": {}}
    for generation in (2, 3):
        turnstile.rebuild(
            MARKET, Snapshot(generation, 90, held, accounts, {"installers": 2, "new": 0}, {"installers": 3})
        )
        assert turnstile.mark(MARKET) == Mark(generation, 90)
        assert turnstile.open_counts(MARKET) == {3: 2, 4: 1}
        assert turnstile.standings(MARKET, "old") == {}
        assert turnstile.standings(MARKET, "installers") == accounts["installers"]
        assert turnstile.pending(MARKET, older_than_s=0) == []
        (grant,) = turnstile.reserve(MARKET, [an_ask(a_group(3, 4))], generation=generation)
        assert (grant.member, grant.seq) == (4, 91)


def test_G8_who_was_frozen_while_it_rebuilt_undoes_nothing_that_came_after(turnstile: Turnstile) -> None:
    turnstile.rebuild(MARKET, dataclasses.replace(EMPTY, generation=2))
    (grant,) = turnstile.reserve(MARKET, [an_ask(a_group(3))], generation=2)
    for late in (1, 2):
        with pytest.raises(ColdTurnstile):
            turnstile.rebuild(MARKET, dataclasses.replace(EMPTY, generation=late))
    assert turnstile.mark(MARKET) == Mark(2, grant.seq)
    assert turnstile.open_counts(MARKET) == {3: 1}


def test_markets_know_nothing_of_each_other(turnstile: Turnstile) -> None:
    turnstile.rebuild("heat pumps", dataclasses.replace(EMPTY, generation=5))
    ask(turnstile, an_ask(a_group(1), lead=77))
    (other,) = turnstile.reserve("heat pumps", [an_ask(a_group(1), lead=77)], generation=5)
    assert (other.repeated, other.seq) == (False, 1)
    assert turnstile.open_counts(MARKET) == turnstile.open_counts("heat pumps") == {1: 1}


# --- limits


def a_check(counter: str, most: int, *, bucket: int = 7, buckets: int = 1, **share: Any) -> Check:
    return Check(counter, counter, bucket, buckets, 0, 60, most, **share)


def limited(turnstile: Turnstile, number: int, limits: Mapping[int, tuple[Check, ...]], **over: Any) -> list[Grant]:
    asks = [an_ask(a_group(*limits), **over) for _ in range(number)]
    return ask(turnstile, *(dataclasses.replace(one, limits=limits) for one in asks))


def test_C4_who_has_used_its_cap_is_passed_over_and_named_with_the_numbers(turnstile: Turnstile) -> None:
    limits = {1: (a_check("1 in pool", 3), a_check("1 in all", 5)), 2: ()}
    grants = limited(turnstile, 8, limits)
    assert [g.member for g in grants].count(1) == 3
    assert grants[-1].stops == {1: Stop("1 in pool", 3, 3, 0)}
    assert [(s.member, s.eligible) for s in grants[-1].sights] == [(1, False), (2, True)]
    first = grants[0]
    assert [(u.counter, u.used, u.most) for u in first.uses] == [("1 in pool", 0, 3), ("1 in all", 0, 5)]
    elsewhere = limited(turnstile, 4, {1: (a_check("1 in other pool", 3), a_check("1 in all", 5))})
    assert [g.member for g in elsewhere] == [1, 1, None, None]
    assert elsewhere[-1].stops == {1: Stop("1 in all", 5, 5, 0)}


def test_C4_a_lead_counts_with_its_units_and_undoing_it_gives_them_back(turnstile: Turnstile) -> None:
    limits = {1: (a_check("day", 5),)}
    first, second, third = limited(turnstile, 3, limits, units=2)
    assert [first.member, second.member, third.member] == [1, 1, None]
    assert third.stops == {1: Stop("day", 4, 5, 0)}
    assert turnstile.uses(MARKET) == {"day": {7: 4}}
    for _ in range(2):
        turnstile.settle(MARKET, cancel=[(second.lead, 1)])
    assert turnstile.uses(MARKET) == {"day": {7: 2}}
    turnstile.settle(MARKET, keep=[(first.lead, 1)])
    turnstile.release(MARKET, [first.offer])
    assert turnstile.uses(MARKET) == {"day": {7: 2}}  # what was offered counts for good


def test_C4_what_was_not_kept_is_given_back_once_where_the_limit_says_so(turnstile: Turnstile) -> None:
    (grant,) = limited(turnstile, 1, {1: (a_check("kept/day", 1),)})
    for _ in range(2):
        turnstile.release(MARKET, [grant.offer], back={grant.offer: grant.uses})
        assert turnstile.uses(MARKET) == {}


def test_C3_a_rolling_window_sums_its_buckets_and_forgets_old_ones(turnstile: Turnstile) -> None:
    def at(bucket: int) -> list[int | None]:
        return [g.member for g in limited(turnstile, 2, {1: (a_check("roll", 3, bucket=bucket, buckets=4),)})]

    assert [at(10), at(12), at(13), at(14)] == [[1, 1], [1, None], [None, None], [1, 1]]
    assert turnstile.uses(MARKET) == {"roll": {10: 2, 12: 1, 14: 2}}
    assert at(16) == [1, None]
    assert turnstile.uses(MARKET) == {"roll": {12: 1, 14: 2, 16: 1}}


def test_F13_nobody_ever_passes_its_share_of_the_whole_or_of_its_least_size(turnstile: Turnstile) -> None:
    def share(member: int) -> tuple[Check, ...]:
        mine = a_check(f"share m{member}", PLENTY, percent=40, floor=10, whole="whole")
        return mine, a_check("whole", PLENTY)

    limits = {member: share(member) for member in (1, 2, 3)}
    heavy = a_group(a_candidate(1, weight=8000), 2, 3)
    grants = ask(turnstile, *(dataclasses.replace(an_ask(heavy), limits=limits) for _ in range(100)))
    given = [grant.member for grant in grants]
    assert None not in given
    for upto in range(1, 101):
        assert given[:upto].count(1) <= 0.4 * max(upto, 10)
    assert given[:8].count(1) == 4
    assert any(stop.limit == "share m1" and stop.used + 1 > stop.most for g in grants for stop in g.stops.values())


def test_limits_survive_a_rebuild(turnstile: Turnstile) -> None:
    turnstile.rebuild(MARKET, dataclasses.replace(EMPTY, generation=2, uses={"day": {7: 3}, "old": {1: 1}}))
    assert turnstile.uses(MARKET) == {"day": {7: 3}, "old": {1: 1}}
    assert [g.member for g in limited(turnstile, 2, {1: (a_check("day", 4),)})] == [1, None]


# --- corrections


def a_correction(**deltas: int) -> Correction:
    moved = {int(member[1:]): delta for member, delta in deltas.items()}
    return Correction(uuid4(), MARKET, "installers", Effect.RETURN, "too_far", moved)


def stand(turnstile: Turnstile) -> dict[int, int]:
    return {member: account.standing for member, account in turnstile.standings(MARKET, "installers").items()}


def test_F9_a_correction_moves_standings_and_nothing_else(turnstile: Turnstile) -> None:
    grants = ask(turnstile, *(an_ask(a_group(1, 2, 3)) for _ in range(4)))
    before, open_ = turnstile.standings(MARKET, "installers"), turnstile.open_counts(MARKET)
    one, other = a_correction(m1=-5, m2=5), a_correction(m3=-1, m40=1)
    first, second = turnstile.correct(MARKET, [one, other], generation=1)
    assert (first.seq, second.seq) == (grants[-1].seq + 1, grants[-1].seq + 2)
    assert grants[-1].at_us < first.at_us < second.at_us
    after = turnstile.standings(MARKET, "installers")
    expected = {m: Standing(before[m].standing + by, before[m].served) for m, by in ((1, -5), (2, 5), (3, -1))}
    assert after == expected | {40: Standing(1, 0)}
    assert turnstile.open_counts(MARKET) == open_
    (grant,) = ask(turnstile, an_ask(a_group(1, 2, 3)))
    assert grant.seq == second.seq + 1


def test_F9_a_correction_is_carried_out_once_until_it_is_settled(turnstile: Turnstile) -> None:
    one = a_correction(m1=-5, m2=5)
    first = turnstile.correct(MARKET, [one], generation=1)
    assert turnstile.correct(MARKET, [one], generation=1) == first
    assert stand(turnstile) == {1: -5, 2: 5}
    assert turnstile.uncertain(MARKET, older_than_s=0) == [Uncertain(one.id, 1, first[0].seq)]
    assert turnstile.uncertain(MARKET, older_than_s=3600) == []
    for _ in range(2):
        turnstile.settle_corrections(MARKET, keep=[(one.id, first[0].seq)])
        assert turnstile.uncertain(MARKET, older_than_s=0) == []
        assert stand(turnstile) == {1: -5, 2: 5}


def test_F9_a_correction_that_never_came_to_be_is_undone_once(turnstile: Turnstile) -> None:
    one = a_correction(m1=-5, m2=5)
    (number,) = turnstile.correct(MARKET, [one], generation=1)
    turnstile.settle_corrections(MARKET, undo=[(one.id, number.seq + 1)])  # of another number: not this one
    assert stand(turnstile) == {1: -5, 2: 5}
    for _ in range(2):
        turnstile.settle_corrections(MARKET, undo=[(one.id, number.seq)])
        assert stand(turnstile) == {}


def test_F9_a_rebuild_forgets_corrections_and_an_older_generation_gets_none(turnstile: Turnstile) -> None:
    one = a_correction(m1=-5, m2=5)
    turnstile.correct(MARKET, [one], generation=1)
    turnstile.rebuild(MARKET, dataclasses.replace(EMPTY, generation=2))
    assert turnstile.uncertain(MARKET, older_than_s=0) == []
    with pytest.raises(ColdTurnstile):
        turnstile.correct(MARKET, [one], generation=1)
    assert stand(turnstile) == {}
    assert [one.seq for one in turnstile.correct(MARKET, [one], generation=2)] == [1]


# --- the two side by side on generated lives ------------------------------------------------------------------------

members = st.integers(1, 9)
candidates = st.builds(
    a_candidate,
    members,
    weight=st.sampled_from([1, 7, 1000, 3000, 2_000_000_000]),
    capacity=st.sampled_from([0, 1, 2, 3, 5, ROOM]),
    distance_m=st.sampled_from([0.0, 10.04, 10.01, 99.95, 12_345_678.9]),
)
groups = st.builds(
    lambda rotation, found: Group(0, rotation, tuple(found)),
    st.sampled_from(["a", "b", "ünï:cödé {x}"]),
    st.lists(candidates, max_size=9, unique_by=lambda c: c.member),
)
checks = st.builds(
    lambda counter, bucket, buckets, most, percent, floor: Check(
        f"at most {most}", counter, bucket, buckets, 0, 60, most, percent, floor, "whole" if percent else ""
    ),
    st.sampled_from(["day/m1", "kept/wöche/n{x}", "whole"]),
    st.sampled_from([5, 6]),
    st.sampled_from([1, 3]),
    st.sampled_from([0, 1, 2, 4, PLENTY]),
    st.sampled_from([0, 0, 30, 60]),
    st.sampled_from([0, 3]),
)
asks = st.builds(
    lambda lead, attempt, offer, mode, found, last, units, turn, limits: Ask(
        lead, attempt, offer, mode, tuple(found), last, units, turn, limits
    ),
    st.integers(1, 12),
    st.integers(1, 2),
    st.uuids(version=4),
    st.sampled_from(Mode),
    st.lists(groups, max_size=3),
    st.booleans(),
    st.sampled_from([1, 1, 1, 2, 3]),
    st.sampled_from([TURN, TURN, 1, 333_333, 2_500_000, 4_000_000]),
    st.one_of(st.just({}), st.dictionaries(members, st.lists(checks, max_size=3).map(tuple), max_size=6)),
)
accounts = st.dictionaries(
    members, st.builds(Standing, st.integers(-(10**12), 10**12), st.integers(0, 10**9)), max_size=6
)


corrections = st.builds(
    lambda id_, rotation, deltas, last: Correction(
        id_, MARKET, rotation, Effect.GIVE, "because", deltas | {last: -sum(deltas.values())}
    ),
    st.sampled_from([UUID(int=n) for n in range(1, 6)]),
    st.sampled_from(["a", "b", "never turned"]),
    st.dictionaries(members, st.integers(-(10**9), 10**9), max_size=5),
    st.integers(20, 22),
)


class SideBySide(RuleBasedStateMachine):
    """Whatever is done to both, both answer alike."""

    real: RedisTurnstile

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTurnstile()
        self.generation = 0
        self.offers: list[UUID] = []
        self.uses: dict[UUID, tuple[Use, ...]] = {}

    @initialize()
    def start_empty(self) -> None:
        self.generation = self.real.mark(MARKET).generation
        self.load(dataclasses.replace(EMPTY, generation=self.generation + 1))

    @rule(
        held=st.dictionaries(st.uuids(version=4), members, max_size=6),
        standings=st.dictionaries(st.sampled_from(["a", "b", "c"]), accounts, max_size=3),
        seq=st.integers(0, 2**40),
        cursor=members,
        heavy=st.integers(1, 4),
        used=st.dictionaries(
            st.sampled_from(["day/m1", "whole"]),
            st.dictionaries(st.integers(2, 6), st.integers(1, 4), min_size=1, max_size=3),
        ),
    )
    def load_from_ledger(  # noqa: PLR0917 - what is drawn
        self,
        held: dict[UUID, int],
        standings: dict[str, dict[int, Standing]],
        seq: int,
        cursor: int,
        heavy: int,
        used: Uses,
    ) -> None:
        ticks = {name: max((a.served for a in found.values()), default=0) for name, found in standings.items()}
        cursors = dict.fromkeys(standings, cursor)
        self.offers += held
        units = dict.fromkeys(list(held)[:2], heavy) if heavy > 1 else {}
        self.load(Snapshot(self.generation + 1, seq, held, standings, ticks, cursors, units=units, uses=used))

    def load(self, snapshot: Snapshot) -> None:
        self.generation = snapshot.generation
        for one in (self.fake, self.real):
            one.rebuild(MARKET, snapshot)

    @rule(found=st.lists(asks, min_size=1, max_size=6), data=st.data())
    def reserve(self, found: list[Ask], data: st.DataObject) -> None:
        release = data.draw(self.some_offers())
        self.offers += [one.offer for one in found]
        mine, theirs = (
            one.reserve(MARKET, found, generation=self.generation, release=release) for one in (self.fake, self.real)
        )
        assert [timeless(grant) for grant in mine] == [timeless(grant) for grant in theirs]
        self.uses |= {grant.offer: grant.uses for grant in mine if grant.uses and not grant.repeated}

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        offers = data.draw(self.some_offers())
        back = {offer: self.uses[offer] for offer in offers if offer in self.uses and data.draw(st.booleans())}
        for one in (self.fake, self.real):
            one.release(MARKET, offers, back=back)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        some = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 2)), max_size=6)
        keep, cancel = data.draw(some), data.draw(some)
        for one in (self.fake, self.real):
            one.settle(MARKET, keep=keep, cancel=cancel)

    @rule(made=st.lists(corrections, min_size=1, max_size=4, unique_by=lambda one: one.id))
    def correct(self, made: list[Correction]) -> None:
        mine, theirs = (one.correct(MARKET, made, generation=self.generation) for one in (self.fake, self.real))
        assert [(one.id, one.seq) for one in mine] == [(one.id, one.seq) for one in theirs]

    @rule(data=st.data(), undone=st.booleans(), late=st.integers(0, 1))
    def settle_corrections(self, data: st.DataObject, undone: bool, late: int) -> None:
        known = [(one.id, one.seq - late) for one in self.fake.uncertain(MARKET, older_than_s=0)]
        some = data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []
        for one in (self.fake, self.real):
            one.settle_corrections(MARKET, **{"undo" if undone else "keep": some})

    @rule()
    def ask_an_older_generation(self) -> None:
        for one in (self.fake, self.real):
            with pytest.raises(ColdTurnstile):
                one.reserve(MARKET, [], generation=self.generation - 1, release=self.offers)

    @invariant()
    def both_hold_the_same(self) -> None:
        if not self.generation:
            return
        assert self.real.open_counts(MARKET) == self.fake.open_counts(MARKET)
        assert self.real.uses(MARKET) == self.fake.uses(MARKET)
        for rotation in ("a", "b", "c", "ünï:cödé {x}", "never turned"):
            assert self.real.standings(MARKET, rotation) == self.fake.standings(MARKET, rotation)
        assert self.real.uncertain(MARKET, older_than_s=0) == self.fake.uncertain(MARKET, older_than_s=0)
        mine, theirs = (
            [dataclasses.replace(p, age_s=0.0) for p in one.pending(MARKET, older_than_s=0)]
            for one in (self.fake, self.real)
        )
        assert theirs == mine

    def some_offers(self) -> st.SearchStrategy[list[UUID]]:
        return st.lists(st.sampled_from(self.offers), max_size=4) if self.offers else st.just([])


def timeless(grant: Grant) -> Grant:
    if grant.repeated:  # what was seen is told once
        return dataclasses.replace(grant, at_us=0, sights=(), stops={}, uses=())
    return dataclasses.replace(grant, at_us=0)


@pytest.mark.timeout(900)  # when they differ, the shortest example is searched for
def test_the_rule_in_python_and_the_rule_in_lua_never_differ(redis_url: str) -> None:
    class OnThisServer(SideBySide):
        real = RedisTurnstile(redis_url)

    checks = settings(
        max_examples=int(os.environ.get("FAIRTURN_TEST_EXAMPLES", "30")),  # thousands, for a long night
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(OnThisServer, settings=checks)
    OnThisServer.real.close()
