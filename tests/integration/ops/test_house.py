"""The processes of the house, run as in production."""

import json

import psycopg
import pytest
import redis

from config import metrics, settings
from config.celery import QUEUES
from tests.integration.ops.conftest import FLOWER_LOGIN, House, until
from workers import health

FLOWER_PATHS = (
    "/", "/workers", "/worker/celery@here", "/tasks", "/tasks/datatable", "/task/some-id", "/broker", "/metrics",
    "/healthcheck", "/static/css/flower.css", "/login", "/logout", "/nowhere", "/api/workers", "/api/tasks",
    "/api/task/types", "/api/queues/length", "/api/task/info/some-id",
)  # fmt: skip


def outcome_lines(house: House, task_id: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in house.log("worker").splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("task_id") == task_id and line["event"] == "task.done"]


@pytest.mark.parametrize("login", [None, ("ann", "wrong"), ("", "")])
def test_X5_flower_shows_nothing_to_whoever_does_not_log_in(house: House, login: tuple[str, str] | None) -> None:
    for path in FLOWER_PATHS:
        answer = house.http.get(house.flower + path, auth=login)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert "leads." not in answer.text


def test_X5_flower_runs_nothing_for_a_stranger(house: House) -> None:
    for verb in ("send-task", "apply", "async-apply"):
        assert house.http.post(f"{house.flower}/api/task/{verb}/leads.refresh", json={"args": []}).status_code == 401


def test_X5_a_task_is_found_in_flower_by_its_id_with_its_name_and_the_ids_it_was_about(house: House) -> None:
    sent = house.broker.send_task("leads.route", args=[[101, 102]])
    until(lambda: bool(outcome_lines(house, sent.id)), lambda: house.log("worker")[-3000:])
    address = f"{house.flower}/api/task/info/{sent.id}"
    until(lambda: house.http.get(address, auth=FLOWER_LOGIN).status_code == 200)
    told = house.http.get(address, auth=FLOWER_LOGIN).json()
    assert (told["name"], told["args"]) == ("leads.route", "[[101, 102]]")
    page = house.http.get(f"{house.flower}/task/{sent.id}", auth=FLOWER_LOGIN)
    assert page.status_code == 200
    assert "leads.route" in page.text


def test_a_worker_of_each_queue_answers_the_canaries_of_beat_and_then_the_house_is_ready(house: House) -> None:
    def beats() -> set[str]:
        with psycopg.connect(house.env["DATABASE_URL"]) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM heartbeats")}

    until(lambda: {f"queue:{queue}" for queue in QUEUES} <= beats(), lambda: house.log("beat")[-3000:])
    answer = house.http.get(f"{house.web}/readyz")
    assert answer.status_code == 200, answer.text
    assert {name: check["ok"] for name, check in answer.json()["checks"].items()} == dict.fromkeys(
        ("ledger", "policy", "turnstile", "broker", "backlog", *(f"queue:{queue}" for queue in QUEUES)), True
    )
    for part in ("web", "ready", "flower", "worker", "beat"):
        check = health.PARTS[part](house.settings)
        assert check.ok, check


def test_the_health_check_of_a_container_says_it_by_exit_code(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "load", lambda: house.settings)
    assert [health.main([part]) for part in ("web", "subscriber", "nobody")] == [0, 1, 2]
    told = capsys.readouterr()
    assert "web: ok: http://127.0.0.1:" in told.out
    assert "subscriber: NOT WELL: it has not shown itself yet" in told.out
    assert "Name one of: web, ready" in told.err


def test_a_message_arrives_after_the_broker_forgot_everything(house: House) -> None:
    with redis.Redis.from_url(house.env["REDIS_URL"]) as client:
        client.flushall()
    sent = house.broker.send_task("leads.route", args=[[103]])
    until(lambda: bool(outcome_lines(house, sent.id)), lambda: house.log("worker")[-3000:])


def test_what_every_process_counted_is_shown_with_the_gauges(house: House) -> None:
    sent = house.broker.send_task("outbox.deliver")
    until(lambda: bool(outcome_lines(house, sent.id)))
    text = house.http.get(f"{house.web}/metrics").text
    assert 'fairturn_tasks_total{outcome="done",task="outbox.deliver"}' in text
    assert 'fairturn_up{part="ledger"} 1.0' in text
    assert 'fairturn_queue_messages{queue="leads"}' in text
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert shown <= set(metrics.catalogue())


def test_every_line_of_the_processes_is_an_event(house: House) -> None:
    sent = house.broker.send_task("leads.route", args=[[104]])
    until(lambda: bool(outcome_lines(house, sent.id)))
    (line,) = outcome_lines(house, sent.id)
    assert (line["task"], line["process"]) == ("leads.route", "celery")
    for name in ("web", "flower", "beat"):
        for text in house.log(name).splitlines():
            assert text.startswith("{") or name == "beat", text


def test_the_page_of_the_api_needs_nothing_from_elsewhere(house: House) -> None:
    document = house.http.get(f"{house.web}/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    page = house.http.get(f"{house.web}/api/v1/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in document["paths"]:
        assert path in page.text
    for forbidden in ("<script", "<style", " style=", "src=", "//"):
        assert forbidden not in page.text.replace("<!doctype html>", "")
    assert house.http.get(f"{house.web}/api/v1/docs.css").headers["content-type"].startswith("text/css")


def test_every_operation_answers_operators_and_nobody_else(house: House) -> None:
    document = house.http.get(f"{house.web}/api/v1/openapi.json").json()
    asked = {path: str(methods.get("get", {}).get("security", "")) for path, methods in document["paths"].items()}
    assert not asked["/api/v1/invariants"]  # row N11: anybody may see that no promise was broken
    operations = [path for path, scopes in asked.items() if "operate" in scopes]
    assert len(operations) >= 4
    for path in operations:
        address = house.web + path.replace("{ref}", "7").replace("{pool}", "nobody")
        assert house.http.get(address).status_code in {200, 404}
        stranger = house.http.get(address, headers={"Host": "elsewhere.example"})
        assert stranger.status_code == 403
        assert stranger.headers["content-type"] == "application/problem+json"
