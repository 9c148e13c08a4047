"""Whether Salesforce may be called now: a breaker for an org that is unwell, a budget for its API calls.

Rules only: what they are applied to is kept where every worker sees it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from routing.errors import TryLater

#: Records in one call at most, and in the first call after the org was unwell for longer.
MOST, FEW = 200, 10
#: So many failures in a row are more than a hiccup.
UNWELL = 3
#: Seconds without calls after a failure: doubled by each failure in a row, spread over its upper half.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
#: Longer than this nobody is left alone, whatever was asked for.
LONGEST_WISH_S = 3600.0
#: A probe that has not been answered within this is taken for lost.
PROBE_S = 60.0
#: At the ceiling one call in so many seconds looks whether the window has moved on.
LOOK_S = 900.0
#: Of the ceiling, what only write-backs may use.
KEPT_FOR_WRITES = 0.1
#: When less than this share is left of the ceiling, calls wait to be filled: so steeply that a morning that took half
#: of it, and an endless flow of leads since, do not reach the ceiling before the morning's calls are a day old.
SHORT, STEEPNESS = 0.5, 5.0
DAY_S = 86_400.0


class Purpose(StrEnum):
    """What a call is for; reading is refused before writing is."""

    WRITE = "write"
    READ = "read"


class OrgPaused(TryLater):
    """Salesforce is left alone for now; what must go out stays in the outbox."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of the org's API calls of 24 hours we may use."""

    share: float = 1.0  # when all users together have used this share of the allowance, we stop
    calls: int = 0  # at most so many of our own; 0: no limit of our own


@dataclass(frozen=True, slots=True)
class Gate:
    """What is known of an org, at `now` by the ledger's clock."""

    now: datetime
    failures: int = 0  # in a row; 0: the org is well
    open_until: datetime | None = None
    probe_until: datetime | None = None
    because: str = ""
    since: datetime | None = None
    used: int | None = None  # API calls of the org in 24 hours, as it told at `seen_at`
    allowed: int | None = None
    seen_at: datetime | None = None
    own: int = 0  # API calls of ours in 24 hours

    def ceiling(self, budget: Budget) -> int | None:
        """How many calls of the org's allowance may be used before we stop; None while it is not known."""
        return None if self.allowed is None else int(self.allowed * budget.share)

    def left(self, budget: Budget) -> float:
        """What is left of the tighter ceiling, as a share of it; 1 while nothing is known."""
        ceiling = self.ceiling(budget)
        of_org = 1.0 if ceiling is None else 1 - (self.used or 0) / max(ceiling, 1)
        return min(of_org, _own_left(self, budget))


@dataclass(frozen=True, slots=True)
class Leave:
    """Permission for one call; to be answered with how it went."""

    most: int = MOST  # records it may carry
    linger_s: float = 0.0  # to be filled up unless something has waited so long already
    probe: bool = False  # everybody else waits for how this one goes
    failures: int = 0  # that were known when it was given


@dataclass(frozen=True, slots=True)
class Pause:
    """No call now, and why."""

    because: str
    until: datetime

    def error(self, now: datetime) -> OrgPaused:
        return OrgPaused(self.because, pause_s=max(0.0, (self.until - now).total_seconds()))


def ask(gate: Gate, budget: Budget, purpose: Purpose) -> Leave | Pause:
    """Whether to call now."""
    if gate.open_until is not None and gate.open_until > gate.now:
        return Pause(gate.because, gate.open_until)
    probing = gate.probe_until is not None and gate.probe_until > gate.now
    if gate.failures:
        if probing and gate.probe_until is not None:
            return Pause(f"{gate.because}; somebody is trying whether that is over", gate.probe_until)
        return Leave(FEW if gate.failures >= UNWELL else MOST, 0.0, True, gate.failures)
    kept = KEPT_FOR_WRITES if purpose is Purpose.READ else 0.0
    left = gate.left(budget)
    if left <= kept:
        return _at_the_ceiling(gate, budget, purpose, kept, probing=probing)
    return Leave(linger_s=linger_s(gate, budget) if purpose is Purpose.WRITE else 0.0)


def _at_the_ceiling(gate: Gate, budget: Budget, purpose: Purpose, kept: float, *, probing: bool) -> Leave | Pause:
    if _own_left(gate, budget) <= kept:
        because = f"{gate.own} API calls in 24 hours of the {budget.calls} that SALESFORCE_API_CALLS allows"
        return Pause(because, gate.now + timedelta(seconds=60))
    look = gate.now if gate.seen_at is None else gate.seen_at + timedelta(seconds=LOOK_S)
    if look <= gate.now and not probing and purpose is Purpose.WRITE:
        return Leave(probe=True)
    because = (
        f"the org has used {gate.used} of its {gate.allowed} API calls of 24 hours; SALESFORCE_API_SHARE leaves what"
        f" is beyond {gate.ceiling(budget)} to others"
    )
    return Pause(because, max(look, gate.now + timedelta(seconds=1)))


def _own_left(gate: Gate, budget: Budget) -> float:
    return 1 - gate.own / budget.calls if budget.calls else 1.0


def linger_s(gate: Gate, budget: Budget) -> float:
    """How long a call may wait for more to carry: the less is left, the longer, so that the calls last the day."""
    left = gate.left(budget)
    if left >= SHORT:
        return 0.0
    ceilings = [one for one in (gate.ceiling(budget), budget.calls) if one]
    return STEEPNESS * DAY_S / min(ceilings) * (1 - left / SHORT)


def begun(gate: Gate, leave: Leave) -> Gate:
    """The gate once this call is under way."""
    return replace(gate, probe_until=gate.now + timedelta(seconds=PROBE_S)) if leave.probe else gate


def passed(gate: Gate, leave: Leave) -> Gate:
    """The gate after the org answered: a probe's answer opens the way for all."""
    if not leave.probe:
        return gate
    return replace(gate, failures=0, open_until=None, probe_until=None, because="", since=None)


def failed(gate: Gate, leave: Leave, because: str, wish_s: float, dice: float) -> Gate:
    """The gate after a call came to nothing: nobody calls for a while, at least for as long as the org wishes.

    Of calls that were under way together only the first counts as another failure. `dice` from 0 to 1 spreads the
    workers.
    """
    news = leave.failures == gate.failures
    failures = gate.failures + news
    pause = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_S) * (0.5 + dice / 2)
    wish = min(wish_s, LONGEST_WISH_S) * (1 + dice / 10)
    until = gate.now + timedelta(seconds=max(pause if news else 0.0, wish))
    return replace(
        gate,
        failures=failures,
        open_until=max(until, gate.open_until or until),
        probe_until=None if leave.probe else gate.probe_until,
        because=because[:300],
        since=gate.since or gate.now,
    )
