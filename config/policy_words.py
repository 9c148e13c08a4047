"""Which word of the policy document was meant where an unknown one stands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

#: How alike two words are before one is taken for the other: `radi` and `radii`, not `mode` and `name`.
_ALIKE = 0.7


def meant(word: str, way: Sequence[str | int], schema: Mapping[str, Any]) -> str | None:
    """The known word most like this one: at this place of the document, else anywhere in it; None if there is none."""
    defs = schema.get("$defs", {})
    here = {name for part in _parts(schema, way, defs) for name in part.get("properties", {})}
    anywhere = {name for part in [schema, *defs.values()] for name in part.get("properties", {})}
    for known in (here, anywhere):
        if found := get_close_matches(word[:60].lower(), sorted(known), n=1, cutoff=_ALIKE):
            return found[0] if known is here else f"{found[0]}, which belongs elsewhere"
    return None


def _parts(schema: Mapping[str, Any], way: Sequence[str | int], defs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas that hold at a place; a step that is none of theirs, such as an alternative's name, is left out."""
    parts = list(_plain(schema, defs))
    for step in way:
        parts = [further for part in parts for below in _below(part, step) for further in _plain(below, defs)] or parts
    return parts


def _below(part: Mapping[str, Any], step: str | int) -> Iterator[Mapping[str, Any]]:
    if isinstance(step, int):
        if isinstance(part.get("items"), Mapping):
            yield part["items"]
    elif step in part.get("properties", {}):
        yield part["properties"][step]
    elif isinstance(part.get("additionalProperties"), Mapping):
        yield part["additionalProperties"]


def _plain(schema: Mapping[str, Any], defs: Mapping[str, Any], deep: int = 0) -> Iterator[Mapping[str, Any]]:
    """The schema itself with references and alternatives followed."""
    if deep > 8:
        return
    if "$ref" in schema:
        yield from _plain(defs.get(str(schema["$ref"]).rsplit("/", 1)[-1], {}), defs, deep + 1)
        return
    ways = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]
    for one in ways:
        yield from _plain(one, defs, deep + 1)
    if not ways:
        yield schema


def suggestion(word: str, known: Iterable[str]) -> str:
    """The fix for a name that is not known: the one that is most like it, else some of those there are."""
    names = sorted(known)
    if near := get_close_matches(word[:60], names, n=1):
        return f"Did you mean {near[0]}?"
    return f"There is {', '.join(names[:10])}." if names else "There is none yet."
