"""The Celery app and what every task has in common: how it ends, how it is told, how it is announced."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import TaskPredicate

from config import celery as celery_config
from config import logs, metrics, settings
from routing.errors import FairturnError, GiveUp, Refused, TryLater
from routing.lane import Lane
from tasks.arguments import checked

log = structlog.get_logger()

#: At most so many ids travel in one message.
BATCH = 100


class Broken(FairturnError):  # noqa: N818 - the state of the task, read in Flower
    """A task met an error nobody foresaw; the log line with its task id says where."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A task that nobody should run again as it is."""

    task: str
    task_id: str
    args: tuple[Any, ...]  # ids
    error: GiveUp


_give_up_hooks: list[Callable[[GivenUp], None]] = []


def on_give_up(hook: Callable[[GivenUp], None]) -> Callable[[GivenUp], None]:
    """Decorator: the hook is told of every task that gave up, so that it can be parked."""
    if hook not in _give_up_hooks:
        _give_up_hooks.append(hook)
    return hook


class FairturnTask(Task):
    """Every task ends in one outcome and one line in the log; none of them tries itself again.

    The rows a task was about stay as they are when it could not do its work, and the relay finds them: that is the
    retry. A delayed message would be repeated by the broker and is forgotten by it at will.
    """

    abstract = True
    max_retries = 0

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the task; what it returns (counts by name) is told with its outcome, in the log and in Flower."""
        start, facts, outcome = perf_counter(), dict[str, Any](), "done"
        with structlog.contextvars.bound_contextvars(task=self.name, task_id=self.request.id):
            try:
                checked(self.run, args, kwargs)
                facts.update(self.run(*args, **kwargs) or {})
            except TaskPredicate:
                raise
            except TryLater as exc:
                outcome, facts["because"] = "try_later", type(exc).__name__
            except Refused as exc:
                outcome, facts["because"] = "refused", type(exc).__name__
            except GiveUp as exc:
                outcome, facts["because"] = self._gave_up(args, exc)
            except Exception as exc:
                outcome = "failed"
                if self.request.called_directly:
                    raise
                log.error("task.failed", failure=logs.tell(exc))  # noqa: TRY400 - the traceback is in `failure`
                # Celery tells Flower and its own log the text of what is raised here, so it holds no values.
                raise Broken(f"{type(exc).__name__} at {_place(exc)}") from None
            finally:
                self._tell(outcome, perf_counter() - start, facts)
        return {"outcome": outcome, **facts}

    def _tell(self, outcome: str, took_s: float, facts: Mapping[str, Any]) -> None:
        log.info("task.done", outcome=outcome, took_ms=round(took_s * 1000, 1), **facts)
        metrics.count("fairturn_tasks_total", task=self.name, outcome=outcome)
        metrics.observe("fairturn_task_seconds", took_s, task=self.name)

    def _gave_up(self, args: tuple[Any, ...], error: GiveUp) -> tuple[str, str]:
        log.warning("task.gave_up", failure=logs.tell(error))
        try:
            for hook in _give_up_hooks:
                hook(GivenUp(self.name, self.request.id or "", args, error))
        except TryLater as exc:  # the next run of the same rows parks them
            return "try_later", type(exc).__name__
        return "gave_up", type(error).__name__


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


app = Celery("fairturn", task_cls=FairturnTask)
# Read on first use: importing this module reads no environment and opens nothing.
app.add_defaults(lambda: celery_config.conf(settings.load()))


def task_id() -> str | None:
    """The id of the task that is running, as Flower shows it; None outside of tasks."""
    running = app.current_worker_task
    return running.request.id if running else None


def announce(name: str, ids: Sequence[int | str], lane: Lane = Lane.LIVE) -> bool:
    """Tell the workers of a lane, after the commit, that these rows wait for the task `name`; never raises.

    True when the broker took every message; after the first that it did not take, no more are tried. A lost message
    costs nothing but time: the relay finds the rows.
    """
    return all(_publish(name, [list(chunk)], queue=celery_config.LANES[lane]) for chunk in _chunks(ids))


def nudge(name: str) -> bool:
    """Tell the workers that there is something for a task without arguments; never raises."""
    return _publish(name, [])


def tell(name: str, args: list[Any], *, queue: str | None = None) -> bool:
    """Send one message with these few words, to the task's own queue or another; never raises."""
    return _publish(name, args, **({"queue": queue} if queue else {}))


#: A try to publish costs nearly a second while the broker is away: after one that failed, none is made for so long.
QUIET_S = 2.0
_quiet_until = 0.0


def _publish(name: str, args: list[Any], **how: Any) -> bool:
    global _quiet_until  # noqa: PLW0603 - what a process knows of the broker
    try:
        if monotonic() >= _quiet_until:
            app.send_task(name, args=args, **how)
            return True
    except Exception as exc:  # noqa: BLE001 - whatever ails the broker, the caller's work is committed
        log.warning("announce.failed", task=name, because=type(exc).__name__)
        _quiet_until = monotonic() + QUIET_S
    metrics.count("fairturn_announcements_lost_total", task=name)
    return False


def _chunks(ids: Sequence[int | str]) -> Iterator[Sequence[int | str]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
