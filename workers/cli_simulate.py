"""`fairturn simulate` and `fairturn generate`: what a policy would have done, and leads that nobody sent."""

import csv
import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from config import policy as policy_file
from config import wiring
from config.cells import cell
from config.simulation import trying
from config.simulation.page import page
from routing.errors import BadInput
from routing.policy import Policy
from routing.simulation.compared import summed
from routing.simulation.generate import DAY_SHAPE, FLAT, Behaviour, leads
from routing.simulation.habits import Habits
from routing.simulation.outcome import Beside, areas_beside, members_beside
from routing.simulation.past import Past, moment
from routing.simulation.report import AREAS, Report, simulate
from workers import house, simulated
from workers.cli_past import TIME
from workers.rows import MemberInput, read_members

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
FILE = click.Path(path_type=Path, dir_okay=False)
RATE = click.FloatRange(0, 1)
#: Members and differences shown; the files have them all.
SHOWN = 20


def add_to(cli: click.Group) -> None:
    """Add the commands."""
    cli.add_command(simulate_command)
    cli.add_command(generate_command)
    group = cli.commands.get("lead")
    if not isinstance(group, click.Group):
        group = click.Group("lead", help="Single leads.")
        cli.add_command(group)
    group.add_command(try_command)


class Span(click.ParamType[timedelta]):
    """A length of time such as 45m, 4h or 3d."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
        if value[-1:] not in units or not value[:-1].isdigit() or not int(value[:-1]):
            self.fail(f"{value!r} is no length; write it like 45m, 4h or 3d", param, ctx)
        return timedelta(**{units[value[-1]]: int(value[:-1])})


SPAN = Span()


@click.command("simulate")
@click.argument("policy", metavar="DRAFT|VERSION|live", default="live")
@click.option("--lead", default="", help="Only this one lead, against everything as it is now.")
@click.option("--from", "since", type=TIME, help="From then on; thirty days when not given.")
@click.option("--to", "until", type=TIME, help="Until then; now when not given.")
@click.option("--leads", "leads_file", type=FILE, help="Leads of this CSV instead of the ledger's.")
@click.option("--members", "members_file", type=FILE, help="Members of this CSV; with --leads.")
@click.option("--against", default="", help="Beside this policy, not beside history (DRAFT or VERSION).")
@click.option("--accept-rate", type=RATE, help="Share of offers accepted where nobody saw the answer.")
@click.option("--reject-rate", type=RATE, help="Share rejected, likewise.")
@click.option("--delay", type=SPAN, help="Half of those answers come within this time.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the dice.")
@click.option("--csv", "csv_file", type=FILE, help="Write members and areas as CSV.")
@click.option("--html", "html_file", type=FILE, help="Write one page with charts and a map.")
@click.option("--json", "json_file", type=FILE, help="Write everything as JSON; - prints it.")
@DIR
def simulate_command(  # noqa: PLR0917 - options by name
    policy: str,
    lead: str,
    since: datetime | None,
    until: datetime | None,
    leads_file: Path | None,
    members_file: Path | None,
    against: str,
    accept_rate: float | None,
    reject_rate: float | None,
    delay: timedelta | None,
    seed: int,
    csv_file: Path | None,
    html_file: Path | None,
    json_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Replay past leads under a policy, with capacity, hours and answers evolving; `live` must come out as it was.

    Answers that were seen for the same member and lead are used again; others follow the rates and delays of each tier
    in that time, which the report states. Nothing is written anywhere but the files that are named.
    """
    for file in (csv_file, html_file, json_file):
        _writable(file)
    if lead:
        _try(lambda draft: trying.try_lead(lead, draft=draft), policy, str(json_file) == "-", data_dir)
        return
    if (leads_file is None) != (members_file is None):
        raise BadInput("only one of the two is given", field="--leads", fix="Give --leads and --members, or neither.")
    said = accept_rate, reject_rate, delay, seed
    if leads_file and members_file:
        report = _of_files(policy, against, (leads_file, members_file), (since, until), said)
    else:
        report = _of_ledger(policy, against, (since, until), said, data_dir)
    _deliver(report, csv_file, html_file, json_file)


def _deliver(report: Report, csv_file: Path | None, html_file: Path | None, json_file: Path | None) -> None:
    """Write what was asked for, and show the rest."""
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False) if json_file is not None else ""
    if str(json_file) == "-":
        click.echo(text)
    elif json_file is not None:
        json_file.write_text(text + "\n", "utf-8")
    if csv_file is not None:
        _write_csv(report, csv_file)
    if html_file is not None:
        html_file.write_text(page(report), "utf-8")
    if str(json_file) == "-":
        return
    _show(report)
    for file in (csv_file, html_file, json_file):
        if file is not None:
            out.print(f"Written: {file}", markup=False, soft_wrap=True)


Times = tuple[datetime | None, datetime | None]
Said = tuple[float | None, float | None, timedelta | None, int]
Files = tuple[Path, Path]


def _of_files(policy: str, against: str, files: Files, times: Times, said: Said) -> Report:
    made = _policy_of_file(policy, ledger=False)
    other = _policy_of_file(against, ledger=False) if against else None
    with err.status("Reading ..."):
        past = simulated.of_files(*files, made, *times)
    habits = Habits.seen([], {}, seed=said[3]).told(accept=said[0], reject=said[1], delay=said[2])
    return _run(past, made, habits, Path(policy).name, (Path(against).name, other) if other else None)


def _of_ledger(policy: str, against: str, times: Times, said: Said, data_dir: Path | None) -> Report:
    simulated.in_order(*times)
    if _is_file(policy):
        policy_file.load_file(Path(policy))  # a file that is none is said at once, before servers are started
    with house.opened(data_dir, new=False):
        draft = None if policy == "live" else _policy_of(policy)
        other = None
        if against:
            other = _policy_of(against)
        since, until = simulated.stretch(*times)
        with err.status("Reading history ...") as status:
            past = simulated.of_ledger(since, until, lambda what: status.update(f"Reading history: {what} ..."))
    tiers = {one.id: one.tier for one in past.members.values()}
    habits = Habits.seen(past.offers, tiers, seed=said[3]).told(accept=said[0], reject=said[1], delay=said[2])
    name = "The live policy" if policy == "live" else f"Version {policy}" if policy.isdigit() else Path(policy).name
    return _run(past, draft, habits, name, (against, other) if other else None)


def _run(past: Past, policy: Policy | None, habits: Habits, name: str, beside: tuple[str, Policy] | None) -> Report:
    with _progress() as progress, _no_gc():
        task = progress.add_task("Simulating", total=len(past.leads) * (2 if beside else 1))
        seen = [0, 0]

        def came(done: int) -> None:
            seen[1] += seen[0] if done < seen[0] else 0  # the second world begins anew
            seen[0] = done
            progress.update(task, completed=seen[0])

        return simulate(past, policy, habits, name=name, beside=beside, progress=came)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )


@contextmanager
def _no_gc() -> Iterator[None]:
    """Nothing that a simulation makes is garbage before its end: looking for it takes a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# --- what is simulated


def _is_file(ref: str) -> bool:
    return ref != "live" and not ref.isdigit()


def _policy_of_file(ref: str, *, ledger: bool = True) -> Policy:
    if not _is_file(ref):
        raise BadInput(f"{ref!r} is in a ledger", field="policy", fix="With --leads, name a policy file.")
    document = policy_file.load_file(Path(ref))
    return wiring.parse_policy(document, 0) if ledger else policy_file.parse(document, 0)


def _policy_of(ref: str) -> Policy:
    return _policy_of_file(ref) if _is_file(ref) else _policy_of_version(ref)


def _policy_of_version(ref: str) -> Policy:
    version = int(ref)
    if wiring.policies().get(version) is None:
        raise BadInput(f"there is no version {version}", field="policy", fix="`fairturn policy history` lists them.")
    return wiring.ledger().policy(version)


def _writable(file: Path | None) -> None:
    """Say so before the work, not after it."""
    if file is None or str(file) == "-":
        return
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise BadInput(f"{file} cannot be written", field="output", fix="Name a file in a directory that exists.")


# --- what came of it


def _show(report: Report) -> None:
    past, here, then = report.past, report.here, report.then
    span = f"{moment(past.since):%Y-%m-%d %H:%M} to {moment(past.until):%Y-%m-%d %H:%M} UTC"
    out.print(f"[bold]{escape(report.name)}[/bold], {span}: {here.total.leads:,} leads.")
    total = Table("", *(["before"] if then else []), "simulated", box=None)
    mine, theirs = here.total.to_json(), then.total.to_json() if then else {}
    words = {"offers": "offers", "accepts": "accepted", "silent": "no answer", "missed": "leads nobody took"}
    words |= {"wait_min": "median minutes until accepted", "miles": "miles, mean"}
    for what, title in words.items():
        total.add_row(title, *([_told(theirs[what])] if then else []), _told(mine[what]))
    worst = "turns, the farthest from what is due"
    total.add_row(worst, *([f"{then.worst:.3f}"] if then else []), f"{here.worst:.3f}")
    out.print(total)
    _show_rows("member", members_beside(then, here, past.members))
    for by in AREAS:
        _show_rows(by, areas_beside(then, here, by))
    _show_comparison(report)
    habits = report.habits.overall
    out.print(
        f"{report.reused:,} offers were answered as they had been; {report.assumed:,} by assumption: over all "
        f"{habits.accept:.0%} accept, {habits.reject:.0%} reject, {habits.ignore:.0%} are silent.",
        soft_wrap=True,
    )
    for note in report.notes:
        out.print(note, markup=False, soft_wrap=True)


def _show_rows(title: str, rows: list[Beside]) -> None:
    table = Table(title, "offers", "accepted", "no answer", "wait min", "miles", "nobody took", box=None)
    for row in rows[:SHOWN]:
        mine, theirs = row.here.to_json(), row.then.to_json() if row.then else {}
        cells = [_beside(mine[what], theirs.get(what)) for what in ("offers", "accepts", "silent", "wait_min", "miles")]
        table.add_row(escape(row.name), *cells, _beside(mine["missed"], theirs.get("missed")))
    out.print(table)
    if len(rows) > SHOWN:
        out.print(f"... and {len(rows) - SHOWN:,} more")


def _show_comparison(report: Report) -> None:
    found = report.comparison
    if found is None:
        return
    out.print(f"[bold]{found.same:,} of {found.decided:,} decisions ({found.share:.3%}) came out as they did.[/bold]")
    for cause, count in summed(found.differences).items():
        out.print(f"  {count:,}: {cause}", markup=False, soft_wrap=True)
    for one in [one for one in found.differences if not one.follows][:SHOWN]:
        out.print(f"  lead {one.lead}, attempt {one.attempt}: {one.cause}", markup=False, soft_wrap=True)


def _beside(value: float | None, before: float | None) -> str:
    if value is None or before is None or value == before:
        return _told(value)
    return f"{_told(value)} ({value - before:+,.4g})"


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _write_csv(report: Report, file: Path) -> None:
    """Members and areas, a row each."""
    told = report.to_json()
    rows = [{"kind": "member", **row} for row in told["members"]]
    rows += [{"kind": by, **row} for by in AREAS for row in told["areas"][by]]
    names = dict.fromkeys(name for row in rows for name in row)
    with file.open("w", newline="", encoding="utf-8") as to:
        writer = csv.DictWriter(to, fieldnames=list(names))
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)


# --- one lead, now


@click.command("try")
@click.argument("lead", default="")
@click.option("--policy", default="live", help="Under this draft or version.")
@click.option("--country", default="", help="Of a lead that nobody sent; name no LEAD then.")
@click.option("--region", default="")
@click.option("--city", default="")
@click.option("--postal-code", default="")
@click.option("--lat", type=float)
@click.option("--lon", type=float)
@click.option("--source", default="")
@click.option("--priority", type=int, default=0)
@click.option("--hot", is_flag=True)
@click.option("--fact", "facts", multiple=True, metavar="NAME=VALUE", help="Any other fact that rules may ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@DIR
def try_command(
    lead: str, policy: str, facts: tuple[str, ...], *, as_json: bool, data_dir: Path | None, **described: Any
) -> None:
    """What would become of a lead at this instant, with the whole explanation; nothing is written anywhere.

    LEAD is our id, the Salesforce id or the source's id; or describe one that nobody sent.
    """
    given = {name: value for name, value in described.items() if value}
    if bool(lead) == bool(given or facts):
        raise BadInput("say which lead", field="lead", fix="Name a LEAD, or describe one with --postal-code and so on.")
    others = dict(_fact(one) for one in facts)

    def tried(draft: Policy | None) -> dict[str, Any]:
        if lead:
            return trying.try_lead(lead, draft=draft)
        return trying.try_facts(trying.Facts(**described, others=others), draft=draft)

    _try(tried, policy, as_json, data_dir)


def _fact(text: str) -> tuple[str, object]:
    name, found, value = text.partition("=")
    if not found or not name.strip():
        raise BadInput(f"{text!r} is no fact", field="--fact", fix="Write it like product=heat_pump or score=70.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _try(tried: Callable[[Policy | None], dict[str, Any]], policy: str, as_json: bool, data_dir: Path | None) -> None:
    with house.opened(data_dir, new=False):
        told = tried(None if policy == "live" else _policy_of(policy))
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    who = f" to {told['member']}" if told["member"] else ""
    by = f", by the rule {told['rule']}" if told["rule"] else ""
    out.print(f"[bold]{escape(told['outcome'])}{escape(who)}[/bold]: {escape(told['reason'])}{escape(by)}")
    if told["note"]:
        out.print(told["note"], markup=False, soft_wrap=True)
    for one in told["explanations"]:
        _show_explanation(one)
    out.print("Nothing was written.")


def _show_explanation(one: dict[str, Any]) -> None:
    out.print(
        f"attempt {one['attempt']}, pool {one['pool']}, rotation {one['rotation'] or '-'}: {one['step']}", markup=False
    )
    table = Table("member", "miles", "ring", "held", "gate", "why", box=None)
    for c in one["candidates"][:SHOWN]:
        chosen = "chosen" if c["member"] == one["chosen"] else c.get("gate", "")
        table.add_row(
            escape(str(c["member"])),
            f"{c['distance_m'] / 1609.344:.1f}",
            str(c.get("ring", "")),
            f"{c.get('open', '')}/{c.get('capacity', '')}",
            escape(str(chosen)),
            escape(str(c.get("why", ""))),
        )
    out.print(table)


# --- made up


@click.command("generate")
@click.option("--leads", "count", type=click.IntRange(1, simulated.MOST_LEADS), required=True, help="So many.")
@click.option("--rate", "per_hour", type=float, default=20.0, show_default=True, help="On average in an hour.")
@click.option("--members", "members_file", type=FILE, required=True, help="Leads come from around these members.")
@click.option("--within", "within_mi", type=click.FloatRange(0, 500), default=20.0, show_default=True, help="Miles.")
@click.option("--begin", type=TIME, help="When the first may come; an hour ahead when not given.")
@click.option("--flat", is_flag=True, help="The same at night as by day.")
@click.option("--accept", type=RATE, default=0.65, show_default=True, help="Share of offers accepted.")
@click.option("--reject", type=RATE, default=0.20, show_default=True, help="Share rejected; the rest is silent.")
@click.option("--delay", type=SPAN, default="45m", show_default=True, help="On average until an answer.")
@click.option("--behaviour", type=FILE, help="Write how members answer as JSON, for simulate and the demo.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("-o", "--output", type=FILE, help="The CSV of leads; printed when not given.")
def generate_command(  # noqa: PLR0917 - options by name
    count: int,
    per_hour: float,
    members_file: Path,
    within_mi: float,
    begin: datetime | None,
    flat: bool,
    accept: float,
    reject: float,
    delay: timedelta,
    behaviour: Path | None,
    seed: int,
    output: Path | None,
) -> None:
    """Make up leads around the members of a file, as a Poisson process with a day's shape; repeatable by its seed."""
    for file in (behaviour, output):
        _writable(file)
    how = Behaviour(accept, reject, delay)
    around = [p for row in read_members(members_file) if isinstance(row, MemberInput) for p in row.row.places]
    start = begin or datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    shape = FLAT if flat else DAY_SHAPE
    made = leads(count, per_hour, start, around, seed=seed, within_mi=within_mi, shape=shape)
    to = output.open("w", newline="", encoding="utf-8") if output else sys.stdout
    try:
        writer = csv.writer(to)
        writer.writerow(["lead_id", "received_at", "country", "lat", "lon", "source"])
        for one in made:
            row = [f"G{one.number:07d}", one.received_at.isoformat(), "US", one.place.lat, one.place.lon, "generated"]
            writer.writerow(row)
    finally:
        if output:
            to.close()
    if behaviour is not None:
        told = {"accept": accept, "reject": reject, "delay_s": how.delay.total_seconds(), "seed": seed}
        behaviour.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    if output:
        err.print(f"{count:,} leads in {output}.", markup=False, soft_wrap=True)
