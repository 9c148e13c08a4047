"""Distances hold against the geodesic reference, everywhere on earth (row G10)."""

import math

import numpy as np
import pytest
from geographiclib.geodesic import Geodesic
from hypothesis import example, given
from hypothesis import strategies as st

from routing.distance import earth_centred, metres, metres_many
from routing.lead import Point

POINTS = st.builds(Point, st.floats(-90, 90), st.floats(-180, 180))


def reference_m(a: Point, b: Point) -> float:
    return float(Geodesic.WGS84.Inverse(a.lat, a.lon, b.lat, b.lon)["s12"])


def fast_m(a: Point, b: Point) -> float:
    return float(metres_many(a.lat, a.lon, b.lat, b.lon))


@given(POINTS, POINTS)
@example(Point(0, 179.99), Point(0, -179.99))
@example(Point(-16.5, 179.9), Point(-17.5, -179.8))
@example(Point(90, 0), Point(90, 135))
@example(Point(89.99, 0), Point(89.99, 180))
@example(Point(-89.9, -170), Point(-89.9, 170))
@example(Point(0, 0), Point(0, 180))
@example(Point(0, 0), Point(0.5, 179.7))
@example(Point(30, -20), Point(-30, 160))
def test_G10_both_measures_stay_within_half_a_percent_of_the_geodesic_worldwide(a: Point, b: Point) -> None:
    reference = reference_m(a, b)
    assert metres(a, b) == pytest.approx(reference, rel=1e-9, abs=1e-6)
    assert fast_m(a, b) == pytest.approx(reference, rel=0.002, abs=1e-3)


@given(POINTS, st.floats(0, 360), st.floats(0.01, 1_000_000))
def test_G10_the_fast_measure_is_exact_to_three_millionths_within_a_thousand_kilometres(
    start: Point, azimuth: float, length_m: float
) -> None:
    end = Geodesic.WGS84.Direct(start.lat, start.lon, azimuth, length_m)
    there = Point(end["lat2"], end["lon2"])
    assert fast_m(start, there) == pytest.approx(length_m, rel=3e-6, abs=1e-4)
    assert metres(start, there) == pytest.approx(length_m, rel=1e-9, abs=1e-4)


@given(POINTS, POINTS)
def test_there_is_as_far_as_back_and_nowhere_is_negative(a: Point, b: Point) -> None:
    assert fast_m(a, b) == pytest.approx(fast_m(b, a), abs=1e-6)
    assert fast_m(a, b) >= 0
    assert fast_m(a, a) == 0


@given(POINTS, POINTS)
def test_the_straight_line_through_the_earth_is_never_longer_than_the_way_over_it(a: Point, b: Point) -> None:
    chord = math.dist(earth_centred(a.lat, a.lon), earth_centred(b.lat, b.lon))
    assert chord <= reference_m(a, b) + 1e-6


def test_whole_arrays_are_measured_pair_by_pair() -> None:
    lats, lons = np.array([40.0, -31.95, 0.0]), np.array([-74.0, 115.86, 180.0])
    away = metres_many(40.0, -74.0, lats, lons)
    expected = [reference_m(Point(40, -74), Point(float(lat), float(lon))) for lat, lon in zip(lats, lons, strict=True)]
    assert away == pytest.approx(expected, rel=3e-5)
