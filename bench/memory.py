"""How much memory a worker holds, at once and after more and more work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from bench import way
from bench.meter import Meter
from bench.servers import Base
from workers import house

MEGA = 1 << 20


def growing(
    meter: Meter, base: Base, directory: Path, *, leads: int, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """One worker of one child on this base: its memory when it is warm, with the roster, and after each round."""
    with house.pointed_at({"DATABASE_URL": base.url}), way.workers(meter, directory, 1) as going:
        samples = [_sample(going.pids["worker0"], 0)]
        for number in range(1, rounds + 1):
            going.leads(leads, write_back=True)
            samples.append(_sample(going.pids["worker0"], number * leads))
            say(f"memory after {number * leads} leads: {samples[-1]}")
    first, last = samples[1], samples[-1]
    grown = (last["child_uss_mb"] - first["child_uss_mb"]) / max(1, last["leads"] - first["leads"])
    return {"samples": samples, "child_growth_mb_per_10k_leads": round(grown * 10_000, 2)}


def _sample(pid: int, leads: int) -> dict[str, float]:
    """The worker's main process and its child: resident, proportional (shared pages shared out) and own pages."""
    main = psutil.Process(pid)
    found: dict[str, float] = {"leads": leads}
    for name, process in [("main", main), ("child", max(main.children(), key=lambda c: c.memory_info().rss))]:
        info = process.memory_full_info()
        for kind in ("rss", "pss", "uss"):
            found[f"{name}_{kind}_mb"] = round(getattr(info, kind) / MEGA, 1)
    found["both_pss_mb"] = round(found["main_pss_mb"] + found["child_pss_mb"], 1)
    return found
