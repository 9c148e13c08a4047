"""`fairturn up` and `fairturn demo`: the whole house in the foreground."""

import sys
from pathlib import Path

import click
from rich.console import Console

from workers import demo, running

out = Console(highlight=False)

DIR = click.option("--dir", "data_dir", type=click.Path(path_type=Path), help="Data directory; its servers are used.")


def add_to(cli: click.Group) -> None:
    """Add these commands to the command line."""
    cli.add_command(up)
    cli.add_command(demo_command)


@click.command()
@DIR
def up(data_dir: Path | None) -> None:
    """Run everything in the foreground; Ctrl-C stops it. Servers that are not set are brought along."""
    running.up(data_dir, out)


@click.command("demo")
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
