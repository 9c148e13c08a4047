"""Members' own working hours: written as text or as a week, and whether a moment is within them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from routing.hours import opening
from routing.policy import Hours

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Who opens no sooner than this is as good as shut.
FARTHEST = timedelta(days=60)
_PART = re.compile(r"(?P<days>[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*)\s*(?P<spans>\d.*)")
_SPAN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)")
Week = Mapping[int, tuple[tuple[int, int], ...]]


def week_of(value: object) -> Week | None:
    """A week's hours from `mon-fri 08:00-17:00; sat 09:00-12:00`, or from {mon: ["08:00-17:00"]}; None: neither."""
    if isinstance(value, Mapping):
        value = "; ".join(f"{day} {','.join(map(str, _many(spans)))}" for day, spans in value.items())
    if not isinstance(value, str):
        return None
    days: dict[int, list[tuple[int, int]]] = {}
    for text in filter(None, (part.strip() for part in value.casefold().split(";"))):
        part = _PART.fullmatch(re.sub(r"\s*([,-])\s*", r"\1", text))
        numbers, spans = (_days(part["days"]), _spans(part["spans"])) if part else (None, None)
        if numbers is None or spans is None:
            return None
        for number in numbers:
            days.setdefault(number, []).extend(spans)
    return {number: tuple(sorted(spans)) for number, spans in days.items()} or None


def _many(spans: object) -> Sequence[object]:
    return [spans] if isinstance(spans, str) else spans if isinstance(spans, list | tuple) else ["?"]


def _days(text: str) -> list[int] | None:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            return None
        start, stop = DAYS.index(first), DAYS.index(last or first)
        found += [number % 7 for number in range(start, (stop if stop >= start else stop + 7) + 1)]
    return found


def _spans(text: str) -> list[tuple[int, int]] | None:
    found: list[tuple[int, int]] = []
    for part in re.split(r"[,\s]+", text.strip()):
        span = _SPAN.fullmatch(part)
        if span is None:
            return None
        start, stop = 60 * int(span[1]) + int(span[2]), 60 * int(span[3]) + int(span[4])
        if not start < stop <= 24 * 60:
            return None
        found.append((start, stop))
    return found


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """The time zone of this name, or None."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def open_until_or_from(hours: Hours, now: datetime) -> tuple[bool, datetime]:
    """Whether it is open now, and when that changes; at most FARTHEST ahead."""
    opens, shuts = opening(now, hours, now + FARTHEST)
    return (True, shuts) if opens <= now else (False, opens)
