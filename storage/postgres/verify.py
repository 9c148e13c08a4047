"""The ledger checked against itself: every decision made again, every invariant looked at."""

import heapq
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.verify import Breach, Past, Recount, Report, Righted
from storage.postgres.bases import base_of
from storage.postgres.books import shares_of
from storage.postgres.engine import transaction
from storage.postgres.export import rows, stream
from storage.postgres.tables import decisions, offers

#: A check that finds more than this is named once more with the number of the rest.
SHOWN = 100
COLUMNS = [decisions.c[name] for name in Past.__dataclass_fields__]


class Verify:
    """Reads everything, changes nothing."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def run(self, progress: Callable[[int], None] = lambda _done: None) -> Report:
        """Make every decision again, add up every correction and look at every invariant.

        `progress` hears how many decisions are done.
        """
        recount = Recount()
        found = _few(self._recounted(recount, progress))
        found += _few(self._invariants())
        with transaction(self._engine) as connection:
            lived = sa.select(sa.func.count()).select_from(offers).where(offers.c.state != "void")
            count = int(connection.execute(lived).scalar_one())
        return Report(
            decisions=recount.decisions,
            offers=count,
            drifts=recount.drifts,
            breaches=tuple(found),
            worst=recount.worst(),
            corrections=recount.corrections,
        )

    def decision(self, decision_id: UUID) -> Past | None:
        """One decision as it was written down, to be made `again`."""
        with transaction(self._engine) as connection:
            row = connection.execute(sa.select(*COLUMNS).where(decisions.c.id == decision_id)).one_or_none()
            return Past(*row) if row else None

    def count(self) -> int:
        """How many decisions there are to make again."""
        with transaction(self._engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one())

    def _recounted(self, recount: Recount, progress: Callable[[int], None]) -> Iterator[Breach]:
        with stream(self._engine.execution_options(isolation_level="REPEATABLE READ")) as connection:
            recount.given((row.lead_id, row.member_id) for row in connection.execute(_GIVEN))
            for market in connection.execute(_MARKETS).scalars().all():
                _begin(connection, recount, market)
                for one in _in_order(connection, market):
                    if isinstance(one, Righted):
                        yield from recount.correct(one)
                        continue
                    yield from recount.add(one)
                    if recount.decisions % 500 == 0:
                        progress(recount.decisions)
        progress(recount.decisions)

    def _invariants(self) -> Iterator[Breach]:
        with stream(self._engine) as connection:
            for view in connection.execute(_VIEWS).scalars().all():
                found = sa.table(view, sa.column("subject"), sa.column("detail"))
                for row in rows(connection, sa.select(found)):
                    yield Breach(view.removeprefix("inv_"), row.subject, row.detail)


def _begin(connection: sa.Connection, recount: Recount, market: str) -> None:
    """Where the oldest decisions were removed, the recount begins behind them."""
    base = base_of(connection, market)
    if base is not None:
        gone = connection.execute(_OFFERED, {"market": market, "at": base.at})
        number = base.books.generation, base.books.seq
        recount.begin(market, number, base.books.rotations, ((row.lead_id, row.member_id) for row in gone))


def _in_order(connection: sa.Connection, market: str) -> Iterator[Past | Righted]:
    """A market's decisions and corrections by number."""
    query = sa.select(*COLUMNS).where(decisions.c.market == market)
    made = (Past(*row) for row in rows(connection, query.order_by(decisions.c.generation, decisions.c.seq)))
    righted = (_righted(row) for row in rows(connection, _CORRECTIONS.bindparams(market=market)))
    return heapq.merge(made, righted, key=lambda one: (one.generation, one.seq))


def _righted(row: Any) -> Righted:
    decided = None
    if row.chosen is not None:
        decided = row.decided_rotation, row.chosen, shares_of(row.decided_member, row.weight, row.gate, row.turn)
    deltas = dict(zip(row.member, row.delta, strict=True))
    return Righted(
        row.id,
        row.market,
        row.rotation,
        row.generation,
        row.seq,
        row.at,
        row.effect,
        deltas,
        row.offer_id,
        decided,
        removed=row.removed,
    )


# From one market to the next by the index.
_MARKETS = sa.text("""
    WITH RECURSIVE m AS (
        (SELECT market FROM decisions ORDER BY market LIMIT 1)
        UNION ALL
        SELECT (SELECT market FROM decisions WHERE market > m.market ORDER BY market LIMIT 1)
        FROM m WHERE m.market IS NOT NULL
    )
    SELECT market FROM m WHERE market IS NOT NULL UNION SELECT market FROM corrections ORDER BY market
""")
_GIVEN = sa.text("""
    SELECT o.lead_id, o.member_id FROM offers o
    WHERE o.state <> 'void' AND NOT EXISTS (SELECT FROM decisions d WHERE d.id = o.id)
""")
_OFFERED = sa.text("""
    SELECT lead_id, member_id FROM offers WHERE market = :market AND offered_at <= :at AND state <> 'void'
""")
_CORRECTIONS = sa.text("""
    SELECT c.*, d.chosen, d.rotation AS decided_rotation, d.member AS decided_member, d.weight, d.gate, d.turn,
           EXISTS (SELECT FROM offers o JOIN bases b ON b.market = c.market
                   WHERE o.id = c.offer_id AND o.offered_at <= b.at) AS removed
    FROM corrections c LEFT JOIN decisions d ON d.id = c.offer_id AND d.chosen IS NOT NULL AND d.mode = 'fair'
    WHERE c.market = :market ORDER BY c.generation, c.seq
""")
_VIEWS = sa.text(
    r"SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname LIKE 'inv\_%' ORDER BY 1"
)


def _few(breaches: Iterator[Breach]) -> list[Breach]:
    """The first of each check, and how many more there are."""
    shown: list[Breach] = []
    counts: dict[str, int] = {}
    for breach in breaches:
        counts[breach.check] = counts.get(breach.check, 0) + 1
        if counts[breach.check] <= SHOWN:
            shown.append(breach)
    more = [Breach(check, "and more", f"{n - SHOWN} more") for check, n in counts.items() if n > SHOWN]
    return shown + more
