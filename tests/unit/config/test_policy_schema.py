"""The schema that editors read is the one of this program."""

from pathlib import Path

from config.policy import schema_text

PAGE = Path(__file__).parents[3] / "docs" / "policy.schema.json"


def test_the_published_schema_is_current() -> None:
    told = PAGE.read_text("utf-8")
    assert told == schema_text(), "run `python -m workers.cli policy schema > docs/policy.schema.json`"
