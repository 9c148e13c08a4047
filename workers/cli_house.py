"""The house as a whole: is it well, is its ledger of the newest shape, load the turnstile again, compare now."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from config import settings, wiring
from workers import checks, house, running

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    for command in (doctor, migrate, rebuild, sweep, show_settings):
        cli.add_command(command)


@click.command()
@JSON
@DIR
def doctor(*, as_json: bool, data_dir: Path | None) -> None:
    """Check the ledger, the turnstile, the workers and the Salesforce org, and say how to mend what is wrong."""
    with house.opened(data_dir, new=data_dir is None):
        findings = checks.all_findings()
    if as_json:
        click.echo(json.dumps([f.to_json() for f in findings], indent=2))
    else:
        for finding in findings:
            mark = "[green]ok[/green]  " if finding.ok else "[red]fix[/red] "
            out.print(f"{mark} {escape(f'{finding.name}: {finding.message}')}", soft_wrap=True)
            if not finding.ok:
                out.print(f"     {finding.fix}", markup=False, soft_wrap=True)
    sys.exit(0 if all(f.ok for f in findings) else 1)


@click.command()
@DIR
def migrate(data_dir: Path | None) -> None:
    """Bring the ledger to the newest schema; publish the default policy when there is none."""
    with house.opened(data_dir):
        out.print(f"The ledger is up to date; policy version {house.migrate()} is published.")


@click.command()
@DIR
def rebuild(data_dir: Path | None) -> None:
    """Load the turnstile again from the ledger, under a new generation; safe while everything runs."""
    with house.opened(data_dir, new=False):
        for market in wiring.members().versions():
            wiring.dispatcher().rebuild(market)
            out.print(f"The turnstile of market {market} was rebuilt.")


@click.command()
@click.option("--full", is_flag=True, help="Compare every open lead of Salesforce, as the nightly sweep does.")
@DIR
def sweep(full: bool, data_dir: Path | None) -> None:
    """Run the hourly sweep now: compare with Salesforce, place what waits."""
    with house.opened(data_dir, new=False), err.status("Comparing with Salesforce ..."):
        counts = running.sweep_now(full=full)
    out.print(", ".join(f"{name} {n}" for name, n in sorted(counts.items())) or "Nothing to do.")


@click.command("settings")
def show_settings() -> None:
    """Print every setting as it counts now; secrets are not shown."""
    for name, value in settings.load().model_dump(mode="json").items():
        shown = "**********" if name in settings.PRIVATE and value else value
        out.print(f"{name} = {shown}", markup=False, soft_wrap=True)
