"""The ledger deciding alone while the turnstile is away: the same rule, on the ledger's own books."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import sqlalchemy as sa

from routing import fairness
from routing.decision import Ask, Grant
from routing.errors import ColdTurnstile
from routing.limits import count
from routing.turns import Correction, Numbered
from storage.postgres import quotas
from storage.postgres.books import Books, Shelf
from storage.postgres.standstill import stop_routing


class LedgerAlone:
    """Decides inside one routing batch's transaction, with the market standing still for everybody else.

    Nothing is reserved: what was decided is in the ledger when the batch commits, and never was when it does not.
    """

    def __init__(self, connection: sa.Connection, shelf: Shelf) -> None:
        self._connection = connection
        self._shelf = shelf
        self._books: dict[str, Books] = {}
        self._open: dict[int, int] = {}
        self._uses: dict[str, dict[str, dict[int, int]]] = {}  # market -> counter -> bucket -> units

    def reserve(
        self,
        market: str,
        asks: Sequence[Ask],
        *,
        generation: int,
        release: Sequence[UUID] = (),  # noqa: ARG002 - the ledger freed these places when the offers ended
    ) -> list[Grant]:
        """Give each Ask a member with room, in order.

        Raises ColdTurnstile when the ledger decides under another generation by now.
        """
        if not asks:
            return []
        books = self._books.get(market) or self._open_books(market, generation)
        self._count({c.member for ask in asks for group in ask.groups for c in group.candidates})
        now_us: int = self._connection.execute(_NOW).scalar_one()
        self._count_uses(market, asks)
        grants = [self._decide(books, ask, now_us) for ask in asks]
        self._shelf.put(books)
        return grants

    def correct(self, market: str, corrections: Sequence[Correction], *, generation: int) -> list[Numbered]:
        """Move the accounts by the corrections, in order. Raises ColdTurnstile as `reserve` does."""
        books = self._books.get(market) or self._open_books(market, generation)
        now_us: int = self._connection.execute(_NOW).scalar_one()
        numbered = [self._correct(books, one, now_us) for one in corrections]
        self._shelf.put(books)
        return numbered

    def settle(
        self, market: str, *, keep: Sequence[tuple[int, int]] = (), cancel: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Nothing is reserved, so there is nothing to settle."""

    def forget(self) -> None:
        """Something of what was decided was not written down: the books are read anew next time."""
        for market in self._books:
            self._shelf.forget(market)

    def _open_books(self, market: str, generation: int) -> Books:
        stop_routing(self._connection, market)
        if self._connection.scalar(_ALONE, {"market": market}) != generation:
            raise ColdTurnstile(market=market, generation=generation)
        books = self._books[market] = self._shelf.read(self._connection, market)
        books.generation = generation
        return books

    def _count(self, members: Iterable[int]) -> None:
        unknown = [member for member in members if member not in self._open]
        if unknown:
            self._open |= dict.fromkeys(unknown, 0)
            self._open |= {row.id: row.open for row in self._connection.execute(_OPEN, {"ids": unknown})}

    def _count_uses(self, market: str, asks: Sequence[Ask]) -> None:
        checks = (check for ask in asks for its in ask.limits.values() for check in its)
        named = {name for check in checks for name in (check.counter, check.whole) if name}
        book = self._uses.setdefault(market, {})
        if unknown := named - book.keys():
            book |= {name: {} for name in unknown} | quotas.held(self._connection, market, unknown)

    def _correct(self, books: Books, one: Correction, now_us: int) -> Numbered:
        books.seq, books.last, books.at_us = books.seq + 1, one.id, max(now_us, books.at_us + 1)
        books.correct(one.rotation, one.deltas)
        return Numbered(one.id, books.seq, books.at_us)

    def _decide(self, books: Books, ask: Ask, now_us: int) -> Grant:
        used = self._uses[books.market]
        outcome = fairness.decide(ask, self._open, books.book, used)
        verdict = outcome.verdict
        chosen = verdict.chosen if verdict is not None else None
        if chosen is None and not ask.last:
            return Grant(ask.lead, ask.attempt, ask.offer, None, None, 0, now_us, outcome.sights, stops=outcome.stops)
        books.seq, books.last, books.at_us = books.seq + 1, ask.offer, max(now_us, books.at_us + 1)
        if verdict is not None and chosen is not None and outcome.group is not None:
            books.add(ask.groups[outcome.group].rotation, ask.mode, chosen, verdict.shares)
            self._open[chosen] += ask.units
            count(outcome.uses, ask.units, used)
        return Grant(
            ask.lead,
            ask.attempt,
            ask.offer,
            chosen,
            outcome.group,
            books.seq,
            books.at_us,
            outcome.sights,
            stops=outcome.stops,
            uses=outcome.uses,
        )


_ALONE = sa.text("SELECT generation FROM markets WHERE name = :market AND alone_since IS NOT NULL")
_OPEN = sa.text("SELECT id, open FROM members WHERE id = ANY(CAST(:ids AS int[]))")
_NOW = sa.text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")
