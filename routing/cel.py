"""The engine of conditions, Google's own for CEL (cel-expr-python), set up for one vocabulary.

It cannot loop, reads nothing but the facts it is given, and its regular expressions take time in proportion to the text
(RE2). Numbers and whole numbers may be compared with each other here, which CEL's standard only allows unchecked; and
`date("2026-03-01")` is the midnight, in UTC, that a day begins with.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

from routing.vocabulary import Kind, Vocabulary

#: `has(lead.score)` is asked as a flag of this name.
HAS = "has."

_ORDERED = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
_EQUAL = {"_==_": "equals", "_!=_": "not_equals"}
_MOST_KNOWN = 4096
_failures: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()  # by engine and condition
_engines: WeakKeyDictionary[Vocabulary, Any] = WeakKeyDictionary()

#: Strings and comments are left alone; what is left of `has(lead.score)` becomes the name `has.lead.score`.
_HAS_CALL = re.compile(
    r"""//[^\n]*
      | [bB]?[rR][bB]?(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n]*"|'[^'\n]*')
      | \"{3}(?:\\[\s\S]|[^\\])*?\"{3} | '{3}(?:\\[\s\S]|[^\\])*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
      | (?<![\w.])has(?P<before>\s*)\((?P<name>\s*[A-Za-z_]\w*(?:\s*\.\s*\w+)*\s*)\)""",
    re.VERBOSE | re.ASCII,
)


def engine(vocabulary: Vocabulary) -> Any:
    """The engine that knows these names; the same for every vocabulary that has the same ones."""
    found = _engines.get(vocabulary)
    if found is None:
        found = _engines[vocabulary] = _engine(tuple(sorted(vocabulary.kinds.items())))
    return found


def fails(engine: Any, condition: str) -> str:
    """What a condition that asks no fact comes to grief with; nothing when it does not."""
    known = _failures.setdefault(engine, {})
    if condition not in known:
        answer = engine.compile(condition).eval(data={})
        known[condition] = str(answer.value()) if answer.type().name() == "ERROR" else ""
        if len(known) > _MOST_KNOWN:
            del known[next(iter(known))]
    return known[condition]


def as_flags(source: str) -> str:
    """The same condition, letter by letter in the same place, with has(NAME) written as the name of a flag."""
    return _HAS_CALL.sub(lambda found: f"has{found['before']}.{found['name']} " if found["name"] else found[0], source)


@lru_cache(maxsize=8)
def _engine(words: tuple[tuple[str, Kind], ...]) -> Any:
    cel = import_module("cel_expr_python.cel")  # where there is a condition, as most processes meet none
    kinds = {
        Kind.TEXT: cel.Type.STRING,
        Kind.NUMBER: cel.Type.DOUBLE,
        Kind.WHOLE: cel.Type.INT,
        Kind.FLAG: cel.Type.BOOL,
        Kind.DATE: cel.Type.TIMESTAMP,
        Kind.TIME: cel.Type.TIMESTAMP,
        Kind.LIST: cel.Type.List(cel.Type.STRING),
    }
    names: Mapping[str, Any] = {name: kinds[kind] for name, kind in words}
    flags: Mapping[str, Any] = {HAS + name: cel.Type.BOOL for name, _ in words}
    replaced = "".join(f"    - name: '{name}'\n" for name in (*_ORDERED, *_EQUAL, "@in"))
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(f"name: fairturn\nstdlib:\n  exclude_functions:\n{replaced}"),
        variables={**names, **flags},
        functions=_functions(cel),
    )


def _functions(cel: Any) -> list[Any]:
    """The comparisons of CEL's standard and those between the two kinds of numbers, and `date`."""
    types = cel.Type
    numbers = {"double": types.DOUBLE, "int64": types.INT}
    others = {"bool": types.BOOL, "string": types.STRING, "timestamp": types.TIMESTAMP, "duration": types.DURATION}
    pairs = [(f"{a}_{b}" if a != b else a, numbers[a], numbers[b]) for a, b in product(numbers, numbers)]
    pairs += [(name, kind, kind) for name, kind in others.items()]
    lists = ("list", types.List(types.STRING), types.List(types.STRING))

    def compared(function: str, word: str, sides: list[tuple[str, Any, Any]]) -> Any:
        made = [cel.Overload(f"{word}_{name}", return_type=types.BOOL, parameters=list(two)) for name, *two in sides]
        return cel.FunctionDecl(function, made)

    day = cel.Overload("date_string", return_type=types.TIMESTAMP, parameters=[types.STRING], impl=_midnight)
    return [
        *(compared(function, word, pairs) for function, word in _ORDERED.items()),
        *(compared(function, word, [*pairs, lists]) for function, word in _EQUAL.items()),
        compared("@in", "in", [(name, one, types.List(other)) for name, one, other in pairs]),
        cel.FunctionDecl("date", [day]),
    ]


def _midnight(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
