import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from config import logs
from routing.errors import BadInput, LedgerUnreachable

SEEDED = (
    "zoe.marker@example.org",
    "+1 (212) 555-0142",
    "212-555-0142",
    "s3cr3t-marker",
    "00D000000000001!AQ0AQmarker.token",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtYXJrZXIifQ.c2lnbmF0dXJl",
)


Said = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def said() -> Iterator[Said]:
    """The lines logged since, as JSON; afterwards logging is as it was."""
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    logs.setup("DEBUG", "json", process="test", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _fail(error: Exception) -> None:
    raise error


def test_a_line_is_json_with_utc_time_level_event_and_facts(said: Said) -> None:
    structlog.get_logger().info("lead.offered", lead=7, took_ms=1.5)
    (line,) = said()
    assert line["at"].endswith("Z")
    assert (line["level"], line["event"], line["lead"], line["took_ms"], line["process"]) == (
        "info",
        "lead.offered",
        7,
        1.5,
        "test",
    )


def test_neighbours_speak_through_the_same_door(said: Said) -> None:
    logging.getLogger("celery.worker").warning("lost %s", "connection")
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("alembic.runtime.migration").info("upgraded")
    assert [(line["logger"], line["event"]) for line in said()] == [
        ("celery.worker", "lost connection"),
        ("uvicorn.error", "started"),
        ("alembic.runtime.migration", "upgraded"),
    ]


@pytest.mark.parametrize("seed", SEEDED)
def test_personal_data_and_secrets_do_not_pass(seed: str, said: Said) -> None:
    log = structlog.get_logger()
    log.info("told", note=f"call {seed} now", nested={"list": [seed]}, password="s3cr3t-marker", other=(seed,))
    if seed != "s3cr3t-marker":  # a bare word is a secret only by the name it goes by
        logging.getLogger("neighbour").error("got %s", seed)
    text = json.dumps(said())
    if seed == "s3cr3t-marker":
        assert '"password": "[secret]"' in text
    else:
        assert seed not in text
        assert "marker" not in text


@pytest.mark.parametrize("name", ["password", "client_secret", "access_token", "Authorization", "api_key", "cookie"])
def test_values_that_go_by_a_secret_name_are_blanked_at_any_depth(name: str, said: Said) -> None:
    structlog.get_logger().info("told", **{name: "marker", "inside": {name: "marker"}})
    assert "marker" not in json.dumps(said())


def test_a_url_keeps_its_host_and_loses_its_password() -> None:
    assert logs.scrub("redis://user:marker@db.example:6379/0") == "redis://[secret]@db.example:6379/0"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T03:01:00Z",
        "2026-11-22 03:01:00",
        "192.168.100.200",
        "0192f3c1-7a2b-7000-8000-123456789012",
        "took 12345.678901 s",
        "00Q000000000001AAA",
        "leads.route[a20a9668-6a6b-4d01-b1d9-086201b56b53]",
    ],
)
def test_times_ids_and_addresses_of_machines_stay_readable(text: str) -> None:
    assert logs.scrub(text) == text


def test_a_foreign_failure_is_told_by_type_and_place_without_its_message(said: Said) -> None:
    try:
        try:
            _fail(KeyError("zoe.marker@example.org"))
        except KeyError as exc:
            raise LedgerUnreachable from exc
    except LedgerUnreachable:
        structlog.get_logger().exception("it.failed")
    (line,) = said()
    outer, inner = line["failure"]
    assert (outer["type"], outer["message"]) == ("routing.errors.LedgerUnreachable", "Postgres does not answer.")
    assert inner["type"] == "builtins.KeyError"
    assert "test_logs.py" in inner["at"][0]
    assert "marker" not in json.dumps(line)


def test_a_neighbours_traceback_is_told_the_same_way(said: Said) -> None:
    try:
        _fail(ValueError("zoe.marker@example.org"))
    except ValueError:
        logging.getLogger("neighbour").exception("failed")
    (line,) = said()
    assert line["failure"][0]["type"] == "builtins.ValueError"
    assert "marker" not in json.dumps(line)


def test_our_own_sentences_are_told_scrubbed(said: Said) -> None:
    error = BadInput("zoe.marker@example.org is no place", field="city", fix="Write a city.")
    structlog.get_logger().info("row.refused", failure=logs.tell(error))
    (line,) = said()
    assert line["failure"][0]["message"] == "city: [email] is no place. Write a city."


@given(value=st.text(), event=st.text(min_size=1))
def test_no_value_can_start_a_line_of_its_own(value: str, event: str) -> None:
    for render in (logs._as_json, logs._as_text):
        line = render(None, "info", {"at": "now", "level": "info", "event": event, "note": value})
        assert len(line.splitlines()) == 1


def test_task_and_request_ids_ride_along(said: Said) -> None:
    with structlog.contextvars.bound_contextvars(task_id="t-1"):
        structlog.get_logger().info("inside")
    structlog.get_logger().info("outside")
    inside, outside = said()
    assert inside["task_id"] == "t-1"
    assert "task_id" not in outside
