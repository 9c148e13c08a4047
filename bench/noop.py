"""The product's Celery app with one task more, which does nothing: `python -m celery -A bench.noop worker`."""

from celery import Task

from workers.main import app

__all__ = ["app"]


@app.task(name="sweep.noop", base=Task)  # by a name that the doorkeeper of the broker knows
def noop(number: int) -> None:
    """Do nothing, without the log line and the counters that the product's own tasks leave."""
