"""A house on fresh servers, with a policy published."""

from collections.abc import Callable, Iterator

import pytest

from routing.auditor import Auditor
from routing.drift import Drift
from storage.postgres.truth import Truth
from storage.redis.audit import TurnstileAudit
from tests.integration.routing.house import MARKET, House


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    try:
        made.publish()
        yield made
        assert made.breaches() == {}
    finally:
        made.close()


@pytest.fixture
def audit(house: House) -> Iterator[Callable[[], dict[str, int]]]:
    """Compare turnstile and ledger: what was found and mended."""
    inspected = TurnstileAudit(house.redis_url)
    auditor = Auditor(Truth(house.engine), inspected, lambda _market, _found: None)

    def found() -> dict[str, int]:
        drift = auditor.audit(MARKET)
        assert isinstance(drift, Drift)
        return {kind: n for kind, n in drift.counts().items() if n}

    yield found
    inspected.close()
