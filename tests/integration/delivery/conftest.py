"""Houses that tell their members."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.delivery.post import Maker, Post
from tests.integration.routing.house import House


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    house = House(database_url, redis_url)
    house.publish()
    yield house
    house.close()


@pytest.fixture
def make(house: House) -> Iterator[Maker]:
    """Makes houses with deliveries of this kind."""
    made: list[Post] = []

    def maker(**how: Any) -> Post:
        made.append(Post(house, **how))
        return made[-1]

    yield maker
    for one in made:
        one.close()


@pytest.fixture
def post(make: Maker) -> Post:
    return make()
