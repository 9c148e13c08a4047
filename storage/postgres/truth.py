"""What the ledger knows as of a moment of the turnstile's, for the auditor."""

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.drift import Drift, Held, Known
from routing.limits import read_uses
from storage.postgres import quotas
from storage.postgres.audit import record
from storage.postgres.books import Books, Turn, keep, load, read_on, turns
from storage.postgres.engine import transaction

#: A mark is left when the last one is further behind than this many decisions.
MARK_EVERY = 500
#: More drift than this is not listed offer by offer in the audit trail.
LISTED = 20


class Truth:
    """Keeps routing.auditor.Truth's promises with Postgres; one thread at a time."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
        self._books: dict[str, Books] = {}

    def clock(self) -> datetime:
        """The ledger's time."""
        with transaction(self._engine) as connection:
            now: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
            return now

    @contextmanager
    def turn(self, market: str) -> Iterator[bool]:
        """Whether nobody else audits this market: what is added to an account must be added once."""
        with transaction(self._engine) as connection:
            yield bool(connection.scalar(_TURN, {"market": market}))

    def known(self, market: str, held: Held, since: datetime) -> Known | None:
        """What the ledger knows as of `held`; None while it decides alone, or under another generation.

        Everything the turnstile did before its oldest unsettled turn or correction is in the ledger, or never will be:
        up to there the books are carried on for good. What came since is added to a copy, each once, whether the
        ledger has it by now or not.
        """
        with transaction(self._one_moment) as connection:
            if connection.scalar(_DECIDES, {"market": market}) != held.generation:
                return None
            unsettled = [one.seq for one in held.reserved] + [one.seq for one in held.corrected]
            settled = min(unsettled, default=held.seq + 1) - 1
            books = self._carried_on(connection, market, (held.generation, settled))
            if books is None:
                return None
            rotations = _as_of(connection, books, held).rotations
            open_offers = _open_offers(connection, market, held, since)
            open_ids = {row.id: row.member_id for row in open_offers}
            uses = _uses(connection, market, held, open_ids.keys())
            leaving = _leaving(connection, [o for o in held.offers if o not in open_ids], since)
        self._keep(books)
        units = {row.id: row.units for row in open_offers if row.units > 1}
        return Known(open_ids, leaving, rotations, units, uses, at=since)

    @contextmanager
    def still_open(self, offers: Sequence[UUID]) -> Iterator[set[UUID]]:
        """Those of the offers that are open; nobody can end them until the context is left."""
        with transaction(self._engine) as connection:
            yield set(connection.execute(_HOLD_OPEN, {"ids": list(offers)}).scalars()) if offers else set()

    def mended(self, market: str, found: Drift) -> None:
        """Write into the audit trail what was mended."""
        counts = {kind: n for kind, n in found.counts().items() if n}
        offers = [str(offer) for offer in [*found.leaked, *found.missing]][:LISTED]
        members = sorted({*found.miscounted, *(member for _, member in found.standings)})[:LISTED]
        with transaction(self._engine) as connection:
            record(
                connection, "fairturn", "turnstile.mended", market=market, offers=offers, members=members, found=counts
            )

    def _carried_on(self, connection: sa.Connection, market: str, upto: tuple[int, int]) -> Books | None:
        books = self._books.pop(market, None)
        if books is None or (books.generation, books.seq) > upto or not read_on(connection, books, upto):
            books = load(connection, market)
            if (books.generation, books.seq) > upto:
                return None  # somebody has looked later than we, and left a mark
            read_on(connection, books, upto)
        self._books[market] = books
        return books

    def _keep(self, books: Books) -> None:
        if books.since_mark >= MARK_EVERY:
            with transaction(self._engine) as connection:
                keep(connection, books)


def _as_of(connection: sa.Connection, books: Books, held: Held) -> Books:
    """The books with what the turnstile decided since, settled or not."""
    in_flight: set[UUID | int] = {one.offer for one in held.reserved}
    in_flight |= {one.seq for one in held.corrected}
    upto = held.generation, held.seq
    made = [t for t in turns(connection, books, upto) if (t.seq if t.deltas is not None else t.id) not in in_flight]
    made += [
        Turn(held.generation, one.seq, one.offer, 0, one.rotation, one.mode, one.member, one.shares)
        for one in held.reserved
    ]
    made += [
        Turn(held.generation, one.seq, _NOBODYS, 0, one.rotation, "", None, {}, one.deltas) for one in held.corrected
    ]
    copy = books.copy()
    for turn in sorted(made, key=lambda turn: (turn.generation, turn.seq)):
        copy.take(turn)
    return copy


def _open_offers(connection: sa.Connection, market: str, held: Held, since: datetime) -> Sequence[Any]:
    values = {"market": market, "generation": held.generation, "seq": held.seq, "since": since}
    return connection.execute(_OPEN_THEN, values).all()


def _uses(
    connection: sa.Connection, market: str, held: Held, open_offers: Container[UUID]
) -> dict[str, dict[int, int]]:
    """What was used of limits then: as it is now, without what came since, with what is on its way in or out."""
    then = quotas.reached(connection, market)
    if not then:
        return then
    for row in connection.execute(_DECIDED_SINCE, {"market": market, "generation": held.generation, "seq": held.seq}):
        _add(then, ((one.counter, one.bucket, -row.units) for one in read_uses(row.uses)))
    coming = [one for one in held.reserved if one.uses]
    known = set(connection.execute(_DECIDED, {"ids": [one.offer for one in coming]}).scalars()) if coming else set()
    for one in coming:
        if one.offer not in known:
            _add(then, one.uses)
    for offer, uses in quotas.given_back(connection, [o for o in held.offers if o not in open_offers]).items():
        _add(then, ((one.counter, one.bucket, held.units.get(offer, 1)) for one in uses))
    return then


def _add(then: dict[str, dict[int, int]], uses: Iterable[tuple[str, int, int]]) -> None:
    """Add to the buckets that a window still reaches."""
    for counter, bucket, units in uses:
        if bucket in then.get(counter, {}):
            then[counter][bucket] += units


def _leaving(connection: sa.Connection, suspects: Sequence[UUID], since: datetime) -> set[UUID]:
    if not suspects:
        return set()
    return set(connection.execute(_LEAVING, {"ids": list(suspects), "since": since}).scalars())


_NOBODYS = UUID(int=0)  # a copy of the books is not read on
_TURN = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('audit:' || :market))")
_DECIDES = sa.text("SELECT generation FROM markets WHERE name = :market AND alone_since IS NULL")
_OPEN_THEN = sa.text("""
    SELECT o.id, o.member_id, o.units FROM offers o
    WHERE o.market = :market AND o.state IN ('offered', 'accepted')
      AND NOT EXISTS (SELECT FROM decisions d WHERE d.id = o.id AND (d.generation, d.seq) > (:generation, :seq))
      -- What the turnstile did not give itself it is told of, as it is of ends: until then it may hold it or not.
      AND (o.kind = 'turn' OR NOT EXISTS (
          SELECT FROM outbox x WHERE x.lead_id = o.lead_id AND x.kind = 'turnstile' AND x.offer_id = o.id
                                 AND (x.state = 'pending' OR x.done_at >= :since)))
""")
_DECIDED = sa.text("SELECT id FROM decisions WHERE id = ANY(CAST(:ids AS uuid[]))")
_DECIDED_SINCE = sa.text("""
    SELECT units, uses FROM decisions
    WHERE market = :market AND (generation, seq) > (:generation, :seq) AND uses <> '[]'
""")
_LEAVING = sa.text("""
    SELECT o.id FROM offers o JOIN outbox x ON x.lead_id = o.lead_id AND x.kind = 'turnstile' AND x.offer_id = o.id
    WHERE o.id = ANY(CAST(:ids AS uuid[])) AND (x.state = 'pending' OR x.done_at >= :since)
""")
_HOLD_OPEN = sa.text("""
    SELECT o.id FROM offers o JOIN leads l ON l.id = o.lead_id
    WHERE o.id = ANY(CAST(:ids AS uuid[])) AND o.state IN ('offered', 'accepted')
    ORDER BY l.id FOR UPDATE OF l SKIP LOCKED
""")
