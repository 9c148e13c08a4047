"""Whether Salesforce may be called, known to every worker: one row an org, read and written under its lock."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing import gate as rules
from routing.gate import Budget, Gate, Leave, Pause, Purpose
from storage.postgres.engine import transaction
from storage.postgres.values import clean_text

#: Seconds between two notes of how much the org has used, while there is plenty.
NOTE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class GateState:
    """What people see of the gate."""

    because: str  # why nobody calls now; empty: whoever has something to say may call
    until: datetime | None  # when the next call will be tried
    since: datetime | None  # of the first failure in a row
    used: int | None  # API calls of the org in 24 hours, as it told at `seen_at`
    allowed: int | None
    seen_at: datetime | None
    ceiling: int | None  # of `used`, where we stop
    own: Mapping[str, int]  # our calls of 24 hours by purpose
    own_ceiling: int | None


class _Mine(threading.local):
    """What this thread is about to do, or doing."""

    taken: Leave | None = None
    under_way: Leave = Leave()
    noted = 0.0


class OrgGate:
    """The gate of one org: ask before a call, say afterwards how it went.

    A write's leave that was taken together with what it will carry (`leave`, `take`) is not asked for again: it is
    what the next `ask` of the same thread gets.
    """

    def __init__(
        self,
        engine: sa.Engine,
        budget: Budget | None = None,
        *,
        org: str = "salesforce",
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._budget = budget or Budget()
        self._org = org
        self._dice = dice
        self._mine = _Mine()

    # --- before a call

    def ask(self, purpose: Purpose) -> None:
        """Leave for one call. Raises OrgPaused with the reason when there is none now."""
        if purpose is not Purpose.WRITE or self._mine.taken is None:
            with transaction(self._engine) as connection:
                gate, leave = self.leave(connection, purpose)
                self.take(connection, gate, leave, purpose)
        self._mine.under_way, self._mine.taken = self._mine.taken or Leave(), None

    def leave(self, connection: sa.Connection, purpose: Purpose) -> tuple[Gate, Leave]:
        """In the caller's transaction: what a call may carry now. Nobody else gets leave until its end.

        Raises OrgPaused.
        """
        gate = self._locked(connection)
        answer = rules.ask(gate, self._budget, purpose)
        if isinstance(answer, Pause):
            raise answer.error(gate.now)
        return gate, answer

    def take(self, connection: sa.Connection, gate: Gate, leave: Leave, purpose: Purpose) -> None:
        """In the caller's transaction: the call will be made."""
        connection.execute(_COUNT, {"org": self._org, "purpose": purpose})
        self._keep(connection, gate, rules.begun(gate, leave))
        self._mine.taken = leave

    # --- after a call

    def passed(self, used: int | None = None, allowed: int | None = None) -> None:
        """The org answered; so many API calls of 24 hours it has used, and may use, if it said so."""
        leave, now = self._mine.under_way, time.monotonic()
        if not (leave.probe or self._worth_noting(used, allowed, now)):
            return
        with transaction(self._engine) as connection:
            before = self._locked(connection)
            after = rules.passed(before, leave)
            if used is not None and allowed is not None:
                after = replace(after, used=used, allowed=allowed, seen_at=before.now)
            self._keep(connection, before, after)
        self._mine.under_way, self._mine.noted = Leave(), now

    def failed(self, because: str, wish_s: float = 0.0) -> None:
        """The call came to nothing: the org is unwell or refuses us. `wish_s`: for how long it wants no calls."""
        leave, self._mine.under_way = self._mine.under_way, Leave()
        with transaction(self._engine) as connection:
            gate = self._locked(connection)
            self._keep(connection, gate, rules.failed(gate, leave, clean_text(because), wish_s, self._dice()))

    def _worth_noting(self, used: int | None, allowed: int | None, now: float) -> bool:
        """Now and then, and always when half of what we may use is gone: then each call counts."""
        if used is None or allowed is None:
            return False
        return now - self._mine.noted >= NOTE_EVERY_S or used >= rules.SHORT * self._budget.share * allowed

    # --- looking

    def state(self) -> GateState:
        """How it stands."""
        with transaction(self._engine) as connection:
            row = connection.execute(_READ, {"org": self._org}).one()
            own = {one.purpose: int(one.calls) for one in connection.execute(_OWN, {"org": self._org})}
        gate = _gate(row)
        answer = rules.ask(gate, self._budget, Purpose.WRITE)
        paused = answer if isinstance(answer, Pause) else None
        return GateState(
            because=paused.because if paused else "",
            until=paused.until if paused else None,
            since=gate.since,
            used=gate.used,
            allowed=gate.allowed,
            seen_at=gate.seen_at,
            ceiling=gate.ceiling(self._budget),
            own=own,
            own_ceiling=self._budget.calls or None,
        )

    def open(self) -> bool:
        """Whether a write would get leave now."""
        return not self.state().because

    def _locked(self, connection: sa.Connection) -> Gate:
        return _gate(connection.execute(_LOCK, {"org": self._org}).one())

    def _keep(self, connection: sa.Connection, before: Gate, after: Gate) -> None:
        if after != before:
            connection.execute(_KEEP, {"org": self._org, **{name: getattr(after, name) for name in _KEPT}})


# An hour's calls count until its last minute is a day old.
_KEPT = ("failures", "open_until", "probe_until", "because", "since", "used", "allowed", "seen_at")
_READ = sa.text("""
    SELECT clock_timestamp() AS now, failures, open_until, probe_until, because, since, used, allowed, seen_at,
           (SELECT coalesce(sum(calls), 0)::bigint FROM api_calls
            WHERE api_calls.org = gates.org AND hour > clock_timestamp() - interval '25 hours') AS own
    FROM gates WHERE org = :org
""")
_LOCK = sa.text(f"{_READ.text} FOR UPDATE OF gates")
_OWN = sa.text("""
    SELECT purpose, sum(calls) AS calls FROM api_calls
    WHERE org = :org AND hour > clock_timestamp() - interval '25 hours' GROUP BY purpose
""")
_COUNT = sa.text("""
    INSERT INTO api_calls (org, hour, purpose, calls) VALUES (:org, date_trunc('hour', clock_timestamp()), :purpose, 1)
    ON CONFLICT (org, hour, purpose) DO UPDATE SET calls = api_calls.calls + 1
""")
_KEEP = sa.text("""
    UPDATE gates SET failures = :failures, open_until = :open_until, probe_until = :probe_until, because = :because,
                     since = :since, used = :used, allowed = :allowed, seen_at = :seen_at
    WHERE org = :org
""")


def _gate(row: sa.Row[Any]) -> Gate:
    return Gate(*row)
