"""The product's Celery app with one task more, which does nothing: `python -m celery -A bench.noop worker`."""

from celery import Task

from workers.main import app

__all__ = ["app"]


@app.task(name="bench.noop", base=Task)
def noop(number: int) -> None:
    """Do nothing, without the log line and the counters that the product's own tasks leave."""
