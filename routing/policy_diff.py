"""What differs between two policy documents, by path; things with names are matched by their names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What became of a part."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"  # the order of named things, which counts where the first one that fits is taken


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that is not the same; `place` is where an added or removed thing stands among its like, from 1."""

    path: str
    kind: Kind
    before: Any = None
    after: Any = None
    place: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @property
    def told(self) -> str:
        """In one line."""
        at = f" (no. {self.place})" if self.place else ""
        match self.kind:
            case Kind.ADDED:
                return f"+ {self.path}{at}: {_short(self.after)}"
            case Kind.REMOVED:
                return f"- {self.path}{at}: {_short(self.before)}"
            case Kind.MOVED:
                return f"~ {self.path}: the order is now {', '.join(self.after)}"
            case _:
                return f"~ {self.path}: {_change(self.before, self.after)}"


def differences(before: Any, after: Any) -> list[Difference]:
    """Every difference, in the order of the documents; none when both say the same."""
    return list(_between(before, after, ""))


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _between(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if same(before, after):
        return
    named = _named(before), _named(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _mappings(before, after, lambda key: f"{path}.{key}".lstrip("."))
    elif named[0] is not None and named[1] is not None:
        yield from _mappings(named[0], named[1], lambda key: f"{path}[{key}]", places=True)
        if (first := [n for n in named[0] if n in named[1]]) != (then := [n for n in named[1] if n in named[0]]):
            yield Difference(path, Kind.MOVED, first, then)
    else:
        yield Difference(path or "policy", Kind.CHANGED, before, after)


def _mappings(before: Mapping[str, Any], after: Mapping[str, Any], path: Any, *, places: bool = False) -> Iterator[Any]:
    for at, (key, value) in enumerate(before.items(), start=1):
        if key in after:
            yield from _between(value, after[key], path(key))
        else:
            yield Difference(path(key), Kind.REMOVED, before=value, place=at if places else None)
    for at, (key, value) in enumerate(after.items(), start=1):
        if key not in before:
            yield Difference(path(key), Kind.ADDED, after=value, place=at if places else None)


def _named(value: Any) -> dict[str, Any] | None:
    """A list of things with names of their own, by name; None for anything else."""
    if not isinstance(value, list | tuple) or not value:
        return {} if isinstance(value, list | tuple) else None
    names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return dict(zip((str(name) for name in names), value, strict=True))


def _change(before: Any, after: Any) -> str:
    if _words(before) and _words(after) and len(before) + len(after) > 6:
        gone = [f"-{one}" for one in before if one not in after]
        come = [f"+{one}" for one in after if one not in before]
        if gone or come:
            return " ".join((*gone, *come))
    return f"{_short(before)} -> {_short(after)}"


def _words(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."
