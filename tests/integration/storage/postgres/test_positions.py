import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from routing.errors import LedgerUnreachable
from storage.postgres.engine import transaction
from storage.postgres.positions import Positions, Superseded

TOPIC = "/data/LeadChangeEvent"


def test_a_stream_never_read_has_no_position(engine: sa.Engine) -> None:
    with Positions(engine).stand(TOPIC) as position:
        assert position is not None
        assert (position.topic, position.epoch, position.replay_id) == (TOPIC, 1, None)


def test_a_reader_carries_on_where_the_last_one_stopped(engine: sa.Engine) -> None:
    streams = Positions(engine)
    with streams.stand(TOPIC) as first:
        assert first is not None
        streams.advance(TOPIC, first.epoch, b"here")
    with streams.stand(TOPIC) as second:
        assert second is not None
        assert (second.replay_id, second.epoch) == (b"here", first.epoch + 1)
        with pytest.raises(Superseded):
            streams.advance(TOPIC, first.epoch, b"back")


def test_a_second_reader_stands_by_until_the_first_is_gone(engine: sa.Engine) -> None:
    streams, standing, order = Positions(engine), threading.Event(), []

    def second() -> None:
        with streams.stand(TOPIC, every_s=0.02) as position:
            assert position is not None
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with streams.stand(TOPIC) as first:
            assert first is not None
            waiting = pool.submit(second)
            with streams.stand("/data/AccountChangeEvent"):
                standing.set()
            assert not waiting.done()
            order.append("first")
        waiting.result(timeout=20)
    assert order == ["first", "second"]


def test_a_reader_standing_by_stops_when_told(engine: sa.Engine) -> None:
    streams, stop = Positions(engine), threading.Event()

    def second() -> object:
        with streams.stand(TOPIC, stop=stop) as position:
            return position

    with ThreadPoolExecutor(1) as pool, streams.stand(TOPIC):
        waiting = pool.submit(second)
        stop.set()
        assert waiting.result(timeout=20) is None


def test_a_reader_who_lost_its_session_lost_its_stand(engine: sa.Engine) -> None:
    streams = Positions(engine)
    with streams.stand(TOPIC) as first:
        assert first is not None
        first.check()
        with transaction(engine) as connection:
            connection.execute(
                sa.text("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")
            )
        with streams.stand(TOPIC) as second:
            assert second is not None
            with pytest.raises((LedgerUnreachable, Superseded)):
                first.check()
            with pytest.raises(Superseded):
                streams.advance(TOPIC, first.epoch, b"late")
            streams.advance(TOPIC, second.epoch, b"right")
