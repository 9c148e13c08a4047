"""A condition as the search for leads sees it: what it comes to, with facts settled or not, and where it changes.

What a comparison with a constant cannot say is OPEN: it may come to anything, and values for it are guessed from what
it is written with.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from routing.atoms import constant
from routing.syntax import Node

#: What a condition comes to; OPEN: it hangs on what is not settled, or cannot be told here.
NO, YES, ERROR, OPEN = range(4)
_HAS = "has."


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


MISSING, UNSETTLED = _Mark("missing"), _Mark("unsettled")
Settled = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Formula:
    """A condition as this search sees it."""

    test: Callable[[Settled], int]
    facts: frozenset[str]
    cuts: Mapping[str, frozenset[Any]]  # where comparisons change, by fact
    guesses: Mapping[str, frozenset[Any]]  # values worth a try, for what is no comparison
    exact: bool = True
    parts: tuple["Formula", ...] = ()  # what must all hold, as it is written
    node: Node | None = None


def formula(root: Node) -> Formula:
    """The formula of a condition's syntax."""
    made = replace(_formula(root), node=root)
    return replace(made, parts=made.parts or (made,))


def truth(value: bool) -> Formula:
    """A condition that always comes to the same."""
    answer = YES if value else NO
    return Formula(lambda _: answer, frozenset(), {}, {})


def denied(one: Formula) -> Formula:
    """The opposite; what is an error stays one."""
    test = one.test
    return Formula(lambda s: _NOT[test(s)], one.facts, one.cuts, one.guesses, one.exact)


_NOT = (YES, NO, ERROR, OPEN)


def _formula(node: Node) -> Formula:
    return replace(_made_of(node), node=node)


def _made_of(node: Node) -> Formula:
    if node.kind == "const" and isinstance(node.value, bool | None):
        return truth(node.value is True)  # the wire leaves out what is false
    if node.kind == "name":
        return _flag(node.name)
    if node.kind == "call":
        if node.name == "_&&_":
            return _all([_formula(part) for part in node.parts])
        if node.name == "_||_":
            return _any([_formula(part) for part in node.parts])
        if node.name == "!_":
            return denied(_formula(node.parts[0]))
        if node.name == "_?_:_":
            return _either(*(_formula(part) for part in node.parts))
        if made := _comparison(node):
            return made
    return _opaque(node)


def _all(parts: Sequence[Formula]) -> Formula:
    tests = [part.test for part in parts]

    def test(settled: Settled) -> int:
        answer = YES
        for one in tests:
            found = one(settled)
            if found == NO:
                return NO
            answer = max(answer, found)
        return answer

    flat = tuple(chain.from_iterable(part.parts or (part,) for part in parts))
    return _joined(test, parts, flat)


def _any(parts: Sequence[Formula]) -> Formula:
    tests = [part.test for part in parts]

    def test(settled: Settled) -> int:
        answer = NO
        for one in tests:
            found = one(settled)
            if found == YES:
                return YES
            answer = max(answer, found)
        return answer

    return _joined(test, parts)


def _either(asked: Formula, then: Formula, other: Formula) -> Formula:
    def test(settled: Settled) -> int:
        found = asked.test(settled)
        return found if found in (ERROR, OPEN) else then.test(settled) if found == YES else other.test(settled)

    return _joined(test, (asked, then, other))


def _joined(test: Callable[[Settled], int], parts: Sequence[Formula], flat: tuple[Formula, ...] = ()) -> Formula:
    return Formula(
        test,
        frozenset().union(*(part.facts for part in parts)),
        _merged(part.cuts for part in parts),
        _merged(part.guesses for part in parts),
        all(part.exact for part in parts),
        flat,
    )


def _merged(many: Iterable[Mapping[str, frozenset[Any]]]) -> dict[str, frozenset[Any]]:
    merged: dict[str, set[Any]] = {}
    for one in many:
        for fact, values in one.items():
            merged.setdefault(fact, set()).update(values)
    return {fact: frozenset(values) for fact, values in merged.items()}


def _atom(fact: str, holds: Callable[[Any], bool], cuts: Iterable[Any]) -> Formula:
    def test(settled: Settled) -> int:
        value = settled.get(fact, UNSETTLED)
        if value is UNSETTLED:
            return OPEN
        if value is MISSING:
            return ERROR
        return YES if holds(value) else NO

    return Formula(test, frozenset({fact}), {fact: frozenset(cuts)}, {})


def _flag(name: str) -> Formula:
    if not name.startswith(_HAS):
        return _atom(name, lambda value: value is True, ())
    fact = name.removeprefix(_HAS)

    def test(settled: Settled) -> int:
        value = settled.get(fact, UNSETTLED)
        return OPEN if value is UNSETTLED else NO if value is MISSING else YES

    return Formula(test, frozenset({fact}), {}, {})


_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
_TESTS: Mapping[str, Callable[[Any], Callable[[Any], bool]]] = {
    "_==_": lambda c: lambda v: bool(v == c),
    "_!=_": lambda c: lambda v: bool(v != c),
    "_<_": lambda c: lambda v: bool(v < c),
    "_<=_": lambda c: lambda v: bool(v <= c),
    "_>_": lambda c: lambda v: bool(v > c),
    "_>=_": lambda c: lambda v: bool(v >= c),
}


def _comparison(node: Node) -> Formula | None:
    """A fact compared with constants; None when it is something else."""
    if len(node.parts) != 2:
        return None
    left, right = node.parts
    if node.name == "@in":
        return _among(left, right)
    name = node.name
    if right.kind == "name" and left.kind != "name" and name in _MIRRORED:
        left, right, name = right, left, _MIRRORED[name]
    value = _constant(right)
    if left.kind != "name" or left.name.startswith(_HAS) or value is None:
        return None
    if name in _TESTS:
        return _atom(left.name, _TESTS[name](value), () if isinstance(value, bool) else (value,))
    if name == "startsWith" and isinstance(value, str):
        return _atom(left.name, lambda text: text.startswith(value), _beginning(value))
    return None


def _among(left: Node, right: Node) -> Formula | None:
    if left.kind == "name" and right.kind == "items" and not left.name.startswith(_HAS):
        values = [_constant(part) for part in right.parts]
        if None in values:
            return None
        among = frozenset(values)
        return _atom(left.name, lambda value: value in among, among)
    value = _constant(left)
    if isinstance(value, str) and right.kind == "name":
        return _atom(right.name, lambda held: value in held, (value,))
    return None


def _constant(node: Node) -> Any:
    return constant(node)


def _beginning(prefix: str) -> tuple[str, ...]:
    """Where the texts that begin so start and end, in the order of code points."""
    shorter = prefix
    while shorter and ord(shorter[-1]) >= 0x10FFFF:
        shorter = shorter[:-1]
    if not shorter:
        return (prefix,)
    following = ord(shorter[-1]) + 1
    return prefix, shorter[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)


def _opaque(node: Node) -> Formula:
    """What is no comparison with constants: it may come to anything; values are guessed from what is written in it."""
    nodes = list(node.walk())
    inside = {part.name for part in nodes if part.kind == "loop"}
    names = {part.name.removeprefix(_HAS) for part in nodes if part.kind == "name"} - inside
    facts = frozenset(name for name in names if name and not name.startswith("@"))
    written = {v for part in nodes if (v := _constant(part)) is not None and not isinstance(v, bool)}
    return Formula(lambda _: OPEN, facts, {}, {fact: frozenset(_guesses(written)) for fact in facts}, exact=False)


def _guesses(written: Iterable[Any]) -> Iterator[Any]:
    for value in written:
        yield value
        if isinstance(value, int | float):
            yield from (value + 1, value - 1, value / 2, value * 2)
            if 0 <= value <= 200 and value == int(value):
                yield from ("x" * int(value), "x" * (int(value) + 1))
        elif isinstance(value, str):
            yield from ("x" + value + "x", plain(value))
    yield from (0, 1)


def plain(pattern: str) -> str:
    """A text that a simple pattern may fit: letters as they are, the first of each class, once what may repeat."""
    made, at = "", 0
    pattern = pattern.replace("(?i)", "").strip("^$")
    while at < len(pattern):
        letter, at = pattern[at], at + 1
        if letter == "[" and (end := pattern.find("]", at + 1)) > 0:
            inside = pattern[at:end]
            made, at = made + ("~" if inside.startswith("^") else inside[:1].replace("\\", "0")), end + 1
        elif letter == "\\" and at < len(pattern):
            made, at = made + {"d": "0", "w": "a", "s": " "}.get(pattern[at], pattern[at]), at + 1
        elif letter == "{" and (end := pattern.find("}", at)) > 0:
            count = pattern[at:end].split(",")[0]
            made, at = made + made[-1:] * (min(int(count), 200) - 1 if count.isdecimal() else 0), end + 1
        elif letter == "|":
            break
        elif letter not in "()*+?^$":
            made += "a" if letter == "." else letter
    return made


_SIGNS = {
    "_&&_": "&&",
    "_||_": "||",
    "@in": "in",
    **{f"_{sign}_": sign for sign in ("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%")},
}


def said(node: Node) -> str:
    """The expression as somebody might write it."""
    if node.kind == "const":
        return _said_constant(node.value)
    if node.kind == "name":
        return f"has({node.name.removeprefix(_HAS)})" if node.name.startswith(_HAS) else node.name
    parts = [said(part) for part in node.parts]
    if node.kind == "items":
        return f"[{', '.join(parts)}]"
    if node.kind == "loop":
        return f"a question about each of {parts[0]}"
    if node.name in _SIGNS and len(parts) == 2:
        words = [
            f"({text})" if part.name in ("_&&_", "_||_") else text for part, text in zip(node.parts, parts, strict=True)
        ]
        return f"{words[0]} {_SIGNS[node.name]} {words[1]}"
    if node.name in ("!_", "-_"):
        return f"{node.name[0]}({parts[0]})" if node.parts[0].kind == "call" else node.name[0] + parts[0]
    if node.name in ("date", "timestamp", "duration", "size") or not parts:
        return f"{node.name}({', '.join(parts)})"
    return f"{parts[0]}.{node.name.lstrip('.')}({', '.join(parts[1:])})"


def _said_constant(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "false" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
