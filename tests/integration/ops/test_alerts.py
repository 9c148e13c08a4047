"""K8: what goes wrong in the house is told by an alert; a house in which all is well raises none."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from config.celery import QUEUES
from config.ops import Ops
from routing.ports import Snapshot, Standing
from storage.postgres.engine import connect
from storage.postgres.gates import GateState
from storage.postgres.vitals import Vitals
from storage.redis.broker import Broker
from storage.redis.turnstile import RedisTurnstile
from tests.alerts import firing

WELL = [
    *(f"INSERT INTO heartbeats VALUES ('queue:{queue}', 'w', clock_timestamp())" for queue in QUEUES),  # noqa: S608 - ours
    "INSERT INTO heartbeats VALUES ('subscriber', 'w', clock_timestamp())",
    "INSERT INTO heartbeats VALUES ('sweep.hourly', 'w', clock_timestamp())",
    "INSERT INTO positions (topic, replay_id, committed_at) VALUES ('/data/LeadChangeEvent', '1', clock_timestamp())",
    "INSERT INTO markets (name, generation) VALUES ('main', 1)",
    "INSERT INTO invariants VALUES ('two_offers', 0, '[]', clock_timestamp(), clock_timestamp(), 1)",
]
#: What goes wrong, and the alert that says so.
ILLS = {
    "BacklogIsOld": """
        INSERT INTO events (topic, event_id, record_id, replay_id, change_type, received_at)
        VALUES ('t', 'e', '00Q', '1', 'CREATE', clock_timestamp() - interval '1 minute')""",
    "LeadsAreNotRouted": """
        INSERT INTO leads (salesforce_id, state, received_at, updated_at)
        VALUES ('00Q', 'new', clock_timestamp(), clock_timestamp() - interval '2 minutes')""",
    "GeocoderIsDown": "INSERT INTO heartbeats VALUES ('geocoder-unwell:nominatim', 'w', clock_timestamp())",
    "StreamIsQuiet": "UPDATE positions SET updated_at = clock_timestamp() - interval '6 minutes'",
    "StreamIsBehind": """
        INSERT INTO events (topic, event_id, record_id, replay_id, change_type, committed_at, state)
        VALUES ('/data/LeadChangeEvent', 'e', '00Q', '1', 'CREATE',
                clock_timestamp() - interval '2 minutes', 'done')""",
    "SubscriberIsGone": "UPDATE heartbeats SET at = at - interval '2 minutes' WHERE name = 'subscriber'",
    "SweepMissed": "UPDATE heartbeats SET at = at - interval '62 minutes' WHERE name = 'sweep.hourly'",
    "QueueIsDead": "UPDATE heartbeats SET at = at - interval '2 minutes' WHERE name = 'queue:leads'",
    "InvariantIsBroken": "UPDATE invariants SET violations = 2 WHERE name = 'two_offers'",
    "SealsAreLate": """
        INSERT INTO audit (actor, action, at)
        VALUES ('w', 'for the test', clock_timestamp() - interval '11 minutes')""",
    "SomethingIsParked": "INSERT INTO parked (kind, ref, reason) VALUES ('lead', '1', 'for the test')",
    "WritesAreLate": """
        WITH one AS (INSERT INTO leads (salesforce_id, state, reason, received_at)
                     VALUES ('00Q', 'review', 'no_address', clock_timestamp()) RETURNING id)
        INSERT INTO outbox (kind, lead_id, version, created_at)
        SELECT 'salesforce', id, 1, clock_timestamp() - interval '3 minutes' FROM one""",
    "DeliveriesAreLate": """
        WITH one AS (INSERT INTO members (key, name, market) VALUES ('acme', 'Acme', 'main') RETURNING id)
        INSERT INTO notices (member_id, number, offer_id, lead_id, what, at)
        SELECT id, 1, gen_random_uuid(), 1, 'offer.created', clock_timestamp() - interval '2 minutes' FROM one""",
}


@pytest.fixture
def turnstile(redis_url: str) -> Iterator[RedisTurnstile]:
    found = RedisTurnstile(redis_url)
    found.rebuild("main", Snapshot(1, 0, {}, {}, {}, {}))
    yield found
    found.close()


@pytest.fixture
def ops(database_url: str, redis_url: str, turnstile: RedisTurnstile) -> Iterator[Ops]:
    engine = connect(database_url.replace("postgresql://", "postgresql+psycopg://"))
    run(database_url, *WELL)
    yield Ops(ledger=Vitals(engine), turnstile=turnstile, broker=Broker(redis_url), queues=QUEUES)
    engine.dispose()


def run(database_url: str, *statements: str) -> None:
    with psycopg.connect(database_url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_K8_a_house_in_which_all_is_well_raises_no_alert(ops: Ops) -> None:
    assert firing(ops.samples()) == set()


@pytest.mark.parametrize("alert", ILLS)
def test_K8_what_goes_wrong_raises_its_alert_and_no_other(ops: Ops, database_url: str, alert: str) -> None:
    run(database_url, ILLS[alert])
    assert firing(ops.samples()) == {alert}


def test_K8_a_member_farther_from_its_turn_than_promised_raises_an_alert(
    ops: Ops, database_url: str, turnstile: RedisTurnstile
) -> None:
    accounts = {"installers": {1: Standing(2_100_000, 1), 2: Standing(-2_100_000, 2)}}
    turnstile.rebuild("main", Snapshot(2, 1, {}, accounts, {"installers": 2}, {"installers": 2}))
    run(database_url, "UPDATE markets SET generation = 2", A_DECISION)
    assert firing(ops.samples()) == {"FairnessBoundPassed"}
    # leads that cost more move accounts farther
    run(database_url, "ALTER TABLE decisions DISABLE TRIGGER USER", "UPDATE decisions SET turn = 1100000")
    assert firing(ops.samples()) == set()
    run(database_url, "UPDATE decisions SET turn = 1000000")
    assert firing(ops.samples()) == {"FairnessBoundPassed"}
    run(database_url, A_CORRECTION)  # what a correction added is no fault
    assert firing(ops.samples()) == set()


def allowance(used: int, because: str = "") -> GateState:
    return GateState(because, None, None, used, 5_000, None, 5_000, {"write": 10, "read": 1}, None)


def test_K8_an_org_whose_api_calls_are_nearly_used_up_raises_an_alert(ops: Ops) -> None:
    assert firing(replace(ops, gate=lambda: allowance(4_400)).samples()) == set()
    assert firing(replace(ops, gate=lambda: allowance(4_600)).samples()) == {"ApiCeilingIsNear"}
    assert firing(replace(ops, gate=lambda: allowance(9, "503")).samples()) == {"SalesforceIsLeftAlone"}


def test_K8_a_turnstile_that_is_away_raises_an_alert(ops: Ops, redis_url: str) -> None:
    nowhere = Ops(ops.ledger, RedisTurnstile("redis://127.0.0.1:1"), Broker(redis_url), QUEUES)
    assert firing(nowhere.samples()) == {"PartIsDown"}


A_CORRECTION = (
    "INSERT INTO fairness_rotations (market, rotation, pool, decisions, turn, worst, added, most_added)"
    " VALUES ('main', 'installers', 'installers', 1, 1000000, 2100000, 100000, 100000)"
)
A_DECISION = """
    WITH l AS (INSERT INTO leads (salesforce_id, state, reason, received_at)
               VALUES ('00Q', 'waiting', 'no_room', clock_timestamp()) RETURNING id)
    INSERT INTO decisions (id, lead_id, attempt, at, market, pool, rotation, mode, rings_m, policy_version,
                           roster_version, generation, seq, reason, member, distance_m, member_ring, weight, capacity,
                           tier_rank, gate, open, standing, served)
    SELECT gen_random_uuid(), l.id, 1, clock_timestamp(), 'main', 'installers', 'installers', 'fair', '{1}', 1,
           1, 2, 1, 'no_room', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'
    FROM l
"""
