"""Raw JSON values into stored ones, refusing what the org would refuse."""

import math
import re
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

from sandbox import clock, ids
from sandbox.errors import RecordError, bad_json
from sandbox.schema import Field, SObject

Value = str | float | bool | None  # int is a float to the type checker
Record = dict[str, Any]

_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>.]+(\.[^@\s<>.]+)+")
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def _cannot_read(kind: str, raw: object) -> Exception:
    return bad_json(
        f"Cannot deserialize instance of {kind} from VALUE {raw!r:.60} or request may be missing a required field"
    )


def _text(field: Field, raw: object) -> Value:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise _cannot_read("string", raw)
    text = _encodable(raw) if isinstance(raw, str) else str(raw)
    if field.type != "textarea":
        text = text.strip(" \t\r\n")
    if len(text) > field.length > 0:
        message = f"{field.label}: data value too large: {text[:255]} (max length={field.length})"
        raise RecordError("STRING_TOO_LONG", message, (field.name,))
    return text or None


def _encodable(text: str) -> str:
    """The text with lone surrogates replaced: JSON can name them, UTF-8 cannot hold them."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _email(field: Field, raw: object) -> Value:
    text = _text(field, raw)
    if text is not None and not _EMAIL.fullmatch(str(text)):
        raise RecordError("INVALID_EMAIL_ADDRESS", f"{field.label}: invalid email address: {text}", (field.name,))
    return text


def _choice(field: Field, raw: object) -> Value:
    text = _text(field, raw)
    if field.restricted and text is not None and text not in field.values:
        message = f"{field.label}: bad value for restricted picklist field: {text}"
        raise RecordError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, (field.name,))
    return text


def _boolean(_field: Field, raw: object) -> Value:
    if isinstance(raw, bool):
        return raw
    truth = _TRUTH.get(str(raw).lower())
    if truth is None:
        raise _cannot_read("boolean", raw)
    return truth


def _number(field: Field, raw: object) -> Value:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise _cannot_read("double", raw)
    try:
        number = float(raw)
    except ValueError:
        raise _cannot_read("double", raw) from None
    if not math.isfinite(number):
        raise _cannot_read("double", raw)
    return _fitting(field, number)


def _fitting(field: Field, number: float) -> Value:
    """The number rounded to the field's scale. Refused when it has more digits than the field."""
    whole_digits = field.precision - field.scale
    if abs(number) >= 10**whole_digits:
        message = f"{field.label}: value outside of valid range on numeric field: {number}"
        raise RecordError("NUMBER_OUTSIDE_VALID_RANGE", message, (field.name,))
    if field.type == "int":
        return int(number)
    return number if number.is_integer() else _rounded(number, field.scale)


@lru_cache(maxsize=100_000)
def _rounded(number: float, scale: int) -> float:
    return float(Decimal(repr(number)).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP))


def _moment(_field: Field, raw: object) -> Value:
    try:
        return clock.from_iso(str(raw))
    except ValueError:
        raise _cannot_read("datetime", raw) from None


def _day(_field: Field, raw: object) -> Value:
    try:
        return date.fromisoformat(str(raw)[:10]).isoformat()
    except ValueError:
        raise _cannot_read("date", raw) from None


def _reference(field: Field, raw: object) -> Value:
    if raw == "":
        return None
    found = ids.full(raw) if isinstance(raw, str) else None
    if found is None:
        message = f"{field.label}: id value of incorrect type: {raw!s:.60}"
        raise RecordError("MALFORMED_ID", message, (field.name,))
    return found


_READERS: dict[str, Callable[[Field, object], Value]] = {
    **dict.fromkeys(("string", "textarea", "phone", "url", "multipicklist"), _text),
    **dict.fromkeys(("double", "currency", "percent", "int"), _number),
    "email": _email,
    "picklist": _choice,
    "boolean": _boolean,
    "datetime": _moment,
    "date": _day,
    "reference": _reference,
}


def read(field: Field, raw: object) -> Value:
    """The stored form of a raw value: moments in ms, numbers as floats, empty text as None."""
    if raw is None or (raw == "" and field.type != "boolean"):
        return False if field.type == "boolean" else None
    return _READERS[field.type](field, raw)


def shown(field: Field, record: Record) -> Any:
    """A stored value as the REST API writes it."""
    if field.type == "address":
        return _address(field, record)
    value = record.get(field.name)
    if field.type == "boolean":
        return bool(value)
    if value is not None and field.type == "datetime":
        return clock.iso(value)
    return value


def _address(field: Field, record: Record) -> dict[str, Any] | None:
    parts = ("City", "Country", "GeocodeAccuracy", "Latitude", "Longitude", "PostalCode", "State", "Street")
    found = {part[0].lower() + part[1:]: record.get(field.prefix + part) for part in parts}
    return found if any(value is not None for value in found.values()) else None


def full_name(record: Record) -> str | None:
    """First and last name, as the read-only Name of a person shows them."""
    return " ".join(part for part in (record.get("FirstName"), record.get("LastName")) if part) or None


def unwritable(names: list[str], verb: str) -> RecordError:
    listed = ", ".join(names)
    message = (
        f"Unable to {verb} fields: {listed}. Please check the security settings of this field and verify that it is "
        f"read/write for your profile or permission set."
    )
    return RecordError("INVALID_FIELD_FOR_INSERT_UPDATE", message, tuple(names))


def unknown_column(sobject: SObject, name: str) -> RecordError:
    return RecordError("INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
