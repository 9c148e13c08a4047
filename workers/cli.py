"""`fairturn`: the command line. Each command is a door; the work is in the modules it names."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import settings, wiring
from config.version import VERSION
from routing.errors import BadInput, FairturnError, LedgerOutdated, TryLater
from storage.postgres.parked import Letter
from workers import (
    checks,
    cli_access,
    cli_contents,
    cli_leads,
    cli_offers,
    cli_past,
    cli_policy,
    cli_shadow,
    cli_simulate,
    cli_turns,
    demo,
    house,
    imports,
    render,
    replay,
    running,
)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def main() -> None:
    """Run a command; a foreseen error is one line that says what to do next. Exit 1, or 2 for wrong input."""
    try:
        cli(prog_name="fairturn", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except BadInput as exc:
        err.print(str(exc), style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except FairturnError as exc:
        waiting_helps = isinstance(exc, TryLater) and not isinstance(exc, LedgerOutdated)
        hint = " Try again in a moment; `fairturn doctor` says what is unwell." if waiting_helps else ""
        err.print(f"{exc}{hint}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="fairturn")
def cli() -> None:
    """Gives every lead to the right partner, at once and provably fairly."""


@cli.command()
@DIR
def up(data_dir: Path | None) -> None:
    """Run everything in the foreground; Ctrl-C stops it. Servers that are not set are brought along."""
    running.up(data_dir, out)


@cli.command("demo")
@click.option("--leads", type=click.Path(path_type=Path, dir_okay=False), help="CSV of leads; a sample when not given.")
@click.option("--members", type=click.Path(path_type=Path, dir_okay=False), help="CSV of members; a sample likewise.")
@click.option("--rate", type=click.FloatRange(min=0), default=None, help="Leads a second; 0: as fast as it goes.")
@click.option("--capacity", type=click.IntRange(min=1), help="Every member's capacity, instead of the file's.")
@click.option("--json", "report", type=click.Path(path_type=Path, dir_okay=False), help="Write the outcome as JSON.")
@click.option("--exit", "leave", is_flag=True, help="End when every lead is placed, also in a terminal.")
@click.option("--answers/--no-answers", default=None, help="Simulated installers answer; with the samples they do.")
@click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory, emptied at the start.")
def demo_command(
    *,
    leads: Path | None,
    members: Path | None,
    rate: float | None,
    capacity: int | None,
    report: Path | None,
    leave: bool,
    answers: bool | None,
    data_dir: Path | None,
) -> None:
    """Run the whole system with a pretend Salesforce and watch leads arrive and be offered."""
    plan = demo.Plan.of(
        leads,
        members,
        rate=rate,
        capacity=capacity,
        report=report,
        leave=leave,
        directory=data_dir,
        answers=answers,
    )
    sys.exit(demo.run(plan, out))


@cli.command()
@JSON
def doctor(as_json: bool) -> None:
    """Check the ledger, the turnstile, the workers and the Salesforce org, and say how to mend what is wrong."""
    with house.opened():
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


@cli.command()
@DIR
def migrate(data_dir: Path | None) -> None:
    """Bring the ledger to the newest schema; publish the default policy when there is none."""
    with house.opened(data_dir):
        out.print(f"The ledger is up to date; policy version {house.migrate()} is published.")


@cli.group()
def members() -> None:
    """The roster: who can be given leads."""


@members.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@DIR
def members_import(file: Path, data_dir: Path | None) -> None:
    """Add or change members from a CSV; rows that cannot be used are named and parked, the others count."""
    with house.opened(data_dir):
        house.migrate()
        result = imports.members(file, actor="fairturn members import", console=err)
    for bad in result.bad[:20]:
        err.print(f"line {bad.line}: {bad.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(result.bad) > 20:
        err.print(f"[yellow]... and {len(result.bad) - 20} more; `fairturn parked list` has all.[/yellow]")
    for tier, count in result.unnamed_tiers.items():
        err.print(f"The policy does not name the tier {tier!r} ({count} members): the default tier's limits apply.")
    out.print(f"{result.added} added, {result.changed} changed, {result.same} unchanged, {len(result.bad)} refused.")
    sys.exit(1 if result.bad else 0)


@cli.command()
@click.argument("lead")
@JSON
@DIR
def explain(lead: str, as_json: bool, data_dir: Path | None) -> None:
    """Tell a lead's whole way: every event, offer and decision, and why each candidate was or was not chosen.

    LEAD is our id, the Salesforce id or the source's id.
    """
    with house.opened(data_dir, new=False):
        story = wiring.explain().lead(lead)
    if story is None:
        raise BadInput(
            f"no lead is known as {lead!r}", field="lead", fix="Give our id, the Salesforce id or the source's."
        )
    if as_json:
        click.echo(json.dumps(story.to_json(), indent=2))
    else:
        render.story(story, out)


@cli.command()
@DIR
def rebuild(data_dir: Path | None) -> None:
    """Load the turnstile again from the ledger, under a new generation; safe while everything runs."""
    with house.opened(data_dir, new=False):
        for market in wiring.members().versions():
            wiring.dispatcher().rebuild(market)
            out.print(f"The turnstile of market {market} was rebuilt.")


@cli.command()
@click.option("--full", is_flag=True, help="Compare every open lead of Salesforce, as the nightly sweep does.")
@DIR
def sweep(full: bool, data_dir: Path | None) -> None:
    """Run the hourly sweep now: compare with Salesforce, place what waits."""
    with house.opened(data_dir, new=False), err.status("Comparing with Salesforce ..."):
        counts = running.sweep_now(full=full)
    out.print(", ".join(f"{name} {n}" for name, n in sorted(counts.items())) or "Nothing to do.")


@cli.group()
def parked() -> None:
    """Dead letters: what could not be handled, each with one reason."""


@parked.command("list")
@click.option("--all", "everything", is_flag=True, help="Resolved ones too.")
@JSON
@DIR
def parked_list(everything: bool, as_json: bool, data_dir: Path | None) -> None:
    """List what is parked."""
    with house.opened(data_dir, new=False):
        rows = wiring.parked().list()
        rows += wiring.parked().list(resolved=True) if everything else []
    if as_json:
        click.echo(json.dumps([_letter(row) for row in rows], indent=2, default=str))
        return
    table = Table("id", "kind", "what", "reason", "parked", box=None)
    for row in rows:
        table.add_row(str(row.id), row.kind, escape(row.ref), escape(row.reason), f"{row.parked_at:%Y-%m-%d %H:%M:%S}")
    out.print(table if rows else "Nothing is parked.")


@parked.command("replay")
@click.argument("number", type=int)
@DIR
def parked_replay(number: int, data_dir: Path | None) -> None:
    """Try one again, after the cause was mended."""
    with house.opened(data_dir, new=False):
        out.print(replay.replay(number))


cli_access.add_to(cli)
cli_leads.add_to(cli)
cli_offers.add_to(cli)
cli_past.add_to(cli)
cli_turns.add_to(cli)
cli_policy.add_to(cli)
cli_contents.add_to(cli_policy.policy)
cli_simulate.add_to(cli)
cli_shadow.add_to(cli)


@cli.command("settings")
def show_settings() -> None:
    """Print every setting as it counts now; secrets are not shown."""
    for name, value in settings.load().model_dump(mode="json").items():
        shown = "**********" if name in settings.PRIVATE and value else value
        out.print(f"{name} = {shown}", markup=False, soft_wrap=True)


def _letter(row: Letter) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "raw"}


if __name__ == "__main__":
    main()
