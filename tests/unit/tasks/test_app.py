import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from celery import Celery, Task
from kombu.exceptions import OperationalError

from routing.errors import BadInput, FairturnError, LedgerUnreachable, Refused
from routing.lane import Lane
from tasks import app as tasks_app
from tasks.app import Broken, FairturnTask, GivenUp, announce, app

MakeTask = Callable[[Callable[..., Any]], Task]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def a_task() -> MakeTask:
    """Makes tasks that do what the test says; sent, they run at once, through the machinery of a worker."""
    celery = Celery("test", task_cls=FairturnTask, set_as_current=False)
    celery.conf.update(task_always_eager=True, task_store_eager_result=False)

    def make(does: Callable[..., Any]) -> Task:
        return celery._task_from_fun(does, name="leads.test")

    return make


def _raising(error: Exception) -> Callable[..., Any]:
    def fails(ids: list[int]) -> None:
        raise error

    return fails


def test_a_task_that_worked_tells_its_outcome_and_counts_in_one_line(a_task: MakeTask) -> None:
    def offers(ids: list[int]) -> dict[str, int]:
        return {"offered": len(ids)}

    task = a_task(offers)
    with structlog.testing.capture_logs() as lines:
        result = task([1, 2])
    assert result == {"outcome": "done", "offered": 2}
    (line,) = lines
    assert (line["event"], line["outcome"], line["offered"]) == ("task.done", "done", 2)
    assert line["took_ms"] >= 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(LedgerUnreachable(), "try_later"), (Refused("full"), "refused"), (BadInput("x", field="f", fix="y"), "gave_up")],
)
def test_foreseen_trouble_is_an_outcome_and_not_a_failure(a_task: MakeTask, error: Exception, outcome: str) -> None:
    sent = a_task(_raising(error)).delay([1])
    assert sent.state == "SUCCESS"
    assert sent.result == {"outcome": outcome, "because": type(error).__name__}


def test_what_gives_up_is_handed_on_with_its_ids(a_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[GivenUp] = []
    monkeypatch.setattr(tasks_app, "_give_up_hooks", [handed.append])
    error = BadInput("is no number", field="latitude", fix="Give one.")
    sent = a_task(_raising(error)).delay([7, 8])
    assert [(one.args, one.task_id, one.error) for one in handed] == [(([7, 8],), sent.id, error)]


def test_a_parking_place_that_is_shut_leaves_the_rows_to_the_relay(
    a_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_app, "_give_up_hooks", [_raising(LedgerUnreachable())])
    sent = a_task(_raising(BadInput("x", field="f", fix="y"))).delay([7])
    assert sent.result == {"outcome": "try_later", "because": "LedgerUnreachable"}


def test_an_unforeseen_failure_shows_where_and_never_what(a_task: MakeTask) -> None:
    with structlog.testing.capture_logs() as lines:
        sent = a_task(_raising(KeyError("zoe.marker@example.org"))).delay([1])
    assert sent.state == "FAILURE"
    assert isinstance(sent.result, Broken)
    assert re.fullmatch(r"KeyError at .*test_app\.py:\d+", str(sent.result))
    assert "marker" not in sent.traceback
    assert "marker" not in json.dumps(lines, default=str)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["task.failed"]


def test_a_failure_survives_the_way_between_processes() -> None:
    assert str(pickle.loads(pickle.dumps(Broken("KeyError at x.py:1")))) == "KeyError at x.py:1"  # noqa: S301 - our own


def test_called_as_a_function_a_task_fails_as_itself(a_task: MakeTask) -> None:
    with pytest.raises(KeyError):
        a_task(_raising(KeyError("x")))([1])


def test_announcing_goes_out_in_batches_to_the_queue_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, list[Any]]] = []
    queues: list[str] = []

    def send(name: str, args: list[Any], queue: str) -> None:
        sent.append((name, args))
        queues.append(queue)

    monkeypatch.setattr(app, "send_task", send)
    assert announce("leads.route", list(range(250)), Lane.BULK)
    assert queues == ["leads.bulk"] * 3
    assert [len(args[0]) for _, args in sent] == [100, 100, 50]
    assert [i for _, args in sent for i in args[0]] == list(range(250))


def test_announcing_nothing_sends_nothing() -> None:
    assert announce("leads.route", [])


def test_a_dead_broker_is_told_and_never_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(name: str, args: list[Any], queue: str) -> None:
        tries.append(name)
        raise OperationalError("redis://user:marker@host")

    tries: list[str] = []
    monkeypatch.setattr(tasks_app, "_quiet_until", 0.0)
    monkeypatch.setattr(app, "send_task", dead)
    with structlog.testing.capture_logs() as lines:
        assert not announce("leads.route", list(range(250)))
    assert [(line["event"], line["task"], line["because"]) for line in lines] == [
        ("announce.failed", "leads.route", "OperationalError")
    ]
    assert not announce("leads.route", [1])
    assert tries == ["leads.route"], "right after a failure nobody waits for another one"


def test_outside_of_tasks_there_is_no_task_id() -> None:
    assert tasks_app.task_id() is None


def test_no_task_is_ever_put_off_by_the_broker() -> None:
    """A message with a time to come is run again and again once it is older than the visibility timeout."""
    forbidden = re.compile(r"countdown\s*=|\beta\s*=|\.retry\(|autoretry_for|default_retry_delay")
    found = [
        f"{path}:{number}"
        for room in ("tasks", "workers", "web", "config")
        for path in (ROOT / room).rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert found == []


def test_errors_of_ours_end_in_a_known_outcome(a_task: MakeTask) -> None:
    """Also those that say nothing about the next action."""
    sent = a_task(_raising(FairturnError("odd"))).delay([1])
    assert sent.state == "FAILURE"
