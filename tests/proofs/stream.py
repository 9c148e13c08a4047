"""I4: 20,000 change events, some twice, some out of order, some only as gaps, over a stream that breaks every 5 s.

    python -m tests.proofs.stream [--events 20000] [--every-s 5] [--seed 1]

Afterwards the ledger equals the org in every mapped field of every lead. Real Postgres, the sandbox over its wires.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import requests

from storage.postgres import schema
from tests.proofs.live import Live, People
from tests.sandbox_fixture import SandboxOrg, running_sandbox
from workers.embedded import servers

DUPLICATE, REORDER, GAP = 0.10, 0.05, 0.02
BREAKS = ("rst_stream", "rst_stream_internal", "service_unavailable", "auth_error")


@dataclass
class Figures:
    """What was done to the stream, and what came of it."""

    events: int  # published, those that came twice counted twice
    stored: int  # one a record
    gaps: int  # stored gap events, of which each needs its record read again
    overtaken: int  # events that came after a later one of their record
    breaks: int
    resyncs: int
    read_again: int  # records
    calls: int  # to read them
    leads: int
    differences: int
    took_s: float


def prove(live: Live, *, events: int, every_s: float, seed: int, patience_s: float = 600) -> Figures:
    """Let people work until so many events were published, and wait until the house has come to rest."""
    org, began = live.org, monotonic()
    people = People(_own(org), seed)
    for kind, probability in (("duplicate", DUPLICATE), ("reorder", REORDER), ("gap", GAP)):
        org.fault("event", kind, count=None, probability=probability, match={"object": "Lead"})
    read = _counted(live)
    with live.following(), _cutting(org, every_s):
        while (published := org.admin("GET", "state")["events"]) < events:
            people.something(min(200, max(1, (events - published) // 2)))
            live.step(route=False)
        org.admin("DELETE", "faults")
        live.settle(lambda: not live.differences(), within_s=patience_s, route=False)
    return Figures(
        events=org.admin("GET", "state")["events"],
        stored=live.value("SELECT count(*) FROM events"),
        gaps=live.value("SELECT count(*) FROM events WHERE change_type LIKE 'GAP%'"),
        overtaken=live.value("SELECT count(*) FROM events WHERE meaning = 'dirty' AND change_type NOT LIKE 'GAP%'"),
        breaks=len(live.breaks),
        resyncs=len(live.resyncs),
        read_again=sum(read),
        calls=len(read),
        leads=live.value("SELECT count(*) FROM leads"),
        differences=len(live.differences()),
        took_s=round(monotonic() - began, 1),
    )


def _counted(live: Live) -> list[int]:
    """Have the house note how many records it reads again with each call."""
    read: list[int] = []

    def fetch(ids: Any) -> Any:
        read.append(len(ids))
        return live.salesforce.read(ids)

    live.journey = replace(live.journey, fetch=fetch)
    live.sweeper = replace(live.sweeper, journey=live.journey)
    return read


def _own(org: SandboxOrg) -> SandboxOrg:
    """The same org by a connection of one's own: a session belongs to one thread."""
    session = requests.Session()
    session.trust_env = False
    return replace(org, session=session)


@contextmanager
def _cutting(org: SandboxOrg, every_s: float) -> Iterator[None]:
    """Break every open stream now and then, in another way each time."""
    over, own = threading.Event(), _own(org)

    def cut() -> None:
        n = 0
        while not over.wait(every_s):
            with suppress(requests.Timeout):  # the org is busy; it is cut again soon
                own.admin("POST", "cut", {"name": BREAKS[n % len(BREAKS)]})
            n += 1

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Run it on servers of its own and print the figures; 1 when the ledger is not what the org is."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.stream", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--every-s", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = stack.enter_context(servers(place / "servers"))
        schema.upgrade(urls.database_url)
        org = stack.enter_context(running_sandbox(place))
        live = Live(urls.database_url, urls.redis_url, org, gather_s=2.0)
        stack.callback(live.close)
        live.publish()
        figures = prove(live, events=chosen.events, every_s=chosen.every_s, seed=chosen.seed)
    sys.stdout.write(json.dumps(asdict(figures), indent=2) + "\n")
    if figures.differences:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
