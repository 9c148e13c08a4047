"""The rule itself, on its own: who is next, and what it costs."""

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from routing import fairness
from routing.bound import bound
from routing.decision import Candidate
from routing.fairness import TURN, Book, Deviation, Verdict, choose
from routing.policy import Mode

PLENTY = 10**6


def a_candidate(member: int, *, weight: int = 1000, capacity: int = PLENTY, distance_m: float = 1000.0) -> Candidate:
    return Candidate(member, distance_m, ring=0, tier_rank=1, weight=weight, capacity=capacity)


def serve(mode: Mode, candidates: Sequence[Candidate], book: Book, opens: dict[int, int] | None = None) -> int:
    held = opens or {}
    verdict = choose(mode, [(c, held.get(c.member, 0)) for c in candidates], book)
    fairness.apply(verdict, book)
    assert verdict.chosen is not None
    return verdict.chosen


def turns(mode: Mode, candidates: Sequence[Candidate], book: Book, number: int) -> list[int]:
    return [serve(mode, candidates, book) for _ in range(number)]


def test_F1_a_hundred_equal_leads_go_around_four_members_without_anyone_lapped() -> None:
    for mode in (Mode.FAIR, Mode.CURSOR, Mode.LEAST_RECENT):
        given_to = turns(mode, [a_candidate(m) for m in (1, 2, 3, 4)], Book(), 100)
        for upto in range(1, 101):
            counts = [given_to[:upto].count(m) for m in (1, 2, 3, 4)]
            assert max(counts) - min(counts) <= 1, (mode, upto)
        assert [given_to.count(m) for m in (1, 2, 3, 4)] == [25, 25, 25, 25]


def test_F2_least_recent_chooses_the_oldest_last_turn_and_the_never_served_first() -> None:
    dice, book, last = random.Random(2), Book(), dict.fromkeys(range(1, 9), 0)
    for turn in range(1, 500):
        here = dice.sample(sorted(last), dice.randint(1, 8))
        chosen = serve(Mode.LEAST_RECENT, [a_candidate(m) for m in here], book)
        assert last[chosen] == min(last[m] for m in here)
        last[chosen] = turn


def test_F4_rotations_do_not_move_each_others_turns() -> None:
    four = [a_candidate(m) for m in (1, 2, 3, 4)]
    alone, first, second = Book(), Book(), Book()
    undisturbed = turns(Mode.FAIR, four, alone, 40)
    disturbed = []
    for _ in range(40):
        disturbed.append(serve(Mode.FAIR, four, first))
        turns(Mode.FAIR, four[1:], second, 3)
    assert disturbed == undisturbed


def test_F5_nobody_is_two_turns_from_its_entitlement_though_one_is_absent_half_the_time() -> None:
    dice, book, everyone = random.Random(5), Book(), [1, 2, 3, 4]
    off = dict.fromkeys(everyone, 0)  # received minus entitled, in twelfths of a turn
    worst = 0
    for _ in range(40_000):
        absent = dice.choice(everyone) if dice.random() < 0.5 else None
        here = [m for m in everyone if m != absent]
        chosen = serve(Mode.FAIR, [a_candidate(m) for m in here], book)
        for member in here:
            off[member] += 12 * (member == chosen) - 12 // len(here)  # three or four share the turn
        worst = max(worst, *(abs(value) for value in off.values()))
    assert worst <= 2 * 12
    assert sum(book.standing.values()) == 0


@settings(max_examples=60)
@given(st.data(), st.integers(2, 7))
def test_F12_whatever_turns_cost_and_whoever_is_there_nobody_passes_the_bound(
    data: st.DataObject, members: int
) -> None:
    here = st.sets(st.integers(1, members), min_size=1).map(sorted)
    leads = st.tuples(here, st.integers(TURN // 100, 100 * TURN), st.integers(1, 9_000))
    book, off, largest = Book(), Deviation(), 0
    for eligible, turn, weight in data.draw(st.lists(leads, min_size=5, max_size=60)):
        seen = [(a_candidate(m, weight=weight if m == eligible[0] else 1000), 0) for m in eligible]
        verdict = choose(Mode.FAIR, seen, book, turn=turn)
        fairness.apply(verdict, book)
        off.add(verdict)
        largest = max(largest, turn)
        assert sum(book.standing.values()) == 0
        assert max(map(abs, book.standing.values())) <= bound(members, largest)
    assert off.worst <= bound(members, largest) + 60 * members  # what was rounded down beside


def test_F12_the_bound_of_two_members_is_reached_by_the_largest_turn() -> None:
    book, pair = Book(), [(a_candidate(m), 0) for m in (1, 2)]
    fairness.apply(choose(Mode.FAIR, pair, book, turn=TURN // 100), book)
    fairness.apply(choose(Mode.FAIR, pair, book, turn=100 * TURN), book)
    assert max(book.standing.values()) == bound(2, 100 * TURN) - TURN // 200


def test_F8_adding_pausing_and_removing_a_member_leaves_the_order_of_the_others() -> None:
    others = [a_candidate(m) for m in (1, 2, 4, 5)]
    for mode in (Mode.FAIR, Mode.CURSOR, Mode.LEAST_RECENT):
        plain, edited = Book(), Book()
        turns(mode, others, plain, 7)
        turns(mode, others, edited, 7)
        with_three = [serve(mode, [*others, a_candidate(3)], edited) for _ in range(5)]
        expected = turns(mode, others, plain, len([m for m in with_three if m != 3]))
        assert [m for m in with_three if m != 3] == expected
        assert turns(mode, others, edited, 4) == turns(mode, others, plain, 4)  # paused, then removed


def test_F8_the_order_in_which_candidates_are_named_changes_nothing() -> None:
    dice = random.Random(8)
    candidates = [a_candidate(m, weight=m * 500, capacity=m + 3, distance_m=m % 3 * 100.0) for m in range(1, 8)]
    for mode in Mode:
        straight, shuffled = Book(), Book()
        for _ in range(60):
            assert serve(mode, candidates, straight) == serve(mode, dice.sample(candidates, 7), shuffled)


def test_weights_share_the_turns() -> None:
    given_to = turns(Mode.FAIR, [a_candidate(1, weight=3000), a_candidate(2, weight=1000)], Book(), 8)
    assert (given_to.count(1), given_to.count(2)) == (6, 2)


def test_a_full_member_is_passed_over_and_gathers_no_credit() -> None:
    book, one, two = Book(), a_candidate(1, capacity=2), a_candidate(2)
    for _ in range(10):
        assert serve(Mode.FAIR, [one, two], book, {1: 2}) == 2
    assert book.standing.get(1, 0) == 0
    assert turns(Mode.FAIR, [one, two], book, 4) == [1, 2, 1, 2]  # back, and no flood


def test_nobody_eligible_changes_nothing() -> None:
    for mode in Mode:
        book = Book({1: 5, 2: -5}, {1: 3}, 3, 1)
        verdict = choose(mode, [(a_candidate(1, capacity=0), 0), (a_candidate(2, capacity=1), 1)], book)
        fairness.apply(verdict, book)
        assert verdict.chosen is None
        assert book == Book({1: 5, 2: -5}, {1: 3}, 3, 1)


def test_a_tie_goes_to_the_longest_unserved_then_to_the_lowest_id() -> None:
    three = [(a_candidate(m), 0) for m in (5, 3, 4)]
    assert choose(Mode.FAIR, three, Book()).chosen == 3
    assert choose(Mode.FAIR, three, Book(served={3: 9, 4: 2, 5: 7}, tick=9)).chosen == 4


def test_the_cursor_goes_on_behind_the_member_served_last_and_wraps() -> None:
    three = [(a_candidate(m), 0) for m in (2, 5, 9)]
    assert [choose(Mode.CURSOR, three, Book(cursor=c)).chosen for c in (0, 2, 3, 5, 9, 12)] == [2, 5, 5, 9, 2, 2]


def test_least_loaded_compares_the_filled_part_of_the_capacity() -> None:
    few = (a_candidate(1, capacity=3), 1)
    many = (a_candidate(2, capacity=30), 9)
    assert choose(Mode.LEAST_LOADED, [few, many], Book()).chosen == 2
    even = (a_candidate(3, capacity=9), 3)
    assert choose(Mode.LEAST_LOADED, [few, even], Book(served={1: 4, 3: 2}, tick=4)).chosen == 3


def test_nearest_takes_distances_within_the_same_decimetre_as_a_tie() -> None:
    two = [(a_candidate(1, distance_m=100.04), 0), (a_candidate(2, distance_m=100.01), 0)]
    assert choose(Mode.NEAREST, two, Book(served={1: 1}, tick=1)).chosen == 2
    assert choose(Mode.NEAREST, [*two, (a_candidate(3, distance_m=99.9), 0)], Book()).chosen == 3


def test_only_mode_fair_moves_standings() -> None:
    for mode in set(Mode) - {Mode.FAIR}:
        book = Book()
        turns(mode, [a_candidate(1), a_candidate(2)], book, 5)
        assert book.standing == {}
        assert book.tick == 5


def test_the_deviation_is_the_farthest_anyone_ever_was() -> None:
    book, seen = Book(), Deviation()
    for _ in range(10):
        verdict = choose(Mode.NEAREST, [(a_candidate(1, distance_m=1.0), 0), (a_candidate(2), 0)], book)
        fairness.apply(verdict, book)
        seen.add(verdict)
    assert seen.now == {1: 5 * TURN, 2: -5 * TURN}
    assert seen.worst_turns == 5.0


Steps = list[tuple[dict[int, int], Mode]]

members = st.integers(1, 12)
crowds = st.lists(
    st.tuples(st.dictionaries(members, st.integers(1, 5_000_000), min_size=1), st.sampled_from(Mode)),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(crowds)
def test_standings_always_add_up_to_zero_and_undoing_backwards_leaves_no_trace(steps: Steps) -> None:
    book = Book()
    done: list[Verdict] = []
    for weights, mode in steps:
        verdict = choose(mode, [(a_candidate(m, weight=w), 0) for m, w in weights.items()], book)
        fairness.apply(verdict, book)
        done.append(verdict)
        assert sum(book.standing.values()) == 0
    for verdict in reversed(done):
        fairness.undo(verdict, book)
    assert (book.tick, book.cursor) == (0, 0)
    assert not any(book.standing.values())
    assert not any(book.served.values())


@settings(deadline=None)
@given(crowds, st.randoms(use_true_random=False))
def test_undoing_in_any_order_gives_every_micro_turn_back(steps: Steps, dice: random.Random) -> None:
    book = Book()
    done: list[Verdict] = []
    for weights, mode in steps:
        verdict = choose(mode, [(a_candidate(m, weight=w), 0) for m, w in weights.items()], book)
        fairness.apply(verdict, book)
        done.append(verdict)
    dice.shuffle(done)
    for verdict in done:
        fairness.undo(verdict, book)
    assert not any(book.standing.values())


@settings(deadline=None)
@given(st.lists(st.sets(members, min_size=1), min_size=1, max_size=300))
def test_equal_weights_stay_within_half_of_the_others_whoever_is_eligible_when(crowd: list[set[int]]) -> None:
    book, seen = Book(), Deviation()
    for here in crowd:
        verdict = choose(Mode.FAIR, [(a_candidate(m), 0) for m in here], book)
        fairness.apply(verdict, book)
        seen.add(verdict)
    everyone = len(set().union(*crowd))
    assert seen.worst_turns <= (everyone - 1) / 2 + 0.01  # the bound of Ajtai et al., and the rounding of shares
