"""A member's own standing, in numbers coarse enough that nothing of anybody else can be read from them."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from routing.answering import Allowance
from routing.errors import TryLater
from routing.policy import Mode, Policy
from routing.ports import Standing, Turnstile
from storage.postgres.quotas import Left
from storage.postgres.record import Answered, Passed, Record
from storage.postgres.team import Ourselves, Team

#: What is told comes in steps of so many, and of fewer nothing is told.
STEP = 5
#: The same answer for so long: who asks often learns no more.
FRESH_S = 600.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the member is in a pool's order of turns; None where too few take part, or the order is no account."""

    pool: str
    place: int | None  # 1: the next that it is eligible for is its own
    of_about: int | None  # members, in steps


@dataclass(frozen=True, slots=True)
class Missed:
    """About so many leads this far away that went elsewhere, and why."""

    within_miles: float
    why: str
    about: int


@dataclass(frozen=True, slots=True)
class OwnStanding:
    """What a member may know of how it stands."""

    member: Ourselves
    turns: Sequence[Turn]
    allowances: Sequence[Allowance]
    answered: Answered
    seen: Sequence[Passed]
    missed: Sequence[Missed]
    quotas: Sequence[Left] = ()


def _none(_policy: Policy, _member: int) -> Sequence[Left]:
    return ()


class OwnStandings:
    """Tells each member how it stands; what others have a part in is worked out once in ten minutes."""

    def __init__(
        self,
        *,
        record: Record,
        team: Team,
        turnstile: Callable[[], Turnstile],
        allowance: Callable[[int], Sequence[Allowance]],
        policy: Callable[[], Policy],
        quotas: Callable[[Policy, int], Sequence[Left]] = _none,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record, self._team, self._turnstile = record, team, turnstile
        self._allowance, self._policy, self._clock = allowance, policy, clock
        self._quotas = quotas
        self._known: dict[int, tuple[float, Sequence[Turn], Sequence[Passed]]] = {}
        self._lock = threading.Lock()

    def of(self, member_id: int) -> OwnStanding:
        """How this member stands."""
        member = self._team.member(member_id)
        turns, passed = self._coarse(member)
        return OwnStanding(
            member=member,
            turns=turns,
            allowances=self._allowance(member_id),
            answered=self._record.answered(member_id),
            seen=[one for one in passed if one.why == "offered"],
            missed=coarse(passed),
            quotas=self._quotas(self._policy(), member_id),
        )

    def _coarse(self, member: Ourselves) -> tuple[Sequence[Turn], Sequence[Passed]]:
        now = self._clock()
        with self._lock:
            known = self._known.get(member.id)
        if known is not None and now - known[0] < FRESH_S:
            return known[1:]
        turns, passed = self._turns(member), self._record.passed(member.id)
        with self._lock:
            self._known.pop(member.id, None)
            self._known[member.id] = (now, turns, passed)
            while len(self._known) > _MOST:
                del self._known[next(iter(self._known))]
        return turns, passed

    def _turns(self, member: Ourselves) -> list[Turn]:
        modes = {pool.name: pool.mode for pool in self._policy().pools}
        found = []
        for pool, rotation in sorted(self._record.rotations(member.id).items()):
            try:
                accounts = self._turnstile().standings(member.market, rotation)
            except TryLater:  # it is away: nobody's place is known
                accounts = {}
            found.append(turn(pool, modes.get(pool), member.id, accounts))
        return found


def turn(pool: str, mode: Mode | None, member: int, accounts: Mapping[int, Standing]) -> Turn:
    """The member's place among the accounts of a rotation, best-owed first."""
    if len(accounts) < STEP or member not in accounts or mode not in {Mode.FAIR, Mode.LEAST_RECENT}:
        return Turn(pool, None, None)

    def owed(one: int) -> tuple[int, int, int]:
        account = accounts[one]
        return (-account.standing if mode is Mode.FAIR else 0, account.served, one)

    mine = owed(member)
    return Turn(pool, 1 + sum(owed(other) < mine for other in accounts), len(accounts) // STEP * STEP)


def coarse(passed: Sequence[Passed]) -> list[Missed]:
    """Leads that went elsewhere, by ring and reason, rounded down in steps; fewer than a step are not told."""
    return [
        Missed(round(one.ring_m / 1609.344, 1), one.why, one.leads // STEP * STEP)
        for one in passed
        if one.why not in {"offered", "tried"} and one.leads >= STEP
    ]
