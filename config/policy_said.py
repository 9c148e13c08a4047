"""What is wrong with the form of a policy document, in plain words: where, what, and the fix.

The library that checks the form speaks of valid strings and of patterns; people are told what to write.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config import policy_text, policy_words
from routing.errors import BadInput

#: What stands in place of what was expected, by the library's word for it: what it is not, and what to write.
_KINDS: Mapping[str, tuple[str, str]] = {
    "int": ("a whole number", "Write a whole number, such as 5."),
    "float": ("a number", "Write a number, such as 1.5."),
    "bool": ("true or false", "Write true or false."),
    "string": ("a text", "Write a text; in quotes where it looks like something else."),
    "list": ("a list", "Write a list, such as [a, b]."),
    "dict": ("names with values", "Write names and values, such as {name: value}."),
    "model": ("names with values", "Write names and values, such as {name: value}."),
    "date": ("a day", "Write a day, such as 2026-12-24."),
}
_ANYTHING = ("what is wanted here", "config/policy.yaml shows how it is written.")
_PATTERNS: Mapping[str, str] = {
    r"^[a-z0-9][a-z0-9_-]{0,39}$": "Write small letters, digits, - and _, at most 40 of them, such as north-west.",
    r"^[A-Za-z_][A-Za-z0-9_]{0,59}$": "Write letters, digits and _, at most 60 of them, such as roof_area.",
    r"^[A-Za-z]\w{0,39}$": "Write letters, digits and _, at most 40 of them, such as postal_code.",
    r"^[a-zA-Z0-9]{15,18}$": "Write an id of Salesforce, of 15 or 18 characters, such as 00G5g000001AbCdEAK.",
    r"^sha256:[0-9a-f]{64}$": "Bring the file with: fairturn policy table, or fairturn policy area.",
}
_BLANKS = "Write it without blanks around it, in one line, and not too long."


def refuse(cause: ValidationError, document: Mapping[str, Any], schema: Callable[[], Mapping[str, Any]]) -> NoReturn:
    """Raise BadInput for the first thing that is wrong, with its place in the document."""
    error = cause.errors()[0]
    way = _way(error, document)
    message, fix = _said(error, way, schema)
    raise BadInput(message, field=policy_text.where(way, document), fix=fix) from cause


def _way(error: ErrorDetails, document: Mapping[str, Any]) -> list[str | int]:
    """The way into the document as it is written: the library puts names of alternatives into it."""
    at: Any = document
    way: list[str | int] = []
    steps = (*error["loc"], *error.get("ctx", {}).get("way", ()))
    for number, step in enumerate(steps, 1):
        there = step in at if isinstance(at, Mapping) else isinstance(at, list) and step in range(len(at))
        if there or (error["type"] == "missing" and number == len(steps)):
            way.append(step)
        at = at[step] if there else at
    return way


def _said(error: ErrorDetails, way: Sequence[str | int], schema: Callable[[], Mapping[str, Any]]) -> tuple[str, str]:
    """What is wrong, and the fix."""
    kind, given, ctx = error["type"], _short(error["input"]), error.get("ctx", {})
    last = policy_text.path_of([step for step in way if isinstance(step, str)][-1:]) or "it"
    if "fix" in ctx:
        return error["msg"], str(ctx["fix"])
    if kind == "missing":
        return f"{last} is missing", "Add it; config/policy.yaml shows a whole document."
    if kind == "extra_forbidden":
        near = policy_words.meant(str(way[-1]), way[:-1], schema())
        other = "Check its spelling and its indentation, or take it out."
        return f"no word is called {last} here", f"Did you mean {near}?" if near else other
    if kind in {"literal_error", "enum"}:
        return f"{given} is nothing that {last} can be", _one_of(str(ctx["expected"]), error["input"])
    if kind == "string_pattern_mismatch":
        return f"{given} cannot be written here", _PATTERNS.get(str(ctx["pattern"]), _BLANKS)
    if bound := _BOUNDS.get(kind):
        name, what, fix = bound
        return what.format(given=given, last=last), fix.format(limit=_plain(ctx[name]))
    not_a, fix = _KINDS.get(
        kind.partition("_")[0], ("what is wanted here", "config/policy.yaml shows how it is written.")
    )
    return f"{given} is not {not_a}", fix


_BOUNDS: Mapping[str, tuple[str, str, str]] = {
    "greater_than": ("gt", "{given} is too small", "Give more than {limit}."),
    "greater_than_equal": ("ge", "{given} is too small", "Give {limit} or more."),
    "less_than": ("lt", "{given} is too large", "Give less than {limit}."),
    "less_than_equal": ("le", "{given} is too large", "Give at most {limit}."),
    "too_short": ("min_length", "{last} is empty, or too short", "Give {limit} or more."),
    "too_long": ("max_length", "{last} is too long", "Give at most {limit}."),
    "string_too_short": ("min_length", "{last} is empty, or too short", "Write {limit} letters or more."),
    "string_too_long": ("max_length", "{last} is too long", "Write at most {limit} letters."),
}


def _plain(limit: object) -> str:
    return f"{limit:,.10g}" if isinstance(limit, int | float) else str(limit)


def _one_of(expected: str, given: object) -> str:
    """The fix where one of a few words is wanted; `expected` is such as `'mi' or 'km'`."""
    words = [word.strip("' ") for part in expected.split(",") for word in part.split(" or ")]
    near = get_close_matches(str(given)[:40].casefold(), words, n=1)
    told = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return f"Did you mean {near[0]}? It can be {told}." if near and len(words) > 1 else f"Write {told}."


def _short(value: object) -> str:
    """A value as an error shows it."""
    text = "no value" if value is None else str(value) if isinstance(value, bool | int | float) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
