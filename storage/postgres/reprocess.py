"""Leads that failed, or went the wrong way, sent through the house once more under the policy of now."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa

from routing.dispatcher import Dispatcher
from routing.lead import Reason
from routing.offer import Actor, OfferState
from routing.policy import Policy
from routing.simulation.turnstile import MemoryTurnstile
from storage.postgres.audit import record
from storage.postgres.books import Shelf
from storage.postgres.ending import end_offers, tell_salesforce
from storage.postgres.engine import guarded, transaction
from storage.postgres.ledger import RoutingLedger
from storage.postgres.onward import go_on
from storage.postgres.snapshot import snapshot_of
from storage.postgres.steps import lock, note

#: Leads of one reason that are chosen at once.
MOST = 10_000
#: Leads that are tried together.
AT_ONCE = 100
#: The reason of offers that are taken back.
WHY = "reprocessed"


@dataclass(frozen=True, slots=True)
class Stood:
    """How a lead stands: what its screen shows."""

    lead: int
    state: str
    reason: str | None
    pool: str | None
    member: str | None
    attempt: int
    policy_version: int | None  # under which it was decided last
    has_place: bool


class Reprocess:
    """Chooses leads, opens them again, and tells how they stand."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def by_reason(self, reason: Reason, limit: int = MOST) -> list[int]:
        """Leads in review, or waiting, for this reason, the oldest first."""
        with transaction(self._engine) as connection:
            return list(connection.execute(_BY_REASON, {"reason": reason, "limit": limit}).scalars())

    def known(self, refs: Sequence[str]) -> dict[str, int]:
        """Our ids of leads by any id: ours, Salesforce's, the source's."""
        with transaction(self._engine) as connection:
            return {row.ref: row.id for row in connection.execute(_KNOWN, {"refs": list(refs)})}

    def stand(self, ids: Sequence[int]) -> dict[int, Stood]:
        """How each of the leads stands now."""
        with transaction(self._engine) as connection:
            return {row.lead: Stood(*row) for row in connection.execute(_STAND, {"ids": list(ids)})}

    def reopen(self, ids: Sequence[int], *, actor: str) -> list[int]:
        """Make these leads new again; those it did. An offer not answered yet is taken back; others stay as they are.

        Who works on a lead keeps it, and what is over stays over. Done twice, the second time takes back what the
        first gave.
        """
        done: list[int] = []
        for at in range(0, len(ids), AT_ONCE):
            with transaction(self._engine) as connection:
                done += self._reopened(connection, list(ids[at : at + AT_ONCE]), actor)
        return done

    def _reopened(self, connection: sa.Connection, ids: list[int], actor: str) -> list[int]:
        lock(connection, ids)
        free = list(connection.execute(_FREE, {"ids": ids}).scalars())
        asked = list(connection.execute(_ASKED, {"ids": ids}).scalars())
        if asked:
            end_offers(connection, asked, OfferState.WITHDRAWN, WHY, "", by=Actor.MANAGER)
            go_on(connection, asked, {}, "", counts=False)
        if free:
            connection.execute(_AGAIN, {"ids": free})
            tell_salesforce(connection, free)
        done = sorted({*free, *asked})
        note(connection, [(lead, "reprocessed", {}) for lead in done], "", actor=actor)
        if done:
            record(connection, actor, "leads.reprocessed", leads=done)
        return done

    def rehearse(
        self, ids: Sequence[int], parse: Callable[[Mapping[str, Any], int], Policy], new_id: Callable[[], UUID]
    ) -> dict[int, Stood]:
        """How each lead would stand: everything is done, with a turnstile in memory, and then undone."""
        found: dict[int, Stood] = {}
        for at in range(0, len(ids), AT_ONCE):
            some = list(ids[at : at + AT_ONCE])
            with guarded(), self._engine.connect() as connection:
                outer = connection.begin()
                try:
                    found |= _rehearsed(connection, some, parse, new_id)
                finally:
                    outer.rollback()
        return found


class _Stage:
    """An engine with one connection, whose transactions are parts of a greater one."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        with self._connection.begin_nested():
            yield self._connection

    def execution_options(self, **_options: object) -> "_Stage":
        return self


def _rehearsed(
    connection: sa.Connection,
    ids: list[int],
    parse: Callable[[Mapping[str, Any], int], Policy],
    new_id: Callable[[], UUID],
) -> dict[int, Stood]:
    stage = cast("sa.Engine", _Stage(connection))
    again = Reprocess(stage)
    again.reopen(ids, actor="rehearsal")
    turnstile = MemoryTurnstile()
    for row in connection.execute(_MARKETS).all():
        books = Shelf().read(connection, row.name)
        turnstile.rebuild(row.name, snapshot_of(connection, books, row.generation))
    Dispatcher(ledger=RoutingLedger(stage, parse), turnstile=turnstile, new_id=new_id).route(ids)
    return again.stand(ids)


_BY_REASON = sa.text("""
    SELECT id FROM leads WHERE state IN ('review', 'waiting') AND reason = :reason ORDER BY received_at, id LIMIT :limit
""")
_KNOWN = sa.text("""
    SELECT r.ref, l.id FROM unnest(CAST(:refs AS text[])) AS r (ref)
    JOIN LATERAL (
        SELECT id FROM leads
        WHERE id = CASE WHEN r.ref ~ '^[0-9]{1,18}$' THEN CAST(r.ref AS bigint) END
           OR salesforce_id = r.ref OR source_id = r.ref
        ORDER BY id = CASE WHEN r.ref ~ '^[0-9]{1,18}$' THEN CAST(r.ref AS bigint) END DESC NULLS LAST, id LIMIT 1
    ) l ON true
""")
_STAND = sa.text("""
    SELECT l.id AS lead, l.state, l.reason, l.pool, o.key, l.attempt, d.policy_version, l.lat IS NOT NULL
    FROM leads l
    LEFT JOIN LATERAL (
        SELECT m.key FROM offers o JOIN members m ON m.id = o.member_id
        WHERE o.lead_id = l.id AND o.state IN ('offered', 'accepted') ORDER BY o.slot LIMIT 1
    ) o ON true
    LEFT JOIN LATERAL (
        SELECT policy_version FROM decisions d WHERE d.lead_id = l.id ORDER BY generation DESC, seq DESC LIMIT 1
    ) d ON true
    WHERE l.id = ANY(CAST(:ids AS bigint[])) ORDER BY l.id
""")
_FREE = sa.text("""
    SELECT id FROM leads WHERE id = ANY(CAST(:ids AS bigint[])) AND state IN ('new', 'review', 'waiting')
      AND NOT EXISTS (SELECT FROM offers o WHERE o.lead_id = leads.id AND o.state IN ('offered', 'accepted'))
    ORDER BY id
""")
_ASKED = sa.text("SELECT id FROM leads WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'offered' ORDER BY id")
_AGAIN = sa.text("""
    UPDATE leads SET state = 'new', reason = NULL, version = version + 1, updated_at = clock_timestamp(),
           nudged_at = NULL, deaths = 0, delays = 0, next_try_at = NULL, open_until = NULL
    WHERE id = ANY(CAST(:ids AS bigint[]))
""")
_MARKETS = sa.text("SELECT name, generation FROM markets ORDER BY name")
