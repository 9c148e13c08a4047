"""A house with a history: hundreds of leads that were answered, expired, waited and went on."""

from collections.abc import Iterator

import pytest

from tests.integration.routing.house import House


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    """The whole house over servers of this test's own."""
    made = House(database_url, redis_url)
    yield made
    made.close()
