"""The bench runs, at its smallest: what it measures is another question."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import paper, report

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "bench" / "results" / "latest.json"


def _run(tmp_path: Path, parts: str) -> dict[str, object]:
    figures, page = tmp_path / "run.json", tmp_path / "run.md"
    command = [sys.executable, "-m", "bench", "--size", "smoke", "--only", parts]
    done = subprocess.run(
        [*command, "--json", str(figures), "--docs", str(page)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert page.read_text().startswith("# How fast it is")
    found: dict[str, object] = json.loads(figures.read_text())
    assert list(found)[1:] == parts.split(",")
    assert not list(tmp_path.glob("fairturn-bench-*")), "nothing is left behind"
    return found


def test_routing_and_each_step_of_a_lead_are_measured(tmp_path: Path) -> None:
    found = json.dumps(_run(tmp_path, "core,equal,steps"))
    assert '"times_a_trivial_evalsha"' in found


@pytest.mark.long
@pytest.mark.timeout(300)
def test_leads_pass_from_the_wire_to_salesforce_beside_tasks_that_do_nothing(tmp_path: Path) -> None:
    found = json.dumps(_run(tmp_path, "way"))
    assert '"offered_per_noop"' in found


@pytest.mark.parametrize("members", [1_000, 1_000_000])
def test_the_paper_simulation_reads_what_a_run_left(members: int) -> None:
    run = json.loads(KEPT.read_text())
    plan = paper.needed(run, paper.Plan(members, leads=10_000_000, markets=10))
    assert plan["cores_to_plan"]["workers"] > 0
    assert plan["ledger_gb_a_day"] > 1


def test_the_page_is_the_one_of_the_run_that_is_kept() -> None:
    assert (ROOT / "docs" / "performance.md").read_text() == report.page(json.loads(KEPT.read_text()))


def test_an_unknown_part_is_named_with_those_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "cores"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no part is called cores; there are core, " in done.stderr
