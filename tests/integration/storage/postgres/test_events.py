import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.change import Change, Unreadable
from routing.errors import Refused
from storage.postgres.engine import transaction
from storage.postgres.events import Events, Superseded
from storage.postgres.positions import Positions
from storage.postgres.tables import events, parked, positions

TOPIC = "/data/LeadChangeEvent"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def change(number: int, **over: Any) -> Change:
    values: dict[str, Any] = {
        "event_id": f"event-{number}",
        "record_id": "00Q000000000001AAA",
        "change_type": "CREATE",
        "replay_id": number.to_bytes(8),
        "committed_at": NOON + timedelta(seconds=number),
        "body": {"City": "Buffalo"},
    }
    return Change(**(values | over))


def take_over(engine: sa.Engine) -> int:
    with Positions(engine).stand(TOPIC) as position:
        assert position is not None
        return position.epoch


def count(engine: sa.Engine, table: sa.Table) -> int:
    with transaction(engine) as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_I2_events_and_their_position_are_stored_together(engine: sa.Engine) -> None:
    epoch = take_over(engine)
    new = Events(engine).store(TOPIC, [change(1), change(2)], replay_id=b"two", epoch=epoch)
    assert len(new) == 2
    with transaction(engine) as connection:
        position = connection.execute(sa.select(positions)).one()
    assert (position.replay_id, position.committed_at) == (b"two", NOON + timedelta(seconds=2))


def test_I5_an_event_told_twice_is_stored_once(engine: sa.Engine) -> None:
    epoch, inbox = take_over(engine), Events(engine)
    first = inbox.store(TOPIC, [change(1), change(2), change(1)], replay_id=b"2", epoch=epoch)
    again = inbox.store(TOPIC, [change(2), change(3)], replay_id=b"3", epoch=epoch)
    assert (len(first), len(again), count(engine, events)) == (2, 1, 3)


def test_one_event_about_many_records_is_one_row_a_record(engine: sa.Engine) -> None:
    records = [change(1, record_id=f"00Q{n:015}") for n in range(50)]
    assert len(Events(engine).store(TOPIC, records, replay_id=b"1", epoch=take_over(engine))) == 50


def test_a_thousand_events_are_stored_at_once(engine: sa.Engine) -> None:
    new = Events(engine).store(TOPIC, [change(n) for n in range(5000)], replay_id=b"1", epoch=take_over(engine))
    assert len(set(new)) == 5000


def test_a_subscriber_whose_time_is_over_stores_nothing(engine: sa.Engine) -> None:
    old = take_over(engine)
    new = take_over(engine)
    with pytest.raises(Superseded) as refused:
        Events(engine).store(TOPIC, [change(1)], replay_id=b"1", epoch=old)
    assert isinstance(refused.value, Refused)
    assert count(engine, events) == 0
    assert Events(engine).store(TOPIC, [change(1)], replay_id=b"1", epoch=new)


def test_an_undecodable_event_is_parked_and_the_rest_goes_on(engine: sa.Engine) -> None:
    broken = Unreadable("event-9", b"\x09", "schema-1", b"\xff\x00raw", "payload: not Avro. Replay it after a mend.")
    epoch = take_over(engine)
    for _ in range(2):
        Events(engine).store(TOPIC, [change(1)], [broken], replay_id=b"9", epoch=epoch)
    with transaction(engine) as connection:
        row = connection.execute(sa.select(parked)).one()
    assert (row.kind, row.ref, row.raw) == ("event", "event-9", b"\xff\x00raw")
    assert count(engine, events) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(), max_size=8),
        st.none() | st.booleans() | st.floats() | st.text(st.characters(), max_size=20),
        max_size=5,
    )
)
def test_any_body_can_be_stored(engine: sa.Engine, body: dict[str, object]) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.delete(events))
    assert Events(engine).store(TOPIC, [change(1, body=body)], replay_id=b"1", epoch=take_over(engine))


def test_nul_and_lone_surrogates_do_not_stop_a_batch(engine: sa.Engine) -> None:
    odd = change(1, body={"LastName": "a\x00b\ud800c", "Latitude": float("nan"), "Big": "x" * 1_000_000})
    Events(engine).store(TOPIC, [odd, change(2)], replay_id=b"2", epoch=take_over(engine))
    with transaction(engine) as connection:
        body = connection.execute(sa.select(events.c.body).where(events.c.event_id == "event-1")).scalar_one()
    assert body["Latitude"] == "nan"
    assert body["LastName"].startswith("ab")


def test_the_same_batch_from_many_threads_is_stored_once(engine: sa.Engine) -> None:
    epoch, inbox = take_over(engine), Events(engine)
    start = threading.Barrier(8)

    def store(_: int) -> list[int]:
        start.wait()
        return inbox.store(TOPIC, [change(n) for n in range(100)], replay_id=b"1", epoch=epoch)

    with ThreadPoolExecutor(8) as pool:
        stored = [ids for some in pool.map(store, range(8)) for ids in some]
    assert len(stored) == len(set(stored)) == 100
