"""Values as Salesforce writes them: ids, times, texts that a ledger can hold."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def is_id(text: str) -> bool:
    """Whether this has the shape of a record id of 15 or 18 characters."""
    return _ID.fullmatch(text) is not None


def long_id(text: str) -> str:
    """The id with its three check characters, which say where the capitals are; anything else comes back as it is."""
    if len(text) != 15 or not is_id(text):
        return text
    parts = (text[start : start + 5] for start in (0, 5, 10))
    return text + "".join(_CHECK[sum(1 << n for n, char in enumerate(part) if char.isupper())] for part in parts)


def clean(value: object) -> object:
    """The value without what Postgres refuses: NUL goes, a lone surrogate becomes U+FFFD, NaN and infinity None."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean_text(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def clean_text(text: str) -> str:
    """The text without NUL and lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "")
    return _LONE_SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def instant(text: str) -> datetime:
    """A time as REST writes it, such as 2026-11-22T02:58:17.000+0000."""
    return datetime.fromisoformat(text)


@lru_cache(maxsize=1024)  # an event carries one time twice, and its neighbours the same one
def rest_time(milliseconds: int) -> str:
    """Epoch milliseconds of an event as REST writes the same time."""
    at = datetime.fromtimestamp(milliseconds // 1000, tz=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}+0000"


def rest_date(milliseconds: int) -> str:
    """Epoch milliseconds of an event's date as REST writes it."""
    return f"{datetime.fromtimestamp(milliseconds // 1000, tz=UTC):%Y-%m-%d}"


def rest_clock(milliseconds: int) -> str:
    """Milliseconds since midnight as REST writes a time of day."""
    at = datetime.fromtimestamp(milliseconds // 1000, tz=UTC)
    return f"{at:%H:%M:%S}.{milliseconds % 1000:03d}Z"


def soql_time(at: datetime) -> str:
    """A time as SOQL compares it; the fraction only where there is one."""
    at = at.astimezone(UTC)
    fraction = f".{at.microsecond // 1000:03d}" if at.microsecond >= 1000 else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{fraction}Z"
