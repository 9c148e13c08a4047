"""The Procfile, the foreground command, and compose start the same processes."""

import shlex
from pathlib import Path

import yaml

from workers import house

ROOT = Path(__file__).resolve().parents[2]


def _procfile() -> dict[str, list[str]]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: shlex.split(command) for name, _, command in (line.partition(": ") for line in lines if line)}


def _essence(argv: list[str] | tuple[str, ...]) -> list[str]:
    """Module and its verbs: what runs, whatever its addresses."""
    words = [word for word in argv if word not in {"python", "-m"}]
    return [word for word in words if not word.startswith("-")][: 4 if words[0] == "celery" else 1]


def test_every_process_runs_as_a_module() -> None:
    for name, command in _procfile().items():
        assert command[:2] == ["python", "-m"], name


def test_procfile_and_foreground_command_agree() -> None:
    assert {n: _essence(c) for n, c in _procfile().items()} == {n: _essence(c) for n, c in house.processes().items()}


def test_compose_starts_what_the_procfile_names() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, command in _procfile().items():
        assert name in services
        if name != "web":  # it is what the image does by itself
            assert _essence(services[name]["command"]) == _essence(command)
    image = (ROOT / "Dockerfile").read_text()
    assert '"uvicorn", "--factory", "web.main:app"' in image
