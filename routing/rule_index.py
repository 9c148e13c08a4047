"""Which of ten thousand rules could match a lead: found by what their conditions need at least, without asking them.

Each alternative of a condition (routing/atoms.py) goes down a tree. At each fork it is sorted by one thing it needs: a
value, an entry of a list, a beginning or an end of a text; what does not need that thing goes on beside. Where no fork
would part them further, numbers and moments are compared in columns. A rule that is not found cannot match; one that is
found is asked.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing.atoms import Alternatives, Atom, Begins, Between, Contains, Ends, Holds, OneOf
from routing.look import AREA, Look

#: So few are asked one by one.
FEW = 6
#: An alternative with many values stands at each of them; so many places for one, on average, at most.
SPREAD = 64

Floats = NDArray[np.float64]


class Item(NamedTuple):
    """One alternative of a rule."""

    rule: int
    needs: tuple[Atom, ...]


class Key(NamedTuple):
    """One thing that alternatives can be sorted by."""

    sort: type[Atom]
    fact: str


class RuleIndex:
    """Rules by number and by what they need; built once, asked for every lead."""

    def __init__(self, rules: Mapping[int, Alternatives]) -> None:
        items = [
            Item(rule, tuple(map(_as_area, needs))) for rule, alternatives in rules.items() for needs in alternatives.of
        ]
        self._root = _node(items)

    def candidates(self, look: Look) -> Iterator[int]:
        """The numbers of the rules that could match, ascending, some of them more than once."""
        found = [rules for rules in self._root.found(look) if len(rules)]
        return iter(found[0]) if len(found) == 1 else merge(*found)


class _Node(ABC):
    """Some alternatives, and how those that could hold are found."""

    @abstractmethod
    def found(self, look: Look) -> Iterator[Sequence[int]]:
        """Numbers of rules, in groups that ascend."""


@dataclass(frozen=True, slots=True)
class _Few(_Node):
    """Those that are asked one by one."""

    rules: Sequence[int]

    def found(self, look: Look) -> Iterator[Sequence[int]]:
        del look
        yield self.rules


@dataclass(frozen=True, slots=True)
class _Fork(_Node):
    """Sorted by one thing they need; `rest` does not need it."""

    key: Key
    ways: Mapping[Hashable, _Node]
    lengths: Sequence[int]  # of the beginnings or ends there are
    rest: _Node

    def found(self, look: Look) -> Iterator[Sequence[int]]:
        for value in _at(self.key, look, self.lengths):
            if (way := self.ways.get(value)) is not None:
                yield from way.found(look)
        yield from self.rest.found(look)


@dataclass(frozen=True, slots=True)
class _Columns(_Node):
    """Compared in columns: the least and the most that each of the facts may be."""

    rules: NDArray[np.intp]
    facts: Sequence[str]
    low: Floats  # a row a fact
    high: Floats
    rest: _Node

    def found(self, look: Look) -> Iterator[Sequence[int]]:
        alive: NDArray[np.bool_] | None = None
        for row, fact in enumerate(self.facts):
            number = _number(look.value(fact))
            low, high = self.low[row], self.high[row]
            # Without the fact, only those that do not need it are left.
            inside = (low == -np.inf) & (high == np.inf) if number is None else (low <= number) & (number <= high)
            alive = inside if alive is None else alive & inside
        if alive is not None:
            yield self.rules[alive].tolist()
        yield from self.rest.found(look)


@dataclass(frozen=True, slots=True)
class _Within(_Node):
    """Each needs a text to be within that of a fact."""

    fact: str
    texts: Sequence[str]
    rules: Sequence[int]
    rest: _Node

    def found(self, look: Look) -> Iterator[Sequence[int]]:
        value = look.value(self.fact)
        if isinstance(value, str):
            yield [rule for text, rule in zip(self.texts, self.rules, strict=True) if text in value]
        yield from self.rest.found(look)


def _as_area(need: Atom) -> Atom:
    """Being in an area as an entry in the list of the areas that a place is in: one look for all of them."""
    if isinstance(need, OneOf) and need.fact.startswith(AREA) and need.values == {True}:
        return Holds(AREA, need.fact.removeprefix(AREA))
    return need


def _node(items: Sequence[Item]) -> _Node:
    if len(items) <= FEW:
        return _few(items)
    return _forked(items) or _in_columns(items) or _within(items) or _few(items)


def _few(items: Iterable[Item]) -> _Node:
    return _Few(tuple(sorted({item.rule for item in items})))


def _forked(items: Sequence[Item]) -> _Node | None:
    """A fork by what leaves the fewest to ask; None when nothing parts them."""
    best = max(_spared(items), default=None, key=lambda one: (one[1], one[0].fact, one[0].sort.__name__))
    return _fork(items, best[0]) if best else None


def _spared(items: Sequence[Item]) -> Iterator[tuple[Key, int]]:
    """By each key that is worth a fork: how many it would spare at least."""
    counts: defaultdict[Key, Counter[Hashable]] = defaultdict(Counter)
    needing: Counter[Key] = Counter()
    for item in items:
        for key in {Key(type(need), need.fact) for need in item.needs if type(need) in _VALUES}:
            counts[key].update(_values(item, key) or ())
            needing[key] += 1
    for key, at in counts.items():
        most = max(at.values(), default=0)
        if needing[key] > FEW and most <= needing[key] // 2 and at.total() <= SPREAD * needing[key]:
            yield key, needing[key] - most


def _fork(items: Sequence[Item], key: Key) -> _Node:
    ways: defaultdict[Hashable, list[Item]] = defaultdict(list)
    rest: list[Item] = []
    for item in items:
        values = _values(item, key)
        if values is None:
            rest.append(item)
            continue
        without = Item(item.rule, tuple(n for n in item.needs if (type(n), n.fact) != key))
        for value in values:
            ways[value].append(without)
    lengths = sorted({len(value) for value in ways if isinstance(value, str)}) if key.sort in {Begins, Ends} else ()
    return _Fork(key, {value: _node(way) for value, way in ways.items()}, lengths, _node(rest))


def _values(item: Item, key: Key) -> Iterable[Hashable] | None:
    """At which values of the key this alternative stands; None when it does not need the key."""
    for need in item.needs:
        if type(need) is key.sort and need.fact == key.fact:
            return _VALUES[key.sort](need)
    return None


_VALUES: Mapping[type[Atom], Callable[[Atom], Iterable[Hashable]]] = {
    OneOf: lambda need: need.values if isinstance(need, OneOf) else (),
    Holds: lambda need: (need.value,) if isinstance(need, Holds) else (),
    Begins: lambda need: (need.prefix,) if isinstance(need, Begins) else (),
    Ends: lambda need: (need.suffix,) if isinstance(need, Ends) else (),
}


def _at(key: Key, look: Look, lengths: Sequence[int]) -> Iterable[Hashable]:
    """The values of a key that a lead has."""
    if key.fact == AREA:
        return look.areas or ()
    value = look.value(key.fact)
    if value is None:
        return ()
    if key.sort is OneOf:
        return (value,) if isinstance(value, Hashable) else ()
    if key.sort is Holds:
        return dict.fromkeys(value) if isinstance(value, list) else ()
    if not isinstance(value, str):
        return ()
    fitting = lengths[: bisect_left(lengths, len(value) + 1)]
    return [value[:n] for n in fitting] if key.sort is Begins else [value[len(value) - n :] for n in fitting]


def _in_columns(items: Sequence[Item]) -> _Node | None:
    """The bounds of all of them side by side; None when too few have any."""
    bounds = [_bounds(item) for item in items]
    bounded = [at for at, one in enumerate(bounds) if one]
    if len(bounded) <= FEW:
        return None
    # By rule, so that what is found ascends.
    bounded.sort(key=lambda at: items[at].rule)
    facts = sorted(set(chain.from_iterable(bounds)))
    low = np.full((len(facts), len(bounded)), -np.inf)
    high = np.full((len(facts), len(bounded)), np.inf)
    for column, at in enumerate(bounded):
        for fact, (least, most) in bounds[at].items():
            low[facts.index(fact), column], high[facts.index(fact), column] = least, most
    rules = np.array([items[at].rule for at in bounded], dtype=np.intp)
    return _Columns(rules, facts, low, high, _node([item for item, one in zip(items, bounds, strict=True) if not one]))


def _bounds(item: Item) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for need in item.needs:
        if isinstance(need, Between):
            low, high = _number(need.low), _number(need.high)
            before = found.get(need.fact, (-np.inf, np.inf))
            if (low, high) != (None, None):
                found[need.fact] = (
                    before[0] if low is None else max(before[0], low),
                    before[1] if high is None else min(before[1], high),
                )
    return found


def _number(value: object) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _within(items: Sequence[Item]) -> _Node | None:
    facts = Counter(need.fact for item in items for need in item.needs if isinstance(need, Contains))
    if not facts or facts.most_common(1)[0][1] <= FEW:
        return None
    fact = facts.most_common(1)[0][0]
    needed: list[tuple[int, str]] = []
    rest: list[Item] = []
    for item in items:
        text = next((n.text for n in item.needs if isinstance(n, Contains) and n.fact == fact), None)
        if text is None:
            rest.append(item)
        else:
            needed.append((item.rule, text))
    needed.sort()
    return _Within(fact, tuple(text for _, text in needed), tuple(rule for rule, _ in needed), _node(rest))
