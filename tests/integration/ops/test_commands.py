"""The command line where something is missing: one sentence with the fix, and no traceback."""

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from config import settings
from routing.errors import BadInput
from tests import command_line
from tests.integration.routing.house import House
from workers import demo, house, running
from workers.cli import cli


@pytest.mark.parametrize("command", ["verify", "doctor"])
def test_a_ledger_without_its_tables_is_told_with_the_command_that_makes_them(
    command: str, empty_database_url: str, redis_url: str
) -> None:
    told = command_line.said({"DATABASE_URL": empty_database_url, "REDIS_URL": redis_url}, command)
    assert told.returncode == 1
    assert "run `fairturn migrate`" in f"{told.stdout}{told.stderr}"
    assert "Traceback" not in told.stderr


def test_a_directory_without_a_ledger_is_named_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"^--dir: there is no ledger in {tmp_path}"), house.opened(tmp_path, new=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_houses_do_not_share_a_directory(tmp_path: Path) -> None:
    with running.alone(tmp_path), pytest.raises(BadInput, match=r"^--dir: `fairturn up` runs in"):
        running.alone(tmp_path).__enter__()
    with running.alone(tmp_path):
        pass


def test_a_new_pretend_salesforce_is_not_run_beside_members_of_another_org(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    beside = House(database_url, redis_url)
    beside.publish()
    beside.member("near", salesforce_id=None)
    env = command_line.servers_of(beside) | {"FAIRTURN_DATA_DIR": str(tmp_path)}
    with house.pointed_at(env) as cfg:
        assert "--state" in running.pretended(cfg).argv
        beside.run("UPDATE members SET salesforce_id = '0015g00000Xyz12AAA'")
        with pytest.raises(BadInput, match=r"^SALESFORCE_LOGIN_URL: the members in this ledger are linked"):
            running.pretended(cfg)
        (tmp_path / house.ORG).touch()
        assert "--state" in running.pretended(cfg).argv
    beside.close()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"leads": "nowhere.csv"}, "nowhere.csv"),
        ({"members": "nowhere.csv"}, "nowhere.csv"),
        ({"report": "nowhere/out.json"}, "--json"),
        ({"directory": "a file"}, "--dir"),
    ],
)
def test_a_demo_with_a_wrong_path_says_so_before_anything_starts(
    tmp_path: Path, wrong: dict[str, str], field: str
) -> None:
    (tmp_path / "a file").touch()
    paths = {"directory": tmp_path / "demo"} | {name: tmp_path / path for name, path in wrong.items()}
    plan = demo.Plan.of(
        paths.get("leads"),
        paths.get("members"),
        rate=0,
        capacity=None,
        report=paths.get("report"),
        leave=True,
        directory=paths["directory"],
    )
    said = io.StringIO()
    with pytest.raises(BadInput) as refused:
        demo.run(plan, Console(file=said))
    assert refused.value.field.endswith(field)
    assert said.getvalue() == ""
    assert not (tmp_path / "demo").exists()


def test_settings_are_shown_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "DATABASE_URL": "postgresql://u:hidden@host/x",
        "REDIS_URL": "redis://:hidden@host",
        "FAIRTURN_GEOCODER_KEYS": "google=hidden",
        "SALESFORCE_CLIENT_SECRET": "hidden",
    }.items():
        monkeypatch.setenv(variable, value)
    settings.load.cache_clear()
    try:
        shown = dict(line.split(" = ", 1) for line in _settings())
    finally:
        settings.load.cache_clear()
    assert shown["salesforce_topic"] == "/data/LeadChangeEvent"
    assert {shown[name] for name in ("database_url", "redis_url", "geocoder_keys")} == {"**********"}
    assert not any("hidden" in value for value in shown.values())


def _settings() -> list[str]:
    done = CliRunner().invoke(cli, ["settings"])
    assert done.exit_code == 0
    return done.output.splitlines()
