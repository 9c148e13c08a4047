"""Salesforce ids: 15 case-sensitive characters, plus 3 that carry the capitals for those who ignore case."""

import string
from functools import lru_cache

_SUFFIX = string.ascii_uppercase + "012345"
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
SHORT, FULL = 15, 18


def suffix(short: str) -> str:
    """The 3 characters that say which of the 15 are capitals: one for each 5, lowest bit first."""
    chunks = (short[start : start + 5] for start in (0, 5, 10))
    return "".join(_SUFFIX[sum(1 << bit for bit, char in enumerate(chunk) if char.isupper())] for chunk in chunks)


@lru_cache(maxsize=100_000)
def full(text: str) -> str | None:
    """The 18-character form of a 15- or 18-character id; None when it is no id at all."""
    if not (text.isascii() and text.isalnum()):
        return None
    if len(text) == SHORT:
        return text + suffix(text)
    if len(text) == FULL and suffix(text[:SHORT]) == text[SHORT:].upper():
        return text[:SHORT] + text[SHORT:].upper()
    return None


def mint(prefix: str, number: int, pod: str = "gK0") -> str:
    """The 18-character id of record `number` under a 3-character prefix; `pod` sets the ids of two orgs apart."""
    short = prefix + pod + base62(number).rjust(9, "0")
    return short + suffix(short)


def base62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
