"""Whose turn it is: the rule in whole micro-turns, exactly as the turnstile's Lua performs it.

Mode `fair` is the carpool rule: R. Fagin and J. H. Williams, "A Fair Carpool Scheduling Algorithm", IBM Journal of
Research and Development 27 (1983); bounds: M. Ajtai, J. Aspnes, M. Naor, Y. Rabani, L. Schulman, O. Waarts, "Fairness
in Scheduling", Journal of Algorithms 29 (1998): with equal weights nobody is ever further than (n - 1) / 2 turns from
what is due to it, whoever is eligible when.
"""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key

import numpy as np

from routing import bound
from routing.columns import SIGHT, Rows, Table
from routing.decision import Ask, Candidate, Sight
from routing.lead import Lead
from routing.limits import Stop, Use, Uses, stopped, use
from routing.policy import Cost, Mode, Unit

TURN = bound.TURN  # micro-turns
LEAST = 0.01  # of a turn

NOTHING_USED: Uses = {}

Seen = tuple[Candidate, int]  # a candidate, and how many units it holds


@dataclass(slots=True)
class Book:
    """The accounts of one rotation; standings add up to zero."""

    standing: dict[int, int] = field(default_factory=dict)  # micro-turns owed to the member
    served: dict[int, int] = field(default_factory=dict)  # tick of the member's last turn; absent = never
    tick: int = 0  # turns given so far
    cursor: int = 0  # member served last


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose turn it is, with what is needed to write it into the book and to take it back."""

    mode: Mode
    chosen: int | None
    shares: Mapping[int, int] = field(default_factory=dict)  # of everyone eligible; only mode fair moves standings
    tick: int = 0  # of this turn
    served_before: int = 0  # the chosen member's last tick before
    cursor_before: int = 0
    turn: int = TURN  # what the lead costs, before the shares are rounded down

    @property
    def payment(self) -> int:
        """What the turn costs: exactly the sum of the shares, so that nothing is made or lost."""
        return sum(self.shares.values())


class Looked:
    """What is seen of candidates before anybody is chosen, column by column: most of it nobody asks for again."""

    def __init__(self, units: int) -> None:
        self._units = units
        self._columns: tuple[list[int], list[bool], list[int], list[int], list[int]] = ([], [], [], [], [])

    def at(self, seen: Sequence[Seen], book: Book, stops: Container[int]) -> None:
        """Take in one group, as it and its book are now."""
        member, eligible, opens, standing, served = self._columns
        mine = [c.member for c, _ in seen]
        member += mine
        eligible += [is_eligible(c, open_, self._units) and c.member not in stops for c, open_ in seen]
        opens += [open_ for _, open_ in seen]
        standing += [book.standing.get(one, 0) for one in mine]
        served += [book.served.get(one, 0) for one in mine]

    def sights(self) -> Rows[Sight]:
        """Everybody, in order."""
        columns = self._columns
        table = Table(
            SIGHT, lambda: tuple(np.array(c, dtype=kind) for c, kind in zip(columns, SIGHT.types, strict=True))
        )
        return Rows(table, 0, len(columns[0]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one Ask: the verdict of the first group with anyone eligible, and everyone looked at."""

    group: int | None
    verdict: Verdict | None
    sights: Sequence[Sight]
    stops: Mapping[int, Stop] = field(default_factory=dict)  # who had room, and was stopped by a limit
    uses: tuple[Use, ...] = ()  # what the choice counts in


def is_eligible(candidate: Candidate, open_: int, units: int = 1) -> bool:
    return open_ + units <= candidate.capacity


def decimetres(distance_m: float) -> int:
    """The distance in whole decimetres: nearer than that is a tie, here and in the turnstile alike."""
    return round(distance_m * 10)


def shares(eligible: Iterable[Candidate], turn: int = TURN) -> dict[int, int]:
    """Each member's part of what a lead costs by weight, in micro-turns rounded down."""
    weights = {c.member: c.weight for c in eligible}
    total = max(sum(weights.values()), 1)
    return {member: weight * turn // total for member, weight in weights.items()}


def choose(mode: Mode, candidates: Sequence[Seen], book: Book, *, units: int = 1, turn: int = TURN) -> Verdict:
    """The member whose turn it is among those with room, or nobody; the book is not touched.

    The members of `candidates` are distinct, with ids above 0. The lead takes `units` of capacity, and costs `turn`.
    """
    eligible = [(c, open_) for c, open_ in candidates if is_eligible(c, open_, units)]
    if not eligible:
        return Verdict(mode, None)
    parts = shares((c for c, _ in eligible), turn)
    chosen = _CHOICES[mode](eligible, parts, book)
    return Verdict(
        mode,
        chosen,
        parts,
        tick=book.tick + 1,
        served_before=book.served.get(chosen, 0),
        cursor_before=book.cursor,
        turn=turn,
    )


def decide(ask: Ask, opens: Mapping[int, int], book_of: Callable[[str], Book], used: Uses = NOTHING_USED) -> Outcome:
    """The first group with anyone eligible decides, by its rotation's book; no book is touched."""
    looked, stops = Looked(ask.units), dict[int, Stop]()
    for index, group in enumerate(ask.groups):
        book = book_of(group.rotation)
        seen = [(c, opens.get(c.member, 0)) for c in group.candidates]
        if ask.limits:
            stops |= _stops(ask, seen, used)
        looked.at(seen, book, stops)
        free = [one for one in seen if one[0].member not in stops] if stops else seen
        verdict = choose(ask.mode, free, book, units=ask.units, turn=ask.turn)
        if verdict.chosen is not None:
            uses = use(ask.limits.get(verdict.chosen, ()), ask.units, used)
            return Outcome(index, verdict, looked.sights(), stops, uses)
    return Outcome(None, None, looked.sights(), stops)


def _stops(ask: Ask, seen: Sequence[Seen], used: Uses) -> dict[int, Stop]:
    """Who of those with room is stopped by a limit."""
    found = (
        (c.member, stopped(ask.limits.get(c.member, ()), ask.units, used))
        for c, open_ in seen
        if is_eligible(c, open_, ask.units)
    )
    return {member: stop for member, stop in found if stop is not None}


def apply(verdict: Verdict, book: Book) -> None:
    """Write the turn into the book."""
    if verdict.chosen is None:
        return
    if verdict.mode is Mode.FAIR:
        _move(verdict, book, +1)
    book.served[verdict.chosen] = book.tick = verdict.tick
    book.cursor = verdict.chosen


def undo(verdict: Verdict, book: Book) -> None:
    """Take the turn back: shares and payment exactly; tick and cursor as far as no later turn has passed over them."""
    if verdict.chosen is None:
        return
    if verdict.mode is Mode.FAIR:
        _move(verdict, book, -1)
    if book.served.get(verdict.chosen) == verdict.tick:
        book.served[verdict.chosen] = verdict.served_before
    if book.tick == verdict.tick:
        book.tick -= 1
        book.cursor = verdict.cursor_before


def turn_of(cost: Cost, units: int, lead: Lead) -> int:
    """Micro-turns that a lead costs by its units or its value: at least a hundredth of a turn, at most what is allowed.

    A lead that says no value costs one turn.
    """
    if cost.unit is Unit.UNITS:
        return min(units, cost.most) * TURN
    value = lead.facts.get(cost.fact)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return TURN
    return round(min(max(value / cost.worth, LEAST), cost.most) * TURN)


@dataclass(slots=True)
class Deviation:
    """Received minus entitled of each member, in micro-turns, while decisions pass by: as routing.followed has it."""

    now: dict[int, int] = field(default_factory=dict)
    worst: int = 0  # the farthest anyone has ever been from what was due to it
    limit: bound.Bound = field(default_factory=bound.Bound)
    began: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def since(cls, standings: Mapping[int, int]) -> "Deviation":
        """Of accounts that were followed elsewhere before: how they came to stand so is not asked."""
        now = {member: -owed for member, owed in standings.items()}
        made = cls(dict(now), max(map(abs, now.values()), default=0), began=now)
        made.limit.raised(bound.beyond(standings.values(), TURN))
        return made

    def add(self, verdict: Verdict) -> None:
        now, shares = self.now, verdict.shares
        for member, share in shares.items():
            now[member] = now.get(member, 0) - share
        if verdict.chosen is None:
            return
        if verdict.chosen in shares:
            now[verdict.chosen] += verdict.payment
        self.worst = max(self.worst, *map(abs, map(now.__getitem__, shares)), 0)
        self.limit.decided(verdict.turn, now.values, fair=verdict.mode is Mode.FAIR)

    def correct(self, deltas: Mapping[int, int]) -> None:
        """A correction of standings: what is owed to a member, it has received less than its due."""
        self.limit.corrected(deltas.values(), self.now.values)
        for member, delta in deltas.items():
            self.now[member] = self.now.get(member, 0) - delta
            self.worst = max(self.worst, abs(self.now[member]))

    @property
    def worst_turns(self) -> float:
        return self.worst / TURN

    def gained(self) -> dict[int, int]:
        """Received minus entitled of each member since the beginning."""
        return {member: off - self.began.get(member, 0) for member, off in self.now.items()}

    @property
    def bound_turns(self) -> float | None:
        """The farthest that anyone can ever have been; None where modes decided that keep no accounts."""
        limit = self.limit.of(len(self.now))
        return None if limit is None else limit / TURN


def _move(verdict: Verdict, book: Book, sign: int) -> None:
    for member, share in verdict.shares.items():
        paid = verdict.payment if member == verdict.chosen else 0
        book.standing[member] = book.standing.get(member, 0) + sign * (share - paid)


def _fair(eligible: Sequence[Seen], parts: Mapping[int, int], book: Book) -> int:
    def rank(member: int) -> tuple[int, int, int]:
        return -(book.standing.get(member, 0) + parts[member]), book.served.get(member, 0), member

    return min((c.member for c, _ in eligible), key=rank)


def _cursor(eligible: Sequence[Seen], _parts: Mapping[int, int], book: Book) -> int:
    return min((c.member for c, _ in eligible), key=lambda member: (member <= book.cursor, member))


def _least_recent(eligible: Sequence[Seen], _parts: Mapping[int, int], book: Book) -> int:
    return min((c.member for c, _ in eligible), key=lambda member: (book.served.get(member, 0), member))


def _least_loaded(eligible: Sequence[Seen], _parts: Mapping[int, int], book: Book) -> int:
    def order(a: Seen, b: Seen) -> int:
        (one, one_open), (other, other_open) = a, b
        by_load = one_open * other.capacity - other_open * one.capacity  # open / capacity, without dividing
        mine, theirs = ((book.served.get(c.member, 0), c.member) for c in (one, other))
        return by_load or (-1 if mine < theirs else 1)

    return min(eligible, key=cmp_to_key(order))[0].member


def _nearest(eligible: Sequence[Seen], _parts: Mapping[int, int], book: Book) -> int:
    def rank(candidate: Candidate) -> tuple[int, int, int]:
        member = candidate.member
        return decimetres(candidate.distance_m), book.served.get(member, 0), member

    return min((c for c, _ in eligible), key=rank).member


_CHOICES: Mapping[Mode, Callable[[Sequence[Seen], Mapping[int, int], Book], int]] = {
    Mode.FAIR: _fair,
    Mode.CURSOR: _cursor,
    Mode.LEAST_RECENT: _least_recent,
    Mode.LEAST_LOADED: _least_loaded,
    Mode.NEAREST: _nearest,
}
