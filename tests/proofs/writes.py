"""X3: half an hour of an unwell Salesforce, and afterwards every lead shows there what the ledger says.

    python -m tests.proofs.writes [--leads 10000] [--minutes 30] [--speed 10] [--deliverers 2] [--seed 1]

Real Postgres, the sandbox over its real wires, deliverers that are processes and get killed. `--speed 10` divides every
wait by ten (pauses of the breaker, waits of records, leases, the client's time-out, the outage itself), so that half an
hour takes three minutes; `--speed 1` takes all of it. Nothing else is different: the same code makes the same calls.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from gateways.salesforce import errors as salesforce_errors
from gateways.salesforce.auth import ClientCredentials, TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from routing import gate as rules
from routing.dispatcher import Dispatcher
from routing.errors import TryLater
from routing.outbound import Outbound
from storage.postgres import outbox as outbox_module
from storage.postgres import schema
from storage.postgres.engine import connect, transaction
from storage.postgres.gates import OrgGate
from storage.postgres.leads import Leads
from storage.postgres.outbox import Outbox
from tests.sandbox_fixture import ROOT, SandboxOrg, running_sandbox
from workers.embedded import servers

#: What the org does to calls and records in each phase, in turn.
PHASES: Mapping[str, list[dict[str, Any]]] = {
    "503 to every call": [{"kind": "answer", "args": {"name": "unavailable"}}],
    "503 to a third of the calls, a fifth of the records locked": [
        {"kind": "answer", "args": {"name": "unavailable"}, "probability": 0.33},
        {"place": "record", "kind": "refuse", "args": {"name": "locked"}, "probability": 0.2},
    ],
    "429 with Retry-After": [{"kind": "answer", "args": {"name": "too_many"}}],
    "403: too many long calls at once, for half of them": [
        {"kind": "answer", "args": {"name": "concurrent_limit"}, "probability": 0.5}
    ],
    "503 now and applied later all the same": [{"kind": "late_apply", "args": {"seconds": "late"}, "probability": 0.6}],
    "applied, but the answer comes too late": [
        {"kind": "timeout_after", "args": {"seconds": "too_late"}, "probability": 0.4}
    ],
    "401 again and again": [{"kind": "answer", "args": {"name": "invalid_session"}, "probability": 0.5}],
    "half of the records locked": [
        {"place": "record", "kind": "refuse", "args": {"name": "locked"}, "probability": 0.5}
    ],
}
TIMEOUT_S, LATE_S, TOO_LATE_S = 20.0, 25.0, 40.0


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    leads: int = 10_000
    minutes: float = 30.0
    speed: float = 10.0
    deliverers: int = 2
    kills: int = 8
    seed: int = 1
    phases: tuple[str, ...] = tuple(PHASES)


@dataclass
class Report:
    """What came of it; `wrong` is empty when all is as it must be."""

    plan: Plan
    versions: int = 0  # told to the outbox
    calls: int = 0  # made
    failed_calls: int = 0
    records_tried_again: int = 0
    most_calls: float = 0.0  # that may be made
    drained_s: float = 0.0
    killed: int = 0
    wrong: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# --- the deliverer, a process of its own -----------------------------------------------------------------------------


def compress(speed: float) -> None:
    """Divide every wait of this process by so much."""
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S", "PROBE_S"):
        setattr(rules, name, getattr(rules, name) / speed)
    for name in ("LEASE_S", "COMPANY_S", "FIRST_WAIT_S", "LONGEST_WAIT_S"):
        setattr(outbox_module, name, getattr(outbox_module, name) / speed)
    for name in ("_LONG_PAUSE_S", "_SHORT_PAUSE_S"):
        setattr(salesforce_errors, name, getattr(salesforce_errors, name) / speed)


def deliver(where: Mapping[str, str]) -> None:
    """Do as the relay and a worker do, once a second, until the end."""
    speed = float(where["speed"])
    compress(speed)
    engine = connect(where["database"])
    gate = OrgGate(engine)
    tokens = TokenProvider(where["login"], ClientCredentials("proof", "secret"), ca_file=Path(where["ca"]))
    salesforce = Salesforce(
        tokens, FieldMap.load(), ca_file=Path(where["ca"]), gate=gate, timeouts=(3.05, TIMEOUT_S / speed)
    )
    outbox = Outbox(engine, gate)
    outbound = Outbound(
        outbox=outbox,
        dispatcher=cast("Dispatcher", None),  # places are freed elsewhere
        write=salesforce.write,
        withdraw=Leads(engine).withdraw,
        nudge=lambda _task: None,
    )
    while True:
        try:
            if outbox.due("salesforce"):
                outbound.deliver()
        except TryLater as exc:
            _say(f"{time.time():.1f} {type(exc).__name__} {exc}")
        time.sleep(1 / speed)


# --- the world around ------------------------------------------------------------------------------------------------


@dataclass
class World:
    """The org, the ledger, the deliverers."""

    plan: Plan
    org: SandboxOrg
    database: str
    folder: Path
    dice: random.Random
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = connect(self.database)

    def seed(self) -> None:
        """Leads in Salesforce and in the ledger, none of them told yet."""
        made = self.org.create_leads(*({"LastName": f"L{n}", "Company": "C"} for n in range(self.plan.leads)))
        with transaction(self.engine) as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO leads (salesforce_id, received_at, state, reason)"
                    " SELECT unnest(CAST(:ids AS text[])), clock_timestamp(), 'waiting', 'no_room'"
                ),
                {"ids": made},
            )

    def wave(self, share: float) -> int:
        """A share of the leads changes at once, and is to be told; how many."""
        with transaction(self.engine) as connection:
            return int(connection.execute(_WAVE, {"share": share, "reason": f"r{self.dice.random():.6f}"}).rowcount)

    def start(self) -> None:
        where = {
            "speed": str(self.plan.speed), "database": self.database, "login": self.org.login_url,
            "ca": str(self.org.ca),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.proofs.writes", "--deliver", json.dumps(where)]
        log = (self.folder / "deliverers.log").open("ab")
        with log:
            self.running.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))

    def kill_one(self) -> None:
        """End a deliverer without a word, wherever it is, and start another."""
        doomed = self.running.pop(self.dice.randrange(len(self.running)))
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
        self.start()

    def break_it(self, phase: str) -> None:
        seconds = {"late": LATE_S / self.plan.speed, "too_late": TOO_LATE_S / self.plan.speed}
        for order in PHASES[phase]:
            args = {name: seconds.get(str(value), value) for name, value in order.get("args", {}).items()}
            match = {"verb": "update"} if order.get("place") == "record" else {"path": "composite/sobjects"}
            self.org.admin("POST", "faults", {"place": "http", "count": None, "match": match, **order, "args": args})

    def heal(self) -> None:
        self.org.admin("DELETE", "faults")

    def value(self, query: str) -> Any:
        with transaction(self.engine) as connection:
            return connection.scalar(sa.text(query))

    def undelivered(self) -> int:
        return int(self.value("SELECT count(*) FROM outbox WHERE kind = 'salesforce' AND state = 'pending'"))

    def shown(self) -> dict[str, tuple[float | None, str | None, str | None]]:
        """Version, state and reason of every lead, as the org shows them."""
        query = "SELECT Id, Fairturn_Version__c, Fairturn_Status__c, Fairturn_Reason__c FROM Lead ORDER BY Id"
        found = {}
        answer = self.org.rest("GET", "query", params={"q": query}).json()
        while True:
            for row in answer["records"]:
                found[row["Id"]] = (row["Fairturn_Version__c"], row["Fairturn_Status__c"], row["Fairturn_Reason__c"])
            if answer["done"]:
                return found
            answer = self.org.rest("GET", answer["nextRecordsUrl"].partition("/v64.0/")[2]).json()

    def meant(self) -> dict[str, tuple[float | None, str | None, str | None]]:
        """The same by the ledger; leads that were never to be told show nothing."""
        with transaction(self.engine) as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT salesforce_id, version, state, reason,"
                    " EXISTS (SELECT FROM outbox WHERE lead_id = leads.id) AS told FROM leads"
                )
            )
            return {
                r.salesforce_id: (float(r.version), r.state, r.reason) if r.told else (None, None, None) for r in rows
            }

    def falls(self) -> list[str]:
        """Leads whose version ever fell in the org, or was written twice with an effect; by the org's own history."""
        last: dict[str, float] = {}
        wrong, after, total = [], 0, 1
        while after < total:
            page = self.org.admin("GET", "history", after=after, limit=20_000)
            total = page["total"]
            after += len(page["changes"])
            for change in page["changes"]:
                version = change["values"].get("Fairturn_Version__c")
                if change["object"] == "Lead" and version is not None:
                    if version <= last.get(change["id"], 0.0):
                        wrong.append(f"{change['id']} went from version {last[change['id']]:g} to {version:g}")
                    last[change["id"]] = version
        return wrong


_WAVE = sa.text("""
    WITH changed AS (
        UPDATE leads SET version = version + 1, reason = :reason, updated_at = clock_timestamp()
        WHERE id IN (SELECT id FROM leads WHERE random() < :share) RETURNING id, version
    )
    INSERT INTO outbox (kind, lead_id, version) SELECT 'salesforce', id, version FROM changed
""")


@contextmanager
def world(plan: Plan, folder: Path, database: str | None = None) -> Iterator[World]:
    """Everything running, nothing told yet."""
    with ExitStack() as stack:
        if database is None:
            database = stack.enter_context(servers(folder)).database_url
            schema.upgrade(database)
        org = stack.enter_context(running_sandbox(folder))
        made = World(plan, org, database, folder, random.Random(plan.seed))
        stack.callback(made.engine.dispose)
        stack.callback(_stop, made)
        made.seed()
        yield made


def _stop(made: World) -> None:
    for process in made.running:
        process.kill()
        process.wait()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def prove(plan: Plan, folder: Path, *, database: str | None = None, say: Callable[[str], object] = _say) -> Report:
    """Run it. The report names everything that is wrong."""
    report = Report(plan)
    with world(plan, folder, database) as made:
        for _ in range(plan.deliverers):
            made.start()
        each_s = plan.minutes * 60 / plan.speed / len(plan.phases)
        for phase in plan.phases:
            made.heal()
            made.break_it(phase)
            _phase(made, report, each_s)
            say(f"{phase}: {made.undelivered()} of {report.versions} still to be told")
        made.heal()
        _drain(made, report)
        time.sleep(LATE_S / plan.speed)  # what was to be applied late has been applied by now
        _judge(made, report)
    say(json.dumps(report.to_json()))
    return report


def _phase(made: World, report: Report, seconds: float) -> None:
    """Two waves of changes, and sometimes a death."""
    kills = max(1, round(made.plan.kills / len(made.plan.phases))) if made.plan.kills else 0
    pauses = 2 + kills
    for step in range(pauses):
        if step in {0, pauses // 2}:
            report.versions += made.wave(0.5)
        elif kills:
            made.kill_one()
            report.killed += 1
        time.sleep(seconds / pauses)


def _drain(made: World, report: Report) -> None:
    began = time.monotonic()
    while made.undelivered() and time.monotonic() - began < 300:
        time.sleep(0.1)
    report.drained_s = round(time.monotonic() - began, 1)


def _judge(made: World, report: Report) -> None:
    meant, shown = made.meant(), made.shown()
    report.wrong += [f"{key} shows {shown.get(key)}, not {meant[key]}" for key in meant if shown.get(key) != meant[key]]
    report.wrong += made.falls()
    if left := made.undelivered():
        report.wrong.append(f"{left} rows are not delivered")
    if parked := made.value("SELECT count(*) FROM parked"):
        report.wrong.append(f"{parked} rows were parked")
    if report.drained_s > 120:
        report.wrong.append(f"drained only {report.drained_s} s after healing")
    _judge_calls(made, report)


def _judge_calls(made: World, report: Report) -> None:
    """Calls: a fifth more than full ones would have been, and what was tried again."""
    report.calls = int(made.value("SELECT coalesce(sum(calls), 0) FROM api_calls WHERE purpose = 'write'"))
    log = (made.folder / "deliverers.log").read_text()
    report.failed_calls = log.count("TryLater") + report.killed
    report.records_tried_again = int(
        made.value("SELECT coalesce(sum(attempts - 1), 0) FROM outbox WHERE kind = 'salesforce' AND attempts > 1")
    )
    # A failed call is tried again, and a long outage ends with a small call first; locked rows come back each second.
    told_s = made.plan.minutes * 60 / made.plan.speed + report.drained_s
    retries = 2 * report.failed_calls + min(report.records_tried_again, told_s * made.plan.speed)
    report.most_calls = round(1.2 * report.versions / 200 + retries + len(made.plan.phases) * 2, 1)
    if report.calls > report.most_calls:
        report.wrong.append(f"{report.calls} calls, more than {report.most_calls}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliver", help=argparse.SUPPRESS)
    parser.add_argument("--leads", type=int, default=int(os.environ.get("LEADS", "10000")))
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", "30")))
    parser.add_argument("--speed", type=float, default=float(os.environ.get("SPEED", "10")))
    parser.add_argument("--deliverers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    asked = parser.parse_args()
    if asked.deliver:
        deliver(json.loads(asked.deliver))
    plan = Plan(asked.leads, asked.minutes, asked.speed, asked.deliverers, asked.kills, asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        report = prove(plan, Path(folder), say=_say)
    for wrong in report.wrong[:20]:
        _say(f"WRONG: {wrong}")
    _say("X3: proven" if not report.wrong else f"X3: {len(report.wrong)} things are wrong")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
