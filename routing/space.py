"""The leads there may be, as far as conditions tell them apart: every fact cut into cells at the values written down.

Within a cell no comparison changes, so that one value of each stands for all: a search through the cells either finds a
lead or proves that there is none. What a comparison with a constant cannot say (a regular expression, a sum, a cell of
a table) is taken to be possible either way, so that nothing is ever called impossible that is not; values for it are
guessed from the constants it is written with.

A fact that is missing makes what asks for it an error, which `false && error` and `true || error` get over, as in CEL.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from itertools import chain, combinations, pairwise, permutations
from typing import Any

from routing.atoms import constant
from routing.lead import Precision
from routing.syntax import Node
from routing.vocabulary import Kind

#: What a condition comes to; OPEN: it hangs on what is not settled, or cannot be told here.
NO, YES, ERROR, OPEN = range(4)
_HAS = "has."
#: A list is looked at with every choice of so many texts, and with all, none and each one beyond that.
_MOST_CHOSEN = 7
#: So many of the texts a condition is written with are put together to one that may fit all of it.
_MOST_JOINED = 6
_LARGEST_WHOLE = 2**63 - 1


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
        return _of_few(sorted(domain.values), sorted(cuts))
    bounds = {bound for bound in (domain.low, domain.high) if bound is not None}
    ordered = sorted(cuts | bounds)
    if not ordered:
        return Cells((_ANY[kind],))
    edges: list[Any] = [None, *ordered, None]
    between = [_between(kind, low, high) for low, high in pairwise(edges)]
    found = [v for v in (*(_exactly(kind, cut) for cut in ordered), *between) if v is not None]
    whole = kind is not Kind.TEXT or None not in between[1:]
    return Cells(tuple(dict.fromkeys(v for v in found if _fits(kind, v, domain))), whole)


def _choices(texts: list[str]) -> Cells:
    if len(texts) > _MOST_CHOSEN:
        return Cells((*([text] for text in texts), texts, []), whole=False)
    sizes = range(1, len(texts) + 1)
    return Cells((*(list(chosen) for size in sizes for chosen in combinations(texts, size)), []))


def _of_few(values: list[Any], cuts: list[Any]) -> Cells:
    found: dict[tuple[int, bool], Any] = {}
    for value in values:
        at = bisect_left(cuts, value)
        found.setdefault((at, at < len(cuts) and cuts[at] == value), value)
    written = [value for (_, exact), value in found.items() if exact]
    return Cells((*written, *(value for (_, exact), value in found.items() if not exact)))


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
