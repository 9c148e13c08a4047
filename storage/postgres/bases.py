"""The fairness accounts as of the last decision or correction that was removed for its age: where recounts begin."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.fairness import Book
from storage.postgres.books import Books


@dataclass(frozen=True, slots=True)
class Base:
    """One market's accounts at the end of what was removed."""

    at: datetime
    books: Books


def base_of(connection: sa.Connection, market: str) -> Base | None:
    """Where a recount of the market begins; None: nothing of it was removed."""
    row = connection.execute(_READ, {"market": market}).one_or_none()
    if row is None:
        return None
    rotations = {name: _book(told) for name, told in row.books.items()}
    return Base(row.at, Books(market, row.generation, row.seq, rotations=rotations))


def write_base(connection: sa.Connection, books: Books, at: datetime) -> None:
    """Everything up to the books' number is removed by the caller's transaction; `at`: when the last of it was made."""
    told = {name: _told(book) for name, book in books.rotations.items()}
    values = {"market": books.market, "generation": books.generation, "seq": books.seq, "at": at, "books": told}
    connection.execute(_WRITE, values)


def _told(book: Book) -> dict[str, Any]:
    return {
        "standing": {str(member): value for member, value in book.standing.items() if value},
        "served": {str(member): value for member, value in book.served.items() if value},
        "tick": book.tick,
        "cursor": book.cursor,
    }


def _book(told: dict[str, Any]) -> Book:
    return Book(
        standing={int(member): value for member, value in told["standing"].items()},
        served={int(member): value for member, value in told["served"].items()},
        tick=told["tick"],
        cursor=told["cursor"],
    )


_READ = sa.text("SELECT generation, seq, at, books FROM bases WHERE market = :market")
_WRITE = sa.text("""
    INSERT INTO bases (market, generation, seq, at, books) VALUES (:market, :generation, :seq, :at, :books)
    ON CONFLICT (market) DO UPDATE
    SET generation = excluded.generation, seq = excluded.seq, at = greatest(bases.at, excluded.at),
        books = excluded.books
""").bindparams(sa.bindparam("books", type_=sa.JSON))
