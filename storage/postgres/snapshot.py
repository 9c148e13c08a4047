"""What the turnstile must hold, as the ledger knows it: the way back after Redis lost anything."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.ports import Snapshot, Standing
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.tables import NOW, decisions, markets, offers, standing_marks, standings

__all__ = ["Turns"]

Accounts = dict[str, dict[int, Standing]]
#: (tick, cursor) of each rotation.
Marks = dict[str, tuple[int, int]]


class Turns:
    """The ledger's side of the turnstile."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def rebuild(self, market: str, *, seen: int | None = None) -> Iterator[Snapshot | None]:
        """Everything the turnstile must hold, under a new generation; leaving the context commits it.

        None when the generation is above `seen` by now: somebody else has rebuilt the turnstile meanwhile.

        While it lasts no batch of the market commits, and batches of the old generation never will: load the
        turnstile inside. When loading fails the ledger keeps its generation, and the next one rebuilds again.
        """
        with transaction(self._engine) as connection:
            connection.execute(_WAIT_LONGER)
            connection.execute(_STOP_ROUTING, {"market": market})
            if seen is not None and _generation(connection, market) > seen:
                yield None
                return
            generation = _next_generation(connection, market)
            seq = _last_seq(connection, market)
            accounts, marks = _accounts(connection, market)
            _keep(connection, market, accounts, marks, generation=generation, seq=seq)
            record(connection, "fairturn", "turnstile.rebuilt", market=market, generation=generation, seq=seq)
            yield Snapshot(
                generation=generation,
                seq=seq,
                open_offers=_open_offers(connection, market),
                standings=accounts,
                ticks={rotation: tick for rotation, (tick, _) in marks.items()},
                cursors={rotation: cursor for rotation, (_, cursor) in marks.items()},
            )

    def generation(self, market: str) -> int:
        """The turnstile's generation by the ledger; 0 when it was never built."""
        with transaction(self._engine) as connection:
            return _generation(connection, market)


_WAIT_LONGER = sa.text("SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '60s', true)")
#: Routing batches hold this lock shared until they have committed.
_STOP_ROUTING = sa.text("SELECT pg_advisory_xact_lock(hashtext('turnstile:' || :market))")

# Since its mark, a rotation's accounts move by its decisions alone: in mode `fair` everyone eligible earns a share of
# one turn, rounded down to micro-turns, and the chosen pays the sum of the shares (routing/fairness.py). The order in
# which they are added does not matter, so decisions may have been committed out of order.
_SINCE = """
    WITH since AS (
        SELECT d.* FROM decisions d
        LEFT JOIN standing_marks m ON m.market = d.market AND m.rotation = d.rotation
        WHERE d.market = :market AND d.chosen IS NOT NULL
          AND (m.rotation IS NULL OR (d.generation, d.seq) > (m.generation, m.seq))
    )
"""
_MOVED = sa.text(f"""{_SINCE}
    , earned AS (
        SELECT s.rotation, s.chosen, c.member, c.weight * 1000000::bigint / eligible.weights AS share
        FROM since s
        CROSS JOIN LATERAL (SELECT sum(x.weight) AS weights FROM unnest(s.weight, s.gate) AS x (weight, gate)
                            WHERE x.gate = 0) AS eligible
        CROSS JOIN LATERAL unnest(s.member, s.weight, s.gate) AS c (member, weight, gate)
        WHERE s.mode = 'fair' AND c.gate = 0
    ), moves AS (
        SELECT rotation, member, sum(share) AS move FROM earned GROUP BY rotation, member
        UNION ALL
        SELECT rotation, chosen, -sum(share) FROM earned GROUP BY rotation, chosen
    )
    SELECT rotation, member, sum(move)::bigint AS moved FROM moves GROUP BY rotation, member
""")  # noqa: S608 - put together from constants
_TURNS = sa.text(f"""{_SINCE}
    , turns AS (
        SELECT rotation, chosen, row_number() OVER (PARTITION BY rotation ORDER BY generation, seq) AS turn FROM since
    )
    SELECT rotation, chosen, max(turn) AS turn FROM turns GROUP BY rotation, chosen ORDER BY rotation, turn
""")  # noqa: S608 - put together from constants


def _generation(connection: sa.Connection, market: str) -> int:
    return connection.scalar(sa.select(markets.c.generation).where(markets.c.name == market)) or 0


def _next_generation(connection: sa.Connection, market: str) -> int:
    raised = {"generation": markets.c.generation + 1, "rebuilt_at": NOW}
    statement = insert(markets).values(name=market, generation=1, rebuilt_at=NOW)
    upsert = statement.on_conflict_do_update(index_elements=["name"], set_=raised)
    generation: int = connection.execute(upsert.returning(markets.c.generation)).scalar_one()
    return generation


def _last_seq(connection: sa.Connection, market: str) -> int:
    newest = (
        sa.select(decisions.c.seq)
        .where(decisions.c.market == market)
        .order_by(decisions.c.generation.desc(), decisions.c.seq.desc())
        .limit(1)
    )
    marked = sa.select(sa.func.max(standing_marks.c.seq)).where(standing_marks.c.market == market)
    return max(connection.scalar(newest) or 0, connection.scalar(marked) or 0)


def _accounts(connection: sa.Connection, market: str) -> tuple[Accounts, Marks]:
    """The snapshot of last time carried on by the decisions since."""
    standing: dict[tuple[str, int], int] = {}
    served: dict[tuple[str, int], int] = {}
    for row in connection.execute(sa.select(standings).where(standings.c.market == market)):
        key = row.rotation, row.member_id
        standing[key], served[key] = row.standing, row.served
    for row in connection.execute(_MOVED, {"market": market}):
        key = row.rotation, row.member
        standing[key] = standing.get(key, 0) + row.moved
    marks = _marks(connection, market)
    before: Mapping[str, tuple[int, int]] = dict(marks)
    for row in connection.execute(_TURNS, {"market": market}):
        tick = before.get(row.rotation, (0, 0))[0] + row.turn
        served[row.rotation, row.chosen] = tick
        marks[row.rotation] = tick, row.chosen  # the last of its rotation is the last turn
    accounts: Accounts = {rotation: {} for rotation in marks}
    for rotation, member in standing.keys() | served.keys():
        key = rotation, member
        accounts.setdefault(rotation, {})[member] = Standing(standing.get(key, 0), served.get(key, 0))
    return accounts, marks


def _marks(connection: sa.Connection, market: str) -> Marks:
    rows = connection.execute(sa.select(standing_marks).where(standing_marks.c.market == market))
    return {row.rotation: (row.tick, row.cursor) for row in rows}


def _keep(
    connection: sa.Connection, market: str, accounts: Accounts, marks: Marks, *, generation: int, seq: int
) -> None:
    connection.execute(sa.delete(standings).where(standings.c.market == market))
    connection.execute(sa.delete(standing_marks).where(standing_marks.c.market == market))
    rows = [
        {"market": market, "rotation": rotation, "member_id": member, "standing": one.standing, "served": one.served}
        for rotation, members in accounts.items()
        for member, one in members.items()
    ]
    if rows:
        connection.execute(sa.insert(standings), rows)
    if marks:
        mark = {"market": market, "generation": generation, "seq": seq}
        connection.execute(
            sa.insert(standing_marks),
            [
                mark | {"rotation": rotation, "tick": tick, "cursor": cursor}
                for rotation, (tick, cursor) in marks.items()
            ],
        )


def _open_offers(connection: sa.Connection, market: str) -> dict[UUID, int]:
    is_open = offers.c.state.in_(["offered", "accepted"])
    rows = connection.execute(sa.select(offers.c.id, offers.c.member_id).where(offers.c.market == market, is_open))
    return {row.id: row.member_id for row in rows}
