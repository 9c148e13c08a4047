"""Waiting leads by squares: whoever is near is found in order, however far a ring reaches."""

from hypothesis import given
from hypothesis import strategies as st

from routing.lead import Point
from routing.simulation.rows import Waiters, apart_m

PLACES = st.builds(Point, st.floats(-90, 90), st.floats(-180, 180))


@given(st.lists(PLACES, max_size=20), PLACES, st.sampled_from([5_000.0, 80_000.0, 3_000_000.0, 20_037_000.0]))
def test_everyone_within_a_radius_is_found_in_order_up_to_around_the_earth(
    waiting: list[Point], member: Point, radius_m: float
) -> None:
    waiters = Waiters()
    for number, place in enumerate(waiting):
        waiters.add((number % 3, number, number), place)
    found = list(waiters.around([member], radius_m, None))
    assert found == sorted(set(found))
    near = {number for number, place in enumerate(waiting) if apart_m(member, place) <= radius_m}
    assert near <= {key[2] for key in found}
    if radius_m > 20_000_000:
        assert len(found) == len(waiting)
