"""Comparisons of sums that are alike but for the numbers written in them, computed for all of them at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing.atoms import MADE
from routing.syntax import Node
from routing.written import written

Floats = NDArray[np.float64]
#: Whole numbers up to this are exact as they are computed here; beyond it nothing is said.
_EXACT = 2.0**50
_COMPARED: Mapping[str, Callable[[Floats, Floats], NDArray[np.bool_]]] = {
    "_<_": np.less,
    "_<=_": np.less_equal,
    "_>_": np.greater,
    "_>=_": np.greater_equal,
    "_==_": np.equal,
    "_!=_": np.not_equal,
}


class _Unsaid(Exception):  # noqa: N818 - no error, but what cannot be told
    """Nothing can be said."""


@dataclass(frozen=True, slots=True)
class _Side:
    numbers: Floats
    whole: bool


def those(
    tree: Node, numbers: Sequence[Floats], value: Callable[[str], object], *, wanted: bool, many: int
) -> NDArray[np.bool_]:
    """Which of so many comparisons may come to `wanted`: none when a fact is missing, all when that cannot be told.

    `numbers` are those written in them, in the order of the tree, one for each comparison.
    """
    if any(node.kind == "name" and value(node.name) is None for node in tree.walk()):
        return np.zeros(many, dtype=np.bool_)
    left_over = iter(numbers)
    with np.errstate(all="ignore"):
        try:
            left, right = (_side(part, left_over, value) for part in tree.parts)
        except _Unsaid:
            return np.ones(many, dtype=np.bool_)
        found = _COMPARED[tree.name](left.numbers, right.numbers)
    return np.broadcast_to(found if wanted else ~found, (many,))


def named(node: Node) -> str | None:
    """The fact whose number stands there, or what is made of facts and comes to a number; None of anything else."""
    if node.kind == "name":
        return node.name
    if node.kind != "call" or (node.name not in {"size", "int", "double"} and not node.name.startswith("get")):
        return None
    text = written(node)
    return None if text is None else MADE + text


def _side(node: Node, numbers: Iterator[Floats], value: Callable[[str], object]) -> _Side:
    if node.kind == "const":
        return _Side(next(numbers), isinstance(node.value, int))
    if name := named(node):
        found = value(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > _EXACT:
            raise _Unsaid
        return _Side(np.float64(found), isinstance(found, int))  # type: ignore[arg-type] # goes with any number of them
    return _sum(node.name, [_side(part, numbers, value) for part in node.parts])


def _sum(name: str, parts: Sequence[_Side]) -> _Side:
    whole = all(part.whole for part in parts)
    sides = [part.numbers for part in parts]
    if name == "-_":
        return _Side(-sides[0], whole)
    one, other = sides
    if name == "_+_":
        made = one + other
    elif name == "_-_":
        made = one - other
    elif name == "_*_":
        made = one * other
    elif name == "_/_":
        made = np.trunc(one / other) if whole else one / other
    else:
        made = np.fmod(one, other)
    if whole and np.any(np.isfinite(made) & (np.abs(made) >= _EXACT)):
        raise _Unsaid
    return _Side(made, whole)
