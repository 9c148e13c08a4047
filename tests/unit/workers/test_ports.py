"""Two checkouts side by side stay out of each other's way."""

from workers import house


def test_a_second_house_that_starts_at_the_same_moment_takes_other_ports() -> None:
    with house.faces() as first, house.faces() as second:
        assert {first.web_port, first.flower_port}.isdisjoint({second.web_port, second.flower_port})


def test_a_port_is_free_again_when_the_house_is_closed() -> None:
    with house.faces() as first:
        pass
    with house.faces() as second:
        assert (first.web_port, first.flower_port) == (second.web_port, second.flower_port)
