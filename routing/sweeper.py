"""What beat starts: the relay that heals lost messages, and the hourly sweep."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

from routing.compare import Comparer
from routing.corrector import Corrector
from routing.dispatcher import Dispatcher
from routing.errors import ColdTurnstile, TurnstileUnreachable
from routing.journey import Journey
from routing.lane import Lane
from routing.ports import Pending, Turnstile
from routing.timekeeper import Timekeeper

#: A reservation nobody settled is looked at when it is older than this.
UNSETTLED_S = 10.0
#: While more messages than this wait in the queue, nothing is announced again: they are on their way.
BUSY = 50
#: In an empty queue no message is on its way: what nobody has touched for so long has lost its own.
UNTOUCHED_S = 1.0


class ReservationBook(Protocol):
    """What the reaper asks of the ledger: which reservations became offers, with their leads under lock."""

    def judged(
        self, pending: Sequence[Pending]
    ) -> AbstractContextManager[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
        """(keep, cancel) as (lead, attempt); leads another batch is working on are in neither."""
        ...


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Finds what was left behind; running it twice, or twice at once, changes nothing more."""

    journey: Journey
    dispatcher: Dispatcher
    turnstile: Turnstile
    reservations: ReservationBook
    comparer: Comparer
    markets: Callable[[], Iterable[str]]
    due: Callable[[Literal["salesforce", "turnstile"]], bool]  # whether the outbox has rows of a kind that nobody holds
    depth: Callable[[Lane], int]  # messages waiting in a lane's queue
    nudge: Callable[[str], object]
    corrector: Corrector | None = None
    timekeeper: Timekeeper | None = None
    edited: Callable[[], bool] = lambda: False  # whether people gave answers in Salesforce that wait
    untold: Callable[[], bool] = lambda: False  # whether there is anything to tell members
    publish_due: Callable[[], Sequence[int]] = lambda: ()  # policies whose time has come

    def relay(self, *, without_broker: bool = False, task_id: str = "") -> dict[str, int]:
        """Every second: deadlines that passed, messages that got lost, reservations nobody settled.

        `without_broker`: nothing can be on its way, so whatever is to do is announced at once.
        """
        published = len(self.publish_due())
        counts = {"published": published} | self.journey.expire(task_id=task_id)
        if self.timekeeper is not None:
            counts |= self.timekeeper.look(task_id=task_id)
        counts |= self.journey.bury(task_id=task_id)
        depths = dict.fromkeys(Lane, 0) if without_broker else {lane: self.depth(lane) for lane in Lane}
        if idle := [lane for lane, depth in depths.items() if 0 < depth < BUSY]:
            counts |= self.journey.bring_back(idle)
        if busy := [lane for lane, depth in depths.items() if depth >= BUSY]:
            for name, n in self.journey.bring_back(busy, older_than_s=UNTOUCHED_S, died=True).items():
                counts[name] = counts.get(name, 0) + n
        if empty := [lane for lane, depth in depths.items() if depth == 0]:
            for name, n in self.journey.bring_back(empty, older_than_s=UNTOUCHED_S).items():
                counts[name] = counts.get(name, 0) + n
        self._nudge()
        if self.untold():
            self.nudge("deliveries.send")
        counts["settled"] = sum(self.reap(market) for market in self.markets())
        return {name: n for name, n in counts.items() if n}

    def _nudge(self) -> None:
        """Tell the workers what there is to do that names no rows."""
        due: Mapping[str, bool] = {
            "leads.wake": bool(self.journey.leads.woken(limit=1)),
            "leads.refresh": self.journey.leads.are_dirty(for_s=self.journey.gather_s),
            "leads.heed": self.edited(),
            "sweep.resync": self.comparer.scans.waiting(),
            "outbox.deliver": self.due("salesforce"),
            "outbox.free": self.due("turnstile"),
        }
        for task in [task for task, is_due in due.items() if is_due]:
            self.nudge(task)

    def reap(self, market: str) -> int:
        """Settle what a crash left between the turnstile and the ledger: the ledger knows, and is asked.

        A turnstile that was away is given back its place first, one that was set back is rebuilt.
        """
        if not self.dispatcher.come_back(market):
            return 0
        corrected = 0
        try:
            if self.corrector is not None:
                corrected = self.corrector.reap(market, older_than_s=UNSETTLED_S)
            pending = self.turnstile.pending(market, older_than_s=UNSETTLED_S)
        except ColdTurnstile:
            self.dispatcher.rebuild(market)
            return 0
        except TurnstileUnreachable:
            return 0  # whoever decides next has the ledger decide
        if not pending:
            return corrected
        with self.reservations.judged(pending) as (keep, cancel):
            offers = {(p.lead, p.attempt): p.offer for p in pending}
            meant = [offers[one] for one in (*keep, *cancel)]
            self.turnstile.settle(market, keep=keep, cancel=cancel, offers=meant)
        undone = {p.member for p in pending if (p.lead, p.attempt) in set(cancel)}
        if undone:
            self.dispatcher.fill(market, sorted(undone))
        return corrected + len(keep) + len(cancel)

    def hourly(self, *, within: timedelta | None = None, task_id: str = "") -> dict[str, int]:
        """Compare with Salesforce what changed since the last sweep, and let every member with room be offered to."""
        counts = self.comparer.hourly(within=within, task_id=task_id)
        counts["filled"] = sum(self.dispatcher.fill(market, task_id=task_id) for market in self.markets())
        return counts
