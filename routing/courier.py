"""What takes deliveries out: many at once, and none of them waits for another's endpoint."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from routing.delivery import Channel
from routing.errors import FairturnError
from routing.offer import Notice, OfferState

#: Calls under way in one process, and messages among them, which hold a thread each.
AT_ONCE, MESSAGES = 100, 8
#: Notices made out together.
TOGETHER = 200


@dataclass(frozen=True, slots=True)
class About:
    """The offer a delivery is about, as it stands now, and of its lead what may be seen before acceptance."""

    state: OfferState
    version: int
    expires_at: datetime
    work_by: datetime | None
    stepped: bool  # its member noted a step since the notice
    distance_m: float
    pool: str
    country: str = ""
    region: str = ""
    postal_code: str = ""
    city: str = ""
    product: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a delivery goes to; personal data, never logged."""

    id: UUID
    active: bool
    email: str
    phone: str
    language: str
    units: str
    zone: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One delivery, leased, with all that is needed to bring it."""

    id: int
    token: UUID
    channel: Channel
    what: str
    target: UUID
    step: int
    attempts: int  # this one counted
    until: datetime
    at: datetime  # of the notice
    now: datetime  # the ledger's
    member_id: int | None = None
    number: int | None = None
    offer_id: UUID | None = None
    lead_id: int | None = None
    opened: bool = False  # an earlier step was
    about: About | None = None
    person: Person | None = None
    url: str | None = None  # of the endpoint; None: there is no such endpoint, or it is disabled
    sealed: tuple[bytes, ...] = ()  # secrets of the endpoint, the device's subscription, or what a letter says


class Outcome(StrEnum):
    """What came of one try."""

    SENT = "sent"
    RETRY = "retry"  # it may work later
    FAILED = "failed"  # it will not
    GONE = "gone"  # nobody is there any more: the endpoint is disabled, the device forgotten
    EXPIRED = "expired"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Brought:
    """The outcome, with its reason in words that hold nothing personal."""

    outcome: Outcome
    why: str = ""


class DeliveryBook(Protocol):
    """What is asked of the ledger; each method is one transaction and safe to repeat."""

    def fan(self, limit: int = TOGETHER) -> int: ...
    def claim(self, limit: int, messages: int) -> Sequence[Parcel]: ...
    def finish(self, results: Sequence[tuple[Parcel, Brought]]) -> Sequence[tuple[Channel, str]]: ...


def needless(parcel: Parcel) -> Brought | None:
    """Why a delivery is not worth bringing any more, if so. Programs are told all the same while there is time."""
    if parcel.until <= parcel.now:
        return Brought(Outcome.EXPIRED, "its deadline is past")
    if parcel.channel is Channel.WEBHOOK:
        return None if parcel.url else Brought(Outcome.SKIPPED, "the endpoint is disabled or removed")
    if parcel.person is None or not parcel.person.active:
        return Brought(Outcome.SKIPPED, "the person has no access any more")
    if parcel.channel is Channel.PUSH and not parcel.sealed:
        return Brought(Outcome.SKIPPED, "the device was removed")
    if parcel.opened and parcel.step:
        return Brought(Outcome.SKIPPED, "it was opened")
    if parcel.about is None:
        return None
    answered = parcel.what in {Notice.CREATED, Notice.REMINDER} and parcel.about.state is not OfferState.OFFERED
    done = parcel.what == Notice.WARNING and (parcel.about.state is not OfferState.ACCEPTED or parcel.about.stepped)
    return Brought(Outcome.SKIPPED, "it was answered") if answered or done else None


@dataclass(slots=True)
class Courier:
    """Takes out what is due. `work` returns when everything due is on its way; what hangs holds nobody up.

    Calls are made by a loop in a thread of this process; their ends are written down as they come. A process that dies
    leaves leases behind, which end: then the same is brought again, under the same id.
    """

    book: DeliveryBook
    bring: Callable[[Parcel], Awaitable[Brought]]
    told: Callable[[Channel, str], object]  # of every end
    report: Callable[[Exception], object]  # of what nobody foresaw, and of a ledger that is away
    at_once: int = AT_ONCE
    _flying: int = 0
    _messages: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _idle: threading.Condition = field(default_factory=threading.Condition)
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _pen: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "deliveries-pen"))
    _ended: list[tuple[Parcel, Brought]] = field(default_factory=list)

    def work(self) -> dict[str, int]:
        """Make out what members are to be told, and start every delivery that is due."""
        counts = {"fanned": 0, "taken": 0}
        while made := self.book.fan():
            counts["fanned"] += made
        while started := self._start():
            counts["taken"] += started
        return {name: n for name, n in counts.items() if n}

    def rest(self, within_s: float) -> bool:
        """Wait until nothing is under way; whether that came in time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._flying == 0, within_s)

    def _start(self) -> int:
        """Claim once, and let it fly. One claim at a time: the next one counts what this one took."""
        with self._lock:
            with self._idle:
                room, messages = self.at_once - self._flying, MESSAGES - self._messages
            claimed = self.book.claim(room, max(0, messages)) if room > 0 else []
            spared = [(parcel, why) for parcel in claimed if (why := needless(parcel))]
            for one in self.book.finish(spared) if spared else []:
                self.told(*one)
            left_out = {parcel.id for parcel, _ in spared}
            flying = [parcel for parcel in claimed if parcel.id not in left_out]
            self._count(flying, 1)
            for parcel in flying:
                asyncio.run_coroutine_threadsafe(self._fly(parcel), self._running())
            return len(claimed)

    async def _fly(self, parcel: Parcel) -> None:
        try:
            brought = await self.bring(parcel)
        except FairturnError as exc:
            brought = Brought(Outcome.FAILED, type(exc).__name__)
            self.report(exc)
        except Exception as exc:  # noqa: BLE001 - one delivery's trouble never touches another
            brought = Brought(Outcome.RETRY, type(exc).__name__)
            self.report(exc)
        with self._idle:
            self._ended.append((parcel, brought))
        await asyncio.get_running_loop().run_in_executor(self._pen, self._write_down)

    def _write_down(self) -> None:
        """Whatever has ended so far, at once; then look whether its place is wanted."""
        with self._idle:
            ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            for one in self.book.finish(ended):
                self.told(*one)
        except FairturnError as exc:
            self.report(exc)  # the leases end, and it is brought again
        finally:
            self._count([parcel for parcel, _ in ended], -1)
        try:
            self._start()
        except FairturnError as exc:
            self.report(exc)

    def _count(self, parcels: Sequence[Parcel], by: int) -> None:
        with self._idle:
            self._flying += by * len(parcels)
            self._messages += by * sum(parcel.channel in {Channel.SMS, Channel.EMAIL} for parcel in parcels)
            self._idle.notify_all()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name="deliveries", daemon=True)
            self._thread.start()
        return self._loop

    def close(self) -> None:
        """End the thread; what is under way is brought again when its lease ends."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None
        if self._thread is not None:
            self._thread.join()
        self._pen.shutdown()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        if under_way := asyncio.all_tasks(loop):
            for task in under_way:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*under_way, return_exceptions=True))
    finally:
        loop.close()
