"""A node of the cluster dies with answers that its replica never saw: nothing of the ledger is lost or doubled."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from routing.errors import TryLater
from routing.lead import Point
from storage.postgres.members import MemberRow
from tests.integration.cluster.servers import Cluster, running_cluster, until
from tests.integration.routing.house import House, document

PLACES = {"US": (40.0, -75.0), "CA": (45.0, -75.0), "MX": (19.0, -99.0)}
HELD = "SELECT member_id, count(*) FROM offers WHERE state = 'offered' GROUP BY member_id"


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test alone."""
    with running_cluster(tmp_path / "nodes") as made:
        yield made


@pytest.fixture
def house(database_url: str, doomed: Cluster) -> Iterator[House]:
    """Three countries, three markets, three nodes; three members of 40 places in each."""
    made = House(database_url, doomed.url)
    markets = [doomed.market_on(number) for number in range(3)]
    (pool,) = document()["pools"]
    pools = [
        pool | {"name": f"pool-{country.lower()}", "market": market, "countries": [country]}
        for country, market in zip(PLACES, markets, strict=True)
    ]
    try:
        made.publish_document(document() | {"pools": pools})
        rows = [
            MemberRow(f"{country}{number}", "Partner", market, capacity=40, places=(Point(lat, lon),))
            for (country, (lat, lon)), market in zip(PLACES.items(), markets, strict=True)
            for number in range(3)
        ]
        made.members.upsert(rows, actor="test")
        yield made
        assert made.breaches() == {}
    finally:
        made.close()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_node_dies_with_answers_its_replica_never_saw_and_nothing_is_lost_or_doubled(
    house: House, doomed: Cluster
) -> None:
    dying, heir = doomed.primaries[0], doomed.replicas[0]
    for country in PLACES:
        offer(house, country, 5)
    until(lambda: heir.info("replication")["master_repl_offset"] == dying.info("replication")["master_repl_offset"], "")

    before = generation(house, doomed.market_on(0))
    heir.client.config_set("masterauth", "no longer")
    dying.client.client_kill_filter(_type="replica")
    offer(house, "US", 20)  # the replica hears nothing of these
    dying.signal(signal.SIGKILL)
    for country in ("CA", "MX"):
        offer(house, country, 5)  # other markets do not notice

    offer(house, "US", 20)
    until(lambda: heir.info("replication")["role"] == "master", "the replica takes over")
    offer(house, "US", 20)

    until(lambda: house.dispatcher.come_back(doomed.market_on(0)) or agree(house), "the turnstile decides again")
    assert generation(house, doomed.market_on(0)) > before, "the loss was seen and the turnstile rebuilt"
    assert agree(house)
    assert sum(held(house).values()) == 3 * 5 + 2 * 5 + 60
    assert house.value("SELECT count(*) FROM leads WHERE state <> 'offered'") == 0
    spread = [row[1] for row in house.rows(HELD + " ORDER BY 2")]
    assert spread[-3:] == [21, 22, 22]  # 65 leads in turn, before, during and after


def markets(house: House) -> list[str]:
    return [row[0] for row in house.rows("SELECT DISTINCT market FROM members")]


def agree(house: House) -> bool:
    """Whether the turnstile holds for every member what the ledger does."""
    return held(house) == {row[0]: row[1] for row in house.rows(HELD)}


def held(house: House) -> dict[int, int]:
    """Member -> open offers, by the turnstile."""
    return {m: count for market in markets(house) for m, count in house.turnstile.open_counts(market).items()}


def generation(house: House, market: str) -> int:
    return house.ledger.standing_at(market).generation


def offer(house: House, country: str, count: int) -> None:
    """Bring so many leads of a country and see each of them offered, as the relay would: again until it is."""
    lat, lon = PLACES[country]
    first = house.value("SELECT count(*) FROM leads")
    leads = [house.lead(f"{country}-{first + i}", lat, lon, country=country) for i in range(count)]
    house.log.clear()
    left = leads

    def offered() -> bool:
        nonlocal left
        try:
            house.journey.route(left)
        except TryLater:
            return False
        left = [lead for lead in left if house.state(lead)[0] != "offered"]
        return not left

    until(offered, f"{count} leads of {country} are offered")
