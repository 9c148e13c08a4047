"""Conditions in CEL: typed against a vocabulary when they are written, asked of facts when a lead comes.

A condition whose truth hangs on a fact that is missing does not hold: `lead.score > 3` and `lead.score <= 3` are both
false of a lead without a score, and `lead.score > 3 || lead.hot` is true of a hot one. `has(lead.score)` asks whether
the fact is there.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from routing.atoms import Alternatives
from routing.cel import HAS, as_flags, engine, fails
from routing.errors import BadInput
from routing.needs import alternatives
from routing.syntax import Node, tree
from routing.vocabulary import Kind, Vocabulary

LONGEST = 4000  # characters
DEEPEST = 40
MOST_LOOPS = 4  # exists, all, map and their like over a list; none inside of another

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_OVERLOAD = re.compile(r"found no matching overload for '(.+?)' applied to '\((.*)\)'")
_TOKEN = re.compile(r"^(?:token recognition error at: |extraneous input |mismatched input )('.*?')$")
_ENDS = (
    ("it says nothing", 'Write a condition, such as lead.country == "US", or leave when out: then all match.'),
    ("it ends too early", "Write the rest; each bracket and each quote is closed."),
)
_UNKNOWN = re.compile(r"undeclared reference to '(.+?)'")
_TYPES = {
    "list(string)": "list",
    "string": "text",
    "double": "number",
    "int": "whole number",
    "bool": "flag",
    "timestamp": "time",
}
#: Asked once while compiling, so that no lead is the first to find a wrong time, length, zone or pattern.
_LIKE = {
    "matches": "Write it as RE2 understands it (github.com/google/re2/wiki/Syntax).",
    "timestamp": "Write it like 2026-03-01T08:00:00Z.",
    "date": "Write it like 2026-03-01.",
    "duration": "Write it like 36h, 90m or 45s.",
}
_OF_ZONE = re.compile(r"get(FullYear|Month|Date|Day\w+|Hours|Minutes|Seconds|Milliseconds)")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Condition:
    """One condition, compiled. `names` are the facts it reads, `tested` those of them that it asks after with has()."""

    source: str
    names: tuple[str, ...]
    tested: tuple[str, ...]
    alternatives: Alternatives  # what must be so at least, whenever it holds
    _expression: Any = field(repr=False)
    _vocabulary: Vocabulary = field(repr=False)

    def holds(self, facts: Mapping[str, object]) -> bool:
        """Whether it is true of these facts; one that is missing or not of its kind is as good as not there."""
        return self.holds_of(self._vocabulary.read(facts, self.names))

    def holds_of(self, values: Mapping[str, object]) -> bool:
        """As `holds`, of values that were read as their kinds before; what is missing is left out."""
        if self.tested:
            values = {**values, **{HAS + name: name in values for name in self.tested}}
        return self._expression.eval(data=values).value() is True

    @property
    def tree(self) -> Node:
        """Its syntax, for those who reason about it."""
        return tree(self._expression.serialize())


_held: WeakKeyDictionary[Any, WeakValueDictionary[str, Condition]] = WeakKeyDictionary()  # by engine and source


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A value that is made of facts, as a part of conditions. `names` are the facts, and the flags of has()."""

    names: tuple[str, ...]
    _expression: Any = field(repr=False)

    def of(self, values: Mapping[str, object]) -> object:
        """What it comes to; None when a fact that it hangs on is missing, or it comes to nothing."""
        found = self._expression.eval(data=values)
        return None if found.type().name() in {"ERROR", "UNKNOWN"} else found.plain_value()


def made(expression: str, vocabulary: Vocabulary) -> Made | None:
    """An expression as a part of a condition is written again (routing/written.py); None when the engine has none."""
    try:
        found = engine(vocabulary).compile(expression)
    except RuntimeError:
        return None
    named = {node.name for node in tree(found.serialize()).walk() if node.kind == "name"}
    known = {name for name in named if name.removeprefix(HAS) in vocabulary.kinds}
    return Made(tuple(sorted(known)), found)


def compile(  # noqa: A001 - as re.compile: conditions.compile
    source: str, vocabulary: Vocabulary, *, where: str | Callable[[], str]
) -> Condition:
    """The condition. Raises BadInput naming `where` with line and column, and the fix.

    The same words over the same names are compiled once, as long as somebody holds them: a policy of ten thousand rules
    of which ten were changed is read in a third of the time while the one before it is in force.
    """
    held = _held.setdefault(engine(vocabulary), WeakValueDictionary())
    found = held.get(source)
    if found is not None:
        return found
    try:
        found = _compiled(source, vocabulary)
    except _Wrong as exc:
        raise exc.told(where if isinstance(where, str) else where()) from exc.__cause__
    return held.setdefault(source, found)


class _Wrong(Exception):  # noqa: N818 - no error of its own, but what one is made of
    """What is wrong with a condition, before it is asked where it stands."""

    def __init__(self, message: str, fix: str, at: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self._message, self._fix, self._at = message, fix, at

    def told(self, where: str) -> BadInput:
        if self._at is None:
            return BadInput(self._message, field=where, fix=self._fix)
        line, column = self._at
        place = f"{where}, line {line} column {column} of it"
        return BadInput(self._message, field=place, fix=self._fix, line=line, column=column)


def _compiled(source: str, vocabulary: Vocabulary) -> Condition:
    _readable(source)
    cel = engine(vocabulary)
    try:
        expression = cel.compile(as_flags(source))
    except RuntimeError as exc:
        raise _told_by(str(exc), source, vocabulary) from exc
    root = tree(expression.serialize())
    _bounded(root, source, vocabulary)
    for node in root.walk():
        if node.kind == "call":
            _sound(node, source, cel)
    comes_to = str(expression.return_type().name()).casefold()
    if comes_to != "bool":
        message = f"it comes to a {_plain(comes_to)}, not to yes or no"
        raise _Wrong(message, 'Compare it with something, such as lead.country == "US".', _at(root, source))
    named = {node.name for node in root.walk() if node.kind == "name"}
    tested = {name.removeprefix(HAS) for name in named if name.startswith(HAS)}
    names = tested | {name for name in named if name in vocabulary.kinds}
    return Condition(source, tuple(sorted(names)), tuple(sorted(tested)), alternatives(root), expression, vocabulary)


def _readable(source: str) -> None:
    if len(source) > LONGEST:
        message = f"the condition has {len(source)} characters, more than {LONGEST}"
        raise _Wrong(message, "Put its values into a table, or make several rules of it.")
    for odd in source if not source.isprintable() else "":
        if not odd.isprintable() and odd not in "\n\r\t":
            raise _Wrong(f"the condition holds U+{ord(odd):04X}, which is not seen", "Take it out.")


def _bounded(root: Node, source: str, vocabulary: Vocabulary) -> None:
    if root.depth > DEEPEST:
        raise _Wrong("it is nested too deeply", "Make several rules of it.", _at(root, source))
    loops = [node for node in root.walk() if node.kind == "loop"]
    if inner := next((below for loop in loops for below in _below(loop) if below.kind == "loop"), None):
        raise _Wrong("it goes through a list within a list", "Ask one list at a time.", _at(inner, source))
    if len(loops) > MOST_LOOPS:
        message = f"it goes through {len(loops)} lists, more than {MOST_LOOPS}"
        raise _Wrong(message, "Make several rules of it.", _at(loops[-1], source))
    if costly := next((below for loop in loops for below in _below(loop) if _is_costly(below, vocabulary)), None):
        what = "joins a fact" if costly.name == "_+_" else "looks for a pattern in a fact"
        message = f"it {what} once for each entry of a list"
        raise _Wrong(message, "Ask it beside the list, with && or ||.", _at(costly, source))


def _is_costly(node: Node, vocabulary: Vocabulary) -> bool:
    """Whether a call goes over a whole text, or a list, that may be long and is no entry of the list gone through."""
    if node.kind != "call" or node.name not in {"_+_", "matches"}:
        return False
    given = node.parts if node.name == "_+_" else node.parts[:1]
    return any(part.kind == "name" and vocabulary.kinds.get(part.name) in {Kind.TEXT, Kind.LIST} for part in given)


def _below(node: Node) -> Iterator[Node]:
    return (below for part in node.parts for below in part.walk())


def _sound(node: Node, source: str, cel: Any) -> None:
    """Raise when a text that is written there can never be what the function makes of it."""
    last = node.parts[-1] if node.parts else node
    text = last.value if last.kind == "const" else None
    if node.name == "matches" and not isinstance(text, str):
        raise _Wrong("its pattern is not written down", 'Write it in quotes: matches("^9[0-9]")', _at(node, source))
    trial = _trial(node.name, text) if isinstance(text, str) else None
    if trial and (failure := fails(cel, trial)):
        reason = failure.split(": ", 1)[-1]
        fix = _LIKE.get(node.name, "Write the zone by its IANA name, such as America/New_York.")
        raise _Wrong(f"{node.name} cannot work with this: {reason}", fix, _at(node, source))


def _trial(function: str, text: str) -> str | None:
    """A condition that fails when this text is nothing for this function."""
    quoted = '"' + "".join(f"\\U{ord(letter):08x}" for letter in text) + '"'
    if function == "matches":
        return f"''.matches({quoted})"
    if function in _LIKE:
        return f"{function}({quoted}) == {function}({quoted})"
    return f"timestamp('2026-01-01T00:00:00Z').{function}({quoted}) == 0" if _OF_ZONE.fullmatch(function) else None


def _at(node: Node, source: str) -> tuple[int, int]:
    """Line and column, from 1, of a place in the tree."""
    at = next((below.at for below in node.walk() if below.at >= 0), 0)
    return source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at)


def _told_by(text: str, source: str, vocabulary: Vocabulary) -> _Wrong:
    """What the engine says against a condition, in our words."""
    found = _PLACE.search(text)
    if found is None:
        if "recursion" in text:
            return _Wrong("it is nested too deeply", "Make several rules of it.")
        return _Wrong(text.split("\n", maxsplit=1)[0][:200], "Write it as CEL (cel.dev).")
    line, column, said = int(found[1]), int(found[2]), found[3]
    if unknown := _UNKNOWN.search(said):
        name = unknown[1].removeprefix(HAS)
        before = name.rpartition(".")[0]  # the engine points to the last dot
        if source.split("\n")[line - 1][: column - 1].endswith(before):
            column -= len(before)
        return _Wrong(f"nothing is called {name} here", _did_you_mean(name, vocabulary), (line, column))
    if overload := _OVERLOAD.search(said):
        return _misfit(overload[1], overload[2], (line, column))
    message = said.split(", expecting")[0].split(" expecting {")[0].removeprefix("Syntax error: ")
    if "'<EOF>'" in message:
        return _Wrong(*_ENDS[bool(source.strip())], (line, column))
    if odd := _TOKEN.search(message):
        return _Wrong(f"{odd[1]} cannot stand here", "Put texts in quotes; write it as CEL (cel.dev).", (line, column))
    return _Wrong(message, "Write it as CEL (cel.dev).", (line, column))


def _did_you_mean(name: str, vocabulary: Vocabulary) -> str:
    near = "".join(f"Is it {close}? " for close in get_close_matches(name[:80], vocabulary.kinds, n=1))
    return f"{near}Facts of your own are declared under attributes."


def _misfit(function: str, given: str, at: tuple[int, int]) -> _Wrong:
    kinds = [_plain(kind) for kind in re.split(r",\s*(?![^(]*\))", given)]
    sign = function.strip("_@").replace("[_]", "[]")
    message = f"{sign} does not go with {' and '.join(kinds)}"
    if sign in {"+", "-", "*", "/"} and {"number", "whole number"} <= set(kinds):
        return _Wrong(message, "Write whole numbers with .0 where they meet numbers in a sum.", at)
    return _Wrong(message, "Compare text with text in quotes, numbers with numbers, flags as they are.", at)


def _plain(kind: str) -> str:
    return _TYPES.get(kind, kind)
