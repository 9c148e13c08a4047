"""Conditions in CEL: typed against a vocabulary when they are written, asked of facts when a lead comes.

The engine is Google's own (cel-expr-python): it cannot loop, reads nothing but the facts it is given, and its regular
expressions take time in proportion to the text (RE2). A condition whose truth hangs on a fact that is missing does not
hold; `has(lead.score)` asks whether a fact is there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any, NoReturn

from routing.atoms import Alternatives, alternatives
from routing.errors import BadInput
from routing.syntax import Node, tree
from routing.vocabulary import Kind, Vocabulary

if TYPE_CHECKING:
    from cel_expr_python import cel

LONGEST = 4000  # characters
DEEPEST = 40
MOST_LOOPS = 4  # exists, all, map and their like over a list; none inside of another
#: `has(lead.score)` is asked as a flag of this name.
HAS = "has."

#: Strings and comments are left alone; what is left of `has(lead.score)` becomes the name `has.lead.score`.
_HAS_CALL = re.compile(
    r"""//[^\n]*
      | [bB]?[rR][bB]?(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n]*"|'[^'\n]*')
      | \"{3}(?:\\[\s\S]|[^\\])*?\"{3} | '{3}(?:\\[\s\S]|[^\\])*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
      | (?<![\w.])has(?P<before>\s*)\((?P<name>\s*[A-Za-z_]\w*(?:\s*\.\s*\w+)*\s*)\)""",
    re.VERBOSE | re.ASCII,
)
_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_OVERLOAD = re.compile(r"found no matching overload for '(.+?)' applied to '\((.*)\)'")
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
_MADE_OF_TEXT = frozenset({"timestamp", "date", "duration"})
_OF_ZONE = re.compile(r"get(FullYear|Month|Date|DayOfMonth|DayOfWeek|DayOfYear|Hours|Minutes|Seconds|Milliseconds)")


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One condition, compiled. `names` are the facts it reads, `tested` those of them that it asks after with has()."""

    source: str
    names: tuple[str, ...]
    tested: tuple[str, ...]
    alternatives: Alternatives  # what must be so at least, whenever it holds
    _expression: "cel.Expression" = field(repr=False)
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


def compile(source: str, vocabulary: Vocabulary, *, where: str) -> Condition:  # noqa: A001 - as re.compile
    """The condition. Raises BadInput naming `where` with line and column, and the fix."""
    if len(source) > LONGEST:
        raise BadInput(
            f"the condition has {len(source)} characters, more than {LONGEST}",
            field=where,
            fix="Put its values into a table, or make several rules of it.",
        )
    if not source.isprintable() and (odd := next((c for c in source if not c.isprintable() and c not in "\n\r\t"), "")):
        raise BadInput(f"the condition has the unseen letter {odd!r} in it", field=where, fix="Take it out.")
    engine = _engine(tuple(sorted(vocabulary.kinds.items())))
    written = _HAS_CALL.sub(_flagged, source)
    try:
        expression = engine.compile(written)
    except RuntimeError as exc:
        _refuse(str(exc), source, vocabulary, where, exc)
    root = tree(expression.serialize())
    _check(root, source, where, engine)
    if str(expression.return_type().name()).casefold() != "bool":
        raise _bad(
            f"it comes to a {_plain(expression.return_type().name())}, not to yes or no",
            source,
            root,
            where,
            'Compare it with something, such as lead.country == "US".',
        )
    named = {node.name for node in root.walk() if node.kind == "name"}
    tested = {name.removeprefix(HAS) for name in named if name.startswith(HAS)}
    names = tested | {name for name in named if name in vocabulary.kinds}
    return Condition(source, tuple(sorted(names)), tuple(sorted(tested)), alternatives(root), expression, vocabulary)


def _flagged(found: re.Match[str]) -> str:
    """The same text, as long as before; has(NAME) as the name of its flag."""
    return f"has{found['before']}.{found['name']} " if found["name"] else found[0]


@lru_cache(maxsize=16)
def _engine(words: tuple[tuple[str, Kind], ...]) -> Any:
    """The engine that knows these names; numbers of both kinds may be compared with each other."""
    cel = _cel()
    kinds = {
        Kind.TEXT: cel.Type.STRING,
        Kind.NUMBER: cel.Type.DOUBLE,
        Kind.WHOLE: cel.Type.INT,
        Kind.FLAG: cel.Type.BOOL,
        Kind.DATE: cel.Type.TIMESTAMP,
        Kind.TIME: cel.Type.TIMESTAMP,
        Kind.LIST: cel.Type.List(cel.Type.STRING),
    }
    names = {name: kinds[kind] for name, kind in words}
    flags = {HAS + name: cel.Type.BOOL for name, _ in words}
    replaced = "".join(f"    - name: '{name}'\n" for name in (*_ORDERED, *_EQUAL, "@in"))
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(f"name: fairturn\nstdlib:\n  exclude_functions:\n{replaced}"),
        variables={**names, **flags},
        functions=list(_functions(cel)),
    )


def _cel() -> Any:
    """The engine; loaded where there is a condition, as most processes meet none."""
    return import_module("cel_expr_python.cel")


_ORDERED = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
_EQUAL = {"_==_": "equals", "_!=_": "not_equals"}


def _functions(cel: Any) -> list[Any]:
    """The comparisons of CEL's standard, and those of a number with a whole number, which it only has unchecked."""
    types = cel.Type
    numbers = {"double": types.DOUBLE, "int64": types.INT}
    others = {"bool": types.BOOL, "string": types.STRING, "timestamp": types.TIMESTAMP, "duration": types.DURATION}
    lists = {"list": types.List(types.STRING)}
    mixed = [(f"{a}_{b}" if a != b else a, numbers[a], numbers[b]) for a, b in product(numbers, numbers)]
    same = [(name, kind, kind) for name, kind in others.items()]
    listed = [(name, kind, kind) for name, kind in lists.items()]

    def comparison(function: str, word: str, pairs: list[tuple[str, Any, Any]]) -> Any:
        overloads = [
            cel.Overload(f"{word}_{name}", return_type=types.BOOL, parameters=[left, right])
            for name, left, right in pairs
        ]
        return cel.FunctionDecl(function, overloads)

    day = cel.Overload("date_string", return_type=types.TIMESTAMP, parameters=[types.STRING], impl=_midnight)
    return [
        *(comparison(function, word, mixed + same) for function, word in _ORDERED.items()),
        *(comparison(function, word, mixed + same + listed) for function, word in _EQUAL.items()),
        comparison("@in", "in", [(name, left, types.List(right)) for name, left, right in mixed + same]),
        cel.FunctionDecl("date", [day]),
    ]


def _midnight(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


def _check(root: Node, source: str, where: str, engine: Any) -> None:
    if root.depth > DEEPEST:
        raise _bad("it is nested too deeply", source, root, where, "Make several rules of it.")
    loops = [node for node in root.walk() if node.kind == "loop"]
    inner = [below for loop in loops for part in loop.parts for below in part.walk() if below.kind == "loop"]
    if inner:
        raise _bad("it goes through a list within a list", source, inner[0], where, "Ask one list at a time.")
    if len(loops) > MOST_LOOPS:
        raise _bad(
            f"it goes through {len(loops)} lists, more than {MOST_LOOPS}",
            source,
            loops[-1],
            where,
            "Make several rules.",
        )
    for node in root.walk():
        if node.kind == "call" and (trial := _trial(node, source, where)):
            answer = engine.compile(trial).eval(data={})
            if answer.type().name() == "ERROR":
                reason = str(answer.value()).split(": ", 1)[-1]
                raise _bad(f"{node.name} cannot work with this: {reason}", source, node, where, _fix_of(node.name))


def _trial(node: Node, source: str, where: str) -> str | None:
    """A condition that fails when the constant given to this function is wrong; None when there is nothing to try."""
    text = node.parts[-1].value if node.parts and node.parts[-1].kind == "const" else None
    if node.name == "matches":
        if not isinstance(text, str):
            raise _bad("its pattern is not written down", source, node, where, 'Write it in quotes: matches("^9[0-9]")')
        return f"''.matches({_quoted(text)})"
    if not isinstance(text, str):
        return None
    if node.name in _MADE_OF_TEXT:
        return f"{node.name}({_quoted(text)}) == {node.name}({_quoted(text)})"
    if _OF_ZONE.fullmatch(node.name):
        return f"timestamp('2026-01-01T00:00:00Z').{node.name}({_quoted(text)}) == 0"
    return None


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(letter):08x}" for letter in text) + '"'


def _fix_of(function: str) -> str:
    return {
        "matches": "Write it as RE2 understands it (github.com/google/re2/wiki/Syntax).",
        "timestamp": "Write it like 2026-03-01T08:00:00Z.",
        "date": "Write it like 2026-03-01.",
        "duration": "Write it like 36h, 90m or 45s.",
    }.get(function, "Write the zone by its IANA name, such as America/New_York.")


def _bad(message: str, source: str, node: Node, where: str, fix: str) -> BadInput:
    at = next((below.at for below in node.walk() if below.at >= 0), 0) if node.at < 0 else node.at
    line = source.count("\n", 0, at) + 1
    return _placed(message, where, line, at - (source.rfind("\n", 0, at) + 1) + 1, fix)


def _placed(message: str, where: str, line: int, column: int, fix: str) -> BadInput:
    return BadInput(message, field=f"{where} line {line} column {column}", fix=fix, line=line, column=column)


def _refuse(text: str, source: str, vocabulary: Vocabulary, where: str, cause: Exception) -> NoReturn:
    """What the engine says against it, in our words."""
    found = _PLACE.search(text)
    if not found:
        if "recursion" in text:
            raise BadInput("it is nested too deeply", field=where, fix="Make several rules of it.") from cause
        raise BadInput(text.split("\n", maxsplit=1)[0][:200], field=where, fix="Write it as CEL (cel.dev).") from cause
    line, column, said = int(found[1]), int(found[2]), found[3]
    if unknown := _UNKNOWN.search(said):
        name = unknown[1].removeprefix(HAS)
        message, fix = f"nothing is called {name} here", _did_you_mean(name, vocabulary)
        before = name.rpartition(".")[0]  # the engine points to the last dot
        if source.split("\n")[line - 1][: column - 1].endswith(before):
            column -= len(before)
    elif overload := _OVERLOAD.search(said):
        message, fix = _misfit(overload[1], overload[2])
    else:
        message, fix = said.split(", expecting")[0].split(" expecting {")[0], "Write it as CEL (cel.dev)."
    raise _placed(message, where, line, column, fix) from cause


def _did_you_mean(name: str, vocabulary: Vocabulary) -> str:
    near = "".join(f"Is it {close}? " for close in get_close_matches(name, vocabulary.kinds, n=1))
    return f"{near}Facts of your own are declared under attributes."


def _misfit(function: str, given: str) -> tuple[str, str]:
    kinds = [_plain(kind) for kind in re.split(r",\s*(?![^(]*\))", given)]
    sign = function.strip("_@").replace("[_]", "[]")
    message = f"{sign} does not go with {' and '.join(kinds)}"
    if sign in {"+", "-", "*", "/"} and {"number", "whole number"} <= set(kinds):
        return message, "Write whole numbers with .0 where they meet numbers in a sum."
    return message, "Compare text with text in quotes, numbers with numbers, flags as they are."


def _plain(kind: str) -> str:
    return _TYPES.get(kind, _TYPES.get(kind.casefold(), kind))
