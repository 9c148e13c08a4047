"""What must be so at least whenever a condition holds: facts with values, beginnings and ranges, read from its syntax.

An index of rules rests on them: a rule none of whose alternatives fits the facts cannot match. They claim too little
rather than too much: whatever cannot be said with them is left out.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

from routing.syntax import Node

#: More alternatives than this are not told apart.
MOST = 64


@dataclass(frozen=True, slots=True)
class OneOf:
    """The fact has one of these values."""

    fact: str
    values: frozenset[object]


@dataclass(frozen=True, slots=True)
class Holds:
    """The list has this text in it."""

    fact: str
    value: str


@dataclass(frozen=True, slots=True)
class Begins:
    """The text begins so."""

    fact: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Ends:
    """The text ends so."""

    fact: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Contains:
    """The text has this one in it."""

    fact: str
    text: str


@dataclass(frozen=True, slots=True)
class Between:
    """The number or moment lies between these; the edges belong to it unless they are open."""

    fact: str
    low: object = None  # None: no limit
    high: object = None
    low_open: bool = False
    high_open: bool = False


Atom = OneOf | Holds | Begins | Ends | Contains | Between
Conjunction = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of these conjunctions must hold; an empty one says nothing. `exact`: and then the condition does hold."""

    of: tuple[Conjunction, ...]
    exact: bool


ANYTHING = Alternatives(((),), exact=False)
ALWAYS = Alternatives(((),), exact=True)
NEVER = Alternatives((), exact=True)
_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_"}


def alternatives(root: Node) -> Alternatives:
    """What must be so at least for this condition to hold."""
    if root.kind == "const":
        return ALWAYS if root.value is True else NEVER
    if root.kind == "name":
        return _one(OneOf(root.name, frozenset({True})))
    if root.kind != "call":
        return ANYTHING
    if root.name == "_&&_":
        return _both(alternatives(root.parts[0]), alternatives(root.parts[1]))
    if root.name == "_||_":
        return _either(alternatives(root.parts[0]), alternatives(root.parts[1]))
    if root.name == "!_" and root.parts[0].kind == "name":
        return _one(OneOf(root.parts[0].name, frozenset({False})))
    atom = _atom(root)
    return _one(atom) if atom else ANYTHING


def _one(atom: Atom) -> Alternatives:
    return Alternatives(((atom,),), exact=True)


def _both(left: Alternatives, right: Alternatives) -> Alternatives:
    if len(left.of) * len(right.of) > MOST:
        fewer = min(left, right, key=lambda side: (side.of == ((),), len(side.of)))
        return Alternatives(fewer.of, exact=False)
    joined = tuple(dict.fromkeys(a + tuple(x for x in b if x not in a) for a, b in product(left.of, right.of)))
    return Alternatives(joined, left.exact and right.exact)


def _either(left: Alternatives, right: Alternatives) -> Alternatives:
    merged: dict[Conjunction, None] = dict.fromkeys(left.of)
    for conjunction in right.of:
        same = next((kept for kept in merged if _mergeable(kept, conjunction)), None)
        if same is None:
            merged[conjunction] = None
        else:
            del merged[same]
            merged[_merged(same[0], conjunction[0])] = None
    if () in merged or len(merged) > MOST:
        return Alternatives(((),), exact=() in merged and left.exact and right.exact)
    return Alternatives(tuple(merged), left.exact and right.exact)


def _mergeable(a: Conjunction, b: Conjunction) -> bool:
    return len(a) == len(b) == 1 and isinstance(a[0], OneOf) and isinstance(b[0], OneOf) and a[0].fact == b[0].fact


def _merged(a: Atom, b: Atom) -> Conjunction:
    return (OneOf(a.fact, a.values | b.values),) if isinstance(a, OneOf) and isinstance(b, OneOf) else (a,)


def _atom(call: Node) -> Atom | None:
    if len(call.parts) != 2:
        return None
    left, right = call.parts
    if call.name == "@in":
        return _within(left, right)
    value, flipped = constant(right), False
    if value is None and call.name in _MIRRORED:
        left, right, value, flipped = right, left, constant(left), True
    if value is None or left.kind != "name":
        return None
    name = _MIRRORED[call.name] if flipped else call.name
    make = _OF.get(name)
    return make(left.name, value) if make else None


def _within(left: Node, right: Node) -> Atom | None:
    if left.kind == "name" and right.kind == "items":
        values = [constant(part) for part in right.parts]
        return OneOf(left.name, frozenset(values)) if None not in values else None
    value = constant(left)
    return Holds(right.name, value) if isinstance(value, str) and right.kind == "name" else None


def constant(node: Node) -> object:
    """The value written there, None when it is not written down; moments and days are moments."""
    if node.kind == "const":
        return None if isinstance(node.value, float) and math.isnan(node.value) else node.value
    if node.kind == "call" and len(node.parts) == 1:
        value = constant(node.parts[0])
        if node.name == "-_" and isinstance(value, int | float) and not isinstance(value, bool):
            return -value
        if node.name in {"timestamp", "date"} and isinstance(value, str):
            return _moment(value)
    return None


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


_OF: Mapping[str, Callable[[str, object], Atom | None]] = {
    "_==_": lambda fact, value: OneOf(fact, frozenset({value})),
    "_<_": lambda fact, value: Between(fact, high=value, high_open=True),
    "_<=_": lambda fact, value: Between(fact, high=value),
    "_>_": lambda fact, value: Between(fact, low=value, low_open=True),
    "_>=_": lambda fact, value: Between(fact, low=value),
    "startsWith": lambda fact, value: Begins(fact, value) if isinstance(value, str) else None,
    "endsWith": lambda fact, value: Ends(fact, value) if isinstance(value, str) else None,
    "contains": lambda fact, value: Contains(fact, value) if isinstance(value, str) else None,
}
