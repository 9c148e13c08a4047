"""How well a provider knows a place, read from its own words; and what cannot be set up."""

from types import SimpleNamespace
from typing import Any

import pytest

from gateways.geocoding.chain import providers
from gateways.geocoding.offline import Offline
from gateways.geocoding.online import Online
from routing.errors import BadInput, TryLater
from routing.lead import Address

STREET = Address(street="12 Main St", city="Albany", country="US")


def located(service: str, raw: dict[str, Any], address: Address = STREET) -> str:
    provider = Online(service, key="k")
    found = provider._located(SimpleNamespace(latitude=42.65, longitude=-73.75, raw=raw), address)
    assert (found.provider, found.point.lat) == (service, 42.65)
    return found.precision.value


@pytest.mark.parametrize(
    ("service", "raw", "precision"),
    [
        ("nominatim", {"addresstype": "building"}, "exact"),
        ("nominatim", {"addresstype": "road"}, "street"),
        ("nominatim", {"addresstype": "postcode"}, "postal"),
        ("nominatim", {"addresstype": "town"}, "city"),
        ("nominatim", {"addresstype": "state"}, "region"),
        ("nominatim", {"class": "boundary", "type": "country"}, "country"),
        ("google", {"geometry": {"location_type": "ROOFTOP"}}, "exact"),
        ("google", {"geometry": {"location_type": "RANGE_INTERPOLATED"}}, "street"),
        ("google", {"geometry": {"location_type": "APPROXIMATE"}, "types": ["postal_code"]}, "postal"),
        ("google", {"geometry": {"location_type": "APPROXIMATE"}, "types": ["locality", "political"]}, "city"),
        ("google", {"geometry": {"location_type": "APPROXIMATE"}, "types": ["country"]}, "country"),
        ("arcgis", {"attributes": {"Addr_type": "PointAddress"}}, "exact"),
        ("arcgis", {"attributes": {"Addr_type": "StreetName"}}, "street"),
        ("arcgis", {"attributes": {"Addr_type": "Postal"}}, "postal"),
        ("arcgis", {"attributes": {"Addr_type": "Locality"}}, "city"),
        ("here", {"resultType": "houseNumber"}, "exact"),
        ("here", {"resultType": "street"}, "street"),
        ("here", {"resultType": "locality", "localityType": "postalCode"}, "postal"),
        ("here", {"resultType": "locality", "localityType": "city"}, "city"),
        ("here", {"resultType": "administrativeArea", "administrativeAreaType": "state"}, "region"),
        ("mapbox", {"place_type": ["address"]}, "exact"),
        ("mapbox", {"place_type": ["postcode"]}, "postal"),
        ("mapbox", {"place_type": ["place"]}, "city"),
        ("mapbox", {"place_type": ["region"]}, "region"),
        ("photon", {}, "street"),
        ("nominatim", {}, "street"),
    ],
)
def test_precision_is_what_the_provider_says(service: str, raw: dict[str, Any], precision: str) -> None:
    assert located(service, raw) == precision


def test_where_a_provider_does_not_say_the_place_is_no_better_than_the_question() -> None:
    assert located("photon", {}, Address(postal_code="12207", country="US")) == "postal"
    assert located("photon", {}, Address(city="Albany", country="US")) == "city"


def test_a_place_off_the_earth_is_not_believed() -> None:
    with pytest.raises(TryLater):
        Online("photon")._located(SimpleNamespace(latitude=142.65, longitude=0, raw={}), STREET)


@pytest.mark.parametrize(
    "name", ["nominatim", "arcgis", "photon", "google", "here", "mapbox", "azure", "tomtom", "opencage"]
)
def test_the_services_of_geopy_are_there_by_name(name: str) -> None:
    [provider] = providers([name.upper()], keys=[f"{name}=secret"], user_agent="test", timeout_s=1)
    assert provider.name == name


def test_the_order_of_the_setting_is_the_order_of_asking() -> None:
    chain = providers(["nominatim", "offline", "nominatim"], user_agent="test", timeout_s=1)
    assert [p.name for p in chain] == ["nominatim", "offline"]
    assert isinstance(chain[1], Offline)


@pytest.mark.parametrize(
    ("names", "keys", "field"),
    [
        (["atlantis"], [], "FAIRTURN_GEOCODERS"),
        ([], [], "FAIRTURN_GEOCODERS"),
        (["mapbox"], [], "FAIRTURN_GEOCODER_KEYS"),
        (["mapbox"], ["mapbox"], "FAIRTURN_GEOCODER_KEYS"),
        (["mapbox"], ["mapbox="], "FAIRTURN_GEOCODER_KEYS"),
        (["here"], ["google=secret"], "FAIRTURN_GEOCODER_KEYS"),
    ],
)
def test_what_cannot_be_set_up_is_named_by_its_setting_without_the_key(
    names: list[str], keys: list[str], field: str
) -> None:
    with pytest.raises(BadInput) as caught:
        providers(names, keys=keys, user_agent="test", timeout_s=1)
    assert caught.value.field == field
    assert caught.value.fix
    assert "secret" not in str(caught.value)
