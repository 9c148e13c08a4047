"""requirements.lock: whole, hashed, and silent about where packages come from."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRIES = [entry for entry in re.split(r"(?m)^(?=\w)", LOCK) if entry.strip()]


def _pins() -> dict[str, list[Requirement]]:
    pins: dict[str, list[Requirement]] = {}
    for entry in ENTRIES:
        pin = Requirement(entry.splitlines()[0].rstrip(" \\"))
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def test_each_package_is_pinned_with_hashes() -> None:
    for entry in ENTRIES:
        assert re.match(r"[\w.-]+==\S+( ; [^\\]+)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+\Z", entry), entry[:100]


def test_it_names_no_host_and_no_path() -> None:
    assert "/" not in LOCK
    assert "index" not in LOCK.replace("sortedindex", "")
    assert "#" not in LOCK


@pytest.mark.parametrize("wanted", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
def test_it_fulfils_what_the_project_asks_for(wanted: str) -> None:
    requirement = Requirement(wanted)
    pins = _pins().get(canonicalize_name(requirement.name), [])
    assert pins, f"{requirement.name} is missing: run make lock"
    for pin in pins:
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{pin} does not fulfil {wanted}: run make lock"


def test_the_tools_of_development_can_be_told_from_the_product() -> None:
    told = subprocess.run(
        [sys.executable, ROOT / "bin" / "dev-packages", ROOT / "pyproject.toml"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {"pytest", "mypy", "ruff", "hypothesis"} <= set(told)
    assert {canonicalize_name(Requirement(wanted).name) for wanted in PROJECT["dependencies"]} & set(told) == set()
    assert {"kombu", "billiard", "packaging", "cryptography", "redis"} & set(told) == set()
