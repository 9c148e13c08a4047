"""The names of our rooms are ours alone, and the rooms import in one direction."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"workers", "tasks", "routing", "config", "storage", "gateways", "web", "sandbox", "tests"}


def test_no_installed_package_owns_the_name_of_a_room() -> None:
    owners = packages_distributions()
    assert {room: owners[room] for room in ROOMS & owners.keys() if set(owners[room]) != {"fairturn"}} == {}


def test_rooms_only_look_downwards() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
