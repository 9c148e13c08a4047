"""A lead's way through the house: taken in, placed, routed; and what the relay brings back when a message was lost.

Every verb takes ids, does what is still to do for them, and tells the next verb; each is safe to run twice.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeVar

from routing.change import Change
from routing.dispatcher import Dispatcher
from routing.errors import Away, FairturnError, GiveUp, TryLater
from routing.intake import Read, Taken
from routing.lane import Lane
from routing.lead import Located, ToLocate
from routing.policy import Answering
from routing.ports import Geocoder

#: What lost its message is brought back when it is older than this.
LEFT_BEHIND_S = 5.0
#: Offers ended in one transaction, and transactions in one call.
EXPIRY, EXPIRY_ROUNDS = 200, 50
#: Leads of which a round of expiry is taken to be full: ten may have been asked for each.
FULL_ROUND = EXPIRY // 10
#: Leads that go on together in one run.
AT_ONCE = 100
#: Records read again from Salesforce in one call, and how long the first of them waits for others.
REFRESH, GATHER_S = 200, 2.0
#: A row whose handling ended its process this often is parked.
DEATHS = 3
#: So many leads in a row that are put off, and nobody else: it is not the leads.
ALL_PUT_OFF = 3

T = TypeVar("T")


def always() -> bool:
    """Nothing stands against going on."""
    return True


Verb = Literal["intake", "locate", "route"]
TASKS: Mapping[str, str] = {"intake": "leads.intake", "locate": "leads.geocode", "route": "leads.route"}


@dataclass(frozen=True, slots=True)
class Run:
    """A batch that a process has begun: these rows are its own until it ends. `spent`: named, but to be parked."""

    id: int
    rows: tuple[int, ...]
    spent: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Dead:
    """A row that a process was handling as it ended; `deaths` counts how often that was so."""

    verb: str
    row: int
    deaths: int
    lane: int


@dataclass(frozen=True, slots=True)
class Left:
    """Rows whose message got lost, to be announced together."""

    verb: str  # of TASKS, or refresh
    lane: Lane
    ids: tuple[int, ...]
    died: bool = False  # it was in work when its process ended


class RunBook(Protocol):
    """What the journey asks of the ledger's begun batches."""

    def begin(self, verb: Verb, ids: Sequence[int]) -> Run: ...
    def end(self, run: Run) -> None: ...
    def bury(self) -> list[Dead]: ...


class Announce(Protocol):
    """Tells the workers of a lane, after the commit, that rows wait for a task."""

    def __hash__(self) -> int: ...
    def __call__(self, task: str, ids: Sequence[int], lane: Lane = ..., /) -> object: ...


class LeadBook(Protocol):
    """What the journey asks of the ledger's leads."""

    def intake(self, event_ids: Sequence[int], read: Read, *, task_id: str = "") -> Taken: ...
    def clock(self) -> datetime: ...
    def snapshots(self, changes: Sequence[Change], read: Read, *, as_of: datetime, task_id: str = "") -> Taken: ...
    def park_event(self, event_id: int, reason: str, *, task_id: str = "") -> None: ...
    def park_lead(self, lead_id: int, reason: str, *, task_id: str = "") -> None: ...
    def put_off(self, lead_ids: Sequence[int], because: str, *, task_id: str = "") -> object: ...
    def unplaced(self, ids: Sequence[int]) -> list[ToLocate]: ...
    def placed(self, found: Sequence[tuple[ToLocate, Located | None]], *, task_id: str = "") -> list[int]: ...
    def expire(
        self, answering: Mapping[str, Answering], *, limit: int = 200, task_id: str = ""
    ) -> tuple[dict[int, Lane], list[int]]: ...
    def woken(self, *, limit: int = 100) -> list[int]: ...
    def dirty(self, *, limit: int = 200, gather_s: float = 0.0) -> list[str]: ...
    def are_dirty(self, *, for_s: float) -> bool: ...
    def park_record(self, record_id: str, reason: str, *, task_id: str = "") -> None: ...
    def left_behind(
        self, *, older_than_s: float, lanes: Collection[Lane], died: bool = False, limit: int = 1000
    ) -> list[Left]: ...


@dataclass(slots=True)
class _Onward:
    """Leads that a verb has made ready for another."""

    locate: list[int] = field(default_factory=list)
    route: list[int] = field(default_factory=list)
    lanes: dict[int, Lane] = field(default_factory=dict)

    def add(self, taken: Taken) -> None:
        self.locate += taken.to_locate
        self.route += taken.to_route
        self.lanes |= taken.lanes


@dataclass(frozen=True, slots=True)
class Journey:
    """The verbs of a lead's way, over ports only.

    `announce(task, ids)` tells the workers after the commit and may lose it; `nudge(task)` does so without ids.
    `fetch` reads records again from Salesforce; `answering` is the policy's by pool; `report` is told of every
    error that sets one event or lead aside.
    """

    leads: LeadBook
    runs: RunBook
    dispatcher: Dispatcher
    geocoder: Geocoder
    read: Read
    fetch: Callable[[Sequence[str]], list[Change]]
    answering: Callable[[], Mapping[str, Answering]]
    announce: Announce
    nudge: Callable[[str], object]
    report: Callable[[Exception], object]
    gather_s: float = 0.0  # how long records to read again may wait for others, to be asked for in one call
    may_go_on: Callable[[], bool] = always  # asked between batches of what would go on until nothing is left
    at_once: Collection[Verb] = ()  # what is done in the same run as the verb before it, and not announced

    def intake(self, event_ids: Sequence[int], *, task_id: str = "") -> dict[str, int]:
        """Read events into their leads and send each lead on its way; an event that cannot be read is parked."""
        onward = _Onward()

        def work(ids: Sequence[int]) -> dict[str, int]:
            taken = self.leads.intake(ids, self.read, task_id=task_id)
            onward.add(taken)
            return self._send_on(taken)

        def park(event: int, why: str) -> None:
            self.leads.park_event(event, why, task_id=task_id)

        with self._begun("intake", event_ids) as ids:
            counts = self._apart(ids, work, park)
        return _sum(counts, self._go_on(onward, task_id))

    def refresh(self, *, task_id: str = "") -> dict[str, int]:
        """Read again from Salesforce what events did not say in full."""
        counts: dict[str, int] = {}
        while self.may_go_on() and (ids := self.leads.dirty(limit=REFRESH, gather_s=self.gather_s)):
            as_of = self.leads.clock()
            counts = _sum(counts, self.snapshots(self.fetch(ids), as_of=as_of, task_id=task_id))
        return counts

    def snapshots(self, changes: Sequence[Change], *, as_of: datetime, task_id: str = "") -> dict[str, int]:
        """Read records that were asked for at `as_of` into their leads, and send them on their way."""
        onward = _Onward()

        def work(some: Sequence[Change]) -> dict[str, int]:
            taken = self.leads.snapshots(some, self.read, as_of=as_of, task_id=task_id)
            onward.add(taken)
            return self._send_on(taken)

        def park(record: Change, why: str) -> None:
            self.leads.park_record(record.record_id, why, task_id=task_id)

        return _sum(self._apart(changes, work, park), self._go_on(onward, task_id))

    def locate(self, lead_ids: Sequence[int], *, task_id: str = "") -> dict[str, int]:
        """Find the leads' places; who has none goes to review."""
        onward = _Onward()

        def work(ids: Sequence[int]) -> dict[str, int]:
            waiting = self.leads.unplaced(ids)
            answers = self.geocoder.locate_each([lead.address for lead in waiting])
            asked = list(zip(waiting, answers, strict=True))
            told = [(lead, at) for lead, at in asked if at is None or isinstance(at, Located)]
            ready = self.leads.placed(told, task_id=task_id)
            for lead, error in asked:
                if isinstance(error, GiveUp):
                    self.leads.park_lead(lead.id, str(error), task_id=task_id)
            onward.route += ready
            onward.lanes |= {lead.id: lead.lane for lead in waiting}
            if len(ready) < len(waiting):
                self.nudge("outbox.deliver")
            later = {lead.id: error for lead, error in asked if isinstance(error, TryLater)}
            for because in sorted({str(error) for error in later.values()}):
                put_off([lead for lead, error in later.items() if str(error) == because], because)
            return {"located": len(ready), "unknown": sum(at is None for _, at in told), "later": len(later)}

        def put_off(leads: Sequence[int], because: str) -> None:
            self.leads.put_off(leads, because, task_id=task_id)

        def park(lead: int, why: str) -> None:
            self.leads.park_lead(lead, why, task_id=task_id)

        with self._begun("locate", lead_ids) as ids:
            counts = self._apart(ids, work, park, put_off)
        return _sum(counts, self._go_on(onward, task_id))

    def route(self, lead_ids: Sequence[int], *, woken: bool = False, task_id: str = "") -> dict[str, int]:
        """Offer the leads, or say why not."""

        def work(ids: Sequence[int]) -> dict[str, int]:
            routed = self.dispatcher.route(ids, woken=woken, task_id=task_id)
            if routed.verdicts or routed.refused or routed.given:
                self.nudge("outbox.deliver")
            if routed.given:
                self.nudge("outbox.free")
            waiting = len(routed.verdicts) - routed.offered
            counts = {"offered": routed.offered, "not_offered": waiting, "refused": len(routed.refused)}
            return counts | ({"given": len(routed.given)} if routed.given else {})

        def park(lead: int, why: str) -> None:
            self.leads.park_lead(lead, why, task_id=task_id)

        def put_off(leads: Sequence[int], because: str) -> None:
            self.leads.put_off(leads, because, task_id=task_id)

        with self._begun("route", lead_ids) as ids:
            return self._apart(ids, work, park, put_off)

    def expire(self, *, task_id: str = "") -> dict[str, int]:
        """End offers whose deadline passed and send their leads on to the next member."""
        counts = {"expired": 0, "exhausted": 0}
        for _ in range(EXPIRY_ROUNDS):
            again, over = self.leads.expire(self.answering(), limit=EXPIRY, task_id=task_id)
            if again or over:
                self.nudge("outbox.free")
                self.nudge("outbox.deliver")
            self._tell("leads.route", list(again), again)
            counts = _sum(counts, {"expired": len(again) + len(over), "exhausted": len(over)})
            if len(again) + len(over) < FULL_ROUND or not self.may_go_on():
                break
        return counts

    def wake(self, *, task_id: str = "") -> dict[str, int]:
        """Plan waiting leads again that something changed for, best priority, then oldest, first."""
        counts: dict[str, int] = {}
        before: list[int] = []
        while self.may_go_on() and (ids := self.leads.woken()) and ids != before:
            counts = _sum(counts, self.route(ids, woken=True, task_id=task_id))
            before = ids
        return counts

    def bring_back(
        self, lanes: Collection[Lane] = tuple(Lane), *, older_than_s: float = LEFT_BEHIND_S, died: bool = False
    ) -> dict[str, int]:
        """Announce again what lost its message, in these lanes; `died`: only what its process died with."""
        counts: dict[str, int] = {}
        for left in self.leads.left_behind(older_than_s=older_than_s, lanes=lanes, died=died):
            if left.verb == "refresh":
                self.nudge("leads.refresh")
            else:
                self.announce(TASKS[left.verb], left.ids, _ahead(left.lane) if left.died else left.lane)
            counts[left.verb] = counts.get(left.verb, 0) + len(left.ids)
        return counts

    def bury(self, *, task_id: str = "") -> dict[str, int]:
        """Handle alone what a process was working on as it ended, and park what ended three."""
        dead = self.runs.bury()
        parked = 0
        for one in dead:
            if one.deaths < DEATHS:
                self.announce(TASKS[one.verb], [one.row], _ahead(Lane(one.lane)))
                continue
            self._park_deadly(one.verb, one.row, task_id)
            parked += 1
        return {"died_with": len(dead), "parked": parked}

    def _park_deadly(self, verb: str, row: int, task_id: str = "") -> None:
        why = f"handling this ended its process {DEATHS} times; see the logs of the workers"
        park = self.leads.park_event if verb == "intake" else self.leads.park_lead
        park(row, why, task_id=task_id)

    @contextmanager
    def _begun(self, verb: Verb, ids: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The rows to work on, ours until the end; if this process ends before, the relay finds them."""
        run = self.runs.begin(verb, ids)
        for row in run.spent:  # the relay that counted its last death did not come to park it
            self._park_deadly(verb, row)
        try:
            yield run.rows
        except Exception:
            with suppress(TryLater):  # then the ledger is away, and the connection the run was begun by is gone
                self.runs.end(run)
            raise
        self.runs.end(run)

    def _go_on(self, onward: "_Onward", task_id: str) -> dict[str, int]:
        """Do the next verb at once where that is wanted, else tell the workers.

        Should it not come to pass, the rows say what is still to do, as with a message that got lost.
        """
        counts: dict[str, int] = {}
        ways: tuple[tuple[Verb, list[int]], ...] = (("route", onward.route), ("locate", onward.locate))
        for verb, ids in ways:
            if verb not in self.at_once:
                self._tell(TASKS[verb], ids, onward.lanes)
                continue
            work = self.route if verb == "route" else self.locate
            for start in range(0, len(ids), AT_ONCE):
                counts = _sum(counts, work(ids[start : start + AT_ONCE], task_id=task_id))
        return counts

    def _send_on(self, taken: Taken) -> dict[str, int]:
        if taken.dirty:
            self.nudge("leads.refresh")
        if taken.withdrawn or taken.asked:
            self.nudge("outbox.free")
        if taken.asked:
            self.nudge("leads.heed")
        if taken.review or taken.withdrawn or taken.asked:
            self.nudge("outbox.deliver")
        if taken.resync_since is not None:
            self.nudge("sweep.resync")
        return dict(taken.meanings)

    def _apart(
        self,
        items: Sequence[T],
        work: Callable[[Sequence[T]], dict[str, int]],
        park: Callable[[T, str], None],
        put_off: Callable[[Sequence[T], str], None] | None = None,
    ) -> dict[str, int]:
        """Work on all at once; when that fails, on each alone: park those that fail for good, put the others off."""
        if not items:
            return {}
        try:
            return work(items)
        except Away:
            raise
        except TryLater as exc:
            if put_off is None:
                raise
            if len(items) == 1:
                put_off(items, str(exc))
                return {"put_off": 1}
        except Exception as exc:  # noqa: BLE001 - one lead never fails its batch, whatever the error
            if len(items) == 1:
                self.report(exc)
                park(items[0], _why(exc))
                return {"parked": 1}
        counts: dict[str, int] = {}
        for one in items:
            counts = _sum(counts, self._apart([one], work, park, put_off))
            if counts == {"put_off": ALL_PUT_OFF}:
                raise TryLater("one lead after the other is put off: it is not the leads")
        return counts

    def _tell(self, task: str, ids: Sequence[int], lanes: Mapping[int, Lane]) -> None:
        """Announce each lane's rows by themselves; who has no lane goes by the live one."""
        for lane in Lane:
            mine = [i for i in ids if lanes.get(i, Lane.LIVE) is lane]
            if mine:
                self.announce(task, mine, lane)


def _ahead(lane: Lane) -> Lane:
    """The lane of what was in work already when its process died: not behind all that came since."""
    return Lane.HOT if lane is Lane.LIVE else lane


def _why(exc: Exception) -> str:
    """The reason in one sentence; of an error nobody foresaw only the kind, as its text may be personal."""
    return str(exc) if isinstance(exc, FairturnError) else f"{type(exc).__name__}: see the log of the task"


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in {**a, **b}}
