"""What must never be: looked at all the time, in a bounded way, and what was found last."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.errors import TryLater
from storage.postgres import quota_recount
from storage.postgres.engine import transaction
from storage.postgres.tables import NOW, invariants

#: One round of checks lasts no longer than this, give or take one view.
BUDGET_S = 3.0
#: A view that takes longer over all of history is looked at from its last check on, and wholly once a night.
QUICK_MS = 1000.0
#: Rows of open transactions appear late: so much before the last check the next one begins.
OVERLAP_S = 120
WHOLE_EVERY_S = 20 * 3600
#: So many violations are kept as examples.
EXAMPLES = 5
#: What the auditor finds is kept beside the views.
TURNSTILE = "turnstile_differs"
MEANINGS = {TURNSTILE: "The turnstile holds exactly what the ledger knows."}


@dataclass(frozen=True, slots=True)
class Invariant:
    """One thing that must never be, and how often it was seen when last looked at; ids only."""

    name: str
    meaning: str
    violations: int
    examples: tuple[str, ...]
    checked_at: datetime
    whole_at: datetime


class Invariants:
    """Any number may check at once: one does, the others find it done."""

    def __init__(self, engine: sa.Engine, *, budget_s: float = BUDGET_S) -> None:
        self._engine = engine
        self._budget_s = budget_s

    def check(self) -> int:
        """Look at as many views as the time allows, those first that were not looked at for longest; what was found."""
        until = time.monotonic() + self._budget_s
        found = 0
        for name in self._due():
            if time.monotonic() > until:
                break
            found += self._look(name)
        return found

    def note(self, name: str, violations: int, examples: Sequence[str] = ()) -> None:
        """Keep what was found by other means."""
        with transaction(self._engine) as connection:
            _keep(connection, name, violations, examples, took_ms=0.0, whole=True)

    def all(self) -> list[Invariant]:
        """Everything that was ever looked at, by name."""
        with transaction(self._engine) as connection:
            return [
                Invariant(
                    row.name,
                    row.meaning or MEANINGS.get(row.name, ""),
                    row.violations,
                    tuple(row.examples),
                    row.checked_at,
                    row.whole_at,
                )
                for row in connection.execute(_ALL)
            ]

    def _due(self) -> list[str]:
        with transaction(self._engine) as connection:
            return list(connection.execute(_DUE).scalars())

    def _look(self, name: str) -> int:
        """One view, wholly or from its last check on; how many violations it shows."""
        with transaction(self._engine) as connection:
            if not connection.scalar(_MINE, {"name": name}):
                return 0
            last = connection.execute(_LAST, {"name": name, "overlap": OVERLAP_S}).one_or_none()
            has_time = bool(connection.scalar(_HAS_TIME, {"view": f"inv_{name}"}))
            quick = last is None or last.took_ms <= QUICK_MS or last.whole_s_ago > WHOLE_EVERY_S
            whole = quick or not has_time
            began = time.monotonic()
            try:
                with connection.begin_nested():
                    connection.execute(_PATIENCE)
                    if name == quota_recount.VIEW:
                        violations, examples, whole = quota_recount.look(connection, EXAMPLES)
                        _keep(connection, name, violations, examples, took_ms=0.0, whole=whole)  # due in every round
                        return violations
                    rows = _violations(connection, name, None if whole or last is None else last.since)
            except sa.exc.OperationalError as exc:
                if getattr(exc.orig, "sqlstate", "") != _TOO_LONG:
                    raise
                raise TryLater(f"looking at inv_{name} takes too long") from exc
            took_ms = (time.monotonic() - began) * 1000
            violations, examples = rows
            if not whole and last is not None and last.violations > violations:
                violations, examples = last.violations, last.examples  # seen before, and not looked at now
            _keep(connection, name, violations, examples, took_ms=took_ms, whole=whole)
            return violations


def _violations(connection: sa.Connection, name: str, since: datetime | None) -> tuple[int, list[str]]:
    view = sa.table(f"inv_{name}", sa.column("subject"), sa.column("detail"), sa.column("at"))
    found = sa.select(view.c.subject, view.c.detail)
    if since is not None:
        found = found.where(view.c.at > since)
    each = found.subquery()
    count = connection.execute(sa.select(sa.func.count()).select_from(each)).scalar_one()
    first = connection.execute(found.limit(EXAMPLES)).all() if count else []
    return count, [f"{row.subject}: {row.detail}" for row in first]


def _keep(
    connection: sa.Connection, name: str, violations: int, examples: Sequence[str], *, took_ms: float, whole: bool
) -> None:
    row: dict[str, Any] = {"name": name, "violations": violations, "examples": list(examples), "checked_at": NOW}
    news = dict(row)
    if whole:
        news |= {"whole_at": NOW, "took_ms": took_ms}
    statement = insert(invariants).values(**row, whole_at=NOW, took_ms=took_ms)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=news))


_TOO_LONG = "57014"
_PATIENCE = sa.text("SELECT set_config('statement_timeout', '60s', true)")
_MINE = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('invariant:' || :name))")
_DUE = sa.text(r"""
    SELECT substr(viewname, 5) FROM pg_views LEFT JOIN invariants i ON i.name = substr(viewname, 5)
    WHERE schemaname = current_schema() AND viewname LIKE 'inv\_%'
      AND (i.name IS NULL OR i.checked_at < clock_timestamp() - interval '15 seconds' AND (
           i.took_ms * 20 < extract(epoch FROM clock_timestamp() - i.checked_at) * 1000 OR EXISTS (
               SELECT FROM information_schema.columns c
               WHERE c.table_schema = current_schema() AND c.table_name = viewname AND c.column_name = 'at')))
    ORDER BY i.checked_at NULLS FIRST, viewname
""")
_LAST = sa.text("""
    SELECT violations, examples, took_ms, checked_at - make_interval(secs => :overlap) AS since,
           extract(epoch FROM clock_timestamp() - whole_at) AS whole_s_ago
    FROM invariants WHERE name = :name
""")
_HAS_TIME = sa.text("""
    SELECT EXISTS (SELECT FROM information_schema.columns
                   WHERE table_schema = current_schema() AND table_name = :view AND column_name = 'at')
""")
_ALL = sa.text("""
    SELECT i.*, obj_description(to_regclass('inv_' || i.name), 'pg_class') AS meaning FROM invariants i ORDER BY i.name
""")
