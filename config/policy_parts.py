"""What sections of the policy document are made of: kinds of values, each refused with a fix when it is wrong."""

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateways.countries import alpha2
from routing.policy import TurnEffect

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def wrong(message: str, fix: str, way: Sequence[str | int] = ()) -> PydanticCustomError:
    """What is wrong with a part, and the fix; `way` leads from the part to where it stands."""
    return PydanticCustomError("policy", "{message}", {"message": message, "fix": fix, "way": tuple(way)})


def _country(value: object) -> object:
    code = alpha2(value) if isinstance(value, str) else None
    if code is None:
        raise wrong(f"{value!r} is not a country", "Write an ISO 3166 code such as US, DE or AU, or a country's name.")
    return code


def _ascending(radii: list[float]) -> list[float]:
    if not all(math.isfinite(r) and r > 0 for r in radii):
        raise wrong(f"{radii} holds a radius that is not above 0", "Give distances above 0, smallest first.")
    if any(near >= far for near, far in pairwise(radii)):
        raise wrong(f"{radii} does not ascend", "Write each radius once, smallest first, such as [5, 15, 30, 50].")
    return radii


def _thousandths(weight: float) -> float:
    if abs(weight * 1000 - round(weight * 1000)) > 1e-6:
        raise wrong(f"{weight} has more than three decimals", "Round it to three decimals, such as 1.25.")
    return weight


def _duration(value: object) -> object:
    """A timedelta from `4h`, `90m`, `1d12h`."""
    text = value.replace(" ", "") if isinstance(value, str) else ""
    if not re.fullmatch(r"(\d{1,6}[smhd])+", text):
        raise wrong(f"{value!r} is not a length of time", "Write a number and s, m, h or d, such as 4h, 90m or 1d12h.")
    seconds = sum(int(count) * _UNITS_S[unit] for count, unit in re.findall(r"(\d+)([smhd])", text))
    if not 0 < seconds <= 365 * 86400:
        raise wrong(f"{value!r} is out of range", "Give more than nothing and at most 365d.")
    return timedelta(seconds=seconds)


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise wrong(f"{name!r} is not a time zone", "Write its IANA name, such as America/New_York.")
    return name


def _span(value: object) -> object:
    """Minutes from midnight, from `08:00-12:30`."""
    found = re.fullmatch(
        r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", value if isinstance(value, str) else ""
    )
    start, end = (60 * int(found[1]) + int(found[2]), 60 * int(found[3]) + int(found[4])) if found else (0, 0)
    if not 0 <= start < end <= 24 * 60:
        raise wrong(f"{value!r} is not a span of a day", "Write it like 08:00-12:30; midnight at the end is 24:00.")
    return start, end


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
#: Tiers are named by the partner programme, so nearly anything goes.
TierName = Annotated[str, Field(pattern=r"^\S(.{0,78}\S)?$")]
Country = Annotated[str, BeforeValidator(_country)]
Radii = Annotated[list[float], Field(min_length=1, max_length=10), AfterValidator(_ascending)]
Weight = Annotated[float, Field(gt=0, le=1000), AfterValidator(_thousandths)]
Capacity = Annotated[int, Field(ge=0, le=100_000)]
Duration = Annotated[
    timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": r"^(\d+[smhd])+$"})
]
#: Reason codes, and what each means for the member's turn.
Effects = Annotated[dict[Name, Annotated[TurnEffect, Field(strict=False)]], Field(min_length=1, max_length=50)]
Percent = Annotated[int, Field(ge=1, le=99)]
Zone = Annotated[str, AfterValidator(_zone)]
Span = Annotated[tuple[int, int], BeforeValidator(_span), WithJsonSchema({"type": "string"})]


#: What all sections have in common: no unknown words, no other kinds of values than asked for.
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


#: Stands for the number of an entry, in a way to it.
AT = "[at]"


def once(names: list[str], where: str, what: str, way: Sequence[str | int] = ()) -> None:
    """Refuse a name that is given twice; `way` leads to it, with AT for its number."""
    seen: set[str] = set()
    for at, name in enumerate(names):
        if name in seen:
            steps = [at if step == AT else step for step in way]
            raise wrong(f"{where} the {what} {name} twice", "Keep one of them.", steps)
        seen.add(name)
