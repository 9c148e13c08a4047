"""Which of ten thousand rules could match a lead: found by what their conditions need at least, without asking them.

Each alternative of a condition (routing/needs.py) goes down a tree (routing/rule_nodes.py). At each fork it is sorted
by one thing it needs: a value, an entry of a list, a beginning or an end of a text, a range; what does not need that
thing goes on beside. What many need alike is asked once for all of them. Where nothing parts them further, numbers and
moments are compared in columns, and sums computed for all at once. A rule that is not found cannot match; one that is
found is asked.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from routing.atoms import (
    FOLDED,
    MADE,
    Alternatives,
    Atom,
    Begins,
    Between,
    Computed,
    Contains,
    Ends,
    Holds,
    NoneOf,
    OneOf,
)
from routing.look import AREA, Look
from routing.rule_nodes import (
    Alike,
    Bounds,
    Columns,
    Except,
    Fork,
    Node,
    Ranges,
    Shared,
    Sieve,
    Within,
    number,
    place_among,
)
from routing.written import written

#: So few are asked one by one.
FEW = 6
#: An alternative with many values stands at each of them; so many places for one on average, or so many in all.
SPREAD, PLACES = 64, 1_000_000
#: Of sums of one shape, no more than so many are made each for itself.
SUMS = 8
#: Of ranges that overlap, no more than so many on average at one place.
LAYERS = 4


class Item(NamedTuple):
    """One alternative of a rule."""

    rule: int
    needs: tuple[Atom, ...]


class Key(NamedTuple):
    """One thing that alternatives can be sorted by."""

    sort: type[Atom]
    fact: str


class RuleIndex:
    """Rules by number and by what they need; built once, asked for every lead.

    `known` says whether what is made of facts can be made here.
    """

    def __init__(
        self, rules: Mapping[int, Alternatives], known: Callable[[str], object] = lambda expression: expression
    ) -> None:
        items = [
            Item(rule, tuple(map(_as_area, needs))) for rule, alternatives in rules.items() for needs in alternatives.of
        ]
        self._root = _node(_worth_it(items, known))

    def candidates(self, look: Look) -> Iterator[int]:
        """The numbers of the rules that could match, ascending, some of them more than once."""
        found = list(self._root.found(look))
        return iter(found[0]) if len(found) == 1 else merge(*found)


def _as_area(need: Atom) -> Atom:
    """Being in an area as an entry in the list of the areas that a place is in: one look for all of them."""
    if isinstance(need, OneOf) and need.fact.startswith(AREA) and need.values == {True}:
        return Holds(AREA, frozenset({need.fact.removeprefix(AREA)}))
    return need


def _worth_it(items: Iterable[Item], known: Callable[[str], object]) -> list[Item]:
    """Without what is made of facts for a few rules alone: to make it costs as much as to ask them."""
    items = list(items)
    asked = Counter(fact for item in items for fact in {need.fact for need in item.needs} if _made(fact))
    kept = {fact for fact, times in asked.items() if times > FEW and known(fact.lstrip(FOLDED).removeprefix(MADE))}
    kept -= _computed_alike(items, asked)
    return [
        Item(item.rule, tuple(need for need in item.needs if not _made(need.fact) or need.fact in kept))
        for item in items
    ]


def _computed_alike(items: Iterable[Item], asked: Mapping[str, int]) -> set[str]:
    """Sums that are better computed with all others of their shape than made each for itself."""
    sums = [need for item in items for need in item.needs if isinstance(need, Computed)]
    alike = Counter(need.fact for need in sums)
    sides = ((need, MADE + text) for need in sums for side in need.tree.parts if (text := written(side)))
    return {fact for need, fact in sides if asked.get(fact, 0) * SUMS < alike[need.fact]}


def _made(fact: str) -> bool:
    return fact.lstrip(FOLDED).startswith(MADE)


def _node(items: Sequence[Item]) -> Node:
    if len(items) <= FEW:
        return _few(items)
    return (
        _sorted(items)
        or _shared(items)
        or _except(items)
        or _in_columns(items)
        or _within(items)
        or _alike(items)
        or _few(items)
    )


def _few(items: Iterable[Item]) -> Node:
    tested = ((item.rule, tuple(need for need in item.needs if not isinstance(need, Computed))) for item in items)
    return Sieve(sorted(tested, key=lambda one: one[0]))


def _sorted(items: Sequence[Item]) -> Node | None:
    """A fork by what leaves the fewest to ask; None when nothing parts them."""
    best = max(_spared(items), default=None, key=lambda one: (one[1], one[0].fact, one[0].sort.__name__))
    if best is None:
        return None
    return _ranges(items, best[0].fact) if best[0].sort is Between else _fork(items, best[0])


def _spared(items: Sequence[Item]) -> Iterator[tuple[Key, int]]:
    """By each key that is worth a fork: how many it would spare at least."""
    counts: defaultdict[Key, Counter[Hashable]] = defaultdict(Counter)
    needing: Counter[Key] = Counter()
    for item in items:
        for need in {Key(type(need), need.fact): need for need in reversed(item.needs)}.values():
            key = Key(type(need), need.fact)
            needing[key] += 1
            if isinstance(need, OneOf | Holds | Begins | Ends):
                counts[key].update(need.values)
    for key, at in counts.items():
        most = max(at.values(), default=0)
        if FEW < needing[key] >= most * 2 and at.total() <= max(SPREAD * needing[key], PLACES):
            yield key, needing[key] - most
    for key, many in needing.items():
        if key.sort is Between and many > FEW and (layers := _layers(items, key.fact)):
            yield key, many - layers


def _without(item: Item, key: Key) -> Item:
    return Item(item.rule, tuple(need for need in item.needs if (type(need), need.fact) != key))


def _fork(items: Sequence[Item], key: Key) -> Node:
    ways: defaultdict[Hashable, list[Item]] = defaultdict(list)
    rest: list[Item] = []
    for item in items:
        need = next((need for need in item.needs if (type(need), need.fact) == key), None)
        if not isinstance(need, OneOf | Holds | Begins | Ends):
            rest.append(item)
            continue
        # What is needed of it a second time is left to those who ask.
        without = _without(item, key)
        for value in need.values:
            ways[value].append(without)
    lengths = sorted({len(value) for value in ways if isinstance(value, str)}) if key.sort in {Begins, Ends} else ()
    return Fork(key.sort, key.fact, {value: _node(way) for value, way in ways.items()}, lengths, _node(rest))


def _range(item: Item, fact: str) -> Between | None:
    """What a fact must lie between, when both ends are said."""
    low: Between | None = None
    high: Between | None = None
    for need in item.needs:
        if isinstance(need, Between) and need.fact == fact:
            low = low or (need if need.low is not None else None)
            high = high or (need if need.high is not None else None)
    if low is None or high is None:
        return None
    return Between(fact, low.low, high.high, low.low_open, high.high_open)


def _cuts(ranges: Iterable[Between]) -> list[Any]:
    return sorted({end for one in ranges for end in (one.low, one.high)})


def _places(one: Between, cuts: Sequence[Any]) -> range:
    """Between which cuts the values of a range lie."""
    first, last = bisect_right(cuts, one.low), bisect_left(cuts, one.high) + (not one.high_open)
    return range(first, last + 1)


def _layers(items: Sequence[Item], fact: str) -> int | None:
    """How many ranges lie over each other at most; None when they are few, or too many to sort by them."""
    ranges = [one for item in items if (one := _range(item, fact))]
    if len(ranges) <= FEW:
        return None
    cuts = _cuts(ranges)
    change = [0] * (len(cuts) + 2)
    for one in ranges:
        places = _places(one, cuts)
        if len(places):
            change[places.start] += 1
            change[places.stop] -= 1
    layers = list(accumulate(change))
    most = max(layers)
    return most if most * 2 <= len(ranges) and sum(layers) <= LAYERS * max(len(cuts), len(ranges)) else None


def _ranges(items: Sequence[Item], fact: str) -> Node:
    by_range = [(item, _range(item, fact)) for item in items]
    cuts = _cuts(one for _, one in by_range if one)
    ways: list[list[Item]] = [[] for _ in range(len(cuts) + 1)]
    for item, one in by_range:
        for place in _places(one, cuts) if one else ():
            ways[place].append(_without(item, Key(Between, fact)))
    return Ranges(fact, cuts, [_node(way) for way in ways], _node([item for item, one in by_range if not one]))


def _shared(items: Sequence[Item]) -> Node | None:
    """What most need is asked once for all that do."""
    times = Counter(need for item in items for need in item.needs if not isinstance(need, Computed))
    # What is only known by asking the engine comes last, and in one order for all processes.
    best = max(times, default=None, key=lambda need: (times[need], not _made(need.fact), need.fact))
    if best is None or times[best] <= max(FEW, len(items) // 4):
        return None
    inside = [Item(item.rule, tuple(n for n in item.needs if n != best)) for item in items if best in item.needs]
    return Shared(best, _node(inside), _node([item for item in items if best not in item.needs]))


def _except(items: Sequence[Item]) -> Node | None:
    """By a value that rules many of them out."""
    ruled_out: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for item in items:
        for need in item.needs:
            if isinstance(need, NoneOf):
                ruled_out[need.fact].update(need.values)
    worst = {fact: values.most_common(2) for fact, values in ruled_out.items() if values}
    fact = max(worst, default="", key=lambda one: (worst[one][0][1], one))
    often = [value for value, times in worst.get(fact, ()) if times > max(FEW, len(items) // 4)]
    if not often:
        return None
    denied = [
        (item, {v for n in item.needs if isinstance(n, NoneOf) and n.fact == fact for v in n.values}) for item in items
    ]
    needing = [(_without(item, Key(NoneOf, fact)), values) for item, values in denied if values]
    left = {value: _node([item for item, values in needing if value not in values]) for value in often}
    every = _node([item for item, _ in needing])
    return Except(fact, left, every, _node([item for item, values in denied if not values]))


def _in_columns(items: Sequence[Item]) -> Node | None:
    """The bounds of all of them side by side; None when too few have any."""
    cuts = _text_cuts(items)
    bounds = [_bounds(item, cuts) for item in items]
    bounded = [at for at, one in enumerate(bounds) if one]
    if len(bounded) <= FEW:
        return None
    facts = sorted({fact for one in bounds for fact in one})
    ends = {fact: np.array([bounds[at].get(fact, _FREE) for at in bounded]) for fact in facts}
    columns = [Bounds(fact, both[:, 0], both[:, 1], cuts.get(fact)) for fact, both in ends.items()]
    rules = np.array([items[at].rule for at in bounded], dtype=np.intp)
    return Columns(rules, columns, _node([item for item, one in zip(items, bounds, strict=True) if not one]))


_FREE = (-np.inf, np.inf)


def _text_cuts(items: Iterable[Item]) -> dict[str, list[str]]:
    """By fact, the texts it is compared with, ascending."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item in items:
        for need in item.needs:
            if isinstance(need, Between):
                found[need.fact].update(end for end in (need.low, need.high) if isinstance(end, str))
    return {fact: sorted(ends) for fact, ends in found.items() if ends}


def _bounds(item: Item, cuts: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for need in item.needs:
        if isinstance(need, Between):
            low, high = (
                place_among(cuts[need.fact], end) if isinstance(end, str) else number(end)
                for end in (need.low, need.high)
            )
            before = found.get(need.fact, _FREE)
            if (low, high) != (None, None):
                found[need.fact] = (
                    before[0] if low is None else max(before[0], low),
                    before[1] if high is None else min(before[1], high),
                )
    return found


def _within(items: Sequence[Item]) -> Node | None:
    facts = Counter(fact for item in items for fact in {n.fact for n in item.needs if isinstance(n, Contains)})
    if not facts or facts.most_common(1)[0][1] <= FEW:
        return None
    fact = max(facts, key=lambda one: (facts[one], one))
    needed: list[tuple[str, int]] = []
    rest: list[Item] = []
    for item in items:
        text = max((n.text for n in item.needs if isinstance(n, Contains) and n.fact == fact), default=None, key=len)
        if text is None:
            rest.append(item)
        else:
            needed.append((text, item.rule))
    return Within(fact, needed, _node(rest))


def _alike(items: Sequence[Item]) -> Node | None:
    """Sums of one shape; None when too few have the same."""
    shapes = Counter(fact for item in items for fact in {n.fact for n in item.needs if isinstance(n, Computed)})
    shape = max(shapes, default="", key=lambda one: (shapes[one], one))
    if shapes[shape] <= FEW:
        return None
    needed: list[tuple[int, Computed]] = []
    rest: list[Item] = []
    for item in items:
        need = next((n for n in item.needs if isinstance(n, Computed) and n.fact == shape), None)
        if need is None:
            rest.append(item)
        else:
            needed.append((item.rule, need))
    needed.sort(key=lambda one: one[0])
    numbers = np.array([need.numbers for _, need in needed]).T
    rules = np.array([rule for rule, _ in needed], dtype=np.intp)
    return Alike(rules, needed[0][1].tree, list(numbers), needed[0][1].wanted, _node(rest))
