"""What two policy documents mean differently: a default that is left out is no difference, nor is 4h for 240m."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel, ValidationError

from config.policy import Document
from routing.limits import span
from routing.policy_diff import Difference, Kind, differences

#: Sections whose parts have names of the author's own, and no defaults.
_OWN = ("attributes", "tables", "areas")


def changes(before: Any, after: Any) -> list[Difference]:
    """Every difference in meaning, in the words in which it is written; of what is no policy, every difference."""
    found = differences(before, after)
    if not any(map(_may_mean_the_same, found)):
        return found
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return found
    meant = [_meant(document) for document in (before, after)]
    if meant[0] is None or meant[1] is None:
        return found
    old, new = dict(_parts(before)), dict(_parts(after))
    return [_as_written(one, old, new) for one in differences(*meant)]


def _may_mean_the_same(one: Difference) -> bool:
    """A named thing that is there or is not, or a number that is another one, is a difference in any case."""
    if one.kind is Kind.CHANGED:
        return not all(isinstance(value, int | float) for value in (one.before, one.after))
    return one.kind is not Kind.MOVED and not one.path.endswith("]") and one.path.split(".")[0] not in _OWN


def _meant(document: Mapping[str, Any]) -> Any:
    try:
        return _plain(Document.model_validate(dict(document)))
    except ValidationError:
        return None


def _plain(value: Any) -> Any:
    """A part of the document as JSON would hold it, with all defaults; what is not said at all is left out."""
    match value:
        case BaseModel():
            fields = type(value).model_fields
            pairs = ((info.alias or name, getattr(value, name)) for name, info in fields.items())
            return {name: _plain(one) for name, one in pairs if one is not None}
        case Mapping():
            return {str(_plain(key)): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case set() | frozenset():
            return sorted(map(str, map(_plain, value)))
        case Enum():
            return str(value.value)
        case timedelta():
            return span(value) or "0s"
        case datetime() | date() | time():
            return value.isoformat()
    return value


def _parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every part of a document by its path, named things by their names."""
    if path:
        yield path, value
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _parts(one, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for one in value:
            if isinstance(one, Mapping) and isinstance(one.get("name"), str):
                yield from _parts(one, f"{path}[{one['name']}]")


def _as_written(one: Difference, old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    if one.kind is Kind.MOVED:
        return one
    return replace(one, before=old.get(one.path, one.before), after=new.get(one.path, one.after))
