"""Each acceptance row that this version promises has a test that `pytest -k ROW` finds, and `make test` runs."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROWS = """
    B1 B2 B3 B4 B5 B6 B7 B8 B9 C1 C2 C3 C4 C5 C6 C7 C8 C9 C10 C11 C12 E1 E2 E3 E4 E5 E6 E7 F1 F2 F3 F4 F5 F6 F7 F8
    F9 F10 F11 F12 F13 F14 F15 G1 G2 G3 G4 G5 G6 G7 G8 G9 G10 I2 I3 I4 I5 I6 I7 I9 I10 K8 M1 M2 M3 M4 M5 M6 M7 M8 M9
    M10 M11 M12 N1 N2 N3 N4 N5 N9 N10 N11 N12 N14 O1 O2 O3 O4 O5 O6 O7 O8 O9 O10 O11 O12 O13 O14 O15 O16 O17 O18 P1
    P2 P3 U4 U6 W1 W2 W3 W4 X1 X2 X3 X4 X5 Z1 Z2 Z3 Z4 Z6 Z8
""".split()  # noqa: SIM905 - reads as a list, a row a word


@cache
def names_in_make_test() -> frozenset[str]:
    """The names of all tests that are not marked long, nor in a module that is."""
    texts = (path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    trees = [ast.parse(text) for text in texts if "\npytestmark = pytest.mark.long" not in text]
    tests = (one for tree in trees for one in ast.walk(tree) if isinstance(one, ast.FunctionDef))
    return frozenset(one.name for one in tests if "mark.long" not in " ".join(map(ast.unparse, one.decorator_list)))


@pytest.mark.parametrize("row", ROWS)
def test_the_row_has_a_test_of_its_name_that_make_test_runs(row: str) -> None:
    assert any(row in name.split("_") for name in names_in_make_test() if name.startswith("test_"))


def test_Z8_one_command_brings_the_pretend_salesforce_and_the_licence_is_open() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    assert services["sandbox"]["profiles"] == ["sandbox"]
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0" in (ROOT / "LICENSE").read_text("utf-8")
