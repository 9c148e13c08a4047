"""`python -m workers.subscriber`: follows Salesforce's change stream and stores every event before anything else."""

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from config import logs, metrics, wiring
from config.settings import Settings, load
from gateways.salesforce.stream import Batch, Idle, Resync, Stream
from routing.change import Change
from routing.compare import OVERLAP, Kind
from routing.errors import GiveUp, TryLater
from routing.lane import Lane
from storage.postgres.events import Events, Superseded
from storage.postgres.positions import Position
from tasks import app as tasks

BEAT_EVERY_S = 10.0
#: How long to wait for a ledger that does not answer: doubled each time, up to the longest.
_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
#: Salesforce keeps events for 72 hours and promises nothing for the last of them.
SILENCE = timedelta(hours=60)

log = structlog.get_logger()


class Stands(Protocol):
    """Who may read the stream, and from where."""

    def stand(self, topic: str, *, stop: threading.Event) -> AbstractContextManager[Position | None]: ...
    def advance(self, topic: str, epoch: int, replay_id: bytes) -> None: ...


class Subscriber:
    """The one reader of one topic; any number may run, one reads and the others stand by."""

    def __init__(
        self,
        topic: str,
        *,
        positions: Stands,
        events: Events,
        stream: Callable[[threading.Event], Stream],
        announce: Callable[..., object],  # of new events' ids, and their lane when it is not the live one
        resync: Callable[[datetime, str], object],
        beat: Callable[[], object],
        dice: Callable[[], float] = random.random,
        lane: Callable[[Change], Lane] = lambda _: Lane.LIVE,
    ) -> None:
        self._topic = topic
        self._positions, self._events = positions, events
        self._new_stream = stream
        self._announce, self._resync, self._beat, self._lane = announce, resync, beat, lane
        self._stopped = threading.Event()
        self._stream: Stream | None = None
        self._beaten = 0.0
        self._dice, self._failures = dice, 0

    def stop(self) -> None:
        """End `run()` soon; may be called from another thread."""
        self._stopped.set()
        if self._stream is not None:
            self._stream.stop()

    def run(self) -> None:
        """Follow the stream until told to stop. Raises GiveUp when a person must look."""
        while not self._stopped.is_set():
            try:
                with self._positions.stand(self._topic, stop=self._stopped) as position:
                    if position is not None:
                        self._follow(position)
            except Superseded:
                log.warning("subscriber.superseded", topic=self._topic)
            except TryLater as exc:
                # A stream opened anew brings once more what was not stored, and each event counts against the org's
                # deliveries of the day: with a ledger that answers now and then, patience is cheaper.
                self._failures += 1
                log.warning("subscriber.waits", topic=self._topic, failure=logs.tell(exc))
            self._stopped.wait(self._pause())

    def _pause(self) -> float:
        span = min(_LONGEST_RETRY_S, _RETRY_S * 2.0 ** min(self._failures, 10))
        return span * (1 + self._dice()) / 2

    def _follow(self, position: Position) -> None:
        log.info("subscriber.reads", topic=self._topic, epoch=position.epoch)
        if position.replay_id is not None and position.silent_s > SILENCE.total_seconds():
            self._ask_for_all(position, position.committed_at, "long silence")
        self._stream = stream = self._new_stream(self._stopped)
        with closing(stream.items(position.replay_id, position.committed_at)) as items:
            for item in items:
                match item:
                    case Batch():
                        self._store(item, position.epoch)
                        self._show_life(position)
                    case Resync(since):
                        self._ask_for_all(position, since, "position refused")
                    case Idle(connected=True):
                        self._show_life(position)

    def _ask_for_all(self, position: Position, since: datetime | None, why: str) -> None:
        """Have everything compared that changed since the last event, or since the stream was last heard."""
        since = since or position.heard_at
        log.error("subscriber.resync", topic=self._topic, since=since.isoformat(), why=why)
        self._resync(since, why)
        metrics.count("fairturn_stream_resyncs_total", topic=self._topic, why=why)

    def _store(self, batch: Batch, epoch: int) -> None:
        """Keep what arrived together with the position, in one transaction; then tell the workers."""
        batch = replace(batch, changes=tuple(self._in_its_lane(change) for change in batch.changes))
        if not (batch.changes or batch.unreadable):
            self._positions.advance(self._topic, epoch, batch.replay_id)
            self._failures = 0
            return
        try:
            new = self._keep(batch, epoch)
        except GiveUp as exc:
            # Something in it cannot be kept: note which records changed, to be read again, and go on.
            log.error("subscriber.unkept", topic=self._topic, failure=logs.tell(exc))  # noqa: TRY400 - in `failure`
            new = self._keep(replace(batch, changes=tuple(_bare(change) for change in batch.changes)), epoch)
        for event in batch.unreadable:
            log.error("subscriber.unreadable", topic=self._topic, event_id=event.event_id, schema_id=event.schema_id)
        log.debug("subscriber.stored", topic=self._topic, events=len(batch.changes), new=len(new))
        self._failures = 0
        self._count(batch, len(new))
        if new:
            self._tell(new, {change.lane for change in batch.changes})

    def _in_its_lane(self, change: Change) -> Change:
        lane = self._lane(change)
        return change if lane is change.lane else replace(change, lane=lane)

    def _tell(self, new: Sequence[int], lanes: Collection[Lane]) -> None:
        if lanes == {Lane.LIVE}:
            self._announce(new)
            return
        for lane, ids in self._events.by_lane(new).items():
            self._announce(ids, lane)

    def _count(self, batch: Batch, new: int) -> None:
        gaps = sum(change.change_type.startswith("GAP_") for change in batch.changes)
        outcomes = {"new": new, "duplicate": len(batch.changes) - new, "gap": gaps, "unreadable": len(batch.unreadable)}
        for outcome, events in outcomes.items():
            metrics.count("fairturn_stream_events_total", events, topic=self._topic, outcome=outcome)
        if new:  # what comes twice was late long ago
            oldest = min(change.committed_at for change in batch.changes)
            delay = max(0.0, (datetime.now(UTC) - oldest).total_seconds())
            metrics.observe("fairturn_stream_delay_seconds", delay, topic=self._topic)

    def _keep(self, batch: Batch, epoch: int) -> list[int]:
        return self._events.store(self._topic, batch.changes, batch.unreadable, replay_id=batch.replay_id, epoch=epoch)

    def _show_life(self, position: Position) -> None:
        """Now and then: say that we are well, and make sure that the stream is still ours."""
        now = time.monotonic()
        if now - self._beaten >= BEAT_EVERY_S:
            self._beaten = now
            position.check()
            self._beat()


def _bare(change: Change) -> Change:
    gap = change.change_type if change.change_type.startswith("GAP_") else f"GAP_{change.change_type}"
    return replace(change, change_type=gap, body={}, changed=(), nulled=())


# --- assembly --------------------------------------------------------------------------------------------------------


def build(settings: Settings) -> Subscriber:
    """The subscriber as these settings want it."""
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return Subscriber(
        settings.salesforce_topic,
        positions=wiring.positions(),
        events=wiring.events(),
        stream=lambda stop: wiring.stream(settings.salesforce_topic, stop),
        announce=partial(tasks.announce, "leads.intake"),
        lane=wiring.lane_of(),
        resync=_resync,
        beat=lambda: wiring.heartbeats().beat("subscriber", worker),
    )


def _resync(since: datetime, why: str) -> None:
    """Have everything compared that changed since then; the ledger remembers that it is to be done."""
    wiring.scans().ask(Kind.CHANGED, why, since=since - OVERLAP)
    tasks.nudge("sweep.resync")


def main() -> int:
    """Run until SIGTERM or SIGINT; 1 when a person must look."""
    logs.setup(process="subscriber")
    try:
        settings = load()
        logs.setup(settings.log_level, settings.log_format, process="subscriber")
        metrics.share(settings.data_dir / "metrics", "subscriber")
        subscriber = build(settings)
        _stop_on_signals(subscriber)
        subscriber.run()
    except GiveUp as exc:
        log.critical("subscriber.stopped", failure=logs.tell(exc))
        return 1
    return 0


def _stop_on_signals(subscriber: Subscriber) -> None:
    def stop(_number: int, _frame: object) -> None:
        # Not here: the signal may have interrupted the very lock that stopping needs.
        threading.Thread(target=subscriber.stop, name="stop").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
