"""Where each change stream has been read to, and who may read it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from storage.postgres.engine import guarded, transaction
from storage.postgres.events import Superseded, advance
from storage.postgres.tables import positions

__all__ = ["Position", "Positions", "Superseded"]


@dataclass(frozen=True, slots=True)
class Position:
    """The stream as its one reader takes it over; replay_id is None when it was never read."""

    topic: str
    epoch: int
    replay_id: bytes | None
    committed_at: datetime | None  # of the last stored event, by Salesforce
    heard_at: datetime  # when it last moved, keepalives included
    silent_s: float  # since then
    check: Callable[[], None] = field(repr=False, compare=False)  # raises Superseded once the stand is lost


class Positions:
    """Positions of change streams."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def stand(
        self, topic: str, *, stop: threading.Event | None = None, every_s: float = 1.0
    ) -> Iterator[Position | None]:
        """Be the only reader of a stream, waiting as long as another one is; None when told to stop before that.

        The stand is a lock of one database session: it is lost with the session, and the epoch it raised keeps a
        reader who did not notice from storing anything.
        """
        stop = stop or threading.Event()
        with guarded():
            session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield self._take(session, topic) if _wait_for(session, topic, stop, every_s) else None
        finally:
            # Closing for good frees the lock even when the session is in no state to be asked.
            session.invalidate()
            session.close()

    def _take(self, session: sa.Connection, topic: str) -> Position:
        with guarded():
            row = session.execute(
                insert(positions)
                .values(topic=topic, epoch=1)
                .on_conflict_do_update(index_elements=["topic"], set_={"epoch": positions.c.epoch + 1})
                .returning(
                    positions.c.epoch,
                    positions.c.replay_id,
                    positions.c.committed_at,
                    positions.c.updated_at,
                    sa.extract("epoch", sa.func.clock_timestamp() - positions.c.updated_at).label("silent_s"),
                )
            ).one()

        def check() -> None:
            with guarded():
                epoch = session.scalar(sa.select(positions.c.epoch).where(positions.c.topic == topic))
            if epoch != row.epoch:
                raise Superseded(f"epoch {row.epoch} of {topic} is over", topic=topic, epoch=row.epoch)

        return Position(
            topic, row.epoch, row.replay_id, row.committed_at, row.updated_at, max(0.0, float(row.silent_s)), check
        )

    def advance(self, topic: str, epoch: int, replay_id: bytes) -> None:
        """Remember a position that came without events; raises Superseded when the stream belongs to another."""
        with transaction(self._engine) as connection:
            advance(connection, topic, epoch=epoch, replay_id=replay_id)


_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtext('fairturn:stand'), hashtext(:topic))")


def _wait_for(session: sa.Connection, topic: str, stop: threading.Event, every_s: float) -> bool:
    while not stop.is_set():
        with guarded():
            if session.scalar(_LOCK, {"topic": topic}):
                return True
        stop.wait(every_s)
    return False
