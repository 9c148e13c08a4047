"""`.env.example` explains every setting, and nothing that is none."""

import re
from pathlib import Path

import pytest
from pydantic import AliasChoices

from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / ".env.example").read_text().splitlines()
LISTED = {match[1]: match[2] for line in LINES if (match := re.fullmatch(r"#([A-Z0-9_]+)=(.*)", line))}


def _names() -> dict[str, str]:
    """Environment name -> field."""
    found: dict[str, str] = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        names = [str(a) for a in alias.choices] if isinstance(alias, AliasChoices) else [f"FAIRTURN_{field.upper()}"]
        found |= dict.fromkeys(names, field)
    return found


def test_every_setting_is_listed_and_nothing_else() -> None:
    assert set(LISTED) == set(_names())


def test_every_group_of_settings_is_explained() -> None:
    for before, line in zip(["", *LINES], LINES, strict=False):
        if re.match(r"#[A-Z0-9_]+=", line):
            assert before.startswith("#"), f"{line} has no word of explanation above it"


def test_the_defaults_shown_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _names():
        monkeypatch.delenv(name, raising=False)
    bare = Settings(_env_file=None)
    for name, value in LISTED.items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == bare
