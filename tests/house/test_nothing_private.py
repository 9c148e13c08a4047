"""What is committed speaks of the project alone: no path of somebody's machine, no package registry."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = re.compile(
    r"/home/[a-z]|/Users/[a-z]|/root/|C:\\\\Users|/work/|/opt/wheels|\bpypi\.org|files\.pythonhosted|--(extra-)?index-url|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}"
)


def test_no_committed_file_names_a_private_path_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    found: dict[str, str] = {}
    for name in (raw.decode() for raw in listed if raw):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        if hit := PRIVATE.search(text):
            found[name] = hit[0]
    assert found == {}
