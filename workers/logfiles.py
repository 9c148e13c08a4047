"""Each process of the house has a log file of its own."""

from pathlib import Path
from typing import BinaryIO

KEPT_BYTES = 10_000_000


def opened(path: Path) -> BinaryIO:
    """The log file, ready to be appended to; a long one is put aside first, and the one put aside before is dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > KEPT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def last_words(path: Path) -> str:
    """The line of a log that most likely tells why its process ended."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 20_000))
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    telling = [line for line in lines[-20:] if any(word in line for word in ("FATAL", "PANIC", "ERROR", "Error", "# "))]
    return (telling or lines or ["it said nothing"])[-1].strip()
