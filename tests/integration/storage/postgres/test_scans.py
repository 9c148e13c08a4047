"""Comparisons with Salesforce: held by one, gone on with by the next, led back when asked again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from routing.compare import Kind, Scan, Seen
from storage.postgres.engine import transaction
from storage.postgres.scans import Scans

TOPIC = "/data/LeadChangeEvent"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def scans(engine: sa.Engine) -> Scans:
    return Scans(engine, TOPIC)


def held(scans: Scans) -> Scan:
    scan = scans.claim()
    assert scan is not None
    return scan


def on(scans: Scans, scan: Scan, at: datetime, record: str = "00Q1", *, done: bool = False) -> Scan | None:
    return scans.advance(replace(scan, at=at, record=record), read=1, repaired=0, done=done)


def late(engine: sa.Engine) -> None:
    """Let every lease be over."""
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE scans SET lease_until = clock_timestamp() - interval '1 second'"))


def test_a_comparison_is_held_by_one_and_gone_on_with_from_where_it_was(engine: sa.Engine, scans: Scans) -> None:
    assert scans.claim() is None
    assert not scans.waiting()
    scans.ask(Kind.CHANGED, "hourly", since=NOON)
    assert scans.waiting()
    first = held(scans)
    assert (first.since, first.at, first.record) == (NOON, None, "")
    assert scans.claim() is None
    assert not scans.waiting()
    assert on(scans, first, NOON + HOUR, "00Q7") is not None
    late(engine)
    second = held(scans)
    assert (second.at, second.record) == (NOON + HOUR, "00Q7")
    assert on(scans, first, NOON + 2 * HOUR) is None, "who lost it must not move it"
    assert on(scans, second, NOON + 2 * HOUR) is not None


def test_what_is_done_is_waited_for_no_more_and_moves_the_mark(engine: sa.Engine, scans: Scans) -> None:
    assert scans.swept() is None
    scans.ask(Kind.CHANGED, "hourly", since=NOON)
    scan = held(scans)
    assert on(scans, scan, NOON, done=True) is None
    assert scans.claim() is None
    assert scans.swept() == scan.begun_at
    scans.ask(Kind.CHANGED, "hourly", since=NOON)
    assert held(scans).at is None, "a new one begins anew"


def test_a_comparison_with_a_hole_behind_it_leaves_the_mark(engine: sa.Engine, scans: Scans) -> None:
    scans.ask(Kind.CHANGED, "hourly", since=NOON)
    on(scans, held(scans), NOON, done=True)
    mark = scans.swept()
    assert mark is not None
    scans.ask(Kind.CHANGED, "overflow", since=mark + HOUR)
    on(scans, held(scans), mark + 2 * HOUR, done=True)
    assert scans.swept() == mark


def test_asking_again_leads_one_that_runs_back_and_its_holder_goes_on_from_there(scans: Scans) -> None:
    scans.ask(Kind.CHANGED, "hourly", since=NOON)
    scan = on(scans, held(scans), NOON + 5 * HOUR)
    assert scan is not None
    scans.ask(Kind.CHANGED, "overflow", since=NOON + 2 * HOUR)
    now = on(scans, scan, NOON + 6 * HOUR, done=True)
    assert now is not None, "it is not done: what it passed must be read again"
    assert (now.at, now.record, now.since, now.token) == (NOON + 2 * HOUR, "", NOON, scan.token)
    assert on(scans, now, NOON + 7 * HOUR, done=True) is None


def test_an_hourly_sweep_asked_for_twice_begins_once(scans: Scans) -> None:
    scans.ask(Kind.CHANGED, "hourly", since=NOON, again=False)
    scan = on(scans, held(scans), NOON + 5 * HOUR)
    assert scan is not None
    scans.ask(Kind.CHANGED, "hourly", since=NOON, again=False)
    assert on(scans, scan, NOON + 6 * HOUR) == replace(scan, at=NOON + 6 * HOUR)
    scans.ask(Kind.CHANGED, "hourly", since=NOON - HOUR, again=False)
    now = on(scans, scan, NOON + 7 * HOUR)
    assert now is not None
    assert now.at == NOON - HOUR, "one that must begin earlier is led back"


def test_a_comparison_of_everything_is_not_disturbed_by_another(scans: Scans) -> None:
    scans.ask(Kind.ALL, "nightly", again=False)
    scan = held(scans)
    moved = scans.advance(replace(scan, record="00Q5"), read=1, repaired=0, done=False)
    scans.ask(Kind.ALL, "nightly", again=False)
    assert moved is not None
    assert scans.advance(replace(moved, record="00Q6"), read=1, repaired=0, done=True) is None
    assert scans.swept() is None


def test_a_comparison_that_rests_is_left_alone_until_its_time(engine: sa.Engine, scans: Scans) -> None:
    scans.ask(Kind.ALL, "nightly")
    scan = held(scans)
    scans.rest(scan, 60)
    assert not scans.waiting()
    assert scans.claim() is None
    assert scans.advance(scan, read=0, repaired=0, done=True) is None
    late(engine)
    scans.rest(held(scans), 0)
    assert scans.claim() is not None


def test_what_changed_goes_before_everything(scans: Scans) -> None:
    scans.ask(Kind.ALL, "nightly")
    scans.ask(Kind.CHANGED, "hourly", since=NOON)
    assert held(scans).kind is Kind.CHANGED
    assert held(scans).kind is Kind.ALL


# --- what differs


def add(engine: sa.Engine, record: str, changed_at: datetime | None, state: str = "new", reason: str = "") -> None:
    with transaction(engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO leads (salesforce_id, state, reason, received_at, changed_at)"
                " VALUES (:record, :state, NULLIF(:reason, ''), now(), :changed_at)"
            ),
            {"record": record, "state": state, "reason": reason, "changed_at": changed_at},
        )


def seen(record: str, at: datetime = NOON, *, created: datetime | None = None) -> Seen:
    return Seen(record, at, created or datetime.now(UTC))


def test_what_differs_is_what_we_do_not_know_or_as_of_another_time_or_is_not_open_there(
    engine: sa.Engine, scans: Scans
) -> None:
    add(engine, "00Qa", NOON + timedelta(milliseconds=300))
    add(engine, "00Qb", NOON - HOUR)
    add(engine, "00Qc", None)
    add(engine, "00Qd", NOON, "withdrawn", "deleted")
    add(engine, "00Qe", NOON)
    add(engine, "00Qf", NOON, "withdrawn", "converted")
    add(engine, "00QZ", NOON, "offered")
    add(engine, "00Qz", NOON, "done")
    there = [seen(f"00Q{one}") for one in "abcdg"]
    assert sorted(scans.differing(there, after="", last=True)) == ["00QZ", "00Qb", "00Qc", "00Qd", "00Qe", "00Qg"]
    assert sorted(scans.differing(there[:1], after="00QZ", last=False)) == []
    assert sorted(scans.differing(there[1:], after="00Qa", last=False)) == ["00Qb", "00Qc", "00Qd", "00Qe", "00Qg"]
    assert sorted(scans.differing([], after="00Qd", last=True)) == ["00Qe"]


def test_records_from_before_our_time_are_no_business_of_ours(engine: sa.Engine, scans: Scans) -> None:
    old = datetime.now(UTC) - timedelta(days=30)
    assert scans.differing([seen("00Qa", created=old), seen("00Qb")], after="", last=True) == ["00Qb"]
    add(engine, "00Qa", old)
    assert scans.differing([seen("00Qa", created=old)], after="", last=True) == ["00Qa"]


def test_those_alive_are_leads_with_something_to_come(engine: sa.Engine, scans: Scans) -> None:
    add(engine, "00Qa", NOON)
    add(engine, "00Qb", NOON, "withdrawn", "deleted")
    assert scans.alive(["00Qa", "00Qb", "00Qc"]) == ["00Qa"]
