"""What must be so at least whenever a condition holds: facts with values, beginnings and ranges.

An index of rules rests on them: a rule none of whose alternatives fits the facts cannot match. They claim too little
rather than too much: whatever cannot be said with them is left out. A `fact` is the name of one, or a value that is
made of facts: `=` and an expression (routing/written.py), or `~` and a fact without regard to case.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from routing.syntax import Node

MADE, FOLDED = "=", "~"


@dataclass(frozen=True, slots=True)
class OneOf:
    """The fact has one of these values."""

    fact: str
    values: frozenset[object]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The fact is there, and has none of these values."""

    fact: str
    values: frozenset[object]


@dataclass(frozen=True, slots=True)
class Holds:
    """The list has one of these texts in it."""

    fact: str
    values: frozenset[object]


@dataclass(frozen=True, slots=True)
class Begins:
    """The text, or one of the list, begins in one of these ways."""

    fact: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ends:
    """The text, or one of the list, ends in one of these ways."""

    fact: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Contains:
    """The text, or one of the list, has this one in it."""

    fact: str
    text: str


@dataclass(frozen=True, slots=True)
class Between:
    """The number, moment, length of time or text lies between these; the edges belong to it unless they are open."""

    fact: str
    low: object = None  # None: no limit
    high: object = None
    low_open: bool = False
    high_open: bool = False


@dataclass(frozen=True, slots=True)
class Computed:
    """What is computed of numbers compares so; those of the same `fact` are alike but for the numbers written there."""

    fact: str
    numbers: tuple[float, ...]  # those written there, as they are met in the tree
    tree: Node = field(compare=False)
    wanted: bool


Atom = OneOf | NoneOf | Holds | Begins | Ends | Contains | Between | Computed
Conjunction = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of these conjunctions must hold; an empty one says nothing."""

    of: tuple[Conjunction, ...]


ALWAYS = Alternatives(((),))


def fits(atom: Atom, value: object) -> bool:
    """Whether a value may be what is needed; one that is missing is not. Of what is computed, anything may be."""
    if value is None:
        return False
    match atom:
        case OneOf():
            return value in atom.values if not isinstance(value, list) else True
        case NoneOf():
            return value not in atom.values if not isinstance(value, list) else True
        case Holds():
            return isinstance(value, list) and any(one in atom.values for one in value)
        case Begins():
            return any(text.startswith(tuple(atom.values)) for text in texts(value))
        case Ends():
            return any(text.endswith(tuple(atom.values)) for text in texts(value))
        case Contains():
            return any(atom.text in text for text in texts(value))
        case Between():
            return _inside(atom, value)
        case Computed():
            return True


def texts(value: object) -> list[str]:
    """A text, or those of a list."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _inside(atom: Between, value: object) -> bool:
    try:
        return not (
            (atom.low is not None and value < atom.low)  # type: ignore[operator] # of one kind, as CEL has checked
            or (atom.high is not None and value > atom.high)  # type: ignore[operator]
        )
    except TypeError:
        return True


_LENGTH = re.compile(r"(?P<sign>-?)(?P<count>\d{1,9})(?P<unit>[hms])")
_SUMS: Mapping[str, Callable[[float, float], float]] = {
    "_+_": operator.add,
    "_-_": operator.sub,
    "_*_": operator.mul,
}
_EXACT = 2**50
_UNITS = {"h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}


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


def settled(node: Node) -> object:
    """As `constant`, and lengths of time, and moments so long before or after others."""
    if node.kind == "call" and node.name == "duration" and len(node.parts) == 1:
        text = constant(node.parts[0])
        found = _LENGTH.fullmatch(text) if isinstance(text, str) else None
        return _UNITS[found["unit"]] * int(found["sign"] + found["count"]) if found else None
    if node.kind == "call" and node.name in _SUMS and len(node.parts) == 2:
        return _sum(node.name, *(settled(part) for part in node.parts))
    return constant(node)


def _sum(name: str, one: object, other: object) -> object:
    """Of moments and lengths of time, and of numbers of one kind, so far as they are exact."""
    if isinstance(one, datetime) and isinstance(other, timedelta) and name != "_*_":
        try:
            return one + other if name == "_+_" else one - other
        except OverflowError:
            return None
    if type(one) is type(other) and isinstance(one, int | float) and isinstance(other, int | float):
        found = _SUMS[name](one, other)
        return found if not isinstance(one, bool) and abs(found) < _EXACT else None
    return None


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
