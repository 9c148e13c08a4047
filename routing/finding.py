"""What a check of a policy finds: the place, what is wrong there, a lead that shows it, and the fix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

#: A way into the document, such as ("pools", 0, "answers").
Way = tuple[str | int, ...]


class Severity(StrEnum):
    """What follows from a finding."""

    ERROR = "error"  # it is not published
    WARNING = "warning"  # it is published, and the warning kept with it
    NOTE = "note"  # worth a look


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that somebody who knows the trade would ask about."""

    severity: Severity
    code: str  # one word for programs, such as unreachable_rule
    way: Way
    message: str
    fix: str
    witness: Mapping[str, Any] = field(default_factory=dict)  # a lead that shows it, as its facts; or what else does
    line: int | None = None  # in the text the document was read from
    column: int | None = None

    @property
    def path(self) -> str:
        """The place as errors write it."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.way).lstrip(".")

    def at(self, place: tuple[int, int] | None) -> "Finding":
        """The same with its place in the text."""
        return self if place is None else replace(self, line=place[0], column=place[1])

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Finding":
        """As it was kept by `to_dict`."""
        way = (str(kept["path"]),) if kept.get("path") else ()
        code, message, fix = (str(kept.get(name, "")) for name in ("code", "message", "fix"))
        shown, place = kept.get("witness") or {}, (kept.get("line"), kept.get("column"))
        return cls(Severity(kept["severity"]), code, way, message, fix, shown, *place)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "severity": self.severity.value,
            "code": self.code,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "fix": self.fix,
            "witness": dict(self.witness),
        }


def error(code: str, way: Way, message: str, fix: str, witness: Mapping[str, Any] | None = None) -> Finding:
    """What keeps a policy from being published."""
    return Finding(Severity.ERROR, code, way, message, fix, witness or {})


def warning(code: str, way: Way, message: str, fix: str, witness: Mapping[str, Any] | None = None) -> Finding:
    """What is kept with the version."""
    return Finding(Severity.WARNING, code, way, message, fix, witness or {})


def note(code: str, way: Way, message: str, fix: str, witness: Mapping[str, Any] | None = None) -> Finding:
    """What is worth a look."""
    return Finding(Severity.NOTE, code, way, message, fix, witness or {})


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a sentence, the first few of them."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
