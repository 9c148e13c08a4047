"""Fairness accounts as people read them: turns received from the ledger, turns owed from the turnstile."""

from collections.abc import Iterable
from dataclasses import dataclass

from routing.policy import Mode, Pool
from routing.ports import Standing, Turnstile
from storage.postgres.vitals import Taken, Turns, Vitals

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Account:
    """One member's account in a rotation, in turns."""

    rotation: str
    member: str
    received: float
    entitled: float | None  # None in modes that keep no account
    deviation: float | None  # entitled - received


@dataclass(frozen=True, slots=True)
class PoolAccounts:
    """The accounts of every rotation a pool takes part in."""

    pool: str
    market: str
    mode: str
    accounts: tuple[Account, ...]

    @property
    def worst_turns(self) -> float:
        """The largest deviation of any member."""
        return max((abs(account.deviation) for account in self.accounts if account.deviation is not None), default=0.0)


@dataclass(frozen=True, slots=True)
class Fairness:
    """Reads fairness accounts: turns given from the ledger, standings from the turnstile."""

    vitals: Vitals
    turnstile: Turnstile

    def of(self, pool: str) -> PoolAccounts | None:
        """The accounts of a pool, best-owed first; None for an unknown pool. Raises ColdTurnstile before a rebuild."""
        turns = self.vitals.turns(pool)
        if turns is None:
            return None
        rotations = sorted({taken.rotation for taken in turns.taken})
        accounts = [account for rotation in rotations for account in self._rotation(turns, rotation)]
        return PoolAccounts(pool, turns.market, turns.mode, tuple(accounts))

    def _rotation(self, turns: Turns, rotation: str) -> list[Account]:
        taken = {one.member_id: one for one in turns.taken if one.rotation == rotation}
        standings = self.turnstile.standings(turns.market, rotation)
        accounts = [
            _account(
                taken.get(member) or Taken(rotation, member, turns.members.get(member, "?"), 0),
                standings.get(member, Standing(0, 0)) if turns.mode == Mode.FAIR else None,
            )
            for member in taken.keys() | standings.keys()
        ]
        return sorted(accounts, key=lambda account: (-(account.deviation or 0.0), account.member))


def shared_by(pool: str, pools: Iterable[Pool]) -> tuple[str, str]:
    """Market and name of the rotation that this pool shares with others; empty where it has its own."""
    return next(((one.market, one.rotation) for one in pools if one.name == pool and one.rotation), ("", ""))


def _account(taken: Taken, standing: Standing | None) -> Account:
    if standing is None:
        return Account(taken.rotation, taken.member, taken.received, None, None)
    owed = standing.standing / _MICRO
    return Account(taken.rotation, taken.member, taken.received, round(taken.received + owed, 6), owed)
