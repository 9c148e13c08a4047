"""How far anyone can be from what is due to it, whatever decisions and corrections there were."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import fairness
from routing.bound import TURN, beyond, bound
from routing.decision import Candidate
from routing.fairness import Book, Deviation, choose
from routing.followed import Followed, Passed
from routing.policy import Mode
from routing.turns import Effect, of_offer

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MEMBERS = st.integers(1, 7)
#: Weights by member, as ramps, distances and minimums scale them from lead to lead; and what the lead costs.
DECIDED = st.tuples(
    st.dictionaries(MEMBERS, st.sampled_from((250, 1000, 2000, 4000, 16_000)), min_size=1),
    st.one_of(st.just(TURN), st.integers(TURN // 100, 5 * TURN)),
)
#: An offer that gives its turn back, or pays it twice; turns by hand; what an absence was worth.
CORRECTED = st.one_of(
    st.tuples(st.sampled_from((Effect.RETURN, Effect.PENALISE)), st.integers(0, 40)),
    st.tuples(st.sampled_from((Effect.GIVE, Effect.TAKE, Effect.REPAY)), MEMBERS, st.integers(1, 9 * TURN)),
)
MIXED = st.lists(st.one_of(DECIDED, DECIDED, CORRECTED, st.just(None)), min_size=10, max_size=80)


class Rotation:
    """A rotation decided by the rule, followed in both ways that there are."""

    def __init__(self) -> None:
        self.book, self.off, self.followed = Book(), Deviation(), Followed()
        self.offers: list[tuple[int, Mapping[int, int]]] = []

    def decide(self, weights: Mapping[int, int], turn: int) -> None:
        seen = [(Candidate(m, 1.0, 0, 1, weight, 9), 0) for m, weight in weights.items()]
        verdict = choose(Mode.FAIR, seen, self.book, turn=turn)
        assert verdict.chosen is not None
        fairness.apply(verdict, self.book)
        self.off.add(verdict)
        self.followed.take(Passed("r", "pool", verdict.chosen, verdict.shares, turn, NOW))
        self.offers.append((verdict.chosen, verdict.shares))

    def correct(self, deltas: Mapping[int, int]) -> None:
        for member, delta in deltas.items():
            self.book.standing[member] = self.book.standing.get(member, 0) + delta
        self.off.correct(deltas)
        self.followed.take(Passed("r", "", None, deltas, 0, NOW))

    def move(self, effect: Effect, member: int, by: int) -> None:
        """To one member, from all others that have an account, in equal parts."""
        others = [other for other in self.book.standing if other != member]
        part = by // max(len(others), 1) * (-1 if effect is Effect.TAKE else 1)
        self.correct({member: part * len(others), **dict.fromkeys(others, -part)})

    def holds(self) -> None:
        standing = self.book.standing
        assert sum(standing.values()) == 0
        assert {m: -off for m, off in self.off.now.items()} == standing
        assert self.off.bound_turns is not None
        assert self.off.worst_turns <= self.off.bound_turns
        limit = self.off.limit
        assert max(map(abs, standing.values()), default=0) <= bound(len(standing), limit.turn, limit.added)

    def told_alike(self) -> None:
        rotation = self.followed.rotations["r"]
        accounts = dict(self.followed.of("r"))
        assert {m: one.standing for m, one in accounts.items()} == self.book.standing
        assert (rotation.worst, rotation.limit) == (self.off.worst, self.off.limit)


@settings(deadline=None, max_examples=120)
@given(MIXED)
def test_N1_F15_nobody_was_ever_farther_than_the_bound_whatever_was_decided_and_corrected(mixed: list[object]) -> None:
    rotation = Rotation()
    for one in mixed:
        match one:
            case None:  # a new period
                rotation = Rotation()
            case (Effect() as effect, int(which)):
                if rotation.offers:
                    chosen, shares = rotation.offers.pop(which % len(rotation.offers))
                    rotation.correct(of_offer(effect, chosen, shares))
            case (Effect() as effect, int(member), int(by)):
                rotation.move(effect, member, by)
            case (dict() as weights, int(turn)):
                rotation.decide(weights, turn)
        rotation.holds()
    if rotation.followed.rotations:
        rotation.told_alike()


def test_N1_what_a_correction_added_leaves_the_bound_of_now_when_it_is_made_good() -> None:
    rotation = Rotation()
    for _ in range(4):
        rotation.decide(dict.fromkeys(range(1, 5), 1000), TURN)
    rotation.move(Effect.REPAY, 1, 12 * TURN)
    assert rotation.off.worst_turns == 12.0
    assert rotation.off.bound_turns == 13.5
    for _ in range(96):
        rotation.decide(dict.fromkeys(range(1, 5), 1000), TURN)
    assert rotation.off.limit.added == 0
    assert rotation.off.bound_turns == 13.5, "the farthest that anyone ever was is within what could be then"
    rotation.move(Effect.GIVE, 2, 3 * TURN)
    assert rotation.off.limit.added == 3 * TURN
    assert rotation.off.bound_turns == 13.5


def test_N1_a_mode_that_keeps_no_accounts_has_no_bound_nor_has_what_it_left_behind() -> None:
    off, near = Deviation(), [(Candidate(m, float(m), 0, 1, 1000, 9), 0) for m in (1, 2)]
    off.add(choose(Mode.NEAREST, near, Book()))
    off.add(choose(Mode.FAIR, near, Book()))
    assert off.bound_turns is None


@pytest.mark.parametrize("mode", [Mode.FAIR, Mode.CURSOR, Mode.LEAST_RECENT, Mode.LEAST_LOADED])
def test_N1_who_is_served_last_as_a_whole_pool_fills_up_is_as_far_off_in_any_order(mode: Mode) -> None:
    """Of n members with one place left each: 1/n + ... + 1/2 turns, which is beyond two from eleven members on."""
    book, off, opens = Book(), Deviation(), dict.fromkeys(range(1, 31), 0)
    for _ in opens:
        verdict = choose(mode, [(Candidate(m, 1.0, 0, 1, 1000, 1), open_) for m, open_ in opens.items()], book)
        assert verdict.chosen is not None
        fairness.apply(verdict, book)
        off.add(verdict)
        opens[verdict.chosen] = 1
    assert off.worst_turns == pytest.approx(sum(1 / k for k in range(2, 31)), abs=1e-4)
    assert off.worst <= bound(30)


def test_N1_accounts_that_were_followed_before_are_gone_on_from() -> None:
    off = Deviation.since({1: 4 * TURN, 2: -4 * TURN})
    off.add(
        choose(Mode.FAIR, [(Candidate(m, 1.0, 0, 1, 1000, 9), 0) for m in (1, 2)], Book({1: 4 * TURN, 2: -4 * TURN}))
    )
    assert off.gained() == {1: TURN // 2, 2: -TURN // 2}
    assert (off.worst_turns, off.bound_turns) == (4.0, 4.0)


def test_what_f_lacks_is_found_for_any_number_of_accounts() -> None:
    assert beyond([TURN, 0, -TURN], TURN) == 0
    assert beyond([3 * TURN, -1 * TURN, -2 * TURN], TURN) == 2 * TURN
    assert beyond([2 * TURN, 2 * TURN, -2 * TURN, -2 * TURN], TURN) == 2 * TURN  # f(2) = 2
    assert beyond([3 * TURN, *[0] * 7, -3 * TURN], TURN) == TURN  # f(1) = 4, and beyond two turns all the same
    assert beyond([], TURN) == 0
