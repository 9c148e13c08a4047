"""`fairturn generate`: leads that nobody sent, and how members answer, at rates that are given."""

import csv
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from routing.simulation.generate import DAY_SHAPE, FLAT, Behaviour, leads
from workers import simulated
from workers.cli_past import TIME
from workers.rows import MemberInput, read_members

err = Console(stderr=True, highlight=False)

FILE = click.Path(path_type=Path, dir_okay=False)
RATE = click.FloatRange(0, 1)
#: Of a length of time.
MOST_DIGITS = 6


def add_to(cli: click.Group) -> None:
    """Add the command."""
    cli.add_command(generate_command)


class Span(click.ParamType[timedelta]):
    """A length of time such as 45m, 4h or 3d."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
        number = value[:-1]
        if value[-1:] not in units or not number.isdecimal() or len(number) > MOST_DIGITS or not int(number):
            self.fail(f"{value!r} is no length; write it like 45m, 4h or 3d", param, ctx)
        return timedelta(**{units[value[-1]]: int(number)})


SPAN = Span()


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
        simulated.writable(file)
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
