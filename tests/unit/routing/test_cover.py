"""Cells around a place: nobody in reach is left out."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from routing.cover import QUARTER, SIXTEENTH, Cover, cover
from routing.distance import metres
from routing.lead import Point
from routing.near import cell

LATS = st.floats(-90, 90, allow_subnormal=False)
LONS = st.floats(-180, 180, allow_subnormal=False)


def numbered(place: Point, size: tuple[int, int]) -> int:
    """As the ledger's index numbers it."""
    per_degree, columns = size
    return math.floor(place.lat * per_degree) * columns + math.floor(place.lon * per_degree)


def holds(cells: Cover, place: Point) -> bool:
    return (
        cells.everywhere
        or cell(place.lat, place.lon) in cells.degrees
        or numbered(place, QUARTER) in cells.quarters
        or numbered(place, SIXTEENTH) in cells.sixteenths
    )


def beside(place: Point, bearing: float, share: float, radius_m: float) -> Point:
    """A place about that share of the radius away."""
    up = math.degrees(radius_m * share / 6_371_000) * math.cos(bearing)
    lat = max(-90.0, min(90.0, place.lat + up))
    shrink = max(math.cos(math.radians(lat)), 1e-6)
    right = math.degrees(radius_m * share / 6_371_000) * math.sin(bearing) / shrink
    return Point(lat, (place.lon + right + 180) % 360 - 180)


@given(LATS, LONS, st.floats(0, 7), st.floats(0, 1.02), st.sampled_from([100.0, 8_000.0, 80_467.2, 300_000.0, 2e6]))
@example(90.0, 0.0, 0.0, 0.0, 80_467.2)
@example(-90.0, 180.0, 0.0, 0.0, 80_467.2)
@example(0.0, 180.0, 0.0, 0.0, 8_000.0)
@example(89.9, 180.0, 1.0, 1.0, 80_467.2)
def test_whoever_is_in_reach_is_in_a_cell(lat: float, lon: float, bearing: float, share: float, radius: float) -> None:
    here = Point(lat, lon)
    there = beside(here, bearing, share, radius)
    if metres(here, there) <= radius:
        assert holds(cover([here], radius), there)


def test_small_cells_line_the_edge_and_large_ones_fill_the_inside() -> None:
    found = cover([Point(40.7, -74.0)], 80_467.2)
    assert 10 <= len(found.quarters) <= 30
    assert 100 <= len(found.sixteenths) <= 450
    assert not holds(found, Point(41.6, -74.0))


def test_several_places_share_their_cells() -> None:
    one, two = cover([Point(40.7, -74.0)], 8_000.0), cover([Point(40.7, -74.0), Point(40.7, -74.0)], 8_000.0)
    assert one == two


def test_a_reach_over_half_a_continent_needs_no_cells() -> None:
    assert cover([Point(0, 0)], 5_000_000.0).everywhere
