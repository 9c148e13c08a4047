"""`python -m workers.standby`: does the workers' work out of the ledger while the broker is away.

Messages are hints, so without them the work is still to be found: in the rows. Any number of these may run, as rows
are taken under lock; while the broker answers they only look. Looking is done by a thread of its own, so that no
chore and no batch keeps it on duty.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import structlog

from config import logs, metrics, wiring
from config.settings import Settings, load
from routing.errors import FairturnError, GiveUp, TryLater
from routing.lane import Lane

#: The broker is away when it has not answered for so long.
AWAY_S = 2.0
LOOK_EVERY_S = 0.5
BEAT_EVERY_S = 10.0
#: Turnstile and ledger are compared, and what must never be is looked at.
AUDIT_EVERY_S = 30.0
#: So many ids are worked on together, and so many pieces of work wait at most: what is dropped is found again.
AT_ONCE, ROOM = 100, 500

log = structlog.get_logger()

#: Whoever waits for others (geocoders, Salesforce) must not hold up those who only decide.
HANDS: Mapping[str, str] = {
    "leads.geocode": "places",
    "leads.refresh": "calls",
    "outbox.deliver": "calls",
    "sweep.resync": "calls",
    "deliveries.send": "posts",
}

Work = Callable[[Sequence[int]], object]


class Looks(Protocol):
    """What is asked of the broker: storage.redis.broker.Broker."""

    def probe(self) -> None: ...


class Desk:
    """What was announced and is still to do, by whose hands; a full desk drops what comes."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[str, tuple[int, ...]]]] = {}
        self._open = True
        self._news = threading.Condition()

    def announce(self, task: str, ids: Sequence[int], _lane: Lane = Lane.LIVE, /) -> bool:
        """Put these rows on the desk."""
        chunks = [tuple(ids[at : at + AT_ONCE]) for at in range(0, len(ids), AT_ONCE)]
        put = [self._put(task, chunk) for chunk in chunks]  # all of them, also after one that found no room
        return all(put)

    def nudge(self, task: str) -> bool:
        """Put a task without rows on the desk, unless it lies there."""
        return self._put(task, ())

    def take(self, hand: str, wait_s: float) -> tuple[str, tuple[int, ...]] | None:
        """The next piece of work for these hands, if one comes in time."""
        with self._news:
            waiting = self._waiting.setdefault(hand, deque())
            if not waiting:
                self._news.wait(wait_s)
            return waiting.popleft() if waiting else None

    def open(self) -> None:
        """Work is done here again."""
        self._open = True

    def clear(self) -> None:
        """Leave the rest to the workers, also what would go on for long."""
        with self._news:
            self._open = False
            self._waiting.clear()
            self._news.notify_all()

    @property
    def is_open(self) -> bool:
        """Whether more may be done than the batch at hand."""
        return self._open

    @property
    def is_clear(self) -> bool:
        """Whether those who decide have nothing to do."""
        return not self._waiting.get("leads")

    def _put(self, task: str, ids: tuple[int, ...]) -> bool:
        with self._news:
            waiting = self._waiting.setdefault(HANDS.get(task, "leads"), deque())
            if len(waiting) >= ROOM or (task, ids) in waiting:
                return False
            waiting.append((task, ids))
            self._news.notify_all()
            return True


@dataclass(slots=True)
class Watch:
    """How long the broker has been away."""

    broker: Looks
    clock: Callable[[], float] = time.monotonic
    answered_at: float | None = None

    def is_away(self) -> bool:
        """Whether it has not answered for too long; asked once, which takes a second at most."""
        now = self.clock()
        if self.answered_at is None:
            self.answered_at = now
        try:
            self.broker.probe()
        except (TryLater, GiveUp):
            return self.clock() - self.answered_at > AWAY_S
        self.answered_at = self.clock()
        return False


@dataclass(slots=True)
class Standby:
    """On duty while the broker is away; otherwise it looks, and sees to what is done now and then."""

    watch: Watch
    desk: Desk
    work: Callable[[str, Sequence[int]], object]  # does one task
    relay: Callable[[], object]  # puts on the desk what is to do
    hand_back: Callable[[], object]  # gives the turnstile its place back
    chores: Sequence[Callable[[], object]] = ()  # on duty or not; each knows when it is due
    on_duty: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)  # of the present turn of duty
    _hands: dict[str, threading.Thread] = field(default_factory=dict)

    def run(self) -> None:
        """Look, and work when it is needed, until stopped."""
        chores = threading.Thread(target=self._see_to_chores)
        chores.start()
        while not self.stopped.is_set():
            self.look()
            self.stopped.wait(LOOK_EVERY_S)
        self._leave()
        for thread in (chores, *self._hands.values()):
            thread.join()

    def look(self) -> None:
        """One look at the broker, and what follows from it; nothing that takes long is done between two looks."""
        away = self.watch.is_away()
        if away and not self.on_duty:
            self._enter()
        elif self.on_duty and not away:
            self._leave()
            _calmly("standby.hand_back", self.hand_back)

    def see_to_chores(self) -> None:
        """Each of them that is due."""
        for chore in self.chores:
            _calmly("standby.chore", chore)

    def _see_to_chores(self) -> None:
        while not self.stopped.is_set():
            self.see_to_chores()
            self.stopped.wait(LOOK_EVERY_S)

    def _enter(self) -> None:
        log.warning("standby.on_duty", because="the broker does not answer")
        self.on_duty = True
        self.desk.open()
        self._over = threading.Event()
        toil = {hand: partial(self._toil, hand) for hand in ("leads", "places", "calls", "posts")}
        for hand, work in {**toil, "relay": self._relay}.items():
            self._hands[hand] = threading.Thread(target=_after, args=(self._hands.get(hand), work, self._over))
            self._hands[hand].start()

    def _leave(self) -> None:
        """Off duty at once: who is in the middle of a batch ends it, beside the workers, and takes no other."""
        if not self.on_duty:
            return
        self.on_duty = False
        self._over.set()
        self.desk.clear()
        log.warning("standby.off_duty", because="the broker answers" if not self.stopped.is_set() else "told to stop")

    def _relay(self, over: threading.Event) -> None:
        while not over.is_set():
            if self.desk.is_clear:
                _calmly("standby.relay", self.relay)
            over.wait(LOOK_EVERY_S)

    def _toil(self, hand: str, over: threading.Event) -> None:
        while not over.is_set():
            piece = self.desk.take(hand, LOOK_EVERY_S)
            if piece is not None:
                task, ids = piece
                _calmly(task, partial(self.work, task, ids))


def _after(before: threading.Thread | None, work: Callable[[threading.Event], object], over: threading.Event) -> None:
    """Work when those hands are free that may still end a batch of the last turn of duty."""
    if before is not None:
        before.join()
    work(over)


def _calmly(what: str, do: Callable[[], object]) -> None:
    """Do it; what goes wrong is told and tried again with the next look, as the rows stay."""
    try:
        do()
    except FairturnError as exc:
        log.warning("standby.failed", what=what, failure=logs.tell(exc))
    except Exception as exc:  # noqa: BLE001 - one piece of work never ends the watch
        log.error("standby.failed", what=what, failure=logs.tell(exc))  # noqa: TRY400 - in `failure`


# --- assembly --------------------------------------------------------------------------------------------------------


def build() -> Standby:
    """The standby as the settings want it; what it needs on duty is loaded then."""
    desk = Desk()
    return Standby(
        watch=Watch(wiring.broker()),
        desk=desk,
        work=lambda task, ids: _does(desk)[task](ids),
        relay=lambda: wiring.sweeper(desk.announce, desk.nudge).relay(without_broker=True),
        hand_back=lambda: [wiring.dispatcher().come_back(market) for market in wiring.members().versions()],
        chores=(_every(BEAT_EVERY_S, _beat), _every(AUDIT_EVERY_S, wiring.audit), _every(AUDIT_EVERY_S, _check)),
    )


def _does(desk: Desk) -> Mapping[str, Work]:
    journey = replace(wiring.journey(desk.announce, desk.nudge), may_go_on=lambda: desk.is_open)
    outbound = replace(wiring.outbound(desk.nudge), may_go_on=lambda: desk.is_open)
    return {
        "leads.intake": journey.intake,
        "leads.geocode": journey.locate,
        "leads.route": journey.route,
        "leads.refresh": lambda _: journey.refresh(),
        "leads.wake": lambda _: journey.wake(),
        "leads.heed": lambda _: wiring.heeder(desk.announce, desk.nudge).heed(),
        "outbox.deliver": lambda _: outbound.deliver(),
        "outbox.free": lambda _: outbound.free(),
        "deliveries.send": lambda _: courier.work() if (courier := wiring.courier()) else None,
        "sweep.resync": lambda _: wiring.comparer(desk.announce, desk.nudge).work(),
    }


def _every(seconds: float, do: Callable[[], object]) -> Callable[[], object]:
    """Does it when it was not done for so long."""
    last = -seconds

    def when_due() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            do()

    return when_due


def _check() -> None:
    wiring.invariants().check()


def _beat() -> None:
    wiring.heartbeats().beat("standby", f"{socket.gethostname()}:{os.getpid()}")


def main() -> int:
    """Run until SIGTERM or SIGINT; 1 when a person must look."""
    logs.setup(process="standby")
    try:
        settings: Settings = load()
        logs.setup(settings.log_level, settings.log_format, process="standby")
        metrics.share(settings.data_dir / "metrics", "standby")
        standby = build()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: standby.stopped.set())
        standby.run()
    except GiveUp as exc:
        log.critical("standby.stopped", failure=logs.tell(exc))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
