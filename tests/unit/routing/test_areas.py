"""Areas: a place is in one of those that meet there, also on their common edge, and always in the same one."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from routing.areas import Areas, serves

HOLED = Areas.of(
    {
        "land": [
            [(0, 0), (10, 0), (10, 10), (0, 10), (0, 0)],
            [(2, 2), (4, 2), (4, 4), (2, 4), (2, 2)],
        ],
        "lake": [[(2, 2), (4, 2), (4, 4), (2, 4), (2, 2)]],
        "islands": [[(20, 0), (21, 0), (21, 1), (20, 1), (20, 0)], [(30, 0), (31, 0), (31, 1), (30, 1), (30, 0)]],
    }
)


@pytest.mark.parametrize(
    ("lat", "lon", "names"),
    [
        (1, 1, {"land"}),
        (3, 3, {"lake"}),
        (0.5, 20.5, {"islands"}),
        (0.5, 30.5, {"islands"}),
        (0.5, 25, set()),
        (3, 2, {"lake"}),  # on the western shore: the lake is east of it
        (3, 4, {"land"}),  # on the eastern one
        (2, 3, {"lake"}),  # on the southern one: the lake is north of it
        (4, 3, {"land"}),
        (0, 5, {"land"}),
        (10, 5, set()),
    ],
)
def test_G8_holes_and_several_parts_and_each_edge_belongs_to_the_north_or_the_east(
    lat: float, lon: float, names: set[str]
) -> None:
    assert HOLED.at(lat, lon) == names


coordinates = st.one_of(st.integers(-50, 50).map(float), st.floats(-50, 50, allow_nan=False, width=32))


@settings(deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=6), st.data())
def test_G8_a_place_on_a_shared_border_is_on_exactly_one_side_of_it(
    corners: list[tuple[float, float]], data: st.DataObject
) -> None:
    """A border through corners from south to north cuts a square in a western and an eastern half."""
    border = [(0.0, -60.0), *sorted(corners, key=lambda corner: corner[1]), (0.0, 60.0)]
    assume(len({lat for _, lat in border}) == len(border))
    west = [(-60.0, -60.0), *border, (-60.0, 60.0), (-60.0, -60.0)]
    east = [*border, (60.0, 60.0), (60.0, -60.0), border[0]]
    halves = Areas.of({"west": [west], "east": [east]})
    start, end = data.draw(st.sampled_from(list(pairwise(border))))
    share = data.draw(st.sampled_from([Fraction(n, 8) for n in range(8)]))
    lon = float(start[0] + (end[0] - Fraction(start[0])) * share)
    lat = float(start[1] + (end[1] - Fraction(start[1])) * share)
    found = halves.at(lat, lon)
    assert len(found) == 1
    assert halves.at(lat, lon) == found


@given(st.tuples(coordinates, coordinates), st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8))
def test_a_place_is_inside_as_whole_fractions_say(
    place: tuple[float, float], corners: list[tuple[float, float]]
) -> None:
    ring = [*corners, corners[0]]
    x, y = map(Fraction, place)
    crossed = 0
    for (x1, y1), (x2, y2) in pairwise(tuple(map(Fraction, corner)) for corner in ring):
        if (x1 <= x < x2) or (x2 <= x < x1):
            crossed += y < y1 + (x - x1) * (y2 - y1) / (x2 - x1)
    assert bool(Areas.of({"it": [ring]}).at(place[1], place[0])) == bool(crossed % 2)


def test_postal_codes_are_compared_without_blanks_and_a_star_stands_for_the_rest() -> None:
    assert serves(["94110", "SW1*"], "sw1a 1aa")
    assert serves(["941-10"], "94110")
    assert not serves(["94110"], "94111")
    assert not serves(["*"], "")
