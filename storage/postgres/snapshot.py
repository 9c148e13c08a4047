"""What the turnstile must hold, as the ledger knows it: the way back after Redis lost anything."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.ports import Snapshot
from storage.postgres import quotas
from storage.postgres.audit import record
from storage.postgres.books import Books, Shelf, keep
from storage.postgres.engine import transaction
from storage.postgres.standstill import stop_routing
from storage.postgres.tables import NOW, markets, offers

__all__ = ["Turns", "snapshot_of"]

#: A rebuild leaves a mark of its own when the last one is further behind than this many decisions.
MARK_EVERY = 1_000


class Turns:
    """The ledger's side of the turnstile: who decides, under which generation, from which accounts."""

    def __init__(self, engine: sa.Engine, shelf: Shelf | None = None) -> None:
        self._engine = engine
        self._shelf = shelf or Shelf()

    @contextmanager
    def rebuild(self, market: str, *, seen: int | None = None, above: int = 0) -> Iterator[Snapshot | None]:
        """Everything the turnstile must hold, under a new generation; leaving the context commits it.

        None when the generation is above `seen` by now: somebody else has rebuilt the turnstile meanwhile. The new
        generation is higher than the ledger's last one and than `above`, which the turnstile has.

        While it lasts no batch of the market commits, and batches of the old generation never will: load the
        turnstile inside. When loading fails the ledger keeps its generation, and the next one rebuilds again.
        """
        with transaction(self._engine) as connection:
            connection.execute(_WAIT_LONGER)
            stop_routing(connection, market)
            if seen is not None and _generation(connection, market) > seen:
                yield None
                return
            books = self._shelf.read(connection, market)
            if books.since_mark >= MARK_EVERY:
                keep(connection, books)
            self._shelf.put(books)
            generation = _next_generation(connection, market, above)
            record(connection, "fairturn", "turnstile.rebuilt", market=market, generation=generation, seq=books.seq)
            yield snapshot_of(connection, books, generation)

    def stand_alone(self, market: str, seen: int) -> bool:
        """Have the ledger decide alone from now on, under a generation of its own; until the next rebuild.

        What was reserved in the turnstile before can be committed no more. False when the generation is above `seen`
        by now: somebody else was faster, with this or with a rebuild.
        """
        with transaction(self._engine) as connection:
            stop_routing(connection, market)
            if _generation(connection, market) > seen:
                return False
            generation = _next_generation(connection, market, 0)
            alone = sa.update(markets).where(markets.c.name == market).values(alone_since=NOW)
            connection.execute(alone)
            record(connection, "fairturn", "turnstile.away", market=market, generation=generation)
            return True

    def generation(self, market: str) -> int:
        """The turnstile's generation by the ledger; 0 when it was never built."""
        with transaction(self._engine) as connection:
            return _generation(connection, market)


_WAIT_LONGER = sa.text("SELECT set_config('statement_timeout', '60s', true)")


def snapshot_of(connection: sa.Connection, books: Books, generation: int) -> Snapshot:
    """Everything the turnstile must hold by these books, under this generation."""
    open_offers = _open_offers(connection, books.market)
    return Snapshot(
        generation=generation,
        seq=books.seq,
        open_offers={row.id: row.member_id for row in open_offers},
        standings=books.accounts(),
        ticks={rotation: book.tick for rotation, book in books.needed.items()},
        cursors={rotation: book.cursor for rotation, book in books.needed.items()},
        units={row.id: row.units for row in open_offers if row.units > 1},
        uses=quotas.all_of(connection, books.market),
    )


def _generation(connection: sa.Connection, market: str) -> int:
    return connection.scalar(sa.select(markets.c.generation).where(markets.c.name == market)) or 0


def _next_generation(connection: sa.Connection, market: str, above: int) -> int:
    raised = {
        "generation": sa.func.greatest(markets.c.generation, above) + 1,
        "rebuilt_at": NOW,
        "alone_since": None,
    }
    statement = insert(markets).values(name=market, generation=above + 1, rebuilt_at=NOW)
    upsert = statement.on_conflict_do_update(index_elements=["name"], set_=raised)
    generation: int = connection.execute(upsert.returning(markets.c.generation)).scalar_one()
    return generation


def _open_offers(connection: sa.Connection, market: str) -> Sequence[Any]:
    is_open = offers.c.state.in_(["offered", "accepted"])
    mine = sa.select(offers.c.id, offers.c.member_id, offers.c.units).where(offers.c.market == market, is_open)
    return connection.execute(mine).all()
