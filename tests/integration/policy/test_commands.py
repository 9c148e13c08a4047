"""`fairturn policy`, as people type it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from config import policy as policy_file
from tests.integration.policy.conftest import Press
from tests.integration.routing.house import document

ROOT = Path(__file__).resolve().parents[3]


def fairturn(press: Press, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    servers = {"DATABASE_URL": press.house.database_url, "REDIS_URL": press.house.redis_url, "COLUMNS": "200"}
    group = [] if words[0] == "doctor" else ["policy"]
    command = [sys.executable, "-m", "workers.cli", *group, *words]
    env = os.environ | servers | more
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_M10_a_draft_is_compared_published_and_rolled_back_by_the_command_line(press: Press, tmp_path: Path) -> None:
    press.house.member("near")
    file = tmp_path / "policy.yaml"
    file.write_text("# fewer moves\n" + policy_file.dump(document(reassignments=1)))
    drafted = fairturn(press, "draft", str(file), "--note", "fewer")
    assert drafted.stdout.startswith("Version 2 is a draft, written on version 1."), drafted.stderr
    compared = fairturn(press, "diff", "live", "2")
    assert (compared.returncode, compared.stdout) == (1, "+ pools[installers].reassignments: 1\n")
    assert fairturn(press, "publish", "2").stdout == "Version 2 is published.\n"
    assert fairturn(press, "show").stdout == file.read_text()
    back = fairturn(press, "rollback", "1")
    assert back.stdout == "Version 3 is published: it says what version 1 said.\n"
    told = json.loads(fairturn(press, "history", "--json").stdout)
    assert [(one["version"], one["state"], one["replaced"]) for one in told] == [
        (3, "published", 2),
        (2, "retired", 1),
        (1, "retired", None),
    ]


def test_Z6_the_command_line_names_who_stands_for_a_policy(press: Press, tmp_path: Path) -> None:
    press.house.member("near")
    two = {"FAIRTURN_POLICY_APPROVALS": "2"}
    press.manager("Ann")
    press.manager("Bob")
    file = tmp_path / "policy.yaml"
    file.write_text(policy_file.dump(document(reassignments=1)))
    ann, bob = ("--as", "ann@example.com"), ("--as", "bob@example.com")
    assert "--as ADDRESS" in fairturn(press, "publish", str(file), **two).stderr
    kept = fairturn(press, "publish", str(file), *ann, **two)
    assert (kept.returncode, "kept as draft 2" in kept.stderr) == (1, True)
    assert "somebody else must approve" in fairturn(press, "approve", "2", *ann, **two).stderr
    assert fairturn(press, "approve", "2", *bob, **two).stdout == "Version 2: Ann and Bob stand for it.\n"
    assert fairturn(press, "publish", "2", *ann, **two).stdout == "Version 2 is published.\n"
    assert "no manager has this address" in fairturn(press, "approve", "2", "--as", "eve@example.com").stderr
