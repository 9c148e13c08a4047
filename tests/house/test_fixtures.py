"""The fixtures keep what they promise to every other test."""

import psycopg
import pytest
import redis


def _tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_migrated_database_that_nobody_wrote_to(database_url: str, turn: int) -> None:
    assert {"leads", "offers", "members"} <= _tables(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE footprint (turn int)")
    assert "footprint" in _tables(database_url)


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_valkey(redis_url: str, turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("footprint", turn)


def test_an_empty_database_has_no_table(empty_database_url: str) -> None:
    assert _tables(empty_database_url) == set()
