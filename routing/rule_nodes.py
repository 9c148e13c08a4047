"""What an index of rules is made of: how the rules that could match are found, from one fork to the next."""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing import computed
from routing.atoms import Atom, Begins, Ends, Holds, OneOf, fits, texts
from routing.look import Look
from routing.syntax import Node as Tree

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
#: Longer texts are first looked for by so many of their letters.
WINDOW = 16


class Node(ABC):
    """Some alternatives, and how those that could hold are found."""

    @abstractmethod
    def found(self, look: Look) -> Iterator[Iterable[int]]:
        """Numbers of rules, in groups that ascend; where there may be many, made as they are asked for."""


@dataclass(frozen=True, slots=True)
class Fork(Node):
    """Sorted by one thing they need; `rest` does not need it."""

    sort: type[Atom]
    fact: str
    ways: Mapping[Hashable, Node]
    lengths: Sequence[int]  # of the beginnings or ends there are
    rest: Node

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        for value in self._values(look):
            if (way := self.ways.get(value)) is not None:
                yield from way.found(look)
        yield from self.rest.found(look)

    def _values(self, look: Look) -> Iterable[Hashable]:
        value = look.value(self.fact)
        if value is None:
            return ()
        if self.sort is OneOf:
            return (value,) if isinstance(value, Hashable) else ()
        if self.sort is Holds:
            return dict.fromkeys(value) if isinstance(value, list) else ()
        return dict.fromkeys(part for text in texts(value) for part in self._parts(text))

    def _parts(self, text: str) -> Iterable[str]:
        fitting = self.lengths[: bisect_left(self.lengths, len(text) + 1)]
        if self.sort is Begins:
            return [text[:length] for length in fitting]
        return [text[len(text) - length :] for length in fitting] if self.sort is Ends else ()


@dataclass(frozen=True, slots=True)
class Ranges(Node):
    """Sorted by the range that a value lies in; `cuts` are where one ends or begins, `ways` what is between them."""

    fact: str
    cuts: Sequence[Any]
    ways: Sequence[Node]
    rest: Node

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        value = look.value(self.fact)
        if value is not None and value == value:  # noqa: PLR0124 - no number is unlike itself
            yield from self.ways[bisect_right(self.cuts, value)].found(look)
        elif value is not None:
            for way in dict.fromkeys(self.ways):
                yield from way.found(look)
        yield from self.rest.found(look)


@dataclass(frozen=True, slots=True)
class Shared(Node):
    """Those that need the same thing, which is asked once; `rest` does not need it."""

    need: Atom
    inside: Node
    rest: Node

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        if fits(self.need, look.value(self.need.fact)):
            yield from self.inside.found(look)
        yield from self.rest.found(look)


@dataclass(frozen=True, slots=True)
class Except(Node):
    """Those that many a value rules out: what is left of them by such a value, and all of them by any other."""

    fact: str
    left: Mapping[Hashable, Node]
    every: Node
    rest: Node

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        value = look.value(self.fact)
        if value is not None:
            way = self.left.get(value, self.every) if isinstance(value, Hashable) else self.every
            yield from way.found(look)
        yield from self.rest.found(look)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that one fact may be, for each of some rules; and their order by both."""

    fact: str
    low: Floats
    high: Floats
    cuts: Sequence[str] | None = None  # of texts: those compared with, by whose places they are compared
    by_low: Places = field(init=False)
    by_high: Places = field(init=False)
    lows: Sequence[float] = field(init=False)
    highs: Sequence[float] = field(init=False)
    free: Places = field(init=False)  # those that do not need the fact

    def __post_init__(self) -> None:
        by_low, by_high = np.argsort(self.low, kind="stable"), np.argsort(self.high, kind="stable")
        object.__setattr__(self, "by_low", by_low)
        object.__setattr__(self, "by_high", by_high)
        object.__setattr__(self, "lows", self.low[by_low].tolist())
        object.__setattr__(self, "highs", self.high[by_high].tolist())
        object.__setattr__(self, "free", np.flatnonzero((self.low == -np.inf) & (self.high == np.inf)))

    def place(self, value: object) -> float | None:
        """Where a value stands among the bounds."""
        if self.cuts is None:
            return number(value)
        return place_among(self.cuts, value) if isinstance(value, str) else None

    def fewest(self, number: float | None) -> Places | None:
        """Those that could be so, or more of them; None when nothing is said."""
        if number is None:
            return self.free
        if number != number:  # noqa: PLR0124 - no number
            return None
        below, above = bisect_right(self.lows, number), bisect_left(self.highs, number)
        return self.by_low[:below] if below <= len(self.highs) - above else self.by_high[above:]

    def fit(self, among: Places, number: float | None) -> NDArray[np.bool_]:
        """Which of these could be so."""
        low, high = self.low[among], self.high[among]
        if number is None:
            fitting: NDArray[np.bool_] = (low == -np.inf) & (high == np.inf)
        else:
            fitting = ~((low > number) | (number > high))
        return fitting


@dataclass(frozen=True, slots=True)
class Columns(Node):
    """Compared in columns, beginning with the fact that leaves the fewest."""

    rules: Places
    bounds: Sequence[Bounds]
    rest: Node

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        numbers = [one.place(look.value(one.fact)) for one in self.bounds]
        told = [one.fewest(value) for one, value in zip(self.bounds, numbers, strict=True)]
        among = min((one for one in told if one is not None), key=len, default=np.arange(len(self.rules)))
        for one, value in zip(self.bounds, numbers, strict=True):
            if len(among):
                among = among[one.fit(among, value)]
        if len(among):
            yield np.sort(self.rules[among]).tolist()
        yield from self.rest.found(look)


def place_among(cuts: Sequence[str], text: str) -> float:
    """The place of a text among others that ascend: an odd number for one of them, an even one between them."""
    at = bisect_left(cuts, text)
    return 2.0 * at + (at < len(cuts) and cuts[at] == text)


def number(value: object) -> float | None:
    """A number, a moment or a length of time as a number; None of anything else."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Alike(Node):
    """Comparisons of sums that differ in their numbers alone, computed together."""

    rules: Places
    tree: Tree
    numbers: Sequence[Floats]
    wanted: bool
    rest: Node

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        many = len(self.rules)
        yield self.rules[computed.those(self.tree, self.numbers, look.value, wanted=self.wanted, many=many)].tolist()
        yield from self.rest.found(look)


class Within(Node):
    """Each needs a text to be within that of a fact: looked up by every part of it that is as long."""

    def __init__(self, fact: str, needed: Iterable[tuple[str, int]], rest: Node) -> None:
        self._fact, self._rest, self._many = fact, rest, 0
        by_length: defaultdict[int, defaultdict[str, list[tuple[str, int]]]] = defaultdict(lambda: defaultdict(list))
        for text, rule in needed:
            by_length[min(len(text), WINDOW)][text[:WINDOW]].append((text, rule))
            self._many += 1
        self._by_length: Mapping[int, Mapping[str, Sequence[tuple[str, int]]]] = {
            length: dict(of) for length, of in by_length.items()
        }

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        found = {rule for text in texts(look.value(self._fact)) for rule in self._in(text)}
        if found:
            yield sorted(found)
        yield from self._rest.found(look)

    def _in(self, whole: str) -> Iterator[int]:
        for length, of in self._by_length.items():
            # Of a very long text, the shorter of the two is gone through.
            parts: Iterable[str] = (
                {whole[at : at + length] for at in range(len(whole) - length + 1)} & of.keys()
                if len(whole) < len(of)
                else (part for part in of if part in whole)
            )
            yield from (rule for part in parts for text, rule in of[part] if text in whole)


@dataclass(frozen=True, slots=True)
class Sieve(Node):
    """Where nothing sorts them: what else each needs is looked at one by one, which is quicker than to ask them."""

    needs: Sequence[tuple[int, Sequence[Atom]]]

    def found(self, look: Look) -> Iterator[Iterable[int]]:
        value = look.value
        yield (rule for rule, needs in self.needs if all(fits(need, value(need.fact)) for need in needs))
