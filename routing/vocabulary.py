"""What conditions may speak of: the names of facts, the kind of each, and how a raw value is read as its kind."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum


class Kind(StrEnum):
    """What a fact holds."""

    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole"
    FLAG = "flag"
    DATE = "date"  # a day; compared as its midnight in UTC
    TIME = "time"  # a moment
    LIST = "list"  # of text


#: What every lead, every member and the clock bring with them; `attributes` of the policy adds to them.
STANDARD: Mapping[str, Kind] = {
    "lead.country": Kind.TEXT,
    "lead.region": Kind.TEXT,
    "lead.city": Kind.TEXT,
    "lead.postal_code": Kind.TEXT,
    "lead.source": Kind.TEXT,
    "lead.owner": Kind.TEXT,
    "lead.priority": Kind.WHOLE,
    "lead.hot": Kind.FLAG,
    "lead.precision": Kind.TEXT,
    "lead.received_at": Kind.TIME,
    "lead.attempt": Kind.WHOLE,
    "lead.moves": Kind.WHOLE,
    "lead.age_hours": Kind.NUMBER,
    "lead.latitude": Kind.NUMBER,
    "lead.longitude": Kind.NUMBER,
    "now": Kind.TIME,
}
OF_MEMBERS: Mapping[str, Kind] = {
    "member.key": Kind.TEXT,
    "member.tier": Kind.TEXT,
    "member.market": Kind.TEXT,
    "member.country": Kind.TEXT,
    "member.capacity": Kind.WHOLE,
    "member.open": Kind.WHOLE,
}
#: A list with more in it is treated as missing, so that no condition takes long over one.
LONGEST_LIST = 1000
_LARGEST_WHOLE = 2**63 - 1
#: Half of a character, as JSON can write it: no text that anybody could have meant.
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The names that conditions of one policy may use."""

    kinds: Mapping[str, Kind]

    @classmethod
    def of(cls, *parts: Mapping[str, Kind]) -> "Vocabulary":
        return cls({name: kind for part in parts for name, kind in part.items()})

    def read(self, facts: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
        """Those of the named facts that are there and are of their kind; the others are as good as missing."""
        found = ((name, _READ[self.kinds[name]](facts.get(name))) for name in names)
        return {name: value for name, value in found if value is not None}


def _text(raw: object) -> object:
    if isinstance(raw, str):
        return raw if raw.isascii() or not _HALF.search(raw) else None
    return str(raw) if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) <= _LARGEST_WHOLE else None


def _number(raw: object) -> object:
    if isinstance(raw, str):
        raw = _as_float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    try:
        number = float(raw)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def _as_float(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?\s*", text, re.ASCII) else None


def _whole(raw: object) -> object:
    number = _number(raw) if not isinstance(raw, int) or isinstance(raw, bool) else raw
    if not isinstance(number, int | float) or number != int(number) or abs(number) > _LARGEST_WHOLE:
        return None
    return int(number)


def _flag(raw: object) -> object:
    if isinstance(raw, bool):
        return raw
    return {"true": True, "false": False}.get(raw.strip().casefold()) if isinstance(raw, str) else None


def _date(raw: object) -> object:
    if isinstance(raw, str):
        try:
            raw = date.fromisoformat(raw.strip()[:10])
        except ValueError:
            return None
    if not isinstance(raw, date):
        return None
    return datetime.combine(raw.date() if isinstance(raw, datetime) else raw, time(), UTC)


def _time(raw: object) -> object:
    if isinstance(raw, str):
        try:
            raw = datetime.fromisoformat(raw.strip())
        except ValueError:
            return None
    if not isinstance(raw, datetime):
        return None
    try:
        return raw.astimezone(UTC) if raw.tzinfo else raw.replace(tzinfo=UTC)
    except OverflowError:  # before the year 1 or after the year 9999 there
        return None


def _list(raw: object) -> object:
    """Texts; a text with semicolons is several, as Salesforce writes what was chosen from a list."""
    if isinstance(raw, str):
        raw = [part.strip() for part in raw.split(";") if part.strip()]
    if not isinstance(raw, list | tuple | set | frozenset) or len(raw) > LONGEST_LIST:
        return None
    texts = [_text(part) for part in (sorted(raw, key=str) if isinstance(raw, set | frozenset) else raw)]
    return None if None in texts else texts


_READ: Mapping[Kind, Callable[[object], object]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.WHOLE: _whole,
    Kind.FLAG: _flag,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.LIST: _list,
}
