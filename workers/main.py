"""The Celery process: `python -m celery -A workers.main worker` (or beat, or flower)."""

from typing import Any

from celery import signals

from config import logs, metrics, settings, wiring
from tasks.app import GivenUp, app, on_give_up

__all__ = ["app"]


@signals.setup_logging.connect
def _our_logs(**_: Any) -> None:
    """Celery's processes log as the others do; a connected handler keeps Celery from setting up its own."""
    cfg = settings.load()
    logs.setup(cfg.log_level, cfg.log_format, process="celery")


@signals.worker_init.connect
def _our_metrics(**_: Any) -> None:
    """Each process of the pool counts into files of its own."""
    metrics.share(settings.load().data_dir / "metrics", "worker")


@signals.worker_init.connect
def _warm(**_: Any) -> None:
    wiring.warm()


@on_give_up
def _park(given: GivenUp) -> None:
    """One dead letter a task and kind of trouble; the rows it was about stay, and the relay brings them back."""
    trouble = type(given.error).__name__
    wiring.parked().park(
        "task",
        f"{given.task}: {trouble}",
        str(given.error),
        input={"args": list(given.args)},
        task_id=given.task_id,
    )
