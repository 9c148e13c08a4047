"""The Celery process: `python -m celery -A workers.main worker` (or beat, or flower)."""

from typing import Any

from celery import signals

from config import logs, metrics, settings
from tasks.app import app

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
