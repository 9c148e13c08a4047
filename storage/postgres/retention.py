"""What is over and older than it is to be kept, removed in small steps; the chain of seals stays whole.

Contacts go first. Decisions and corrections go in the order they were made, so that what they added up to stays known
(storage/postgres/bases.py); their seals and those of the timeline stay, and say that their rows are gone. Leads and
offers stay: they are small, hold no personal data, and count in every sum.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from routing.errors import BadInput
from routing.seal_verify import LEAST_AGE, REMOVES
from storage.postgres.audit import record
from storage.postgres.bases import base_of, write_base
from storage.postgres.books import Books, keep, turns
from storage.postgres.engine import transaction
from storage.postgres.seals import NOTES, Seals

#: Rows removed in one transaction, at most.
STEP = 1_000
#: Shorter than this, and a member's own record, repeats of requests and turns still to be set right would miss rows.
LEAST_DAYS = LEAST_AGE.days
A_DAY = timedelta(days=1)
Position = tuple[int, int]


class Retention:
    """Removes what is older than so many days; 0: nothing is."""

    def __init__(self, engine: sa.Engine, days: int) -> None:
        if days and days < LEAST_DAYS:
            raise BadInput(
                f"{days} days are too few", field="FAIRTURN_KEEP_DAYS", fix=f"Give at least {LEAST_DAYS}, or 0 for all."
            )
        self._engine, self._days = engine, days

    def remove(self, *, within: timedelta = timedelta(seconds=20)) -> dict[str, int]:
        """Remove what may go, until nothing is left or the time is up; how much of what. Safe to run twice."""
        if not self._days:
            return {}
        until = time.monotonic() + within.total_seconds()
        with transaction(self._engine) as connection:
            if not connection.scalar(_ONE_AT_A_TIME):
                return {}
            before = connection.execute(_CUTOFF, {"days": self._days}).scalar_one()
            markets = list(connection.execute(_MARKETS).scalars())
            noted = self._note(connection, before)
        if noted:
            Seals(self._engine).seal(only={"audit"})
        self._mark()
        removed = {"contacts": self._contacts(before, until)}
        removed["decisions"] = sum(self._decisions(market, before, until) for market in markets)
        removed["timeline"] = self._timeline(before, until)
        for what, statement in _PLAIN.items():
            removed[what] = self._plain(what, statement, before, until)
        return removed

    def _note(self, connection: sa.Connection, before: datetime) -> bool:
        """Say, at most once a day, up to which seals rows are removed; whether something was said.

        It is sealed before any of the rows goes: so that nobody else can take rows away and call them old.
        """
        upto = {row.kind: row.upto for row in connection.execute(_OLD_SEALS, {"before": before})}
        said = [row.detail for row in connection.execute(NOTES, {"action": REMOVES})]
        if all(any(note["upto"].get(kind, 0) >= number for note in said) for kind, number in upto.items()):
            return False
        if said and before - datetime.fromisoformat(said[0]["before"]) < A_DAY:
            return False
        words = {"before": before.astimezone(UTC).isoformat(), "days": self._days, "upto": upto}
        record(connection, "fairturn retention", REMOVES, **words)
        return True

    def _mark(self) -> None:
        """Mark the seals whose rows may go, by what was said of them and is sealed."""
        with transaction(self._engine) as connection:
            for row in connection.execute(NOTES, {"action": REMOVES}).all():
                for kind, number in row.detail["upto"].items() if row.sealed else ():
                    connection.execute(_MARK_SEALS, {"kind": kind, "number": number})

    def _plain(self, what: str, statement: sa.TextClause, before: datetime, until: float) -> int:
        total = 0
        while time.monotonic() < until:
            with transaction(self._engine) as connection:
                gone = connection.execute(statement, {"before": before, "step": STEP}).rowcount
                if gone:
                    connection.execute(_NOTE, {"what": what, "before": before, "position": 0})
            total += gone
            if gone < STEP:
                break
        return total

    def _contacts(self, before: datetime, until: float) -> int:
        """Those of leads that are over; once a day all old leads are looked at anew, as some are over only now."""
        return self._round("contacts", _CONTACTS, before, until)

    def _timeline(self, before: datetime, until: float) -> int:
        return self._round("timeline", _TIMELINE, before, until)

    def _round(self, what: str, statement: sa.TextClause, before: datetime, until: float) -> int:
        total = 0
        while time.monotonic() < until:
            with transaction(self._engine) as connection:
                connection.execute(_REMOVES)
                at = connection.execute(_POSITION, {"what": what}).scalar() or 0
                if at < 0:  # the round of this day is done
                    return total
                row = connection.execute(statement, {"before": before, "step": STEP, "after": at}).one()
                position = -1 if row.seen < STEP else row.last
                connection.execute(_NOTE, {"what": what, "before": before, "position": position})
            total += row.gone
            if position < 0:
                break
        return total

    def _decisions(self, market: str, before: datetime, until: float) -> int:
        total = 0
        while time.monotonic() < until:
            with transaction(self._engine) as connection:
                gone = _remove_decisions(connection, market, before)
            total += gone
            if gone < STEP:
                break
        return total


def _remove_decisions(connection: sa.Connection, market: str, before: datetime) -> int:
    """The oldest decisions and corrections of a market, as far as all of them may go; how many."""
    connection.execute(_REMOVES)
    base = base_of(connection, market)
    books = base.books if base is not None else Books(market)
    at: Position = (books.generation, books.seq)
    values: Mapping[str, Any] = {"market": market, "generation": at[0], "seq": at[1], "before": before, "step": STEP}
    cut, made = at, None
    for row in connection.execute(_OLDEST, values):
        if not row.may_go:
            break
        cut, made = (row.generation, row.seq), row.at
    if made is None:
        return 0
    for turn in turns(connection, books, cut):
        books.take(turn)
    # Who begins from the mark must find everything behind it: it is not to lie before what is removed.
    books.touched = {
        (name, member) for name, book in books.rotations.items() for member in (*book.standing, *book.served)
    }
    keep(connection, books)
    write_base(connection, books, made)
    values = {"market": market, "generation": cut[0], "seq": cut[1]}
    return sum(connection.execute(statement, values).rowcount for statement in _REMOVE)


_ONE_AT_A_TIME = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('fairturn:retention'))")
_CUTOFF = sa.text("SELECT clock_timestamp() - make_interval(days => :days)")
_MARKETS = sa.text("SELECT name FROM markets ORDER BY name")
_REMOVES = sa.text("SELECT set_config('fairturn.removes', 'old', true)")
# What was sealed before is older still.
_OLD_SEALS = sa.text("""
    SELECT kind, max(number) AS upto FROM seals
    WHERE at < :before AND kind IN ('decisions', 'corrections', 'timeline') GROUP BY kind
""")
_MARK_SEALS = sa.text("""
    UPDATE seals SET removed_at = clock_timestamp() WHERE removed_at IS NULL AND kind = :kind AND number <= :number
""")
_NOTE = sa.text("""
    INSERT INTO removals (what, before, position) VALUES (:what, :before, :position)
    ON CONFLICT (what) DO UPDATE SET before = excluded.before, position = excluded.position, at = clock_timestamp()
""")
_POSITION = sa.text("""
    SELECT CASE WHEN position < 0 AND at < clock_timestamp() - interval '1 day' THEN 0 ELSE position END
    FROM removals WHERE what = :what
""")
_CONTACTS = sa.text("""
    WITH old AS (
        SELECT c.lead_id, l.state, l.updated_at FROM lead_contacts c JOIN leads l ON l.id = c.lead_id
        WHERE c.lead_id > :after ORDER BY c.lead_id LIMIT :step
    ), gone AS (
        DELETE FROM lead_contacts c USING old
        WHERE c.lead_id = old.lead_id AND old.state IN ('done', 'withdrawn') AND old.updated_at < :before
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM old) AS seen, (SELECT max(lead_id) FROM old) AS last,
           (SELECT count(*) FROM gone) AS gone
""")
# Steps of leads that are not over stay, and rows whose seal is not that old.
_TIMELINE = sa.text("""
    WITH old AS (
        SELECT t.id, t.at, t.lead_id
        FROM (SELECT id, at, lead_id FROM timeline WHERE id > :after ORDER BY id LIMIT :step) t
        WHERE t.at < :before
          AND t.id < coalesce((SELECT min(low) FROM seals WHERE kind = 'timeline' AND removed_at IS NULL), 2e18)
    ), gone AS (
        DELETE FROM timeline t USING old, leads l
        WHERE t.id = old.id AND l.id = old.lead_id AND l.state IN ('done', 'withdrawn') AND l.updated_at < :before
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM old) AS seen, (SELECT max(id) FROM old) AS last, (SELECT count(*) FROM gone) AS gone
""")
_OLDEST = sa.text(
    """
    SELECT made.generation, made.seq, made.at,
           made.at < :before AND made.id::text NOT IN (
               SELECT unnest(refs) FROM (
                   SELECT refs FROM seals WHERE kind IN ('decisions', 'corrections') AND removed_at IS NULL
                   ORDER BY number LIMIT 20
               ) young
           ) AS may_go
    FROM (
        (SELECT id, generation, seq, at FROM decisions
         WHERE market = :market AND (generation, seq) > (:generation, :seq) ORDER BY generation, seq LIMIT :step)
        UNION ALL
        (SELECT id, generation, seq, at FROM corrections
         WHERE market = :market AND (generation, seq) > (:generation, :seq) ORDER BY generation, seq LIMIT :step)
        ORDER BY generation, seq LIMIT :step
    ) made ORDER BY made.generation, made.seq
""".replace("::", "\\:\\:")
)
_REMOVE = [
    sa.text("DELETE FROM decisions WHERE market = :market AND (generation, seq) <= (:generation, :seq)"),
    sa.text("DELETE FROM corrections WHERE market = :market AND (generation, seq) <= (:generation, :seq)"),
]
#: What has no seal, and nothing to be kept together with.
_PLAIN = {
    "events": sa.text("""
        DELETE FROM events WHERE id IN (
            SELECT id FROM (SELECT id, done_at FROM events WHERE state = 'done' ORDER BY id LIMIT :step) old
            WHERE done_at < :before)
    """),
    "deliveries": sa.text("""
        DELETE FROM deliveries WHERE id IN (
            SELECT id FROM (SELECT id, state, created_at FROM deliveries ORDER BY id LIMIT :step) old
            WHERE created_at < :before AND state <> 'pending')
    """),
    "links": sa.text("""
        DELETE FROM links_used WHERE mark IN (
            SELECT mark FROM links_used WHERE used_at < :before ORDER BY used_at LIMIT :step)
    """),
    "replays": sa.text("""
        DELETE FROM replays WHERE (caller, key) IN (
            SELECT caller, key FROM replays WHERE at < :before ORDER BY at LIMIT :step)
    """),
    # The newest of each member stays, and none goes before one with a smaller number.
    "notices": sa.text("""
        DELETE FROM notices n WHERE (n.member_id, n.number) IN (
            SELECT o.member_id, o.number FROM notices o JOIN members m ON m.id = o.member_id
            WHERE o.at < :before AND o.number < m.notices
              AND NOT EXISTS (SELECT FROM notices e WHERE e.member_id = o.member_id AND e.number < o.number
                              AND e.at >= :before)
            ORDER BY o.member_id, o.number LIMIT :step)
    """),
}
