"""How far anyone of a rotation can be from what is due to it, with all that corrections moved.

Decisions of mode fair keep the k accounts that are owed most at f(k) = k (n - k) / 2 of the largest turn together, or
less: docs/policy.md has the proof. What a correction gives to some raises that by as much, for as long as it is not
made good: the proof holds as well for f(k) + a, where a is any number, as no account and all accounts add up to zero.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate

TURN = 1_000_000  # micro-turns
#: What corrections added is looked at again before each further one, and after so many decisions.
EVERY = 100
PROMISED = 2  # of the largest turns: hardly ever does a decision take anybody farther


def bound(members: int, turn: int = TURN, added: int = 0) -> int:
    """The farthest that anyone of so many members can be from what is due to it, in micro-turns."""
    return max(members - 1, 0) * turn // 2 + added


def beyond(standings: Collection[int], turn: int) -> int:
    """What f(k) has to be raised by to hold for these accounts; at least what anyone is beyond two turns."""
    n, owed = len(standings), sorted(standings, reverse=True)
    twice = (2 * most - k * (n - k) * turn for k, most in enumerate(accumulate(owed), 1))
    above = -(-max(twice, default=0) // 2)
    far = max(map(abs, owed), default=0) - PROMISED * turn
    return max(above, far, 0)


@dataclass(slots=True)
class Bound:
    """Of one rotation: the largest turn, and what corrections added that is not made good yet."""

    turn: int = TURN
    decisions: int = 0
    other: int = 0  # decisions of modes that keep no accounts: then there is no bound
    added: int = 0  # now
    most: int = 0  # ever

    def decided(self, turn: int, standings: Callable[[], Collection[int]], *, fair: bool = True) -> None:
        """A decision was made; the accounts are those after it."""
        self.decisions += 1
        self.other += not fair
        self.turn = max(self.turn, turn)
        if self.added and self.decisions % EVERY == 0:
            self._again(standings)

    def corrected(self, deltas: Iterable[int], standings: Callable[[], Collection[int]]) -> None:
        """A correction will be made; the accounts are those before it."""
        if self.added:
            self._again(standings)
        self.raised(sum(max(delta, 0) for delta in deltas))

    def raised(self, by: int) -> None:
        """Something moved accounts besides, by so much at the most."""
        self.added += by
        self.most = max(self.most, self.added)

    def of(self, members: int) -> int | None:
        """The farthest that anyone of so many can ever have been, in micro-turns; None where other modes decided."""
        return None if self.other else bound(members, self.turn, self.most)

    def _again(self, standings: Callable[[], Collection[int]]) -> None:
        self.added = min(self.added, beyond(standings(), self.turn))
