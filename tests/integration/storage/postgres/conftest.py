"""An engine on a fresh ledger, and rows to fill it with."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from storage.postgres.engine import connect


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url, pool_size=10)
    yield engine
    engine.dispose()
