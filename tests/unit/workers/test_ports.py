"""Two checkouts side by side stay out of each other's way."""

import pytest

from workers import house


def test_a_second_house_that_starts_at_the_same_moment_takes_other_ports() -> None:
    with house.faces() as first, house.faces() as second:
        assert {first.web_port, first.flower_port}.isdisjoint({second.web_port, second.flower_port})


def test_a_port_is_free_again_when_the_house_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    web, flower = house.free_ports(2)
    monkeypatch.setenv("FAIRTURN_WEB_PORT", str(web))
    monkeypatch.setenv("FAIRTURN_FLOWER_PORT", str(flower))
    for _ in range(2):
        with house.faces() as known:
            assert (known.web_port, known.flower_port) == (web, flower)
