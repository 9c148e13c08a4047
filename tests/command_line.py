"""`fairturn` as people type it, within this process: a process of its own takes seconds only to load its modules."""

from collections.abc import Mapping
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from config import desk
from tests.integration.routing.house import House
from workers import house as processes
from workers.cli import main


@dataclass(frozen=True, slots=True)
class Told:
    """How the command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def fairturn(house: House, *words: str, **more: str) -> Told:
    """The command beside this house's servers, with more settings where named; what nobody foresaw is raised."""
    return said(servers_of(house) | more, *words)


def said(env: Mapping[str, str], *words: str) -> Told:
    """The command with these settings."""
    try:
        with processes.pointed_at({"COLUMNS": "200", **env}), pytest.MonkeyPatch.context() as typed:
            typed.setattr("sys.argv", ["fairturn", *words])
            ended = CliRunner().invoke(click.Command("typed", callback=main), [], catch_exceptions=False)
    finally:
        for built in (one for one in vars(desk).values() if hasattr(one, "cache_clear")):
            built.cache_clear()
    return Told(ended.exit_code, ended.stdout, ended.stderr)


def servers_of(house: House) -> dict[str, str]:
    """The settings that lead to its servers."""
    return {
        "DATABASE_URL": house.database_url,
        "REDIS_URL": house.redis_url,
        "FAIRTURN_BROKER_URL": house.redis_url,
        "FAIRTURN_TURNSTILE_URL": house.redis_url,
    }
