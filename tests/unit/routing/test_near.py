"""Who is near: rings, branches, edges, and cells that never miss (rows G5, G7, G9, G10)."""

import math

import pytest
from geographiclib.geodesic import Geodesic
from hypothesis import example, given, settings
from hypothesis import strategies as st

from routing.lead import Point
from routing.member import Member, Roster
from routing.near import Index, Near, any_around, cell, cells_around

MILE = 1609.344
RINGS_MI = tuple(mile * MILE for mile in (5.0, 15.0, 30.0, 50.0))
POINTS = st.builds(Point, st.floats(-90, 90), st.floats(-180, 180))
#: Many points close to each other, to the poles and to the date line.
CROWDED = st.one_of(
    POINTS,
    st.builds(Point, st.floats(-0.6, 0.6), st.sampled_from([-180.0, -179.9, 179.8, 180.0])),
    st.builds(Point, st.floats(89.5, 90), st.floats(-180, 180)),
    st.builds(Point, st.floats(-90, -89.5), st.floats(-180, 180)),
    st.builds(Point, st.floats(40, 40.8), st.floats(-74.5, -73.5)),
)


def away(start: Point, metres: float, azimuth: float = 77.0) -> Point:
    """The place that lies exactly this far from the start."""
    end = Geodesic.WGS84.Direct(start.lat, start.lon, azimuth, metres)
    return Point(end["lat2"], end["lon2"])


def member(number: int, *places: Point, active: bool = True) -> Member:
    return Member(number, f"P{number}", "Solar", "main", "gold", places, active=active)


def index(*members: Member) -> Index:
    return Index(Roster("main", 1, members))


def seen(found: list[Near]) -> list[tuple[int, int]]:
    return [(near.member.id, near.ring) for near in found]


HOME = Point(42.65, -73.75)


def test_G5_members_at_4_9_and_14_and_29_and_49_miles_fall_into_their_rings_and_51_into_none() -> None:
    found = index(*(member(i, away(HOME, m * MILE, i * 70)) for i, m in enumerate((51, 49, 29, 14, 4.9))))
    [near] = found.within([HOME], [RINGS_MI])
    assert seen(near) == [(4, 0), (3, 1), (2, 2), (1, 3)]
    assert [n.distance_m / MILE for n in near] == pytest.approx([4.9, 14, 29, 49], rel=1e-5)


@given(
    CROWDED, st.floats(0, 360), st.sampled_from([5 * MILE, 15 * MILE, 30 * MILE, 50 * MILE, 10_000.0, 80_000.0, 0.5])
)
def test_G5_a_member_on_the_edge_is_inside_and_one_a_centimetre_beyond_is_not(
    lead: Point, azimuth: float, radius_m: float
) -> None:
    on_edge, beyond = away(lead, radius_m, azimuth), away(lead, radius_m + 0.01, azimuth)
    [near] = index(member(1, on_edge), member(2, beyond)).within([lead], [(radius_m,)])
    assert seen(near) == [(1, 0)]


def test_G5_each_lead_of_a_batch_keeps_its_own_rings() -> None:
    found = index(member(1, away(HOME, 9_000)), member(2, away(HOME, 60_000)))
    in_km, in_miles, none = found.within([HOME] * 3, [(10_000.0, 80_000.0), RINGS_MI, ()])
    assert (seen(in_km), seen(in_miles), none) == ([(1, 0), (2, 1)], [(1, 1), (2, 3)], [])


def test_G7_the_nearest_member_is_named_however_far_it_is() -> None:
    found = index(member(1, Point(40.7, -74.0)), member(2, Point(34.05, -118.24)), member(3, HOME, active=False))
    assert found.within([Point(60, -150)], [RINGS_MI]) == [[]]
    [nearest] = found.nearest([Point(60, -150)])
    assert nearest is not None
    assert nearest[0] == 2
    assert nearest[1] == pytest.approx(3_697_000, rel=0.02)


def test_G7_an_empty_roster_has_nobody_near_and_nobody_nearest() -> None:
    nobody = index(member(1), member(2, HOME, active=False))
    assert (nobody.within([HOME], [RINGS_MI]), nobody.nearest([HOME])) == ([[]], [None])
    assert (index(member(1, HOME)).within([], []), index(member(1, HOME)).nearest([])) == ([], [])


def test_G9_a_member_with_three_branches_appears_once_measured_from_the_nearest() -> None:
    three = member(7, away(HOME, 40_000), away(HOME, 3_000), away(HOME, 20_000))
    found = index(three, member(8, away(HOME, 5_000)))
    [near] = found.within([HOME], [RINGS_MI])
    assert seen(near) == [(7, 0), (8, 0)]
    assert near[0].distance_m == pytest.approx(3_000, rel=1e-5)
    assert [n and n[0] for n in found.nearest([HOME])] == [7]


def test_members_at_the_same_place_come_in_the_order_of_their_ids() -> None:
    [near] = index(*(member(i, Point(42.7, -73.7)) for i in (5, 3, 9, 1))).within([HOME], [RINGS_MI])
    assert [n.member.id for n in near] == [1, 3, 5, 9]


def test_G10_neighbours_across_the_date_line_and_the_pole_find_each_other() -> None:
    fiji, pole = Point(-17.0, 179.95), Point(89.9, 10.0)
    found = index(member(1, Point(-17.0, -179.95)), member(2, Point(89.9, -170.0)))
    across, over = found.within([fiji, pole], [(15_000.0,), (25_000.0,)])
    assert (seen(across), seen(over)) == ([(1, 0)], [(2, 0)])
    assert (across[0].distance_m, over[0].distance_m) == pytest.approx((10_646, 22_339), rel=1e-3)


@settings(max_examples=60)
@given(
    st.lists(st.lists(CROWDED, min_size=1, max_size=3), max_size=12),
    st.lists(CROWDED, min_size=1, max_size=4),
    st.lists(st.floats(1.0, 2e7), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_G10_the_index_agrees_with_measuring_everybody(
    branches: list[list[Point]], leads: list[Point], radii: list[float]
) -> None:
    members = [member(i, *places) for i, places in enumerate(branches)]
    found = index(*members)
    for lead, near, nearest in zip(leads, found.within(leads, [radii] * len(leads)), found.nearest(leads), strict=True):
        truth = {m.id: min(exactly(lead, p) for p in m.places) for m in members}
        clear = {i for i, m in truth.items() if m <= radii[-1] * 0.997}
        assert clear <= {n.member.id for n in near} <= {i for i, m in truth.items() if m <= radii[-1] * 1.003}
        assert all(n.distance_m == pytest.approx(truth[n.member.id], rel=0.002, abs=1e-3) for n in near)
        assert [n.distance_m for n in near] == sorted(n.distance_m for n in near)
        if nearest is None:
            assert not members
        else:
            assert nearest[1] == pytest.approx(min(truth.values()), rel=0.005, abs=1e-3)


def exactly(a: Point, b: Point) -> float:
    return float(Geodesic.WGS84.Inverse(a.lat, a.lon, b.lat, b.lon)["s12"])


@given(CROWDED)
def test_every_place_on_earth_has_a_cell(place: Point) -> None:
    assert 0 <= cell(place.lat, place.lon) < 180 * 360


def test_a_cell_is_a_degree_square_and_the_date_line_has_one_name() -> None:
    assert cell(42.2, -73.9) == cell(42.9, -73.1) != cell(43.1, -73.1)
    assert cell(10, 180) == cell(10, -180)


@given(CROWDED, st.floats(0, 360), st.floats(0, 1), st.sampled_from([0.0, 10.0, 8_046.72, 80_467.2, 500_000.0, 1.9e7]))
@example(Point(89.9, 0), 10.0, 1.0, 80_467.2)
@example(Point(0, 179.99), 90.0, 1.0, 8_046.72)
@example(Point(0.0, 180.0), 270.0, 1.0, 8_046.72)
@example(Point(40, -74), 45.0, 1.0, 80_467.2)
def test_G10_the_cells_around_a_place_hold_every_place_within_the_radius(
    middle: Point, azimuth: float, share: float, radius_m: float
) -> None:
    near = away(middle, radius_m * share, azimuth)
    around, where, some = {*cells_around(middle, radius_m)}, cell(near.lat, near.lon), {*range(0, 64_800, 97)}
    assert where in around
    for cells in ({where}, some, some - around):
        assert any_around(middle, radius_m, frozenset(cells)) == bool(cells & around)


@given(st.floats(-60, 60), st.floats(-180, 180))
def test_a_ring_of_fifty_miles_touches_few_cells_away_from_the_poles(lat: float, lon: float) -> None:
    cells = cells_around(Point(lat, lon), 50 * MILE)
    assert len(cells) == len(set(cells)) <= 3 * 5
    assert not math.isnan(sum(cells))
