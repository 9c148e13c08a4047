"""Events of the change stream: stored before anything is done about them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.change import Change, Unreadable
from routing.errors import Refused
from routing.lane import Lane
from storage.postgres.engine import transaction
from storage.postgres.recordset import names, to_json, typed
from storage.postgres.tables import NOW, events, parked, positions
from storage.postgres.values import clean_text

#: Rows a single INSERT carries at most, so that none runs into the limit of its time.
CHUNK = 2000


class Superseded(Refused):
    """Another subscriber has taken over this stream."""


class Events:
    """The ledger's inbox."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def store(
        self,
        topic: str,
        changes: Sequence[Change],
        unreadable: Sequence[Unreadable] = (),
        *,
        replay_id: bytes,
        epoch: int,
    ) -> list[int]:
        """Store events together with the position after them; the ids of those that are new.

        An event that is there already is left as it is. Raises Superseded, and stores nothing, when the stream
        belongs to a later subscriber.
        """
        with transaction(self._engine) as connection:
            advance(connection, topic, epoch=epoch, replay_id=replay_id, committed_at=_latest(changes))
            if unreadable:
                connection.execute(_PARK, [_parked_row(topic, one) for one in unreadable])
            rows = [_event_row(topic, change) for change in changes]
            return sorted(
                event_id for at in range(0, len(rows), CHUNK) for event_id in _insert(connection, rows[at : at + CHUNK])
            )

    def admit(self, topic: str, changes: Sequence[Change]) -> list[int]:
        """Store events that were read late, the position untouched; the ids of those that are new."""
        with transaction(self._engine) as connection:
            rows = [_event_row(topic, change) for change in changes]
            return sorted(_insert(connection, rows)) if rows else []

    def by_lane(self, ids: Sequence[int]) -> dict[Lane, list[int]]:
        """These events by the lane they were stored with, the most urgent lane first."""
        query = (
            sa.select(events.c.lane, sa.func.array_agg(events.c.id))
            .where(events.c.id == sa.any_(sa.cast(list(ids), sa.ARRAY(sa.BigInteger))))
            .group_by(events.c.lane)
            .order_by(events.c.lane)
        )
        with transaction(self._engine) as connection:
            return {Lane(lane): sorted(found) for lane, found in connection.execute(query)}

    def reopen(self, event_id: int) -> bool:
        """Let a parked event be read again; False when it is not parked."""
        again = sa.update(events).where(events.c.id == event_id, events.c.state == "parked")
        with transaction(self._engine) as connection:
            fresh = again.values(state="pending", done_at=None, nudged_at=None, deaths=0)
            return connection.execute(fresh).rowcount == 1


def advance(connection: sa.Connection, topic: str, *, epoch: int, replay_id: bytes, committed_at: Any = None) -> None:
    """Move the position of a stream; raises Superseded when the epoch is not ours any more."""
    moved = connection.execute(
        sa.update(positions)
        .where(positions.c.topic == topic, positions.c.epoch == epoch)
        .values(
            replay_id=replay_id,
            committed_at=sa.func.greatest(positions.c.committed_at, sa.cast(committed_at, sa.DateTime(timezone=True))),
            updated_at=NOW,
        )
    )
    if moved.rowcount != 1:
        raise Superseded(f"epoch {epoch} of {topic} is over", topic=topic, epoch=epoch)


_PARK = insert(parked).on_conflict_do_nothing(index_elements=["kind", "ref"])


def _latest(changes: Iterable[Change]) -> Any:
    return max((change.committed_at for change in changes), default=None)


def _insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> Iterable[int]:
    """Insert the rows that are not there yet; the ids of those."""
    return connection.execute(_STORE, {"rows": to_json(rows)}).scalars()


def _event_row(topic: str, change: Change) -> dict[str, Any]:
    return {
        "topic": topic,
        "event_id": change.event_id,
        "record_id": change.record_id,
        "replay_id": f"\\x{change.replay_id.hex()}",
        "change_type": change.change_type,
        "origin": change.origin,
        "commit_user": change.commit_user,
        "commit_number": change.commit_number,
        "sequence_number": change.sequence_number,
        "committed_at": change.committed_at,
        "changed": change.changed,
        "nulled": change.nulled,
        "body": change.body,
        "lane": change.lane,
    }


def _parked_row(topic: str, event: Unreadable) -> dict[str, Any]:
    return {
        "kind": "event",
        "ref": clean_text(event.event_id) or f"{topic} {event.replay_id.hex()}",
        "reason": clean_text(event.reason),
        "input": {"topic": topic, "schema_id": clean_text(event.schema_id), "replay_id": event.replay_id.hex()},
        "raw": event.payload,
    }


_COLUMNS = list(_event_row("", Change("", "", "", b"", datetime.min)))  # noqa: DTZ901 - only the names are used
_STORE = sa.text(f"""
    INSERT INTO events ({names(_COLUMNS)})
    SELECT {names(_COLUMNS)} FROM json_to_recordset(CAST(:rows AS json)) AS row ({typed(events, _COLUMNS)})
    ON CONFLICT (event_id, record_id) DO NOTHING RETURNING id
""")  # noqa: S608 - names of columns only
