"""What /readyz and /metrics make of a real ledger, turnstile and broker."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
import redis

from config.accounts import Fairness
from config.celery import QUEUES
from config.geocoder_health import Health
from config.metrics import catalogue, entry
from config.ops import Ops
from routing.ports import Snapshot, Standing
from storage.postgres.engine import connect
from storage.postgres.heartbeats import Heartbeats
from storage.postgres.vitals import Vitals
from storage.redis.broker import Broker
from storage.redis.turnstile import RedisTurnstile

NOWHERE = "redis://127.0.0.1:1"


def as_sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def vitals(database_url: str) -> Iterator[Vitals]:
    engine = connect(as_sqlalchemy(database_url))
    yield Vitals(engine)
    engine.dispose()


@pytest.fixture
def turnstile(redis_url: str) -> Iterator[RedisTurnstile]:
    found = RedisTurnstile(redis_url.rsplit("/", maxsplit=1)[0] + "/1" if redis_url.count("/") > 2 else redis_url)
    yield found
    found.close()


@pytest.fixture
def ops(vitals: Vitals, turnstile: RedisTurnstile, redis_url: str) -> Ops:
    return Ops(ledger=vitals, turnstile=turnstile, broker=Broker(redis_url), queues=QUEUES)


def run(database_url: str, *statements: str) -> None:
    with psycopg.connect(database_url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


A_LEAD = """
INSERT INTO leads (salesforce_id, state, reason, received_at)
VALUES ('00Q00000000000{n}AAA', '{state}', {reason}, clock_timestamp() - interval '1 minute')
"""
BEATS = [f"INSERT INTO heartbeats VALUES ('queue:{queue}', 'w', clock_timestamp())" for queue in QUEUES]  # noqa: S608 - ours


def values(ops: Ops, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(s.labels[label] for label in catalogue()[name].labels): s.value for s in ops.samples() if s.name == name
    }


def not_well(ops: Ops) -> set[str]:
    return {check.name for check in ops.checks() if not check.ok}


def test_without_canaries_nobody_is_ready(ops: Ops, database_url: str) -> None:
    assert not_well(ops) == {f"queue:{queue}" for queue in QUEUES}
    run(database_url, *BEATS)
    assert not_well(ops) == set()


def test_a_worker_that_stopped_consuming_shows(ops: Ops, database_url: str) -> None:
    run(database_url, *BEATS, "UPDATE heartbeats SET at = at - interval '61 seconds' WHERE name = 'queue:outbox'")
    (check,) = [check for check in ops.checks() if not check.ok]
    assert check.name == "queue:outbox"
    assert "restart its workers" in check.detail


def test_an_event_that_waits_too_long_shows(ops: Ops, database_url: str) -> None:
    insert = """INSERT INTO events (topic, event_id, record_id, replay_id, change_type, received_at)
                VALUES ('t', 'e', 'r', '', 'CREATE', clock_timestamp() - interval '11 seconds')"""
    run(database_url, *BEATS, insert)
    assert not_well(ops) == {"backlog"}
    assert values(ops, "fairturn_events_pending") == {(): 1.0}
    assert values(ops, "fairturn_events_oldest_pending_seconds")[()] >= 11


def test_a_part_that_does_not_answer_is_named_and_hides_no_other(vitals: Vitals, database_url: str) -> None:
    run(database_url, *BEATS)
    dead = Ops(ledger=vitals, turnstile=RedisTurnstile(NOWHERE), broker=Broker(NOWHERE), queues=QUEUES)
    assert not_well(dead) == {"turnstile", "broker"}
    assert values(dead, "fairturn_up") == {("ledger",): 1.0, ("turnstile",): 1.0, ("broker",): 0.0}


def test_a_ledger_that_does_not_answer_is_told_and_not_raised(turnstile: RedisTurnstile, redis_url: str) -> None:
    engine = connect("postgresql+psycopg://nobody@127.0.0.1:1/none")
    dead = Ops(ledger=Vitals(engine), turnstile=turnstile, broker=Broker(redis_url), queues=QUEUES)
    assert {"ledger", "backlog"} <= not_well(dead)
    assert values(dead, "fairturn_up")[("ledger",)] == 0


def test_leads_are_counted_by_state_and_their_one_reason(ops: Ops, database_url: str) -> None:
    run(
        database_url,
        A_LEAD.format(n=1, state="new", reason="NULL"),
        A_LEAD.format(n=2, state="waiting", reason="'no_room'"),
        A_LEAD.format(n=3, state="waiting", reason="'no_room'"),
        A_LEAD.format(n=4, state="review", reason="'no_address'"),
    )
    assert values(ops, "fairturn_leads") == {
        ("new", ""): 1.0,
        ("waiting", "no_room"): 2.0,
        ("review", "no_address"): 1.0,
    }


def test_messages_that_wait_are_counted_by_queue(ops: Ops, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("outbox", "one", "two")
    assert values(ops, "fairturn_queue_messages") == {**dict.fromkeys([(q,) for q in QUEUES], 0.0), ("outbox",): 2.0}


def test_every_measure_is_in_the_catalogue(ops: Ops, database_url: str) -> None:
    a_market_with_a_decision(database_url)
    for sample in ops.samples():
        entry(sample.name, sample.labels, "gauge")


def a_market_with_a_decision(database_url: str) -> None:
    run(
        database_url,
        "INSERT INTO markets (name, generation) VALUES ('us', 3)",
        "INSERT INTO pools VALUES ('installers', 'us', 'fair')",
        "INSERT INTO members (key, name, market, open) VALUES ('P1', 'One', 'us', 1), ('P2', 'Two', 'us', 0)",
        A_LEAD.format(n=1, state="offered", reason="NULL"),
        f"""INSERT INTO decisions SELECT '{uuid4()}', l.id, 1, l.received_at + interval '200 ms', 'us', 'installers',
            'installers', 'fair', '{{8000}}', 0, 1, 1, 3, 1, m.id, 'chosen', NULL,
            '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}'
            FROM leads l, members m WHERE m.key = 'P1'""",  # noqa: S608 - ours
    )


def a_snapshot(**accounts: int) -> Snapshot:
    standings = {"installers": {int(m[1:]): Standing(micro, 1) for m, micro in accounts.items()}}
    return Snapshot(3, 1, {}, standings, {"installers": 1}, {})


def test_latency_and_decisions_of_the_last_minutes_are_shown(ops: Ops, database_url: str) -> None:
    a_market_with_a_decision(database_url)
    assert values(ops, "fairturn_decisions_5m") == {("chosen",): 1.0}
    assert values(ops, "fairturn_event_to_offer_5m_seconds") == pytest.approx(
        {("0.5",): 0.2, ("0.9",): 0.2, ("0.99",): 0.2}
    )
    assert values(ops, "fairturn_generation") == {("us",): 3.0}


def test_the_worst_standing_and_the_drift_of_the_turnstile_are_shown(
    ops: Ops, turnstile: RedisTurnstile, database_url: str
) -> None:
    a_market_with_a_decision(database_url)
    assert values(ops, "fairturn_worst_standing_turns") == {}  # cold: nothing to say, and not down
    turnstile.rebuild("us", a_snapshot(m1=-500_000, m2=500_000))
    assert values(ops, "fairturn_worst_standing_turns") == {("us", "installers"): 0.5}
    assert values(ops, "fairturn_largest_turn") == {("us", "installers"): 1}
    assert values(ops, "fairturn_capacity_drift_offers") == {("us",): 1.0}  # the ledger counts one that is not there


def test_a_pools_accounts_add_turns_received_and_turns_owed(
    vitals: Vitals, turnstile: RedisTurnstile, database_url: str
) -> None:
    a_market_with_a_decision(database_url)
    turnstile.rebuild("us", a_snapshot(m1=-500_000, m2=500_000))
    found = Fairness(vitals, turnstile).of("installers")
    assert found is not None
    assert [(a.member, a.received, a.entitled, a.deviation) for a in found.accounts] == [
        ("P2", 0, 0.5, 0.5),
        ("P1", 1, 0.5, -0.5),
    ]
    assert found.worst_turns == 0.5


def test_a_pool_nobody_published_has_no_accounts(vitals: Vitals, turnstile: RedisTurnstile) -> None:
    assert Fairness(vitals, turnstile).of("nowhere") is None


def test_K8_an_online_geocoder_is_down_from_its_first_error_until_it_answers_again(ops: Ops, database_url: str) -> None:
    engine = connect(as_sqlalchemy(database_url))
    health, beats = Health(Heartbeats(engine)), "fairturn_geocoder_down"
    assert values(ops, beats) == {}
    health.told("nominatim", False)
    assert values(ops, beats) == {("nominatim",): 1}
    health.told("nominatim", True)
    assert values(ops, beats) == {("nominatim",): 0}
    health.told("nominatim", False)
    assert values(ops, beats) == {("nominatim",): 1}
    run(database_url, "UPDATE heartbeats SET at = at - interval '16 minutes'")
    assert values(ops, beats) == {("nominatim",): 0}
    engine.dispose()
