"""What people are told, in their language: texts of `config/locales`, numbers, distances and times by its customs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from babel import Locale
from babel.dates import format_datetime
from babel.units import format_unit

from routing.courier import About

#: English first: it is spoken where nothing else is asked for.
LANGUAGES = ("en", "de", "fr", "es", "pl")
Units = Literal["mi", "km"]

_METRES = {"mi": ("length-mile", 1609.344), "km": ("length-kilometer", 1000.0)}
_CHOICE = re.compile(r"\{(\w+)((?:\|\w+: (?:[^{}|]|\{\w+\})*)+)\}")
_FORM = re.compile(r"\|(\w+): ((?:[^{}|]|\{\w+\})*)")
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one language."""

    language: str
    texts: Mapping[str, str]

    def say(self, key: str, **facts: object) -> str:
        """The text, with facts filled in; each of its names must be among them."""
        chosen = _CHOICE.sub(lambda found: self._form(found, facts), self.texts[key])
        return _NAME.sub(lambda found: str(facts[found.group(1)]), chosen)

    def distance(self, metres: float, units: str) -> str:
        """A distance in miles or kilometres; near ones with one decimal."""
        unit, length = _METRES["mi" if units == "mi" else "km"]
        far = metres / length
        return str(format_unit(round(far, 1) if far < 10 else round(far), unit, "short", locale=self.language))

    def moment(self, at: datetime, zone: str) -> str:
        """A time by the clock of a zone, with the day and the zone's name."""
        there = _zone(zone)
        return str(format_datetime(at.astimezone(there), "EEE d MMM, HH:mm z", tzinfo=there, locale=self.language))

    def reason(self, name: str) -> str:
        """A reason as people read it; one of a policy's own as it is written there."""
        return self.texts.get(f"reason.{name}") or name.replace("_", " ").capitalize()

    def _form(self, found: re.Match[str], facts: Mapping[str, object]) -> str:
        forms = dict(_FORM.findall(found.group(2)))
        number = facts[found.group(1)]
        return str(forms.get(Locale(self.language).plural_form(int(str(number))), forms["other"]))


def lead_facts(about: About | None, seen: Sequence[str], said: Words, units: str) -> dict[str, str]:
    """What of a lead may be said before it is accepted, as words."""
    if about is None:
        return {"product": said.texts["product"], "area": "?", "distance": "?"}
    area = " ".join(value for name in ("postal_code", "city") if name in seen and (value := getattr(about, name)))
    return {
        "product": (about.product if "product" in seen else "") or said.texts["product"],
        "area": area or (about.region if "region" in seen else "") or about.country,
        "distance": said.distance(about.distance_m, units),
    }


def known(language: str) -> str:
    """The language when there are texts of it, such as de for de-AT; else English."""
    base = re.split("[-_]", language.strip().lower(), maxsplit=1)[0]
    return base if base in LANGUAGES else LANGUAGES[0]


def preferred(accepted: str) -> str:
    """The first language of an Accept-Language header that there are texts of."""
    asked: list[tuple[float, str]] = []
    for part in accepted.split(",")[:20]:
        name, _, weight = part.partition(";q=")
        asked.append((-_weight(weight), name.strip()))
    for _, name in sorted(asked, key=lambda one: one[0]):
        if known(name) == name.lower()[:2]:
            return known(name)
    return LANGUAGES[0]


@cache
def words(language: str) -> Words:
    """The texts of a language, or of English."""
    name = known(language)
    return Words(name, yaml.safe_load((files("config") / "locales" / f"{name}.yaml").read_text(encoding="utf-8")))


def _weight(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
