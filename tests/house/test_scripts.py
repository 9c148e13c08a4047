"""The header of each Lua script names the keys and arguments that the script uses, all of them and no others."""

import re
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "storage" / "redis" / "scripts"
NAME = re.compile(r"\[(\d+)(?:\.\.(\d*))?\]")
MANY = 10**6


def _spans(text: str) -> list[tuple[int, int]]:
    """[3] is (3, 3), [1..9] is (1, 9), [4..] is open."""
    return [(int(a), int(b) if b else MANY if ".." in whole else int(a)) for whole, a, b in _found(text)]


def _found(text: str) -> list[tuple[str, str, str]]:
    return [(m[0], m[1], m[2] or "") for m in NAME.finditer(text)]


def _parts(source: str) -> tuple[str, str]:
    header, _, logic = source.partition("]]")
    assert header.startswith("--[["), "begins with its promise"
    return header, re.sub(r"--.*", "", logic)


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.lua")), ids=lambda p: p.name)
@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
def test_header_and_script_agree(path: Path, table: str) -> None:
    source = path.read_text()
    if table not in source:
        return
    header, logic = _parts(source)
    told = [line for line in header.splitlines() if table in line]
    spans = [span for line in told for span in _spans(line.replace("used:", ""))]
    used = {int(number) for number in re.findall(rf"{table}\[(\d+)\]", logic)}
    undocumented = {number for number in used if not any(low <= number <= high for low, high in spans)}
    assert undocumented == set(), f"{table} used and not named in the header"
    exact = {low for low, high in spans if low == high and any(f"{table}[{low}]" in line for line in told)}
    walks = f"#{table}" in logic or re.search(rf"{table}\[[a-z]|ipairs\({table}\)|unpack\({table}", logic)
    assert exact - used == set() or walks, f"{table} named in the header and not used"


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.lua")), ids=lambda p: p.name)
def test_a_header_begins_with_its_promise(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert re.match(r"--(\[\[)? ?[A-Z].+", first)
