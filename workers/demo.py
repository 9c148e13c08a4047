"""`fairturn demo`: the whole system on given files, with a pretend Salesforce, watched until every lead is placed."""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from config import policy as policy_file
from config import settings, wiring
from config.celery import QUEUES
from gateways.salesforce.seed import MOST, Seeder
from routing.access import Role, Scope
from routing.distance import metres_many
from routing.errors import BadInput, FairturnError, GiveUp, TryLater
from storage.postgres.members import Held
from tasks.app import app
from workers import embedded, house, imports, running
from workers.demo_screen import Screen, summary
from workers.installers import Habits
from workers.rows import BadRow, LeadRow, read_leads, read_members
from workers.supervisor import Job, Supervisor

SAMPLES = house.ROOT / "data"
USUAL_RATE = 8.0
#: With nothing moving for so long, the demo says so and ends.
STALLED_S = 120.0
MARK = ".fairturn-demo"
#: Time to answer where installers are simulated, so that what nobody answers is seen to move on.
WITHIN = "20s"
#: So near, a lead may well come to a member.
NEARBY_M = 25_000.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: files, pace and where to leave the outcome."""

    leads: Path
    members: Path
    rate: float  # leads a second; 0 = as fast as it goes
    capacity: int | None
    report: Path | None
    leave: bool
    directory: Path
    answers: bool  # simulated installers answer

    @classmethod
    def of(
        cls,
        leads: Path | None,
        members: Path | None,
        *,
        rate: float | None,
        capacity: int | None,
        report: Path | None,
        leave: bool,
        directory: Path | None,
        answers: bool | None = None,
    ) -> "Plan":
        """A plan with the samples and the usual pace where nothing else is wanted."""
        own = leads is not None
        return cls(
            leads=leads or SAMPLES / "sample_leads_ny.csv",
            members=members or SAMPLES / "sample_members.csv",
            rate=rate if rate is not None else (0.0 if own else USUAL_RATE),
            capacity=capacity,
            report=report,
            leave=leave,
            directory=(directory or settings.load().data_dir / "demo").resolve(),
            answers=not own if answers is None else answers,
        )


@dataclass(slots=True)
class Feed:
    """Leads on their way into Salesforce; filled by a thread, read by the screen."""

    total: int = 0  # rows of the file that can be leads
    sent: int = 0
    bad: list[BadRow] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    done: bool = False


def run(plan: Plan, out: Console) -> int:
    """Run the demo; the exit code. Whatever ends it, every process and server it started is gone afterwards."""
    _checked(plan)
    _emptied(plan.directory)
    out.print(f"Starting Postgres, Valkey and a pretend Salesforce in {plan.directory} ...", soft_wrap=True)
    with ExitStack() as stack:
        stack.enter_context(house.opened(plan.directory))
        cfg = stack.enter_context(house.faces())
        pretend = house.pretend_salesforce(cfg.data_dir, keep=True)
        cfg = stack.enter_context(house.pointed_at({**pretend.env, "FAIRTURN_DATA_DIR": str(cfg.data_dir)}))
        supervised = stack.enter_context(Supervisor(cfg.data_dir / "logs", os.environ))
        supervised.start(Job("sandbox", pretend.argv, ready=house.answers("127.0.0.1", pretend.grpc_port)))
        house.migrate()
        if plan.answers:
            _hurry()
        feed = Feed()
        rows = list(_leads(plan.leads, feed))
        _roster(plan, out, feed)
        out.print("Starting subscriber, worker, beat, web and Flower ...")
        house.start(supervised)
        running.tell_addresses(cfg, out)
        _until_alive(supervised)
        if plan.answers:
            _installers(supervised, cfg, rows, out)
        threading.Thread(target=_send, args=(rows, plan.rate, feed, cfg), daemon=True).start()
        screen = Screen(out, feed, head=running.addresses(cfg))
        linger = out.is_terminal and not plan.leave
        code, outcome = _shown(screen, supervised, feed, linger=linger, answered=plan.answers)
        if outcome is None:
            out.print("Stopping ...")
            outcome = _outcome(feed) if plan.report else None
        out.print(summary(outcome) if outcome else screen.line())
        _report(outcome, plan, out)
        return code or (_code(outcome) if outcome else 0)


def _shown(
    screen: Screen, supervised: Supervisor, feed: Feed, *, linger: bool, answered: bool
) -> tuple[int, dict[str, Any] | None]:
    """The exit code and the outcome, None when Ctrl-C came first.

    `linger` waits for Ctrl-C when all is placed, and, where they are `answered`, no offer is open any more.
    """
    code, outcome = 0, None
    try:
        with screen:
            code = _watch(supervised, feed, screen, answered=answered)
            outcome = _outcome(feed)
            if linger:
                screen.finish()
            while linger:
                supervised.tend()
                screen.update()
                time.sleep(0.5)
    except KeyboardInterrupt:
        return code, outcome
    return code, outcome


def _checked(plan: Plan) -> None:
    """Find out at once what would be found out late. Raises BadInput."""
    next(read_leads(plan.leads), None)
    next(read_members(plan.members), None)
    if plan.report and not os.access(plan.report if plan.report.exists() else plan.report.parent, os.W_OK):
        raise BadInput(f"{plan.report} cannot be written", field="--json", fix="Name a file in a directory of yours.")


def _emptied(directory: Path) -> None:
    """An empty directory that is ours. Raises BadInput rather than emptying anybody else's."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        entries = list(directory.iterdir())
    except OSError as exc:
        raise BadInput(f"{directory}: {exc.strerror}", field="--dir", fix="Name a directory of yours.") from exc
    if entries:
        if not (directory / MARK).exists():
            raise BadInput(f"{directory} is not empty", field="--dir", fix="Name a directory of the demo's own.")
        if embedded.running(directory):
            raise BadInput(f"a demo runs in {directory}", field="--dir", fix="Stop it, or name another directory.")
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (directory / MARK).touch()


def _leads(file: Path, feed: Feed) -> Iterator[LeadRow]:
    for row in read_leads(file):
        if isinstance(row, BadRow):
            feed.bad.append(row)
        else:
            feed.total += 1
            yield row
    for bad in feed.bad:
        wiring.parked().park("csv_lead", f"{bad.file}:{bad.line}", bad.reason, input=dict(bad.input))


def _roster(plan: Plan, out: Console, feed: Feed) -> None:
    """Import the members, and make their accounts in Salesforce so that leads can point at them."""
    result = imports.members(plan.members, actor="fairturn demo", console=out, capacity=plan.capacity)
    for bad in result.bad:
        feed.errors.append(f"{bad.file}, line {bad.line}: {bad.reason}")
    held = wiring.members().all()
    accounts: list[Mapping[str, object]] = [
        {"Name": member.row.name, "Fairturn_Partner_Key__c": member.row.key} for member in held
    ]
    made = _seeder(settings.load()).accounts(accounts, key="Fairturn_Partner_Key__c")
    pairs = zip(held, made, strict=True)
    wiring.members().link({member.row.key: one.salesforce_id for member, one in pairs if one.salesforce_id})
    out.print(f"{len(held)} members; {feed.total} leads to come.")


def _send(rows: list[LeadRow], rate: float, feed: Feed, cfg: settings.Settings) -> None:
    """Create the leads in Salesforce at the pace wanted, one by one or in the largest calls there are."""
    seeder = _seeder(cfg)
    size = MOST if rate == 0 else max(1, int(rate // 20))
    began = time.monotonic()
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        if rate:
            time.sleep(max(0.0, began + start / rate - time.monotonic()))
        _create(seeder, chunk, feed)
    feed.done = True


def _create(seeder: Seeder, chunk: list[LeadRow], feed: Feed) -> None:
    records = [_record(row) for row in chunk]
    for pause in (0.5, 2.0, 5.0, None):
        try:
            made = seeder.leads(records)
        except TryLater as exc:
            if pause is None:
                feed.errors += [f"{row.source_id}: {exc}" for row in chunk]
                return
            time.sleep(pause)
        except FairturnError as exc:
            feed.errors += [f"{row.source_id}: {exc}" for row in chunk]
            return
        else:
            feed.sent += sum(one.salesforce_id is not None for one in made)
            feed.errors += [f"{row.source_id}: {one.error}" for row, one in zip(chunk, made, strict=True) if one.error]
            return


def _record(row: LeadRow) -> dict[str, object]:
    """The lead as a web form would leave it in Salesforce; the files name nobody, so the name is made of the id."""
    a = row.address
    record: dict[str, object] = {
        "LastName": f"Household {row.source_id}"[:80],
        "Company": "Household",
        "LeadSource": (row.source or "Web")[:255],
        "Street": a.street[:255] or None,
        "City": a.city[:40] or None,
        "State": a.state[:80] or None,
        "PostalCode": a.postal_code[:20] or None,
        "Country": a.country[:80] or None,
        "Fairturn_Source_Id__c": row.source_id,
        "Fairturn_Priority__c": row.priority,
        "Fairturn_Attributes__c": json.dumps(dict(row.attributes), ensure_ascii=False)[:32_000],
    }
    if row.place is not None:
        record |= {"Latitude": row.place.lat, "Longitude": row.place.lon}
    return {name: value for name, value in record.items() if value is not None}


def _watch(supervised: Supervisor, feed: Feed, screen: Screen, *, answered: bool) -> int:
    """Show what happens until every lead is placed and written back; 1 when nothing moves any more."""
    moved, last = time.monotonic(), None
    while True:
        supervised.tend()
        seen = screen.update()
        now = time.monotonic()
        if feed.done and seen.settled(feed.sent) and not (answered and seen.open):
            return 0
        if seen.progress != last:
            moved, last = now, seen.progress
        elif now - moved > STALLED_S:
            feed.errors.append(f"nothing moved for {STALLED_S:.0f} s; see the logs in {settings.load().data_dir}/logs")
            return 1
        time.sleep(0.25)


def _hurry() -> None:
    """Publish the policy in use with a time to answer that a watcher can wait for."""
    _, document = wiring.policies().current() or (0, policy_file.default_document())
    pools = [{**pool, "answer_within": WITHIN} for pool in document["pools"]]
    wiring.publish_policy({**document, "pools": pools}, actor="fairturn demo", note=f"answers within {WITHIN}")


def _installers(supervised: Supervisor, cfg: settings.Settings, rows: Sequence[LeadRow], out: Console) -> None:
    """Have every member played: each with a key of its own, through the API alone. A watcher may play one of them."""
    scopes = (Scope.OFFERS_READ, Scope.OFFERS_ANSWER, Scope.EVENTS_READ)
    members = wiring.members().all()
    keys = {
        one.row.key: wiring.api_keys().add("simulated phone", member=one.id, scopes=scopes, actor="fairturn demo")
        for one in members
    }
    mine = _busiest(members, rows)
    file = cfg.data_dir / "installers.json"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as private:
        json.dump(keys, private)
    host = f"[{cfg.web_host}]" if ":" in cfg.web_host else cfg.web_host
    url = f"http://{host}:{cfg.web_port}"
    argv = [sys.executable, "-m", "workers.installers", "--url", url, "--keys", str(file), "--slow", mine.row.key]
    supervised.start(Job("installers", argv))
    out.print(Habits().told(WITHIN), soft_wrap=True)
    out.print(f"Your phone: {url}/app/#login={_let_in(mine)}", soft_wrap=True)
    out.print(f"It is {mine.row.name}'s, who waits some 15 s for you. The link is good once, for ten minutes.")


def _busiest(members: Sequence[Held], rows: Sequence[LeadRow]) -> Held:
    """Who has the most of these leads nearby; the first one when they bring no places."""
    points = [row.place for row in rows if row.place is not None]
    lats, lons = [point.lat for point in points], [point.lon for point in points]

    def near(one: Held) -> int:
        place = one.row.places[0]
        return int((metres_many(place.lat, place.lon, lats, lons) <= NEARBY_M).sum())

    return max((one for one in members if one.row.places), key=near)


def _let_in(member: Held) -> str:
    """A person of this member, and a link's token that lets them in."""
    tokens = wiring.tokens_for()
    person = wiring.people().add(
        name="You", email="you@example.com", role=Role.PARTNER_ADMIN, member=member.id, actor="fairturn demo"
    )
    known = wiring.people().get(person)
    if tokens is None or known is None:
        raise GiveUp("the demo has no FAIRTURN_SECRET: see its logs")
    return tokens.link_for(known)


def _until_alive(supervised: Supervisor) -> None:
    """Wait until the stream is read and somebody works on every queue."""
    wanted = {"subscriber", *(f"queue:{queue}" for queue in QUEUES)}
    for queue in QUEUES:
        app.send_task("sweep.canary", args=[queue], queue=queue)
    until = time.monotonic() + house.START_S
    while missing := wanted - {beat.name for beat in wiring.heartbeats().all()}:
        if time.monotonic() > until:
            raise GiveUp(f"no sign of life from {', '.join(missing)}; see {settings.load().data_dir}/logs")
        supervised.tend()
        time.sleep(0.1)


def _outcome(feed: Feed) -> dict[str, Any]:
    """The outcome in the shape of the outside contract; every decision is made again for it."""
    outcome = wiring.stats().summary(wiring.verifier().run())
    refused = [f"{bad.file}, line {bad.line}: {bad.reason}" for bad in feed.bad]
    outcome["leads"]["total"] = feed.total + len(feed.bad)
    outcome["errors"] = [*refused, *feed.errors, *outcome["errors"]]
    return outcome


def _code(outcome: Mapping[str, Any]) -> int:
    return 1 if any(outcome["breaches"].values()) else 0


def _report(outcome: Mapping[str, Any] | None, plan: Plan, out: Console) -> None:
    if plan.report and outcome:
        plan.report.write_text(json.dumps(outcome, indent=2) + "\n")
        out.print(f"Written to {plan.report}.", soft_wrap=True)


def _seeder(cfg: settings.Settings) -> Seeder:
    return Seeder(wiring.tokens(), version=cfg.salesforce_api_version, ca_file=cfg.salesforce_ca_file)
