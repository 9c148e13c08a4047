"""What comes to pass by the clock alone: reminders, warnings, leads pulled back, the open pool opened and closed.

Deadlines are columns; whoever looks finds what is due, and three who look at once do each thing once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from routing.journey import Announce, always
from routing.lane import Lane
from routing.offer import Answered

#: Offers or leads in one transaction, and transactions in one look.
TOGETHER, ROUNDS = 200, 50


@dataclass(frozen=True, slots=True)
class OpenLead:
    """A lead that a member let expire and may take now."""

    lead_id: int
    offer_id: UUID  # of its own, the one that expired
    open_until: datetime


class TimerBook(Protocol):
    """What is asked of the ledger's timers."""

    def remind(self, *, limit: int, task_id: str = "") -> int: ...
    def pull_back(self, *, limit: int, task_id: str = "") -> tuple[Mapping[int, Lane], int]:
        """End accepted offers on which nothing happened: (leads to route again, each with its lane; how many ended)."""
        ...


class ChanceBook(Protocol):
    """What is asked of the ledger's second chances."""

    def ask(self, offer: UUID, *, member: int, person: UUID | None = None) -> Answered: ...


class PoolBook(Protocol):
    """What is asked of the ledger's open leads."""

    def open(self, *, limit: int, task_id: str = "") -> int: ...
    def close(self, *, limit: int, task_id: str = "") -> int: ...
    def leads(self, member: int, *, limit: int = 100) -> Sequence[OpenLead]: ...
    def take(self, lead: int, *, member: int, person: UUID | None = None, task_id: str = "") -> Answered: ...


@dataclass(frozen=True, slots=True)
class Timekeeper:
    """Looks what is due."""

    timers: TimerBook
    pool: PoolBook
    announce: Announce
    nudge: Callable[[str], object]
    may_go_on: Callable[[], bool] = field(default=always)

    def look(self, *, task_id: str = "") -> dict[str, int]:
        """Do whatever is due by now; what was done, by kind."""
        counts = {
            "reminded": self._all(lambda: self.timers.remind(limit=TOGETHER, task_id=task_id)),
            "pulled_back": self._all(lambda: self._pull_back(task_id)),
            "opened": self._all(lambda: self.pool.open(limit=TOGETHER, task_id=task_id)),
            "closed": self._all(lambda: self.pool.close(limit=TOGETHER, task_id=task_id)),
        }
        if counts["opened"] or counts["closed"] or counts["pulled_back"]:
            self.nudge("outbox.deliver")
        return {name: n for name, n in counts.items() if n}

    def _pull_back(self, task_id: str) -> int:
        again, ended = self.timers.pull_back(limit=TOGETHER, task_id=task_id)
        for lane in Lane:
            if leads := [lead for lead, its in again.items() if its is lane]:
                self.announce("leads.route", leads, lane)
        if ended:
            self.nudge("outbox.free")
        return ended

    def _all(self, some: Callable[[], int]) -> int:
        done = 0
        for _ in range(ROUNDS):
            n = some()
            done += n
            if n < TOGETHER or not self.may_go_on():
                break
        return done


@dataclass(frozen=True, slots=True)
class Openings:
    """Ways to a lead beside one's turn: another chance, and the open pool."""

    chances: ChanceBook
    pool: PoolBook
    nudge: Callable[[str], object]

    def second_chance(self, offer: UUID, *, member: int, person: UUID | None = None) -> Answered:
        """Queue for a lead again that the member let expire: it is asked first when the offer of now comes to nothing.

        Raises UnknownOffer, NoSecondChance where the policy, the lead or the member's own past does not allow it, and
        OfferTaken when somebody has accepted.
        """
        asked = self.chances.ask(offer, member=member, person=person)
        if not asked.repeated:
            self.nudge("leads.wake")
        return asked

    def open_leads(self, member: int) -> Sequence[OpenLead]:
        """What the member may take, the first to close first."""
        return self.pool.leads(member)

    def take(self, lead: int, *, member: int, person: UUID | None = None, task_id: str = "") -> Answered:
        """Take a lead from the open pool: it is accepted at once, and no turn is charged.

        Raises UnknownOffer when it is not open to the member, OfferTaken and OfferExpired when that is over, NoRoom.
        """
        taken = self.pool.take(lead, member=member, person=person, task_id=task_id)
        if not taken.repeated:
            self.nudge("outbox.free")  # the turnstile is told of the place
            self.nudge("outbox.deliver")
        return taken
