"""What a watcher of the demo sees: progress, states, latency, rings, and who has had how many turns."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config import wiring
from config.desk import PoolAccounts, fairness
from routing.errors import TryLater
from storage.postgres.live import Moment

MILE_M = 1609.344
#: Members shown from each end of the list.
SHOWN = 4
#: The fairness table is counted anew every so many updates.
SELDOM = 8


class FeedView(Protocol):
    """What the screen reads of the feed."""

    total: int
    sent: int
    errors: list[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What an update saw."""

    moment: Moment

    @property
    def progress(self) -> tuple[int, ...]:
        """Changes whenever anything moves."""
        m = self.moment
        return (m.leads, m.states.get("new", 0), m.events_pending, m.outbox_pending, m.dirty)

    def settled(self, sent: int) -> bool:
        """Whether every lead that was sent has been placed and written back."""
        return self.moment.leads >= sent and self.moment.idle


class Screen:
    """A live picture in a terminal; without one, a line now and then."""

    def __init__(self, out: Console, feed: FeedView) -> None:
        self._out = out
        self._feed = feed
        self._bars = Progress(
            TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=out
        )
        self._arrived = self._bars.add_task("arrived", total=feed.total)
        self._decided = self._bars.add_task("decided", total=feed.total)
        self._live = RichLive(console=out, refresh_per_second=4, auto_refresh=False) if out.is_terminal else None
        self._accounts: PoolAccounts | None = None
        self._updates = 0
        self._told = -1

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> Seen:
        """Look, show, and say what was seen."""
        moment = wiring.live().moment()
        decided = moment.leads - moment.states.get("new", 0)
        self._bars.update(self._arrived, completed=moment.leads)
        self._bars.update(self._decided, completed=decided)
        if self._live:
            if self._updates % SELDOM == 0:
                self._accounts = _accounts()
            self._live.update(self._picture(moment), refresh=True)
        elif decided * 10 // max(1, self._feed.total) > self._told:
            self._told = decided * 10 // max(1, self._feed.total)
            self._out.print(f"{decided:,} of {self._feed.total:,} leads decided ({_states(moment)})", soft_wrap=True)
        self._updates += 1
        return Seen(moment)

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Show the summary below the picture."""
        if self._live:
            self.update()
        self._out.print(_summary(outcome))
        if self._live:
            self._out.print("Every lead is placed. Everything still runs; Ctrl-C stops it.")

    def _picture(self, moment: Moment) -> RenderableType:
        tables = [_counts("leads", moment.states), _counts("because", moment.reasons), _rings(moment), _latency(moment)]
        parts: list[RenderableType] = [self._bars, Columns([Panel(t) for t in tables])]
        if self._accounts:
            parts.append(Panel(_standings(self._accounts), title="turns"))
        return Group(*parts)


def _accounts() -> PoolAccounts | None:
    try:
        pools = wiring.ledger().published().pools
        return fairness().of(pools[0].name)
    except TryLater:
        return None


def _states(moment: Moment) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(moment.states.items()))


def _counts(title: str, counts: Mapping[str, int]) -> Table:
    table = Table(title, "", box=None)
    for name, n in sorted(counts.items()):
        table.add_row(name, f"{n:,}")
    return table


def _rings(moment: Moment) -> Table:
    table = Table("ring, miles", "offers", box=None)
    for metres, n in sorted(moment.rings_m.items(), key=lambda item: float(item[0])):
        table.add_row(f"{float(metres) / MILE_M:.0f}", f"{n:,}")
    return table


def _latency(moment: Moment) -> Table:
    table = Table("event to", "p50 ms", "p99 ms", box=None)
    for name, pair in (("offer", moment.offer_ms), ("Salesforce", moment.written_ms)):
        table.add_row(name, *(f"{v:,.0f}" for v in pair) if pair else ("-", "-"))
    return table


def _standings(accounts: PoolAccounts) -> Table:
    table = Table("member", "received", "entitled to", "owed", box=None)
    rows = list(accounts.accounts)
    for one in rows if len(rows) <= 2 * SHOWN else [*rows[:SHOWN], *rows[-SHOWN:]]:
        entitled = "-" if one.entitled is None else f"{one.entitled:.2f}"
        owed = "-" if one.deviation is None else f"{one.deviation:+.2f}"
        table.add_row(one.member, str(one.received), entitled, owed)
    table.caption = f"{len(rows)} members, nobody farther than {accounts.worst_turns:.2f} turns from what is fair"
    return table


def _summary(outcome: Mapping[str, Any]) -> Table:
    leads, latency = outcome["leads"], outcome["latency_ms"]
    table = Table(box=None, show_header=False)
    table.add_row("leads", f"{leads['total']:,}")
    table.add_row("offered", f"{leads['offered']:,}")
    for kind in ("waiting", "review"):
        for reason, n in leads[kind].items():
            table.add_row(f"{kind}: {reason}", f"{n:,}")
    table.add_row("parked", f"{leads['parked']:,}")
    for name, values in latency.items():
        table.add_row(name.replace("_", " ") + ", ms", ", ".join(f"{k} {_number(v)}" for k, v in values.items()))
    for pool in outcome["fairness"]:
        worst = f"worst {pool['worst_turns']:.2f} turns, {pool['members']} members, {pool['decisions']:,} decisions"
        table.add_row(f"fairness: {pool['pool']}", worst)
    table.add_row("breaches", ", ".join(f"{name} {n}" for name, n in outcome["breaches"].items()))
    table.add_row("throughput", f"{_number(outcome['throughput']['leads_per_s'])} leads/s")
    for error in outcome["errors"][:10]:
        table.add_row("error", error)
    if len(outcome["errors"]) > 10:
        table.add_row("error", f"... and {len(outcome['errors']) - 10} more")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
