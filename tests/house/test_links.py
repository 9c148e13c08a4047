"""What the pages point to exists."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(<?([^)>\s]+)>?\)")
CODE = re.compile(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:py|lua|yml|yaml|md|toml|sql))`")


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    wanted = [link.partition("#")[0] for link in LINK.findall(page.read_text())]
    missing = [link for link in wanted if link and ":" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_the_pages_every_reader_starts_with_are_there() -> None:
    assert [
        name for name in ("README.md", "docs/tour.md", "LICENSE", "CHANGELOG.md") if not (ROOT / name).is_file()
    ] == []


def test_each_room_has_its_place_in_the_tour() -> None:
    tour = (ROOT / "docs" / "tour.md").read_text()
    rooms = {"workers", "tasks", "routing", "config", "storage", "gateways", "web", "sandbox"}
    assert {room for room in rooms if f"{room}/" not in tour} == set()


def test_paths_named_in_the_tour_exist() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    known = {str(parent) + "/" for name in tracked for parent in Path(name).parents} | set(tracked)
    tails = {name.rpartition("/")[2] for name in tracked}
    named = {name for name in CODE.findall((ROOT / "docs" / "tour.md").read_text()) if not name.startswith("/")}
    missing = {
        name
        for name in named
        if name not in known
        and name.rstrip("/") + "/" not in known
        and name not in tails
        and not (ROOT / name).exists()
    }
    assert missing == set()
