"""The house under fire for twenty seconds, and the runner's own parts; `make chaos` does it at length."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import armed, schedule
from tests.chaos.history import History
from tests.chaos.nemeses import NEMESES
from tests.chaos.schedule import PROFILES
from tests.chaos.timing import Spread
from tests.chaos.town import Town
from tests.sandbox_fixture import SandboxOrg

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(480)
def test_N3_X4_processes_are_killed_and_nothing_is_lost_doubled_or_over_capacity() -> None:
    options = ["--profile", "short", "--minutes", "0.3", "--leads", "120", "--members", "40"]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-5_000:]
    assert " lost 0 " in ran.stdout
    assert "'accept': " in ran.stdout  # somebody was told so


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_seed_gives_the_same_strikes_each_time_and_every_nemesis_is_known(profile: str) -> None:
    strikes = schedule.plan(profile, 7, 300)
    assert strikes == schedule.plan(profile, 7, 300)
    assert {strike.nemesis for strike in strikes} <= NEMESES.keys()
    assert all(0 <= strike.at_s <= 300 for strike in strikes)


def test_another_seed_gives_other_strikes() -> None:
    assert schedule.plan("kills", 1, 300) != schedule.plan("kills", 2, 300)


def test_every_two_seconds_something_is_killed_and_each_server_once() -> None:
    strikes = schedule.plan("kills", 3, 600)
    names = [strike.nemesis for strike in strikes]
    assert names.count("kill") >= 290
    assert (names.count("crash_postgres"), names.count("kill_valkey")) == (1, 1)


@pytest.mark.parametrize("point", sorted(armed.POINTS))
def test_each_fail_point_names_a_step_of_the_product(point: str) -> None:
    owner, name = armed.found(point)
    assert callable(getattr(owner, name))


def test_the_same_seed_builds_the_same_town() -> None:
    one, other = Town(5, members=30, capacity=6), Town(5, members=30, capacity=6)
    assert one.members == other.members
    assert one.lead(random.Random(1)) == other.lead(random.Random(1))


def test_a_line_of_the_history_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.note("org", "create", leads=["L1"])
    with history.file.open("a") as file:
        file.write('{"t": 1, "who": "org", "wh')
    assert [line["leads"] for line in history.lines("org", "create")] == [["L1"]]


def test_a_spread_tells_the_hundredth_part_that_took_longest() -> None:
    spread = Spread.of([float(n) for n in range(1, 201)])
    assert spread is not None
    assert (spread.count, spread.median, spread.p99, spread.worst) == (200, 100.0, 198.0, 200.0)


def test_the_pretend_salesforce_knows_every_fault_that_is_ordered(sandbox_org: SandboxOrg) -> None:
    for order in (*schedule.FAULTS, *schedule.STREAM_FAULTS):
        sandbox_org.fault(**order)
