"""The offline geocoder: ZIP codes, cities with and without accents, and what it says of how well it knows."""

from pathlib import Path

import pytest

from gateways.geocoding.offline import Offline
from routing.distance import metres
from routing.lead import Address, Located, Point, Precision


@pytest.fixture(scope="module")
def offline(large_towns: Path) -> Offline:
    return Offline(15000, large_towns)


def near(found: Located | None, lat: float, lon: float, km: float = 10) -> bool:
    return found is not None and metres(found.point, Point(lat, lon)) <= km * 1000


@pytest.mark.parametrize(
    "postal_code", ["06511", "6511", "06511-1234", "06511 1234", "065111234", "65111234", " 06511 "]
)
@pytest.mark.parametrize("country", ["US", "usa", "United States"])
def test_a_zip_code_is_found_however_it_is_written(offline: Offline, postal_code: str, country: str) -> None:
    found = offline.find(Address(postal_code=postal_code, country=country))
    assert near(found, 41.31, -72.93, 5)
    assert found is not None
    assert (found.precision, found.provider) == (Precision.POSTAL, "offline")


@pytest.mark.parametrize(
    ("address", "lat", "lon"),
    [
        (Address(city="Albany", state="NY", country="US"), 42.65, -73.75),
        (Address(city="ALBANY", state="New York", postal_code="99999", country="USA"), 42.65, -73.75),
        (Address(city="Saint Louis", state="MO", country="US"), 38.63, -90.2),
        (Address(city="Perth", state="WA", country="Australia"), -31.95, 115.86),
        (Address(city="perth", country="AU"), -31.95, 115.86),
        (Address(city="München", country="DE"), 48.14, 11.58),
        (Address(city="Munich", country="Deutschland"), 48.14, 11.58),
        (Address(city="Muenchen", country="DE"), 48.14, 11.58),
        (Address(city="LILLE CEDEX 9", country="France"), 50.63, 3.06),
        (Address(city="São Paulo", country="Brasil"), -23.55, -46.63),
        (Address(city="Sao Paulo", country="BR"), -23.55, -46.63),
        (Address(city="Tokyo"), 35.69, 139.69),
        (Address(street="12 Main St, Albany, NY", country="US"), 42.65, -73.75),
        (Address(street="Marktplatz 1, Karlsruhe", country="DE"), 49.01, 8.40),
    ],
)
def test_a_city_is_found_by_its_names_in_its_state_and_country(
    offline: Offline, address: Address, lat: float, lon: float
) -> None:
    found = offline.find(address)
    assert near(found, lat, lon)
    assert found is not None
    assert found.precision is Precision.CITY


def test_a_zip_code_inside_one_line_of_address_is_found(offline: Offline) -> None:
    found = offline.find(Address(street="358 N Broadway, Hicksville, NY 11801", country="US"))
    assert near(found, 40.77, -73.53, 5)
    assert found is not None
    assert found.precision is Precision.POSTAL


def test_a_small_american_town_is_found_in_the_middle_of_its_zip_codes(offline: Offline) -> None:
    found = offline.find(Address(city="Staatsburg", state="NY", country="US"))
    assert near(found, 41.86, -73.92)
    assert found is not None
    assert found.precision is Precision.CITY


def test_a_state_alone_is_a_region_and_a_country_alone_a_country(offline: Offline) -> None:
    state = offline.find(Address(state="WA", country="AU"))
    country = offline.find(Address(country="Australia"))
    unknown_town = offline.find(Address(city="Nowhere at all", state="NY", country="US"))
    assert [found and found.precision for found in (state, country, unknown_town)] == ["region", "country", "region"]
    assert near(state, -32, 116, 150)


def test_a_name_of_several_towns_far_apart_counts_as_no_better_than_a_region(offline: Offline) -> None:
    found = offline.find(Address(city="Springfield", country="US"))
    assert found is not None
    assert found.precision is Precision.REGION


@pytest.mark.parametrize(
    "address",
    [
        Address(),
        Address(city="Nowhere at all", country="DE"),
        Address(city="Albany", country="Elbonia"),
        Address(street="Rue de Paris", country="FR"),
        Address(postal_code="00000", country="US"),
        Address(postal_code="6056", country="AU"),
        Address(postal_code="12207"),
        Address(city="\ud800\0", country="US"),
        Address(city="x" * 1_000_000, country="US"),
    ],
)
def test_what_it_does_not_know_it_does_not_guess(offline: Offline, address: Address) -> None:
    assert offline.find(address) is None


def test_a_military_zip_code_has_no_place(offline: Offline) -> None:
    assert offline.find(Address(postal_code="09012", country="US")) is None
