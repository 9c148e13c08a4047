"""The subscriber between a real change stream and a real ledger: nothing missed, nothing twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateways.salesforce.auth import TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from gateways.salesforce.stream import Endpoint, Stream
from routing.change import Change, WriteBack
from storage.postgres.engine import connect
from storage.postgres.events import Events
from storage.postgres.heartbeats import Heartbeats
from storage.postgres.positions import Positions
from tests.sandbox_fixture import ROOT, SandboxOrg
from workers.subscriber import Subscriber

TOPIC = "/data/LeadChangeEvent"


class Running:
    """A subscriber in a thread, with what it told."""

    def __init__(self, org: SandboxOrg, engine: sa.Engine, tokens: TokenProvider, **options: Any) -> None:
        self.announced: list[int] = []
        self.resyncs: list[tuple[datetime, str]] = []
        self.beats = 0
        self.failure: Exception | None = None
        self.subscriber = Subscriber(
            TOPIC,
            positions=Positions(engine),
            events=Events(engine),
            stream=lambda stop: Stream(
                Endpoint(f"localhost:{org.grpc_tls}", ca_file=org.ca),
                TOPIC,
                tokens,
                stop=stop,
                **{"tick_s": 0.05, "dice": lambda: 0.05, **options},
            ),
            announce=self.announced.extend,
            resync=lambda since, why: self.resyncs.append((since, why)),
            beat=self._beat,
        )
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.subscriber.run()
        except Exception as exc:  # noqa: BLE001 - told to the test, which looks at it
            self.failure = exc

    def _beat(self) -> None:
        self.beats += 1

    def stop(self) -> None:
        self.subscriber.stop()
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()


@pytest.fixture
def follow(org: SandboxOrg, engine: sa.Engine, tokens: TokenProvider) -> Iterator[Callable[..., Any]]:
    """A subscriber at work for the length of a `with`; it must not fail."""
    started: list[Running] = []

    @contextmanager
    def start(**options: Any) -> Iterator[Running]:
        running = Running(org, engine, tokens, **options)
        started.append(running)
        running.thread.start()
        try:
            yield running
        finally:
            running.stop()
        assert running.failure is None

    yield start
    for running in started:
        running.stop()


def until(true: Callable[[], object], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(engine: sa.Engine, query: str, **values: object) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.text(query), values))


def stored(engine: sa.Engine) -> list[str]:
    """Records with an event in the ledger, once an event."""
    return [row[0] for row in rows(engine, "SELECT record_id FROM events ORDER BY id")]


def leads(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"LastName": f"L{n}", "Company": "C", "City": "Albany"} for n in range(start, start + count)]


def fill(org: SandboxOrg, count: int, start: int = 0) -> list[str]:
    return org.create_leads(*leads(count, start))


# --- Must hold: the subscriber stopped and started again resumes from its stored position


def test_a_subscriber_started_again_resumes_with_no_event_missed_and_none_twice(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    ids = fill(org, 230)
    with follow() as first:
        until(lambda: len(stored(engine)) == 230)
    ids += fill(org, 120, 230)
    with follow() as second:
        until(lambda: len(stored(engine)) == 350)
        ids += fill(org, 5, 350)
        until(lambda: len(stored(engine)) == 355)
    assert stored(engine) == ids
    announced = first.announced + second.announced
    assert announced == sorted(set(announced))
    assert len(announced) == 355
    assert not second.resyncs


def test_a_second_subscriber_stands_by_and_takes_over(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    ids = fill(org, 3)
    with follow() as first:
        until(lambda: len(stored(engine)) == 3)
        with follow() as second:
            ids += fill(org, 3, 3)
            until(lambda: len(first.announced) == 6)
            assert not second.announced
            first.stop()
            ids += fill(org, 3, 6)
            until(lambda: len(second.announced) == 3)
    assert stored(engine) == ids
    assert rows(engine, "SELECT epoch FROM positions") == [(2,)]


def test_a_subscriber_whose_ledger_connections_are_cut_carries_on(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any], database_url: str
) -> None:
    with follow() as running:
        ids = fill(org, 3)
        until(lambda: len(stored(engine)) == 3)
        other = connect(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with other.begin() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        other.dispose()
        ids += fill(org, 3, 3)
        until(lambda: len(stored(engine)) == 6)
    assert stored(engine) == ids
    assert len(running.announced) == 6


def test_events_delivered_twice_are_stored_once(org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]) -> None:
    with follow() as running:
        fill(org, 4)
        until(lambda: len(stored(engine)) == 4)
        org.admin("POST", "redeliver", {"count": 4})
        fill(org, 1, 4)
        until(lambda: len(stored(engine)) == 5)
    assert len(running.announced) == 5


def test_a_merged_event_is_stored_once_a_record(org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]) -> None:
    ids = fill(org, 3)
    with follow():
        until(lambda: len(stored(engine)) == 3)
        org.admin("POST", "merged", {"ids": ids, "fields": {"City": "Troy"}})
        until(lambda: len(stored(engine)) == 6)
    found = rows(engine, "SELECT record_id, body->>'City', event_id FROM events WHERE change_type = 'UPDATE'")
    assert sorted(row[0] for row in found) == sorted(ids)
    assert {row[1] for row in found} == {"Troy"}
    assert len({row[2] for row in found}) == 1


# --- trouble on the wire


def test_a_stream_that_breaks_again_and_again_misses_nothing(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    for n, name in enumerate(["service_unavailable", "rst_stream", "rst_stream_internal", "auth_error"] * 2):
        org.fault("stream", "status", args={"name": name}, after_events=7 + n)
    org.fault("event", "duplicate", count=10, probability=0.2)
    with follow():
        ids = fill(org, 150)
        until(lambda: len(stored(engine)) == 150)
    assert sorted(stored(engine)) == sorted(ids)


def test_a_half_open_stream_is_noticed(org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]) -> None:
    org.fault("stream", "stall", args={"seconds": 60})
    ids = fill(org, 2)
    with follow(silence_s=2.5):  # keepalives come each second
        until(lambda: len(stored(engine)) == 2)
    assert stored(engine) == ids


def test_a_revoked_token_is_replaced_in_mid_stream(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    with follow():
        fill(org, 2)
        until(lambda: len(stored(engine)) == 2)
        org.admin("POST", "revoke", {"streams": True})
        org.session.headers.pop("X-Own-Token")
        fill(org, 2, 2)
        until(lambda: len(stored(engine)) == 4)


def test_an_expired_position_is_started_anew_and_everything_since_compared(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    with follow():
        fill(org, 2)
        until(lambda: len(stored(engine)) == 2)
    [(last,)] = rows(engine, "SELECT committed_at FROM positions")
    fill(org, 2, 2)
    org.admin("POST", "clock", {"advance_s": 80 * 3600})
    org.session.headers.pop("X-Own-Token")
    fill(org, 1, 4)
    with follow() as running:
        until(lambda: len(stored(engine)) == 3)
        assert running.resyncs == [(last, "position refused")]
    with follow() as again:
        fill(org, 1, 5)
        until(lambda: len(stored(engine)) == 4)
        assert not again.resyncs


def test_a_position_nobody_moved_for_long_has_all_compared_since_even_when_salesforce_still_knows_it(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    with follow():
        fill(org, 2)
        until(lambda: len(stored(engine)) == 2)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE positions SET updated_at = updated_at - interval '61 hours'"))
    [(last,)] = rows(engine, "SELECT committed_at FROM positions")
    with follow() as running:
        fill(org, 1, 2)
        until(lambda: len(stored(engine)) == 3)
        assert running.resyncs == [(last, "long silence")]


def test_a_stream_that_never_brought_an_event_is_compared_since_it_was_last_heard(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    with follow():
        until(lambda: rows(engine, "SELECT 1 FROM positions WHERE replay_id IS NOT NULL"))
    [(heard,)] = rows(engine, "SELECT updated_at FROM positions")
    org.admin("POST", "clock", {"advance_s": 80 * 3600})
    org.session.headers.pop("X-Own-Token", None)
    with follow() as running:
        until(lambda: running.resyncs)
        assert running.resyncs == [(heard, "position refused")]


def test_an_undecodable_event_is_parked_raw_and_the_rest_goes_on(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    org.fault("event", "undecodable", skip=1)
    org.fault("event", "unknown_schema", skip=2)
    with follow():
        ids = fill(org, 5)
        until(lambda: len(stored(engine)) == 3)
    assert set(stored(engine)) < set(ids)
    parked = rows(engine, "SELECT kind, reason, length(raw) > 0 FROM parked")
    assert [(kind, kept) for kind, _, kept in parked] == [("event", True)] * 2
    assert all("It cannot be decoded" in reason for _, reason, _ in parked)


def test_a_schema_change_in_mid_stream_is_followed(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    with follow():
        fill(org, 1)
        until(lambda: len(stored(engine)) == 1)
        org.admin("POST", "fields", {"object": "Lead", "name": "Roof__c", "type": "string", "length": 40})
        org.create_leads({"LastName": "L", "Company": "C", "Roof__c": "slate"})
        until(lambda: len(stored(engine)) == 2)
    assert rows(engine, "SELECT body->>'Roof__c' FROM events ORDER BY id") == [(None,), ("slate",)]


def test_gaps_and_overflows_are_stored_for_intake_to_read_again(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]
) -> None:
    [lead] = fill(org, 1)
    with follow():
        org.admin("POST", "gap", {"type": "UPDATE", "ids": [lead]})
        org.admin("POST", "overflow", {})
        until(lambda: len(stored(engine)) == 3)
    found = rows(engine, "SELECT record_id, change_type, body FROM events ORDER BY id")[1:]
    assert [tuple(row) for row in found] == [
        (lead, "GAP_UPDATE", {}),
        ("000000000000000AAA", "GAP_OVERFLOW", {}),
    ]


def test_a_quiet_topic_keeps_its_position_young(org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]) -> None:
    with follow():
        fill(org, 1)
        until(lambda: len(stored(engine)) == 1)
        [(before,)] = rows(engine, "SELECT updated_at FROM positions")
        until(lambda: rows(engine, "SELECT updated_at FROM positions")[0][0] > before)


def test_hostile_values_reach_the_ledger_mended(org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]) -> None:
    with follow():
        org.create_leads({"LastName": "a\0b", "Company": "C"}, {"LastName": "\ud83d\ude00 ok", "Company": "x'\"\\%_\n"})
        until(lambda: len(stored(engine)) == 2)
    found = rows(engine, "SELECT body->>'LastName' FROM events ORDER BY id")
    assert [row[0] for row in found] == ["ab", "\U0001f600 ok"]


def test_the_subscriber_shows_signs_of_life(org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any]) -> None:
    with follow() as running:
        until(lambda: running.beats)


# --- own writes


def test_our_own_write_comes_back_as_an_echo_and_a_persons_does_not(
    org: SandboxOrg, engine: sa.Engine, follow: Callable[..., Any], salesforce: Salesforce
) -> None:
    mapping = FieldMap.load()
    [lead] = fill(org, 1)
    with follow():
        until(lambda: len(stored(engine)) == 1)
        salesforce.write([WriteBack(lead_id=1, salesforce_id=lead, version=2, state="waiting", attempt=1)])
        until(lambda: len(stored(engine)) == 2)
        answer = org.rest("PATCH", f"sobjects/Lead/{lead}", json={"City": "Troy", "Fairturn_Status__c": "x"})
        assert answer.status_code == 204
        until(lambda: len(stored(engine)) == 3)
    found = rows(
        engine, "SELECT event_id, record_id, origin, commit_user, change_type, changed FROM events ORDER BY id"
    )
    changes = [
        Change(
            event_id=row[0],
            record_id=row[1],
            origin=row[2],
            commit_user=row[3],
            change_type=row[4],
            changed=tuple(row[5]),
            replay_id=b"",
            committed_at=datetime.now(UTC),
        )
        for row in found
    ]
    user = salesforce.whoami().user_id
    echoes = [mapping.is_echo(change, client_name="Fairturn", user_id=user) for change in changes]
    assert echoes == [False, True, False]


# --- the process


@contextmanager
def process(org: SandboxOrg, database_url: str, redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SALESFORCE_LOGIN_URL": org.login_url,
        "SALESFORCE_CLIENT_ID": "app",
        "SALESFORCE_CLIENT_SECRET": "secret",
        "SALESFORCE_PUBSUB": f"localhost:{org.grpc_tls}",
        "SALESFORCE_CA_FILE": str(org.ca),
    }
    running = subprocess.Popen([sys.executable, "-m", "workers.subscriber"], cwd=ROOT, env=env)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def test_a_killed_subscriber_is_replaced_and_nothing_is_lost_or_doubled(
    org: SandboxOrg, engine: sa.Engine, database_url: str, redis_url: str
) -> None:
    ids = fill(org, 10)
    with process(org, database_url, redis_url) as first:
        until(lambda: len(stored(engine)) == 10)
        with process(org, database_url, redis_url) as second:
            first.send_signal(signal.SIGKILL)
            ids += fill(org, 250, 10)
            until(lambda: len(stored(engine)) == 260)
            until(lambda: {beat.name for beat in Heartbeats(engine).all()} == {"subscriber"})
            second.send_signal(signal.SIGTERM)
            assert second.wait(timeout=20) == 0
    assert stored(engine) == ids


def test_a_subscriber_without_an_org_says_which_setting_is_missing(tmp_path: Path, database_url: str) -> None:
    env = {**os.environ, "DATABASE_URL": database_url, "SALESFORCE_LOGIN_URL": "", "SALESFORCE_CLIENT_ID": ""}
    told = subprocess.run(
        [sys.executable, "-m", "workers.subscriber"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "SALESFORCE_LOGIN_URL" in told.stderr
