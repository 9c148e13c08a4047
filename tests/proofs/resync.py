"""I3: a subscriber off for 80 hours of the org's clock, 50,000 changed records, a comparison killed again and again.

    python -m tests.proofs.resync [--changes 50000] [--hours 80] [--kills 3] [--seed 1]

The stream can tell nothing of it: its position has expired, and it begins anew at the newest event. What changed is
found by asking alone, by processes that are killed with SIGKILL in mid-work and by two at once. Afterwards the ledger
equals the org in every mapped field of every lead, and what was deleted is withdrawn, out of the recycle bin, too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from storage.postgres import schema
from tests.proofs.live import Live, People
from tests.sandbox_fixture import ROOT, SandboxOrg, running_sandbox
from workers.embedded import servers

LEASE_S = 3.0


@dataclass
class Figures:
    """What was missed, and what it took to find it."""

    changes: int
    by_kind: Mapping[str, int]
    destroyed: int  # out of the recycle bin, or without ever having been there: no query shows them
    hours: float
    stored: int  # events the stream told of it
    kills: int
    read: int  # records asked for by the process that came to the end, and by those before it
    calls: int  # of the org's API, all processes together
    leads: int
    withdrawn: int
    differences: int
    peak_mb: float  # resident memory of the process that asked
    took_s: float  # of asking


def prove(live: Live, *, changes: int, hours: float, kills: int, seed: int) -> Figures:
    """Miss so many changes, and find them."""
    org, people = live.org, People(live.org, seed)
    with live.following(preset="LATEST"):
        live.settle(lambda: live.rows("SELECT 1 FROM positions WHERE replay_id IS NOT NULL"), route=False)
        for _ in range(max(1, changes // 2000)):
            people.create(min(200, changes))
        live.settle(lambda: not live.differences(), route=False)
    known = people.changes
    destroyed = _away(people, changes + known, hours)
    told = live.value("SELECT count(*) FROM events")
    with live.following(preset="LATEST"):
        live.wait(lambda: live.resyncs)
    began, calls = time.monotonic(), org.admin("GET", "state")["api_calls"]
    killed = sum(_killed(live, n, kills) for n in range(kills))
    both = [_worker(live), _worker(live)]
    peaks = [_peak_mb(each) for each in both]
    while live.value("SELECT count(*) FROM scans WHERE done_at IS NULL"):
        live.comparer.work()
        time.sleep(0.1)
    live.settle(lambda: True, route=False)
    return Figures(
        changes=people.changes - known + destroyed,
        by_kind=people.done,
        destroyed=destroyed,
        hours=hours,
        stored=live.value("SELECT count(*) FROM events") - told,
        kills=killed,
        read=live.value("SELECT read FROM scans WHERE kind = 'changed'"),
        calls=org.admin("GET", "state")["api_calls"] - calls,
        leads=live.value("SELECT count(*) FROM leads"),
        withdrawn=live.value("SELECT count(*) FROM leads WHERE state = 'withdrawn'"),
        differences=len(live.differences()),
        peak_mb=max(peaks),
        took_s=round(time.monotonic() - began, 1),
    )


def _away(people: People, until: int, hours: float) -> int:
    """Let people work while nobody listens; how many records they destroyed."""
    rounds = max(1, (until - people.changes) // 200)
    destroyed = 0
    for n in range(10 * rounds):
        people.org.admin("POST", "clock", {"advance_s": hours * 3600 / rounds if n < rounds else 60})
        if people.changes >= until and n >= rounds:
            break
        people.something(200 if n >= rounds - 1 else min(200, max(1, until - people.changes)))
        if n == rounds // 2:
            emptied = people.org.admin("POST", "purge", {})["purged"]
            people.binned.clear()
            doomed = people.alive[:7]
            del people.alive[:7]
            destroyed = emptied + people.org.admin("POST", "purge", {"ids": doomed})["purged"]
    return destroyed


def _worker(live: Live, heard: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    """A process that goes on with the comparison until its end, and says how much memory it took."""
    told = {
        "database_url": live.database_url,
        "redis_url": live.redis_url,
        "org": {name: str(value) for name, value in asdict(live.org).items() if name not in {"session", "pid"}},
    }
    command = [sys.executable, "-m", "tests.proofs.resync", "--work"]
    env = {**os.environ, "FAIRTURN_PROOF": json.dumps(told)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=heard, text=True)


def _peak_mb(worker: "subprocess.Popen[str]") -> float:
    told, _ = worker.communicate(timeout=3600)
    return float(json.loads(told.splitlines()[-1])["peak_mb"])


def _killed(live: Live, number: int, of: int) -> bool:
    """Start one and kill it in the middle of its work; False when it came to the end before."""
    goal = live.value("SELECT coalesce(max(read), 0) FROM scans") + 200
    with _worker(live, subprocess.DEVNULL) as worker:
        while live.value("SELECT coalesce(max(read), 0) FROM scans") < goal + 400 * number // of:
            if worker.poll() is not None:
                return False
            time.sleep(0.02)
        worker.kill()
    time.sleep(LEASE_S)
    return True


def work() -> None:
    """The process that asks."""
    told = json.loads(os.environ["FAIRTURN_PROOF"])
    place: dict[str, Any] = told["org"]
    ports = {name: int(place[name]) for name in ("http", "https", "grpc", "grpc_tls")}
    with requests.Session() as session:
        org = SandboxOrg(org_id=place["org_id"], ca=Path(place["ca"]), pid=0, session=session, **ports)
        live = Live(told["database_url"], told["redis_url"], org, lease_s=LEASE_S)
        live.comparer.work()
        live.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"peak_mb": round(peak, 1)}) + "\n")


def main() -> None:
    """Run it on servers of its own and print the figures; 1 when the ledger is not what the org is."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.resync", description=__doc__)
    parser.add_argument("--changes", type=int, default=50_000)
    parser.add_argument("--hours", type=float, default=80.0)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work()
        return
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = stack.enter_context(servers(place / "servers"))
        schema.upgrade(urls.database_url)
        org = stack.enter_context(running_sandbox(place, "--keepalive-s", "1"))
        live = Live(urls.database_url, urls.redis_url, org, lease_s=LEASE_S)
        stack.callback(live.close)
        live.publish()
        figures = prove(live, changes=chosen.changes, hours=chosen.hours, kills=chosen.kills, seed=chosen.seed)
    sys.stdout.write(json.dumps(asdict(figures), indent=2) + "\n")
    if figures.differences:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
