"""Everything that one lead's decision would rest on at this instant, read without being able to write."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.answering import TAKEN_BACK
from routing.batch import Known
from routing.drift import Held
from routing.errors import BadInput
from routing.lane import Lane
from routing.lead import Lead, LeadState, Point, Precision
from routing.policy import Policy
from routing.ports import Snapshot, Standing
from routing.simulation.rehearsal import Present
from storage.postgres.books import Books, load, read_on
from storage.postgres.engine import guarded
from storage.postgres.members import Members
from storage.postgres.quotas import all_of
from storage.postgres.refs import BEST_FIRST, IS_REF
from storage.postgres.ruled import known

#: Ids of leads that are none: facts are tried out under this one.
NOBODY = 0


class Rehearsing:
    """Reads the present. `look` sees what the turnstile holds of a market; None: it is cold, or away."""

    def __init__(self, engine: sa.Engine, policy: Callable[[], Policy], look: Callable[[str], Held | None]) -> None:
        self._engine, self._policy, self._look = engine, policy, look

    def of_lead(self, ref: str) -> Present:
        """A lead of the ledger by our id, its Salesforce id or its source's. Raises BadInput when there is none.

        One that is offered or was taken is tried as if its offer had just come to nothing.
        """
        policy = self._policy()
        with read_only(self._engine) as conn:
            row = conn.execute(_FIND, {"ref": ref.strip()}).mappings().one_or_none()
            if row is None:
                fix = "Give our id, the Salesforce id or the source's."
                raise BadInput(f"no lead is known as {ref!r}", field="lead", fix=fix)
            if row["lat"] is None:
                raise BadInput(
                    "it has no place yet", field="lead", fix="Wait until it is located, or mend its address."
                )
            past = conn.execute(_TRIED, {"lead": row["id"], "back": list(TAKEN_BACK)}).one()
            now: datetime = conn.execute(_NOW).scalar_one()
            lead, note = _as_next(row, past)
            rules = known(conn, [lead.id], policy, now) if policy.asks_leads else Known(now, {})
            return self._present(conn, now, lead, rules, policy, (LeadState(row["state"]), note))

    def of_facts(self, lead: Lead) -> Present:
        """A lead that nobody sent, with its facts."""
        policy = self._policy()
        with read_only(self._engine) as conn:
            now: datetime = conn.execute(_NOW).scalar_one()
            made = replace(lead, id=NOBODY, received_at=now)
            rules = known(conn, [], policy, now) if policy.asks_leads else Known(now, {})
            rules = replace(rules, facts={NOBODY: lead.facts})
            return self._present(conn, now, made, rules, policy, (LeadState.NEW, ""))

    def names(self) -> Mapping[int, str]:
        """The keys of all members."""
        with read_only(self._engine) as conn:
            return {row.id: row.key for row in conn.execute(_NAMES)}

    def _present(  # noqa: PLR0917 - what was read, part by part
        self,
        conn: sa.Connection,
        now: datetime,
        lead: Lead,
        rules: Known,
        policy: Policy,
        stands: tuple[LeadState, str],
    ) -> Present:
        markets = [row.name for row in conn.execute(_MARKETS)]
        members = Members(self._engine)
        held = conn.execute(_OPEN).all()
        return Present(
            now,
            lead,
            rules,
            policy,
            [members.roster(market, full=True) for market in markets],
            {market: self._turnstile(conn, market) for market in markets},
            {row.id: row.open for row in held},
            frozenset(row.id for row in held if row.auto_accept),
            *stands,
        )

    def _turnstile(self, conn: sa.Connection, market: str) -> Snapshot:
        """As the turnstile holds it, else as it would be loaded."""
        uses = all_of(conn, market)
        held = self._look(market)
        if held is not None:
            books = Books(market, rotations=dict(held.books))
            return _snapshot(books, held.offers, held.units, uses, held.seq)
        books = load(conn, market)
        read_on(conn, books)
        rows = conn.execute(_OPEN_OFFERS, {"market": market}).all()
        offers = {row.id: row.member_id for row in rows}
        return _snapshot(books, offers, {row.id: row.units for row in rows if row.units > 1}, uses, books.seq)


@contextmanager
def read_only(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One moment of the ledger; whatever would write is refused, and no transaction id is ever taken."""
    with guarded(), engine.connect() as connection:
        connection.execute(_READ_ONLY)
        try:
            yield connection
        finally:
            connection.rollback()


def _as_next(row: sa.RowMapping, past: Any) -> tuple[Lead, str]:
    """The lead as it would be asked for next, and in words why that is not as it stands."""
    state, taken = row["state"], bool(past.members)
    busy = state not in {"new", "waiting"}
    lead = Lead(
        id=row["id"],
        received_at=row["received_at"],
        country=row["country"],
        place=Point(row["lat"], row["lon"]),
        precision=Precision(row["geo_precision"]) if row["geo_precision"] else None,
        priority=row["priority"],
        attempt=row["attempt"] + (busy and taken),
        moves=row["moves"],
        lane=Lane(row["lane"]),
        tried=frozenset(past.members or ()),
        lapsed=frozenset(past.lapsed or ()),
        chances=tuple(past.chances or ()),
        taken_back=frozenset(past.back or ()),
    )
    words = {"offered": "offered now", "accepted": "accepted now"}
    note = f"The lead is {words.get(state, state)}; this is what would come next." if busy else ""
    return lead, note


def _snapshot(
    books: Books, offers: Mapping[Any, int], units: Mapping[Any, int], uses: Mapping[str, Mapping[int, int]], seq: int
) -> Snapshot:
    accounts = {
        name: {
            member: Standing(book.standing.get(member, 0), book.served.get(member, 0))
            for member in book.standing.keys() | book.served.keys()
        }
        for name, book in books.rotations.items()
    }
    ticks = {name: book.tick for name, book in books.rotations.items()}
    cursors = {name: book.cursor for name, book in books.rotations.items()}
    return Snapshot(0, seq, dict(offers), accounts, ticks, cursors, units=dict(units), uses=uses)


_READ_ONLY = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_NOW = sa.text("SELECT clock_timestamp()")
_FIND = sa.text(f"""
    SELECT id, received_at, country, lat, lon, geo_precision, priority, attempt, moves, lane, state FROM leads
    WHERE {IS_REF} ORDER BY {BEST_FIRST} LIMIT 1
""")  # noqa: S608 - words of ours
_TRIED = sa.text("""
    SELECT array_agg(member_id) AS members, array_agg(member_id) FILTER (WHERE lapsed) AS lapsed,
           array_agg(member_id) FILTER (WHERE back) AS back,
           (SELECT array_agg(c.member_id ORDER BY c.asked_at, c.member_id) FROM chances c
            WHERE c.lead_id = :lead AND c.used_at IS NULL) AS chances
    FROM (
        SELECT member_id, count(*) = 1 AND bool_and(state = 'expired') AS lapsed,
               bool_and(state = 'withdrawn' AND reason = ANY(CAST(:back AS text[]))) AS back
        FROM offers
        WHERE lead_id = :lead AND state <> 'void' GROUP BY member_id
    ) tried
""")
_MARKETS = sa.text("SELECT name FROM markets ORDER BY name")
_OPEN = sa.text("SELECT id, open, auto_accept FROM members WHERE open > 0 OR auto_accept")
_NAMES = sa.text("SELECT id, key FROM members")
_OPEN_OFFERS = sa.text("""
    SELECT id, member_id, units FROM offers WHERE market = :market AND state IN ('offered', 'accepted')
""")
