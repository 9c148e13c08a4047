"""The Celery app with all that a worker does besides tasks: for `python -m workers.start worker`, and for Flower."""

import os
import time
from typing import Any

import structlog
from celery import signals

from config import logs, metrics, settings, wiring
from config.celery import LANES
from routing.lane import Lane
from tasks.app import GivenUp, app, on_give_up, tell
from tasks.broker import Rejected, on_reject

__all__ = ["app"]

#: How far processes that work on imports only stand back for all others on the machine.
BULK_NICENESS = 10
#: The queue of the courier, which needs neither places nor members.
DELIVERIES = "deliveries"
LONGEST_CALL_S = 16.0
_queues: set[str] = set()  # that this worker was started for

log = structlog.get_logger()


@signals.setup_logging.connect
def _our_logs(**_: Any) -> None:
    """Celery's processes log as the others do; a connected handler keeps Celery from setting up its own."""
    cfg = settings.load()
    logs.setup(cfg.log_level, cfg.log_format, process="celery")


@signals.worker_init.connect
def _our_metrics(**_: Any) -> None:
    """Each process of the pool counts into files of its own."""
    metrics.share(settings.load().data_dir / "metrics", "worker")


@signals.celeryd_init.connect
def _stand_back(options: dict[str, Any], **_: Any) -> None:
    """Whoever works on imports only takes the time that others leave, which on a free machine is all of it."""
    queues = options.get("queues") or ()
    _queues.update(queues.split(",") if isinstance(queues, str) else queues)
    if _queues == {LANES[Lane.BULK]}:
        os.nice(BULK_NICENESS)


@signals.worker_init.connect
def _warm(**_: Any) -> None:
    """Load what takes long, unless this worker never reads a lead."""
    if _queues != {DELIVERIES}:
        wiring.warm()


@signals.worker_process_shutdown.connect
def _bring_to_an_end(**_: Any) -> None:
    """Calls under way end within seconds; what does not is brought again by another process."""
    if wiring.courier.cache_info().currsize and (courier := wiring.courier()):
        courier.rest(LONGEST_CALL_S)


#: A flood of the same garbage is parked once in so long; every one of it is counted.
TOLD_EVERY_S = 10.0
_told: dict[tuple[str, str], float] = {}


@on_reject
def _tell(refused: Rejected) -> None:
    """Have a child park what is none of our messages: this process must not wait for the ledger."""
    kind, now = (refused.queue, refused.reason), time.monotonic()
    if now - _told.get(kind, -TOLD_EVERY_S) >= TOLD_EVERY_S:
        _told[kind] = now
        log.warning("message.rejected", queue=refused.queue, reason=refused.reason, bytes=refused.size)
        tell("sweep.reject", [*kind, refused.size, refused.sample.hex()])


#: So much of a task's arguments is parked with it; ids are short.
ARGS_KEPT = 1_000


@on_give_up
def _park(given: GivenUp) -> None:
    """One dead letter a task and kind of trouble; the rows it was about stay, and the relay brings them back."""
    trouble = type(given.error).__name__
    wiring.parked().park(
        "task",
        f"{given.task}: {trouble}",
        str(given.error),
        input={"args": repr(given.args)[:ARGS_KEPT]},
        task_id=given.task_id,
    )
