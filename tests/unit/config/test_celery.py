import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config import celery
from config.settings import Settings
from routing.errors import BadInput


def conf() -> dict[str, Any]:
    return celery.conf(Settings(redis_url="redis://127.0.0.1:1", data_dir=Path("/tmp/x")))


def test_importing_the_app_reads_no_settings_and_opens_nothing() -> None:
    code = "import sys, tasks.app; from config import settings; assert settings.load.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", code], check=True, env={"REDIS_URL": "nonsense", "PYTHONPATH": "."})


def test_a_missing_broker_is_named_with_its_fix() -> None:
    with pytest.raises(BadInput, match=r"REDIS_URL: no broker is set. Set REDIS_URL"):
        celery.conf(Settings(redis_url="", broker_url=""))


def test_nothing_is_kept_of_results_and_only_json_is_read() -> None:
    found = conf()
    assert found["result_backend"] is None
    assert found["task_ignore_result"]
    assert (found["task_serializer"], found["accept_content"]) == ("json", ["json"])


def test_every_queue_is_direct_on_the_default_exchange() -> None:
    queues = conf()["task_queues"]
    assert [queue.name for queue in queues] == list(celery.QUEUES)
    assert {queue.exchange.name for queue in queues} == {""}
    assert not conf()["task_create_missing_queues"]


def test_a_dead_broker_is_noticed_in_seconds() -> None:
    options = conf()["broker_transport_options"]
    assert options["socket_timeout"] <= 5
    assert options["socket_connect_timeout"] <= 2
    assert conf()["broker_connection_max_retries"] is None


def test_beat_nudges_the_relay_every_second_the_sweep_every_hour_and_a_canary_per_queue() -> None:
    table = conf()["beat_schedule"]
    assert table["relay"]["schedule"] == 1.0
    assert table["hourly sweep"]["schedule"].minute == {7}
    canaries = {entry["args"][0]: entry["options"]["queue"] for entry in table.values() if "args" in entry}
    assert canaries == {queue: queue for queue in celery.QUEUES}


def test_nudges_of_beat_do_not_pile_up_while_workers_are_away() -> None:
    assert all(entry["options"]["expires"] for entry in conf()["beat_schedule"].values())


def test_what_beat_and_the_routes_name_exists() -> None:
    code = "from tasks.app import app; app.loader.import_default_modules(); print(*app.tasks)"
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={"REDIS_URL": "redis://127.0.0.1:1", "PYTHONPATH": "."},
    )  # fmt: skip
    ours = {name for name in told.stdout.split() if not name.startswith("celery.")}
    assert {entry["task"] for entry in celery.timetable().values()} <= ours
    assert {name.split(".")[0] for name in ours} == {"deliveries", "leads", "outbox", "sweep"}
