"""Makes .venv from requirements.lock with uv where present, else venv and pip. Standard library only."""

import fcntl
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".ready"
SHIM = """\
#!/bin/sh
exec {python} -P -c 'import sys; sys.argv[0] = "fairturn"; from workers.cli import main; sys.exit(main())' "$@"
"""


def main() -> None:
    """Bring .venv to the state that requirements.lock describes."""
    if _ready():
        return
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second `make` at the same time waits for the first
        if not _ready():
            _install()


def _ready() -> bool:
    return STAMP.is_file() and STAMP.read_text() == _wanted() and PYTHON.exists()


def _wanted() -> str:
    # A virtual environment knows its own path, so a moved checkout needs a new one.
    return f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {ROOT}\n"


def _install() -> None:
    STAMP.unlink(missing_ok=True)
    uv = shutil.which("uv")
    _say(f"Installing into .venv with {'uv' if uv else 'pip'} (once; well under a minute on a usual connection) ...")
    (_with_uv if uv else _with_pip)(uv or "")
    _make_ours_importable()
    STAMP.write_text(_wanted())
    _say("Installed.")


def _with_uv(uv: str) -> None:
    if not _works(PYTHON):
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)])
    _run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(PYTHON), str(LOCK)])


def _with_pip(_: str) -> None:
    own_pip = importlib.util.find_spec("ensurepip") is not None
    if not own_pip and importlib.util.find_spec("pip") is None:
        _give_up(
            f"{sys.executable} can make no virtual environment. "
            f"Install python{sys.version_info.major}.{sys.version_info.minor}-venv with your package manager (or uv), "
            "then call make again."
        )
    if not _works(PYTHON) or (own_pip and not _works(PYTHON, "import pip")):
        _run([sys.executable, "-m", "venv", "--clear", *([] if own_pip else ["--without-pip"]), str(VENV)])
    pip = [str(PYTHON), "-m", "pip"] if own_pip else [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    # The lock is whole, so nothing is left to resolve, and its parts can be installed side by side.
    how = ["--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps", "--require-hashes"]
    with tempfile.TemporaryDirectory() as parts:
        _run(*([*pip, "install", *how, "-r", part] for part in _split_lock(Path(parts), min(4, os.cpu_count() or 1))))


def _split_lock(into: Path, parts: int) -> list[str]:
    entries = [entry for entry in re.split(r"(?m)^(?=\w)", LOCK.read_text()) if entry.strip()]
    files = [into / f"{number}.txt" for number in range(parts)]
    for number, file in enumerate(files):
        file.write_text("".join(entries[number::parts]))
    return [str(file) for file in files]


def _make_ours_importable() -> None:
    """The rooms by a path file, `fairturn` by a small script that stands a space in its path."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([PYTHON, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    (Path(packages) / "fairturn.pth").write_text(f"{ROOT}\n")
    script = VENV / "bin" / "fairturn"
    script.write_text(SHIM.format(python=shlex.quote(str(PYTHON))))
    script.chmod(0o755)


def _works(python: Path, code: str = "") -> bool:
    try:
        return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _run(*commands: list[str]) -> None:
    """Run side by side; all have to succeed."""
    # What the surroundings set up for another environment is not meant for this one.
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    running = [subprocess.Popen(command, env=environment) for command in commands]
    failed = [shlex.join(command) for command, process in zip(commands, running, strict=True) if process.wait() != 0]
    if failed:
        _give_up(f"Installing failed at: {failed[0]}\nMend what is named above, then call make again.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _give_up(line: str) -> NoReturn:
    _say(line)
    sys.exit(1)


if __name__ == "__main__":
    main()
