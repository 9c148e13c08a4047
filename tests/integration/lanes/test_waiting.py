"""A hundred thousand leads that wait: they cost nothing, and a freed place finds the right one at once."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from routing.distance import metres
from routing.lead import Point
from storage.postgres.engine import connect, transaction
from storage.postgres.leads import Leads
from storage.postgres.waiting import waiting_near
from tests.integration.routing.house import MARKET, House

pytestmark = pytest.mark.long

MILES_50 = 80_467.2
METROPOLIS = Point(40.7, -73.8)
#: Half of them in one metropolis, all in one square degree; the others anywhere.
_MANY = sa.text("""
    INSERT INTO leads (salesforce_id, state, reason, pool, rank, lat, lon, cell, country, received_at)
    SELECT '00Q' || n, 'waiting', 'no_room', 'installers', n % 3, lat, lon,
           (floor(lat)::int + 90) * 360 + floor(lon)::int + 180, 'US', now() - n * interval '1 second'
    FROM (SELECT n, CASE WHEN n % 2 = 0 THEN 40.55 + 0.35 * random() ELSE 30 + 15 * random() END AS lat,
                 CASE WHEN n % 2 = 0 THEN -73.99 + 0.4 * random() ELSE -120 + 45 * random() END AS lon
          FROM generate_series(1, CAST(:count AS int)) n) x
""")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    made = connect(database_url, statement_timeout_ms=120_000)
    yield made
    made.dispose()


def fill(engine: sa.Engine, count: int) -> None:
    with transaction(engine) as connection:
        connection.execute(_MANY, {"count": count})
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("VACUUM ANALYZE leads"))


class Explained:
    """A connection that explains instead of asking; keeps the last plan."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection, self.plan = connection, dict[str, Any]()

    def execute(self, statement: sa.TextClause, values: dict[str, Any]) -> list[Any]:
        asked = sa.text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}")
        told = self.connection.execute(asked, values).scalar_one()
        self.plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
        return []


def rows_looked_at(node: dict[str, Any]) -> float:
    """Rows of the leads that were fetched, also those that were not in reach after all."""
    own = 0.0
    if node.get("Relation Name") == "leads":
        own = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    return own + sum(rows_looked_at(child) for child in node.get("Plans", []))


@pytest.mark.parametrize(
    ("name", "place"),
    [("amidst them", METROPOLIS), ("at their edge", Point(41.4, -73.8)), ("far from all", Point(35.0, -100.0))],
)
def test_a_freed_place_looks_at_few_of_a_hundred_thousand(engine: sa.Engine, name: str, place: Point) -> None:
    fill(engine, 100_000)
    with transaction(engine) as connection:
        found = waiting_near(connection, [place], MILES_50, 1, limit=1)
        explained = Explained(connection)
        waiting_near(explained, [place], MILES_50, 1, limit=1)  # type: ignore[arg-type]  # as much of one as is needed
    assert len(found) == 1, name
    assert rows_looked_at(explained.plan) <= 3_000
    assert explained.plan["Shared Hit Blocks"] + explained.plan["Shared Read Blocks"] <= 6_000


def test_it_is_the_best_then_the_oldest_of_those_truly_in_reach(engine: sa.Engine) -> None:
    fill(engine, 1_000)
    with transaction(engine) as connection:
        rows = connection.execute(sa.text("SELECT id, lat, lon, rank, received_at FROM leads")).all()
        dice = random.Random(7)
        for radius in (8_046.72, MILES_50, 300_000.0, 1_500_000.0):
            for _ in range(3):
                here = Point(dice.uniform(30, 45), dice.uniform(-120, -73))
                near = [r for r in rows if metres(here, Point(r.lat, r.lon)) <= radius]
                wanted = [r.id for r in sorted(near, key=lambda r: (-r.rank, r.received_at, r.id))]
                found, last = [], None
                while page := waiting_near(connection, [here], radius, 1, limit=40, after=last):
                    found += [one.id for one in page if metres(here, one.place) <= radius]
                    last = page[-1]
                assert found == wanted


def test_who_was_offered_a_lead_does_not_find_it_again(house: House) -> None:
    tried = house.member("tried", 40.01, capacity=1)
    lead = house.lead("00Q000000000000001")
    house.work()
    assert house.holder(lead) == tried
    house.overdue(lead)
    house.tick()
    house.run("UPDATE leads SET state = 'waiting', reason = 'no_room', next_try_at = NULL")
    with transaction(house.engine) as connection:
        assert waiting_near(connection, [Point(40.01, -75.0)], MILES_50, tried, limit=5) == []
        assert [w.id for w in waiting_near(connection, [Point(40.01, -75.0)], MILES_50, tried + 1, limit=5)] == [lead]
    house.run("UPDATE leads SET state = 'review', reason = 'everyone_tried'")


def test_while_nothing_changes_a_tick_of_the_relay_looks_at_none_of_them(house: House) -> None:
    house.member("full", 40.7, -73.8, capacity=0)
    house.dispatcher.fill(MARKET)
    with transaction(house.engine) as connection:
        connection.execute(_MANY, {"count": 20_000})
    with house.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("VACUUM ANALYZE leads"))
    before = looked_at(house)
    for _ in range(5):
        assert house.sweeper.relay().keys() <= {"died_with", "settled"}
    assert house.log == []
    assert looked_at(house) - before <= 5_000  # as many a tick as an index page or two; all of them would be 100,000
    house.run("UPDATE leads SET state = 'withdrawn', reason = 'deleted'")


def looked_at(house: House) -> int:
    """Rows of the leads read so far, by whatever way."""
    house.run("SELECT pg_stat_force_next_flush()")
    query = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'leads'"
    return int(house.value(query))


def test_a_policy_published_wakes_all_and_takes_them_up_in_their_order(engine: sa.Engine) -> None:
    fill(engine, 3_000)
    leads = Leads(engine)
    assert leads.wake() == 3_000
    with transaction(engine) as connection:
        wanted = connection.execute(
            sa.text("SELECT id FROM leads ORDER BY rank DESC, received_at, id LIMIT 100")
        ).scalars()
        assert leads.woken() == list(wanted)
