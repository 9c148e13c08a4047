"""A lead's way through the house: taken in, placed, routed; and what the relay brings back when a message was lost.

Every verb takes ids, does what is still to do for them, and tells the next verb; each is safe to run twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from routing.change import Change
from routing.dispatcher import Dispatcher
from routing.errors import FairturnError, GiveUp, TryLater
from routing.intake import Read, Taken
from routing.lead import Located, ToLocate
from routing.ports import Geocoder

#: What lost its message is brought back when it is older than this.
LEFT_BEHIND_S = 5.0
#: Offers ended in one transaction, and transactions in one call.
EXPIRY, EXPIRY_ROUNDS = 200, 50
#: Records read again from Salesforce in one call.
REFRESH = 200

T = TypeVar("T")


class LeadBook(Protocol):
    """What the journey asks of the ledger's leads."""

    def to_intake(self, event_ids: Sequence[int]) -> list[int]: ...
    def to_route(self, lead_ids: Sequence[int]) -> list[int]: ...
    def intake(self, event_ids: Sequence[int], read: Read, *, task_id: str = "") -> Taken: ...
    def clock(self) -> datetime: ...
    def snapshots(self, changes: Sequence[Change], read: Read, *, as_of: datetime, task_id: str = "") -> Taken: ...
    def park_event(self, event_id: int, reason: str, *, task_id: str = "") -> None: ...
    def park_lead(self, lead_id: int, reason: str, *, task_id: str = "") -> None: ...
    def unplaced(self, ids: Sequence[int]) -> list[ToLocate]: ...
    def placed(self, found: Sequence[tuple[ToLocate, Located | None]], *, task_id: str = "") -> list[int]: ...
    def expire(
        self, reassignments: Mapping[str, int], *, limit: int = 200, task_id: str = ""
    ) -> tuple[list[int], list[int]]: ...
    def woken(self, *, limit: int = 100) -> list[int]: ...
    def dirty(self, *, limit: int = 200) -> list[str]: ...
    def left_behind(self, *, older_than_s: float, limit: int = 1000) -> dict[str, list[int]]: ...


@dataclass(frozen=True, slots=True)
class Journey:
    """The verbs of a lead's way, over ports only.

    `announce(task, ids)` tells the workers after the commit and may lose it; `nudge(task)` does so without ids.
    `fetch` reads records again from Salesforce; `reassignments` are the limits by pool; `report` is told of every
    error that sets one event or lead aside.
    """

    leads: LeadBook
    dispatcher: Dispatcher
    geocoder: Geocoder
    read: Read
    fetch: Callable[[Sequence[str]], list[Change]]
    reassignments: Callable[[], Mapping[str, int]]
    announce: Callable[[str, Sequence[int]], object]
    nudge: Callable[[str], object]
    report: Callable[[Exception], object]

    def intake(self, event_ids: Sequence[int], *, task_id: str = "") -> dict[str, int]:
        """Read events into their leads and send each lead on its way; an event that cannot be read is parked."""

        def work(ids: Sequence[int]) -> dict[str, int]:
            return self._send_on(self.leads.intake(ids, self.read, task_id=task_id))

        def park(event: int, why: str) -> None:
            self.leads.park_event(event, why, task_id=task_id)

        return self._apart(self.leads.to_intake(event_ids), work, park)

    def refresh(self, *, task_id: str = "") -> dict[str, int]:
        """Read again from Salesforce what events did not say in full."""
        counts: dict[str, int] = {}
        before: list[str] = []
        while (ids := self.leads.dirty(limit=REFRESH)) and ids != before:
            as_of = self.leads.clock()
            counts = _sum(counts, self.snapshots(self.fetch(ids), as_of=as_of, task_id=task_id))
            before = ids
        return counts

    def snapshots(self, changes: Sequence[Change], *, as_of: datetime, task_id: str = "") -> dict[str, int]:
        """Read records that were asked for at `as_of` into their leads, and send them on their way."""

        def work(some: Sequence[Change]) -> dict[str, int]:
            return self._send_on(self.leads.snapshots(some, self.read, as_of=as_of, task_id=task_id))

        return self._apart(changes, work, lambda _change, _why: None)

    def locate(self, lead_ids: Sequence[int], *, task_id: str = "") -> dict[str, int]:
        """Find the leads' places; who has none goes to review."""

        def work(ids: Sequence[int]) -> dict[str, int]:
            waiting = self.leads.unplaced(ids)
            answers = self.geocoder.locate_each([lead.address for lead in waiting])
            asked = list(zip(waiting, answers, strict=True))
            told = [(lead, at) for lead, at in asked if at is None or isinstance(at, Located)]
            ready = self.leads.placed(told, task_id=task_id)
            for lead, error in asked:
                if isinstance(error, GiveUp):
                    self.leads.park_lead(lead.id, str(error), task_id=task_id)
            self._tell("leads.route", ready)
            if len(ready) < len(waiting):
                self.nudge("outbox.deliver")
            later = sum(isinstance(error, TryLater) for _, error in asked)
            return {"located": len(ready), "unknown": sum(at is None for _, at in told), "later": later}

        def park(lead: int, why: str) -> None:
            self.leads.park_lead(lead, why, task_id=task_id)

        return self._apart(lead_ids, work, park)

    def route(self, lead_ids: Sequence[int], *, woken: bool = False, task_id: str = "") -> dict[str, int]:
        """Offer the leads, or say why not."""

        def work(ids: Sequence[int]) -> dict[str, int]:
            routed = self.dispatcher.route(ids, woken=woken, task_id=task_id)
            if routed.verdicts or routed.refused:
                self.nudge("outbox.deliver")
            waiting = len(routed.verdicts) - routed.offered
            return {"offered": routed.offered, "not_offered": waiting, "refused": len(routed.refused)}

        todo = lead_ids if woken else self.leads.to_route(lead_ids)
        return self._apart(todo, work, lambda lead, why: self.leads.park_lead(lead, why, task_id=task_id))

    def expire(self, *, task_id: str = "") -> dict[str, int]:
        """End offers whose deadline passed and send their leads on to the next member."""
        counts = {"expired": 0, "exhausted": 0}
        for _ in range(EXPIRY_ROUNDS):
            again, over = self.leads.expire(self.reassignments(), limit=EXPIRY, task_id=task_id)
            if again or over:
                self.nudge("outbox.free")
                self.nudge("outbox.deliver")
            self._tell("leads.route", again)
            counts = _sum(counts, {"expired": len(again) + len(over), "exhausted": len(over)})
            if len(again) + len(over) < EXPIRY:
                break
        return counts

    def wake(self, *, task_id: str = "") -> dict[str, int]:
        """Plan waiting leads again that something changed for, best priority, then oldest, first."""
        counts: dict[str, int] = {}
        before: list[int] = []
        while (ids := self.leads.woken()) and ids != before:
            counts = _sum(counts, self.route(ids, woken=True, task_id=task_id))
            before = ids
        return counts

    def bring_back(self) -> dict[str, int]:
        """Announce again what lost its message."""
        left = self.leads.left_behind(older_than_s=LEFT_BEHIND_S)
        self._tell("leads.intake", left["intake"])
        self._tell("leads.geocode", left["locate"])
        self._tell("leads.route", left["route"])
        if left["refresh"]:
            self.nudge("leads.refresh")
        return {name: len(ids) for name, ids in left.items() if ids}

    def _send_on(self, taken: Taken) -> dict[str, int]:
        self._tell("leads.geocode", taken.to_locate)
        self._tell("leads.route", taken.to_route)
        if taken.dirty:
            self.nudge("leads.refresh")
        if taken.withdrawn:
            self.nudge("outbox.free")
        if taken.review:
            self.nudge("outbox.deliver")
        if taken.resync_since is not None:
            self.nudge("sweep.hourly")
        return dict(taken.meanings)

    def _apart(
        self,
        items: Sequence[T],
        work: Callable[[Sequence[T]], dict[str, int]],
        park: Callable[[T, str], None],
    ) -> dict[str, int]:
        """Work on all at once; when that fails for good, on each alone, and park those that fail."""
        if not items:
            return {}
        try:
            return work(items)
        except TryLater:
            raise
        except Exception as exc:  # noqa: BLE001 - one lead never fails its batch, whatever the error
            if len(items) == 1:
                self.report(exc)
                park(items[0], _why(exc))
                return {"parked": 1}
        counts: dict[str, int] = {}
        for one in items:
            counts = _sum(counts, self._apart([one], work, park))
        return counts

    def _tell(self, task: str, ids: Sequence[int]) -> None:
        if ids:
            self.announce(task, ids)


def _why(exc: Exception) -> str:
    """The reason in one sentence; of an error nobody foresaw only the kind, as its text may be personal."""
    return str(exc) if isinstance(exc, FairturnError) else f"{type(exc).__name__}: see the log of the task"


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in {**a, **b}}
