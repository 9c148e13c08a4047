"""Whoever copies an example out of docs/policy.md has a policy that is accepted."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import policy as policy_file
from config import policy_text
from config.policy_checking import findings
from routing.finding import Severity

PAGE = Path(__file__).parents[3] / "docs" / "policy.md"
README = PAGE.parents[1] / "README.md"
CHAPTERS = re.split(r"(?m)^## ", PAGE.read_text("utf-8"))[1:]
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = [
    pytest.param(block, id=chapter.partition("\n")[0])
    for chapter in [f"README\n{README.read_text('utf-8')}", *CHAPTERS]
    for block in BLOCK.findall(chapter)
]
#: What examples name and leave to others to show: pools, a table, a territory.
SQUARE = {"type": "Polygon", "coordinates": [[[-94, 44], [-92, 44], [-92, 46], [-94, 46], [-94, 44]]]}
ELSEWHERE = {"bay": "US", "roofers": "CA", "shared": "MX"}
AROUND = {
    "tables": {"accounts": {"key": ["lead.postal_code"], "columns": {"owner": "text"}, "rows": []}},
    "areas": {"north": {"geojson": SQUARE}},
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_is_accepted(example: str) -> None:
    document = completed(yaml.safe_load(example))
    read = policy_text.read(policy_file.dump(document), "the example")
    assert [str(one) for one in findings(read) if one.severity is Severity.ERROR] == []


def test_the_page_has_an_example_of_each_section_of_a_policy() -> None:
    shown = set().union(*(yaml.safe_load(str(example.values[0])) for example in EXAMPLES))
    sections = set(policy_file.json_schema()["properties"])
    assert sections - shown <= {"sensitive", "default_tier", "areas"}


def completed(example: dict[str, Any]) -> dict[str, Any]:
    """The policy that ships, with what the example says in its place, and with what the example names."""
    shipped = policy_file.default_document()
    said = {pool["name"]: pool for pool in example.get("pools", [])}
    first = shipped["pools"][0]
    pools = [first | said.pop(first["name"], {})]
    named = [name for name in ELSEWHERE if name in yaml.safe_dump(example)]
    pools += [first | {"name": name, "countries": [ELSEWHERE[name]], "rings_by_country": []} for name in named]
    return {**shipped, "default": {"pool": first["name"]}, **AROUND, **example, "pools": [*pools, *said.values()]}
