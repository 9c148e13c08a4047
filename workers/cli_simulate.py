"""`fairturn simulate`: what a policy would have done with the leads of the past."""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config import policy as policy_file
from config.simulation import trying
from config.simulation.page import page
from routing.errors import BadInput
from routing.policy import Policy
from routing.simulation.habits import Habits
from routing.simulation.past import Past
from routing.simulation.report import Report, simulate
from workers import cli_try, house, simulated
from workers.cli_generate import SPAN
from workers.cli_past import TIME
from workers.simulation_shown import show, write_csv

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
FILE = click.Path(path_type=Path, dir_okay=False)
RATE = click.FloatRange(0, 1)


def add_to(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(simulate_command)


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
        simulated.writable(file)
    if lead:
        cli_try.show(lambda draft: trying.try_lead(lead, draft=draft), policy, str(json_file) == "-", data_dir)
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
        write_csv(report, csv_file)
    if html_file is not None:
        html_file.write_text(page(report), "utf-8")
    if str(json_file) == "-":
        return
    show(report, out)
    for file in (csv_file, html_file, json_file):
        if file is not None:
            out.print(f"Written: {file}", markup=False, soft_wrap=True)


Times = tuple[datetime | None, datetime | None]
Said = tuple[float | None, float | None, timedelta | None, int]
Files = tuple[Path, Path]


def _of_files(policy: str, against: str, files: Files, times: Times, said: Said) -> Report:
    made = simulated.policy_of_file(policy, ledger=False)
    other = simulated.policy_of_file(against, ledger=False) if against else None
    with err.status("Reading ..."):
        past = simulated.of_files(*files, made, *times)
    habits = Habits.seen([], {}, seed=said[3]).told(accept=said[0], reject=said[1], delay=said[2])
    return _run(past, made, habits, Path(policy).name, (Path(against).name, other) if other else None)


def _of_ledger(policy: str, against: str, times: Times, said: Said, data_dir: Path | None) -> Report:
    simulated.in_order(*times)
    if simulated.is_file(policy):
        policy_file.load_file(Path(policy))  # a file that is none is said at once, before servers are started
    with house.opened(data_dir, new=False):
        draft = None if policy == "live" else simulated.policy_of(policy)
        other = None
        if against:
            other = simulated.policy_of(against)
        since, until = simulated.stretch(*times)
        with err.status("Reading history ...") as status:
            past = simulated.of_ledger(since, until, lambda what: status.update(f"Reading history: {what} ..."))
    tiers = {one.id: one.tier for one in past.members.values()}
    habits = Habits.seen(past.offers, tiers, seed=said[3]).told(accept=said[0], reject=said[1], delay=said[2])
    name = "The live policy" if policy == "live" else f"Version {policy}" if policy.isdecimal() else Path(policy).name
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
