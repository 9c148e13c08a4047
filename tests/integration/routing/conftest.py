"""A house on fresh servers, with a policy published."""

from collections.abc import Iterator

import pytest

from tests.integration.routing.house import House


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    try:
        made.publish()
        yield made
        assert made.breaches() == {}
    finally:
        made.close()
