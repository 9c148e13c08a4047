"""The fairness accounts by the ledger, carried on by reading only the decisions and corrections since."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.fairness import TURN, Book
from routing.policy import Mode
from routing.ports import Standing
from routing.rotation import is_over

#: Decisions fetched at once.
PAGE = 2_000
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """One decision as the books see it; nobody is chosen when nobody had room. Or a correction: it has deltas."""

    generation: int
    seq: int
    id: UUID
    at_us: int
    rotation: str
    mode: str
    chosen: int | None
    shares: Mapping[int, int]  # what everyone eligible earned
    deltas: Mapping[int, int] | None = None


@dataclass(slots=True)
class Books:
    """One market's accounts as of decision (generation, seq).

    The order in which decisions and corrections are added does not matter to standings; ticks count decisions in the
    order of (generation, seq), so one must not be added before those that came before it are settled.
    """

    market: str
    generation: int = 0
    seq: int = 0
    last: UUID | None = None  # what has that number; None: of a mark, which only what is committed gets
    at_us: int = 0  # its time: the next one's is later
    rotations: dict[str, Book] = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)  # accounts moved since the mark they were read from
    since_mark: int = 0  # decisions and corrections added since then

    def book(self, rotation: str) -> Book:
        """The accounts of one rotation."""
        found = self.rotations.get(rotation)
        if found is None:
            found = self.rotations[rotation] = Book()
        return found

    def add(self, rotation: str, mode: str, chosen: int, shares: Mapping[int, int]) -> None:
        """One turn as it was written down: what everyone eligible earned, and who paid for it."""
        book = self.book(rotation)
        if mode == Mode.FAIR:
            standing = book.standing
            for member, share in shares.items():
                standing[member] = standing.get(member, 0) + share
            standing[chosen] = standing.get(chosen, 0) - sum(shares.values())
            self.touched.update((rotation, member) for member in shares)
        book.tick += 1
        book.served[chosen], book.cursor = book.tick, chosen
        self.touched.add((rotation, chosen))
        self.since_mark += 1

    def correct(self, rotation: str, deltas: Mapping[int, int]) -> None:
        """One correction: standings move, ticks and cursor stay."""
        standing = self.book(rotation).standing
        for member, delta in deltas.items():
            standing[member] = standing.get(member, 0) + delta
        self.touched.update((rotation, member) for member in deltas)
        self.since_mark += 1

    def take(self, turn: Turn) -> None:
        """Go on to this decision or correction."""
        if turn.deltas is not None:
            self.correct(turn.rotation, turn.deltas)
        elif turn.chosen is not None:
            self.add(turn.rotation, turn.mode, turn.chosen, turn.shares)
        self.generation, self.seq, self.last, self.at_us = turn.generation, turn.seq, turn.id, turn.at_us

    def accounts(self) -> dict[str, dict[int, Standing]]:
        """Every account that is still needed, by rotation and member."""
        return {
            rotation: {m: Standing(book.standing.get(m, 0), book.served.get(m, 0)) for m in _members(book)}
            for rotation, book in self.needed.items()
        }

    @property
    def needed(self) -> Mapping[str, Book]:
        """The rotations but those of periods that ended long before the last decision."""
        at = datetime.fromtimestamp(self.at_us / 1e6, UTC)
        return {name: book for name, book in self.rotations.items() if not is_over(name, at)}

    def copy(self) -> "Books":
        """The same accounts, to be carried on apart."""
        rotations = {
            name: Book(dict(one.standing), dict(one.served), one.tick, one.cursor)
            for name, one in self.rotations.items()
        }
        return Books(
            self.market, self.generation, self.seq, self.last, self.at_us, rotations, set(self.touched), self.since_mark
        )


class Shelf:
    """The books a process has read, so that it reads on instead of anew. Safe to share between threads."""

    def __init__(self) -> None:
        self._books: dict[str, Books] = {}

    def read(self, connection: sa.Connection, market: str) -> Books:
        """The books with every decision and correction of the ledger added; the caller owns them until `put` back.

        Routing must stand still: what is committed later with a smaller number would be missed.
        """
        books = self._books.pop(market, None)
        # Without a last one nothing says whether others have come and, for their age, gone since.
        if books is None or books.last is None or not read_on(connection, books):
            books = load(connection, market)
            read_on(connection, books)
        return books

    def put(self, books: Books) -> None:
        """Keep the books for the next reader, even when their last decisions may not be committed: it will see."""
        self._books[books.market] = books

    def forget(self, market: str) -> None:
        """Read this market anew next time."""
        self._books.pop(market, None)


def load(connection: sa.Connection, market: str) -> Books:
    """The books as of the last mark; empty ones when there is none."""
    books = Books(market)
    for row in connection.execute(_MARKED, {"market": market}):
        books.generation, books.seq = max((books.generation, books.seq), (row.generation, row.seq))
        book = books.book(row.rotation)
        book.tick, book.cursor = row.tick, row.cursor
        if row.member_id is not None:
            if row.standing:
                book.standing[row.member_id] = row.standing
            if row.served:
                book.served[row.member_id] = row.served
    return books


def read_on(connection: sa.Connection, books: Books, upto: tuple[int, int] | None = None) -> bool:
    """Add the decisions and corrections since, up to a number when one is given.

    False when the ledger has not the last one added: it never came to be, and the books are worthless.
    """
    rows = _made(connection, books, upto)
    first = next(rows, None)
    if first is not None and (first.generation, first.seq) == (books.generation, books.seq):
        if books.last not in {None, first.id}:
            return False
        books.last, books.at_us = first.id, first.at_us
    elif books.last is not None:
        return False
    elif first is not None:
        books.take(_turn(first))
    for row in rows:
        books.take(_turn(row))
    return True


def turns(connection: sa.Connection, books: Books, upto: tuple[int, int]) -> list[Turn]:
    """The decisions and corrections since, up to a number; the books stay as they are."""
    rows = _made(connection, books, upto)
    at = books.generation, books.seq
    return [_turn(row) for row in rows if (row.generation, row.seq) > at]


def keep(connection: sa.Connection, books: Books) -> bool:
    """Write the accounts down as the mark from which others read on; False when somebody is ahead of us."""
    if not connection.scalar(_ONE_AT_A_TIME, {"market": books.market}):
        return False
    mark = connection.execute(_MARK, {"market": books.market}).one_or_none()
    if mark is not None and tuple(mark) >= (books.generation, books.seq):
        return False
    _write(connection, books)
    books.touched, books.since_mark = set(), 0
    return True


def _write(connection: sa.Connection, books: Books) -> None:
    moved = sorted(books.touched)
    held = [(books.book(rotation), member) for rotation, member in moved]
    connection.execute(
        _KEEP_ACCOUNTS,
        {
            "market": books.market,
            "rotations": [rotation for rotation, _ in moved],
            "members": [member for _, member in moved],
            "standings": [book.standing.get(member, 0) for book, member in held],
            "served": [book.served.get(member, 0) for book, member in held],
        },
    )
    names = sorted(books.rotations)
    connection.execute(
        _KEEP_MARKS,
        {
            "market": books.market,
            "generation": books.generation,
            "seq": books.seq,
            "rotations": names,
            "ticks": [books.rotations[name].tick for name in names],
            "cursors": [books.rotations[name].cursor for name in names],
        },
    )


def _made(connection: sa.Connection, books: Books, upto: tuple[int, int] | None) -> Iterator[Any]:
    """The last one added, and those after it, in order."""
    at, first = (books.generation, books.seq), True
    while True:
        values: dict[str, Any] = {"market": books.market, "generation": at[0], "seq": at[1], "limit": PAGE}
        values["to_generation"], values["to_seq"] = upto or _NO_END
        page: Sequence[Any] = connection.execute(_FROM_LAST if first else _AFTER, values).all()
        yield from page
        if len(page) < PAGE:
            return
        at, first = (page[-1].generation, page[-1].seq), False


def _turn(row: Any) -> Turn:
    if row.delta is not None:
        deltas = dict(zip(row.member, row.delta, strict=True))
        return Turn(row.generation, row.seq, row.id, row.at_us, row.rotation, row.mode, None, {}, deltas)
    fair = row.chosen is not None and row.mode == Mode.FAIR
    shares = shares_of(row.member, row.weight, row.gate, row.turn) if fair else {}
    return Turn(row.generation, row.seq, row.id, row.at_us, row.rotation, row.mode, row.chosen, shares)


def shares_of(member: Sequence[int], weight: Sequence[int], gate: Sequence[int], turn: int = TURN) -> dict[int, int]:
    """What each eligible member earned: its part by weight of what the lead cost, rounded down (routing/fairness)."""
    eligible = [(one, its) for one, its, gate_ in zip(member, weight, gate, strict=True) if gate_ == 0]
    total = max(sum(its for _, its in eligible), 1)
    return {one: its * turn // total for one, its in eligible}


def _members(book: Book) -> set[int]:
    return book.standing.keys() | book.served.keys()


_NO_END = (2**62, 0)
# One statement, so that marks and accounts are of one moment whatever is written meanwhile.
_MARKED = sa.text("""
    SELECT m.rotation, m.generation, m.seq, m.tick, m.cursor, s.member_id, s.standing, s.served
    FROM standing_marks m LEFT JOIN standings s ON s.market = m.market AND s.rotation = m.rotation
    WHERE m.market = :market
""")
# Each part by its own index on (market, generation, seq) and no further than a page, whatever the planner thinks.
_MADE = """
    (SELECT id, generation, seq, rotation, mode, chosen, turn,
            CAST(extract(epoch FROM at) * 1000000 AS bigint) AS at_us,
            CASE WHEN chosen IS NOT NULL AND mode = 'fair' THEN member END AS member,
            CASE WHEN chosen IS NOT NULL AND mode = 'fair' THEN weight END AS weight,
            CASE WHEN chosen IS NOT NULL AND mode = 'fair' THEN gate END AS gate, CAST(NULL AS bigint[]) AS delta
     FROM decisions
     WHERE market = :market AND (generation, seq) <= (:to_generation, :to_seq)
       AND (generation, seq) {since} (:generation, :seq)
     ORDER BY generation, seq LIMIT :limit)
    UNION ALL
    (SELECT id, generation, seq, rotation, '', CAST(NULL AS int), CAST(NULL AS bigint),
            CAST(extract(epoch FROM at) * 1000000 AS bigint),
            member, CAST(NULL AS int[]), CAST(NULL AS smallint[]), delta
     FROM corrections
     WHERE market = :market AND (generation, seq) <= (:to_generation, :to_seq)
       AND (generation, seq) {since} (:generation, :seq)
     ORDER BY generation, seq LIMIT :limit)
    ORDER BY generation, seq LIMIT :limit
"""
_FROM_LAST = sa.text(_MADE.format(since=">="))
_AFTER = sa.text(_MADE.format(since=">"))
_ONE_AT_A_TIME = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('books:' || :market))")
_MARK = sa.text("""
    SELECT generation, seq FROM standing_marks WHERE market = :market ORDER BY generation DESC, seq DESC LIMIT 1
""")
_KEEP_ACCOUNTS = sa.text("""
    INSERT INTO standings (market, rotation, member_id, standing, served)
    SELECT CAST(:market AS text), x.* FROM unnest(CAST(:rotations AS text[]), CAST(:members AS int[]),
        CAST(:standings AS bigint[]), CAST(:served AS bigint[])) AS x (rotation, member_id, standing, served)
    ON CONFLICT (market, rotation, member_id) DO UPDATE SET standing = excluded.standing, served = excluded.served
""")
_KEEP_MARKS = sa.text("""
    INSERT INTO standing_marks (market, rotation, generation, seq, tick, cursor)
    SELECT CAST(:market AS text), x.rotation, :generation, :seq, x.tick, x.cursor
    FROM unnest(CAST(:rotations AS text[]), CAST(:ticks AS bigint[]), CAST(:cursors AS int[]))
        AS x (rotation, tick, cursor)
    ON CONFLICT (market, rotation) DO UPDATE
    SET generation = excluded.generation, seq = excluded.seq, tick = excluded.tick, cursor = excluded.cursor
""")
