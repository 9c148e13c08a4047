"""Redis that lost something or was set back in time: seen before it decides anything, and rebuilt."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.postgres.verify import Verify
from tests.integration.routing.house import MARKET, House
from tests.integration.routing.own_valkey import OwnValkey, own_valkey

pytestmark = pytest.mark.long


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    with own_valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def house(database_url: str, valkey: OwnValkey) -> Iterator[House]:
    made = House(database_url, valkey.url)
    try:
        made.publish()
        yield made
        assert made.breaches() == {}
        assert Verify(made.engine).run().breaches == ()
    finally:
        made.close()


def generation(house: House) -> int:
    found: int = house.value("SELECT generation FROM markets WHERE name = :m", m=MARKET)
    return found


def held(house: House) -> dict[int, int]:
    return {row.id: row.open for row in house.rows("SELECT id, open FROM members WHERE open > 0")}


def rolled_back(server: OwnValkey, meanwhile: Callable[[], object]) -> None:
    copy = server.save()
    meanwhile()
    server.set_back(copy)


def restarted(server: OwnValkey, meanwhile: Callable[[], object]) -> None:
    meanwhile()
    server.kill()
    server.start()


def flushed(server: OwnValkey, meanwhile: Callable[[], object]) -> None:
    meanwhile()
    server.client.flushall()


def flushed_our_database(server: OwnValkey, meanwhile: Callable[[], object]) -> None:
    meanwhile()
    server.client.flushdb()


LOSSES = [rolled_back, restarted, flushed, flushed_our_database]


@pytest.mark.parametrize("lost", LOSSES, ids=lambda f: f.__name__)
def test_X4_a_loss_of_redis_is_seen_before_its_first_decision(
    house: House, valkey: OwnValkey, lost: Callable[[OwnValkey, Callable[[], object]], None]
) -> None:
    for n in range(3):
        house.member(f"m{n}", 40.01, capacity=5)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(20)]
    house.log.clear()
    house.dispatcher.route(leads[:4])
    lost(valkey, lambda: house.dispatcher.route(leads[4:10]))
    before = generation(house)
    house.dispatcher.route(leads[10:11])
    assert generation(house) == before + 1
    assert house.turnstile.open_counts(MARKET) == held(house)
    house.dispatcher.route(leads[11:])
    assert generation(house) == before + 1
    assert house.turnstile.open_counts(MARKET) == held(house)
    assert sorted(held(house).values()) == [5, 5, 5]


@pytest.mark.parametrize("lost", LOSSES, ids=lambda f: f.__name__)
def test_X4_a_loss_of_an_idle_redis_is_seen_by_the_relay(
    house: House, valkey: OwnValkey, lost: Callable[[OwnValkey, Callable[[], object]], None]
) -> None:
    house.member("near", 40.01, capacity=5)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(4)]
    house.log.clear()
    house.dispatcher.route(leads[:1])
    lost(valkey, lambda: house.dispatcher.route(leads[1:]))
    before = generation(house)
    house.tick()
    assert generation(house) == before + 1
    assert house.turnstile.open_counts(MARKET) == held(house)


def test_X4_numbers_that_went_back_without_a_restart_are_seen_by_the_relay(house: House, valkey: OwnValkey) -> None:
    house.member("near", 40.01, capacity=5)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(2)]
    house.log.clear()
    house.dispatcher.route(leads)
    before = generation(house)
    valkey.client.hset(f"turnstile:{{{MARKET}}}:state", "seq", 1)
    house.tick()
    assert generation(house) == before + 1


def test_resetting_statistics_is_no_loss(house: House, valkey: OwnValkey) -> None:
    house.member("near", 40.01, capacity=5)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(2)]
    house.log.clear()
    house.dispatcher.route(leads[:1])
    before = generation(house)
    valkey.client.config_resetstat()
    house.dispatcher.route(leads[1:])
    house.tick()
    assert generation(house) == before


def test_X4_a_replica_that_is_promoted_with_old_data_decides_nothing_before_it_is_rebuilt(
    house: House, valkey: OwnValkey, tmp_path: Path
) -> None:
    house.member("near", 40.01, capacity=5)
    leads = [house.lead(f"00Q0000000000000{n:02}") for n in range(8)]
    house.log.clear()
    house.dispatcher.route(leads[:2])
    with own_valkey(tmp_path / "replica") as replica:
        replica.client.replicaof("127.0.0.1", str(valkey.port))
        state = f"turnstile:{{{MARKET}}}:state"
        while replica.client.hget(state, "seq") != b"2":
            time.sleep(0.02)
        replica.freeze()
        house.dispatcher.route(leads[2:4])
        valkey.kill()
        replica.thaw()
        replica.client.replicaof("NO", "ONE")
        promoted = House(house.database_url, replica.url)
        before = generation(house)
        promoted.dispatcher.route(leads[4:])
        assert generation(house) == before + 1
        assert promoted.turnstile.open_counts(MARKET) == held(house)
        assert list(held(house).values()) == [5]
        promoted.close()
    valkey.start()
