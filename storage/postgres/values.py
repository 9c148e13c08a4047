"""What Postgres cannot hold, made holdable: NUL, lone surrogates, NaN."""

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import orjson

_LONG_NUMBER = re.compile(rb"[0-9]{18}")


def read_json(text: bytes) -> Any:
    """What this JSON says; a number too long for the fast reader is read by the exact one.

    What is nested deeper than either reads is given as text: whoever wants an object sees that it is none.
    """
    try:
        return json.loads(text) if _LONG_NUMBER.search(text) else orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        return text.decode()


def clean_text(text: str) -> str:
    """The text without NUL, with lone surrogates replaced."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def clean(value: Any) -> Any:
    """A JSON value that jsonb takes; numbers that are none become their name, so that whoever reads them can object."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return clean_text(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {clean_text(str(key)): clean(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [clean(item) for item in value]
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return clean_text(str(value))
