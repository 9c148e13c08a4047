"""Geocoders on other people's servers, by geopy: any service that geopy knows, by its name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from geopy import exc as wrong
from geopy import get_geocoder_for_service
from geopy.adapters import RequestsAdapter

from gateways.countries import alpha2
from gateways.geocoding.address import query
from routing.errors import BadInput, FairturnError, GiveUp, TryLater
from routing.lead import Address, Located, Point, Precision

#: Short names that lead to an old version of a service, or are written differently here and there.
_RENAMED = {
    "here": "herev7",
    "osm": "nominatim",
    "openstreetmap": "nominatim",
    "google": "googlev3",
    "azuremaps": "azure",
}
#: What geopy's classes call the key, in the order of trying.
_KEY_NAMES = ("api_key", "apikey", "subscription_key", "auth_id", "domain")
#: Trying again cannot help: the key is wrong, or may not do this.
_HOPELESS = (wrong.GeocoderAuthenticationFailure, wrong.GeocoderInsufficientPrivileges, wrong.ConfigurationError)

_NOMINATIM = {
    **dict.fromkeys(("house", "building", "amenity", "shop", "office", "place_of_worship"), Precision.EXACT),
    **dict.fromkeys(("road", "highway", "street", "residential"), Precision.STREET),
    **dict.fromkeys(("postcode",), Precision.POSTAL),
    **dict.fromkeys(("country",), Precision.COUNTRY),
    **dict.fromkeys(("state", "region", "county", "province", "state_district", "district"), Precision.REGION),
    **dict.fromkeys(
        ("city", "town", "village", "hamlet", "suburb", "municipality", "neighbourhood", "quarter", "city_district"),
        Precision.CITY,
    ),
}
_GOOGLE = {"ROOFTOP": Precision.EXACT, "RANGE_INTERPOLATED": Precision.STREET}
_GOOGLE_TYPES = {
    "country": Precision.COUNTRY,
    "administrative_area_level_1": Precision.REGION,
    "administrative_area_level_2": Precision.REGION,
    "postal_code": Precision.POSTAL,
    "route": Precision.STREET,
    "intersection": Precision.STREET,
}
_ARCGIS = {
    **dict.fromkeys(("PointAddress", "Subaddress", "StreetAddress", "StreetAddressExt", "POI"), Precision.EXACT),
    **dict.fromkeys(("StreetName", "StreetInt", "StreetMidBlock", "StreetBetween"), Precision.STREET),
    **dict.fromkeys(("Postal", "PostalExt", "PostalLoc"), Precision.POSTAL),
}
_HERE = {
    **dict.fromkeys(("houseNumber", "place", "addressBlock"), Precision.EXACT),
    **dict.fromkeys(("street", "intersection"), Precision.STREET),
    "postalCodePoint": Precision.POSTAL,
    "administrativeArea": Precision.REGION,
}
_MAPBOX = {
    **dict.fromkeys(("address", "poi"), Precision.EXACT),
    "street": Precision.STREET,
    "postcode": Precision.POSTAL,
    "region": Precision.REGION,
    "district": Precision.REGION,
    "country": Precision.COUNTRY,
}


class Online:
    """One service; asked one address at a time."""

    remote = True

    def __init__(
        self, service: str, *, key: str = "", user_agent: str = "fairturn", domain: str = "", timeout_s: float = 3.0
    ) -> None:
        self.name = service.casefold()
        self._service = _RENAMED.get(self.name, self.name)
        self._geocoder = _made(self._service, key, domain, user_agent=user_agent, timeout_s=timeout_s)

    def find(self, address: Address, *, timeout_s: float) -> Located | None:
        """The service's best answer, None when it knows none. Raises TryLater or GiveUp."""
        options: dict[str, Any] = {"exactly_one": True, "timeout": timeout_s}
        if self._service == "nominatim" and (country := alpha2(address.country)):
            options["country_codes"] = country.lower()
        if self._service == "arcgis":
            options["out_fields"] = "Addr_type"
        # The cause is left out on purpose: it quotes the URL, and with it the address and the key.
        try:
            found = self._geocoder.geocode(query(address), **options)
        except _HOPELESS as exc:
            raise GiveUp(f"{self.name} refuses the key: {type(exc).__name__}", provider=self.name) from None
        except wrong.GeocoderQueryError:
            return None  # it cannot make sense of this address, and never will
        except (wrong.GeopyError, OSError, ValueError, KeyError, TypeError) as exc:
            raise _unwell(self.name, exc) from None
        return self._located(found, address) if found else None

    def _located(self, found: Any, address: Address) -> Located:
        try:
            point = Point(float(found.latitude), float(found.longitude))
        except BadInput as exc:
            raise TryLater(f"{self.name} answers with a place that is not on earth", provider=self.name) from exc
        raw = found.raw if isinstance(found.raw, Mapping) else {}
        read = _PRECISION.get(self._service)
        return Located(point, (read(raw) if read else None) or _as_asked(address), self.name)


def _unwell(name: str, exc: BaseException) -> FairturnError:
    if isinstance(exc, wrong.GeocoderQuotaExceeded):
        return TryLater(f"{name}: its quota is used up", provider=name, quota=True)
    return TryLater(f"{name} is unwell: {type(exc).__name__}", provider=name)


def _made(name: str, key: str, domain: str, *, user_agent: str, timeout_s: float) -> Any:
    """The geopy geocoder. Raises BadInput when there is none of that name, or it wants a key."""
    try:
        kind: Callable[..., Any] = get_geocoder_for_service(name)
    except wrong.GeocoderNotFound as exc:
        fix = "Use offline, nominatim, google, arcgis, here, mapbox or another name that geopy knows."
        raise BadInput(f"{name!r} is no geocoder", field="FAIRTURN_GEOCODERS", fix=fix) from exc
    parameters = inspect.signature(kind).parameters
    # Left alone, the adapter asks three times: past the timeout, past the rate, and it logs the address.
    once = partial(RequestsAdapter, max_retries=0)
    options: dict[str, Any] = {"user_agent": user_agent, "timeout": timeout_s, "adapter_factory": once}
    options |= _domain(domain) if domain and "domain" in parameters else {}
    options |= _credentials(key, parameters)
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in options]
    if missing:
        fix = f"Add {name}=YOUR_KEY to FAIRTURN_GEOCODER_KEYS."
        raise BadInput(f"{name} wants a key ({', '.join(missing)})", field="FAIRTURN_GEOCODER_KEYS", fix=fix)
    try:
        return kind(**options)
    except wrong.ConfigurationError as exc:
        fix = "See .env.example for the settings of geocoders."
        raise BadInput(f"{name} cannot be used: {exc}", field="FAIRTURN_GEOCODERS", fix=fix) from exc


def _domain(domain: str) -> dict[str, str]:
    scheme, _, host = domain.rpartition("://")
    return {"domain": host.rstrip("/")} | ({"scheme": scheme} if scheme else {})


def _credentials(key: str, parameters: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    """The key under the name that the class wants; two parts (user:password) where it wants two."""
    if not key:
        return {}
    for first, second in (("auth_id", "auth_token"), ("username", "password")):
        if second in parameters and ":" in key:
            return dict(zip((first, second), key.split(":", 1), strict=True))
    wanted = next((n for n in _KEY_NAMES if n in parameters), "username")
    return {wanted: key} if wanted in parameters else {}


def _nominatim(raw: Mapping[str, Any]) -> Precision | None:
    kinds = (raw.get("addresstype"), raw.get("type"), raw.get("class"))
    return next((_NOMINATIM[kind] for kind in kinds if kind in _NOMINATIM), None)


def _google(raw: Mapping[str, Any]) -> Precision | None:
    types = raw.get("types") or ()
    by_type = next((_GOOGLE_TYPES[kind] for kind in types if kind in _GOOGLE_TYPES), None)
    exact = _GOOGLE.get((raw.get("geometry") or {}).get("location_type", ""))
    return exact or by_type or (Precision.CITY if types else None)


def _arcgis(raw: Mapping[str, Any]) -> Precision | None:
    attributes = raw.get("attributes") or {}
    kind = str(attributes.get("Addr_type") or "")
    return _ARCGIS.get(kind) or (Precision.CITY if kind else None)


def _here(raw: Mapping[str, Any]) -> Precision | None:
    kind = raw.get("resultType")
    if kind == "locality":
        return Precision.POSTAL if raw.get("localityType") == "postalCode" else Precision.CITY
    if kind == "administrativeArea" and raw.get("administrativeAreaType") == "country":
        return Precision.COUNTRY
    return _HERE.get(str(kind))


def _mapbox(raw: Mapping[str, Any]) -> Precision | None:
    kinds = raw.get("place_type") or ()
    return next((_MAPBOX.get(kind, Precision.CITY) for kind in kinds), None)


_PRECISION: dict[str, Callable[[Mapping[str, Any]], Precision | None]] = {
    "nominatim": _nominatim,
    "googlev3": _google,
    "arcgis": _arcgis,
    "herev7": _here,
    "mapbox": _mapbox,
}


def _as_asked(address: Address) -> Precision:
    """For services that do not say how well they know a place: no better than the question was."""
    if address.street.strip():
        return Precision.STREET
    return Precision.POSTAL if address.postal_code.strip() else Precision.CITY
