"""`python -m bench`: measure, and leave the figures as JSON; `make bench` also writes docs/performance.md from them."""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench import report, servers
from bench.meter import Meter
from bench.parts import PARTS, SIZES, Run

PACKAGES = ("celery", "kombu", "redis", "psycopg", "sqlalchemy", "numpy", "scipy")


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 0 when every part came to its end."""
    chosen = _parser().parse_args(arguments)
    size, parts = SIZES[chosen.size], chosen.only or list(PARTS)
    began = time.monotonic()
    found: dict[str, Any] = {"about": _about(size.name)}
    directory = Path(tempfile.mkdtemp(prefix="fairturn-bench-"))
    try:
        with servers.running(directory) as started:
            meter = Meter(started.database_url, started.redis_url)
            for name in parts:
                _say(f"--- {name}")
                found[name] = PARTS[name](Run(started, meter, size, directory, _say))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    found["about"] |= {"load_at_end": os.getloadavg(), "took_s": round(time.monotonic() - began)}
    _leave(found, chosen)
    return 0


def _leave(found: dict[str, Any], chosen: argparse.Namespace) -> None:
    text = json.dumps(found, indent=2) + "\n"
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(text)
        _say(f"written to {chosen.json}")
    else:
        sys.stdout.write(text)
    if chosen.docs:
        chosen.docs.write_text(report.page(found))
        _say(f"written to {chosen.docs}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=_parts, help="these parts alone, comma between: " + ", ".join(PARTS))
    parser.add_argument("--size", choices=SIZES, default="full", help="how much is measured (full takes 15 minutes)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here instead of to the terminal")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="write a page about them, too")
    return parser


def _parts(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def _about(size: str) -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "size": size,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_gb": round(memory.total / 2**30, 1),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_at_start": os.getloadavg(),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
