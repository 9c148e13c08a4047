"""Texts and times as callers may send them: what neither the ledger nor anybody could read is refused by its name."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

#: No text holds U+0000: the ledger cannot keep it.
NO_NUL = r"^[^\x00]*$"


def _written(value: Any) -> Any:
    """A time is written out: a bare number could be a year, or seconds since 1970."""
    if not isinstance(value, str | datetime) or (isinstance(value, str) and value.strip().lstrip("+-").isdecimal()):
        raise ValueError("write it as 2030-01-07T08:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("it is beyond all calendars") from exc


#: A moment with its time zone.
Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]
#: The same for looking back, where a day alone, or a time without a zone, is in UTC.
DayOrMoment = Annotated[datetime, BeforeValidator(_written), AfterValidator(_in_utc)]
