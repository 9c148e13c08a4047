"""How far every account is, and ever was, from what is due to it: followed as decisions and corrections pass by.

In mode fair nobody is ever farther off than (n - 1) / 2 of the largest turns, n members and any weights, however they
change from lead to lead: docs/policy.md has the proof, which is that of Ajtai et al. (see routing/fairness.py) for
shares of any size. Corrections change what is due, at once: routing/bound.py tells how far they can have taken anyone.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from routing.bound import Bound

Key = tuple[str, int]  # rotation, member


@dataclass(slots=True)
class Account:
    """One member's account in one rotation, in micro-turns."""

    offers: int = 0
    received: int = 0  # paid for its offers
    entitled: int = 0  # earned by the decisions it was eligible for
    corrected: int = 0  # added by corrections
    worst: int = 0

    @property
    def standing(self) -> int:
        """What it is owed."""
        return self.entitled + self.corrected - self.received


@dataclass(slots=True)
class Rotation:
    """A rotation as a whole."""

    pool: str = ""
    limit: Bound = field(default_factory=Bound)
    worst: int = 0
    worst_member: int | None = None
    worst_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A decision, with what everyone eligible earned; or a correction, with its deltas."""

    rotation: str
    pool: str
    chosen: int | None
    parts: Mapping[int, int]
    turn: int
    at: datetime
    fair: bool = True  # decided by a mode that keeps accounts


@dataclass(slots=True)
class Followed:
    """Accounts and rotations, carried on; what is not known yet begins at zero.

    Of a rotation whose limit has `added` anything, or that is to be corrected, all accounts must be here.
    """

    accounts: dict[Key, Account] = field(default_factory=dict)
    rotations: dict[str, Rotation] = field(default_factory=dict)

    def take(self, one: Passed) -> None:
        """Go on to this decision or correction."""
        rotation = self.rotations.setdefault(one.rotation, Rotation())
        if one.chosen is not None:
            rotation.pool = one.pool
            payer = self._account(one.rotation, one.chosen)
            payer.offers += 1
            payer.received += sum(one.parts.values())
        else:
            rotation.limit.corrected(one.parts.values(), lambda: self._standings(one.rotation))
        for member, part in one.parts.items():
            account = self._account(one.rotation, member)
            if one.chosen is None:
                account.corrected += part
            else:
                account.entitled += part
            off = abs(account.standing)
            if off > account.worst:
                account.worst = off
                if off > rotation.worst:
                    rotation.worst, rotation.worst_member, rotation.worst_at = off, member, one.at
        if one.chosen is not None:
            rotation.limit.decided(one.turn, lambda: self._standings(one.rotation), fair=one.fair)

    def of(self, rotation: str) -> Iterator[tuple[int, Account]]:
        """The accounts of one rotation."""
        return ((member, account) for (name, member), account in self.accounts.items() if name == rotation)

    def _standings(self, rotation: str) -> Collection[int]:
        return [account.standing for _, account in self.of(rotation)]

    def _account(self, rotation: str, member: int) -> Account:
        found = self.accounts.get((rotation, member))
        if found is None:
            found = self.accounts[rotation, member] = Account()
        return found
