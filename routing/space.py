"""The leads there may be, as far as conditions tell them apart: every fact cut into cells at the values written down.

Within a cell no comparison changes, so that one value of each stands for all: a search through the cells either finds a
lead or proves that there is none. What a comparison with a constant cannot say (a regular expression, a sum, a cell of
a table) is taken to be possible either way, so that nothing is ever called impossible that is not; values for it are
guessed from the constants it is written with.

A fact that is missing makes what asks for it an error, which `false && error` and `true || error` get over, as in CEL.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from itertools import chain, combinations, pairwise, permutations
from typing import Any

from routing.formula import ERROR, MISSING, NO, OPEN, YES, Formula, Settled
from routing.lead import Precision
from routing.vocabulary import Kind

#: A list is looked at with every choice of so many texts, and with all, none and each one beyond that.
_MOST_CHOSEN = 7
#: So many of the texts a condition is written with are put together to one that may fit all of it.
_MOST_JOINED = 6
_LARGEST_WHOLE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Domain:
    """Which values of a fact there are at all."""

    values: frozenset[Any] | None = None  # no others
    low: float | None = None
    high: float | None = None
    always: bool = False  # no lead is without it
    usual: Any = MISSING


#: A lead that was never routed, at the first moment; facts that every lead has (routing/planning.py).
STANDARD_DOMAINS: Mapping[str, Domain] = {
    "lead.precision": Domain(frozenset({"", *(str(p) for p in Precision)}), always=True, usual="exact"),
    "lead.hot": Domain(always=True, usual=False),
    "lead.attempt": Domain(low=1, always=True, usual=1),
    "lead.moves": Domain(low=0, always=True, usual=0),
    "lead.age_hours": Domain(low=0.0, always=True, usual=0.0),
    "lead.priority": Domain(always=True, usual=0),
    "lead.latitude": Domain(low=-90.0, high=90.0),
    "lead.longitude": Domain(low=-180.0, high=180.0),
}


@dataclass(frozen=True, slots=True)
class Cells:
    """The values of one fact that stand for all; `whole`: no other would make a difference."""

    values: tuple[Any, ...]
    whole: bool = True


def cells(kind: Kind, cuts: Iterable[Any], guesses: Iterable[Any], domain: Domain) -> Cells:
    """One value of every cell, those that are written down first, a missing one last."""
    made = _of_kind(kind, set(cuts), domain)
    guesses = list(guesses)
    if kind is Kind.LIST:
        guesses = [[guess] for guess in guesses if isinstance(guess, str)]
    elif kind is Kind.TEXT and guesses:
        texts = sorted({text for text in (*cuts, *guesses) if isinstance(text, str) and text}, key=len)[:_MOST_JOINED]
        guesses += ["".join(chosen) for size in (2, 3) for chosen in permutations(texts, size)]
    further = [guess for guess in guesses if _fits(kind, guess, domain) and guess not in made.values]
    first = [domain.usual] if domain.usual is not MISSING else []
    ends = [] if domain.always else [MISSING]
    values = [*first, *(v for v in made.values if v not in first), *sorted(further, key=_plainest), *ends]
    return Cells(tuple(values), made.whole)


def _plainest(value: Any) -> tuple[int, str]:
    return len(str(value)), str(value)


def _of_kind(kind: Kind, cuts: set[Any], domain: Domain) -> Cells:
    if kind is Kind.FLAG:
        return Cells((False, True) if domain.usual is False else (True, False))
    if kind is Kind.LIST:
        return _choices(sorted(map(str, cuts)))
    if domain.values is not None:
        return _of_few(_ascending(domain.values), sorted(cuts))
    bounds = {bound for bound in (domain.low, domain.high) if bound is not None}
    ordered = sorted(cuts | bounds)
    if not ordered:
        return Cells((_ANY[kind],))
    edges: list[Any] = [None, *ordered, None]
    between = [_between(kind, low, high) for low, high in pairwise(edges)]
    found = [v for v in (*(_exactly(kind, cut) for cut in ordered), *between) if v is not None]
    whole = kind is not Kind.TEXT or None not in between[1:]
    return Cells(tuple(dict.fromkeys(v for v in found if _fits(kind, v, domain))), whole)


_ascending = lru_cache(maxsize=8)(sorted)


def _choices(texts: list[str]) -> Cells:
    if len(texts) > _MOST_CHOSEN:
        return Cells((*([text] for text in texts), texts, []), whole=False)
    sizes = range(1, len(texts) + 1)
    return Cells((*(list(chosen) for size in sizes for chosen in combinations(texts, size)), []))


def _of_few(values: list[Any], cuts: list[Any]) -> Cells:
    written = [cut for cut in cuts if _first(values, cut) == cut]
    first = [_first(values, None), *(_first(values, cut, above=True) for cut in cuts)]
    between = [
        value
        for value, end in zip(first, [*cuts, None], strict=True)
        if value is not None and (end is None or value < end)
    ]
    return Cells((*written, *between))


def _first(values: list[Any], least: Any, *, above: bool = False) -> Any:
    """The first of these from `least` on, or above it; None when there is none."""
    at = 0 if least is None else (bisect_right if above else bisect_left)(values, least)
    return values[at] if at < len(values) else None


_ANY: Mapping[Kind, Any] = {
    Kind.TEXT: "x",
    Kind.NUMBER: 1.0,
    Kind.WHOLE: 1,
    Kind.DATE: datetime(2026, 1, 1, tzinfo=UTC),
    Kind.TIME: datetime(2026, 1, 1, 12, tzinfo=UTC),
}
_DAY = timedelta(days=1)


def _exactly(kind: Kind, cut: Any) -> Any:
    """The cut itself, where the fact can have it."""
    if kind is Kind.WHOLE:
        return int(cut) if cut == int(cut) else None
    if kind is Kind.NUMBER:
        return float(cut) if float(cut) == cut else None
    if kind is Kind.DATE:
        return cut if cut.time() == time() else None
    return cut


def _between(kind: Kind, low: Any, high: Any) -> Any:
    """A value strictly between the two; None: there is none. Without one of them: beyond the other."""
    if kind is Kind.TEXT:
        return _text_between(low or "", high, empty=low is None)
    if kind in (Kind.DATE, Kind.TIME):
        return _moment_between(kind, low, high)
    return _whole_between(low, high) if kind is Kind.WHOLE else _number_between(low, high)


def _whole_between(low: float | None, high: float | None) -> int | None:
    if low is None:
        return math.ceil(high or 0) - 1
    first = math.floor(low) + 1
    if high is None:
        return first
    middle = math.floor((first + math.ceil(high)) / 2) if high - low > 4 else first
    inside = middle if low < middle < high else first
    return inside if inside < high else None


def _number_between(low: float | None, high: float | None) -> float | None:
    """A round number where there is one."""
    floor, ceiling = -math.inf if low is None else float(low), math.inf if high is None else float(high)
    if math.isinf(ceiling):
        tries = [math.floor(floor) + 1.0, floor * 2, math.nextafter(floor, math.inf)]
    elif math.isinf(floor):
        tries = [math.ceil(ceiling) - 1.0, ceiling * 2, math.nextafter(ceiling, -math.inf)]
    else:
        middle = floor / 2 + ceiling / 2
        tries = [float(math.floor(middle)), math.floor(floor) + 1.0, middle, math.nextafter(floor, math.inf)]
    return next((number for number in tries if floor < number < ceiling and math.isfinite(number)), None)


def _text_between(low: str, high: str | None, *, empty: bool) -> str | None:
    """The plainest text between; `empty`: the empty one counts as well."""
    if empty and high:
        return ""
    tries = (low + letter for letter in ("0", "5", "A", "a", " ", "~", "\u00e9"))
    return next((text for text in tries if text > low and (high is None or text < high)), None)


def _moment_between(kind: Kind, low: datetime | None, high: datetime | None) -> datetime | None:
    if low is None or high is None:
        try:
            beyond = high - _DAY if high is not None else (low or _ANY[Kind.TIME]) + _DAY
        except OverflowError:
            return None
        if kind is Kind.TIME:
            return beyond
        return datetime.combine(beyond.date(), time(), UTC)
    if kind is Kind.DATE:
        following = datetime.combine(low.date() + _DAY, time(), UTC)
        return following if following < high else None
    middle = low + (high - low) / 2
    return middle if low < middle < high else None


def _fits(kind: Kind, value: Any, domain: Domain) -> bool:
    if kind is Kind.TEXT and not isinstance(value, str):
        return False
    if kind in (Kind.NUMBER, Kind.WHOLE) and (isinstance(value, bool) or not isinstance(value, int | float)):
        return False
    if kind is Kind.WHOLE and value != int(value):
        return False
    if kind in (Kind.DATE, Kind.TIME) and not isinstance(value, datetime):
        return False
    if kind is Kind.DATE and value.time() != time():
        return False
    if kind is Kind.WHOLE and abs(value) > _LARGEST_WHOLE:
        return False
    if kind in (Kind.FLAG, Kind.LIST):
        return isinstance(value, list)
    if domain.values is not None:
        return value in domain.values
    return (domain.low is None or value >= domain.low) and (domain.high is None or value <= domain.high)


@dataclass(slots=True)
class Budget:
    """How many looks a search may still take."""

    left: int

    def spend(self, looks: int) -> bool:
        """Take so many; False when there are no more."""
        self.left -= looks
        return self.left > 0


@dataclass(slots=True)
class Search:
    """Leads of which all the wanted hold and none of the unwanted; exhausted: there are no others than were found."""

    wanted: Sequence[Formula]
    unwanted: Sequence[Formula]
    kinds: Mapping[str, Kind]
    domains: Mapping[str, Domain]
    budget: Budget
    pinned: Mapping[str, Any] = field(default_factory=dict)
    exhausted: bool = field(default=True, init=False)

    def leads(self) -> Iterator[dict[str, Any]]:
        """The facts of one lead after the other, some of them MISSING; to be tried on the real rules."""
        asked: dict[str, None] = {}
        for one in chain(self.wanted, self.unwanted):
            asked.update(dict.fromkeys(sorted(one.facts)))
        order = [fact for fact in asked if fact not in self.pinned and fact in self.kinds]
        needed = frozenset().union(*(one.facts for one in self.wanted))
        choices = {fact: self._choices(fact, fact in needed) for fact in order}
        settled = dict(self.pinned)
        rest = {fact: self._rest(fact) for fact in order} | dict(self.pinned)
        yield from self._from(0, order, choices, settled, rest)

    def _choices(self, fact: str, needed: bool) -> tuple[Any, ...]:
        both = [*self.wanted, *self.unwanted]
        found = cells(
            self.kinds[fact],
            frozenset().union(*(one.cuts.get(fact, frozenset()) for one in both)),
            frozenset().union(*(one.guesses.get(fact, frozenset()) for one in both)),
            self.domains.get(fact, Domain()),
        )
        self.exhausted &= found.whole
        if needed or found.values[-1] is not MISSING or self._rest(fact) is not MISSING:
            return found.values
        return (MISSING, *found.values[:-1])

    def _rest(self, fact: str) -> Any:
        return self.domains.get(fact, Domain()).usual

    def _from(
        self,
        at: int,
        order: Sequence[str],
        choices: Mapping[str, tuple[Any, ...]],
        settled: dict[str, Any],
        rest: dict[str, Any],
    ) -> Iterator[dict[str, Any]]:
        if not self.budget.spend(len(self.wanted) + len(self.unwanted)):
            self.exhausted = False
            return
        if any(one.test(settled) in (NO, ERROR) for one in self.wanted):
            return
        if any(one.test(settled) == YES for one in self.unwanted):
            return
        if self._would(rest):
            yield dict(rest)
        if at == len(order):
            return
        fact = order[at]
        usual = rest[fact]
        for value in choices[fact]:
            settled[fact] = rest[fact] = value
            yield from self._from(at + 1, order, choices, settled, rest)
            if self.budget.left <= 0:
                break
        del settled[fact]
        rest[fact] = usual

    def _would(self, rest: Settled) -> bool:
        """Whether it would do as it is, with the facts that are not settled missing or as usual."""
        return all(one.test(rest) in (YES, OPEN) for one in self.wanted) and not any(
            one.test(rest) == YES for one in self.unwanted
        )
