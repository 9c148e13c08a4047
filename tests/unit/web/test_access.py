"""The published table is that of the routes."""

from pathlib import Path

import pytest

from config import settings
from web.access import document, of_this_app

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "access.md"


def test_docs_access_is_what_the_routes_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRTURN_LOG_LEVEL", "ERROR")
    settings.load.cache_clear()
    try:
        assert PUBLISHED.read_text("utf-8") == document(of_this_app()), "python -m web.access > docs/access.md"
    finally:
        settings.load.cache_clear()
