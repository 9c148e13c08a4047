"""What a watcher of the demo sees: addresses, progress, states, latency, rings, and who has had how many turns."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from config import wiring
from config.desk import PoolAccounts, fairness
from routing.errors import TryLater
from storage.postgres.live import Moment

MILE_M = 1609.344
#: The fairness table is counted anew every so many updates.
SELDOM = 8
#: Lines of the picture besides the three small tables and the members.
OTHER_LINES = 8


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
        return (m.leads, *m.states.values(), m.events_pending, m.outbox_pending, m.dirty)

    @property
    def open(self) -> int:
        """Leads that somebody is yet to answer for."""
        return self.moment.states.get("offered", 0)

    def settled(self, sent: int) -> bool:
        """Whether every lead that was sent has been placed and written back."""
        return self.moment.leads >= sent and self.moment.idle


class Screen:
    """A live picture that fills a terminal; without one, a line now and then."""

    def __init__(self, out: Console, feed: FeedView, *, head: str) -> None:
        self._out = out
        self._feed = feed
        self._head = head
        self._foot = "Ctrl-C stops everything."
        self._bars = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=out,
        )
        self._arrived = self._bars.add_task("arrived", total=feed.total)
        self._decided = self._bars.add_task("decided", total=feed.total)
        # The other screen of the terminal: nothing scrolls, nothing flickers, a resized window is drawn anew.
        self._live = RichLive(console=out, auto_refresh=False, screen=True) if out.is_terminal else None
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
            self._out.print(self._line(moment), soft_wrap=True)
        self._updates += 1
        return Seen(moment)

    def line(self) -> str:
        """How far it is, in one line."""
        return self._line(wiring.live().moment())

    def finish(self) -> None:
        """Say in the picture that there is nothing left to wait for."""
        self._foot = "[bold]Every lead is placed and written back.[/bold] Everything still runs; Ctrl-C stops it."
        self._updates = 0
        self.update()

    def _line(self, moment: Moment) -> str:
        decided = moment.leads - moment.states.get("new", 0)
        return f"{decided:,} of {self._feed.total:,} leads decided ({_states(moment)})"

    def _picture(self, moment: Moment) -> RenderableType:
        counts = Table.grid(padding=(0, 1))
        tables = [_counts(moment, len(self._feed.errors)), _rings(moment), _latency(moment)]
        counts.add_row(*tables)
        lines = max(table.row_count for table in tables) + 1
        parts: list[RenderableType] = [Text(self._head, overflow="ellipsis", no_wrap=True), "", self._bars, "", counts]
        if self._accounts:
            room = self._out.height - OTHER_LINES - len(self._head.splitlines()) - lines
            parts += ["", *_standings(self._accounts, max(2, room))]
        return Group(*parts, Text.from_markup(self._foot))


def summary(outcome: Mapping[str, Any]) -> Table:
    """The outcome as a few lines to read."""
    leads, latency = outcome["leads"], outcome["latency_ms"]
    table = Table(box=None, show_header=False)
    table.add_row("leads", f"{leads['total']:,}")
    table.add_row("offered", f"{leads['offered']:,}")
    for kind in ("waiting", "review"):
        for reason, n in leads[kind].items():
            table.add_row(f"{kind}: {_plain(reason)}", f"{n:,}")
    table.add_row("parked", f"{leads['parked']:,}")
    for name, values in latency.items():
        title = name.replace("_", " ").replace("salesforce", "Salesforce")
        table.add_row(title, ", ".join(f"{k} {_time(v)}" for k, v in values.items()))
    for pool in outcome["fairness"]:
        worst = f"worst {pool['worst_turns']:.2f} turns, {pool['members']} members, {pool['decisions']:,} decisions"
        table.add_row(f"fairness: {pool['pool']}", worst)
    table.add_row("breaches", ", ".join(f"{_plain(name)} {n}" for name, n in outcome["breaches"].items()))
    table.add_row("throughput", f"{_number(outcome['throughput']['leads_per_s'])} leads/s")
    for error in outcome["errors"][:10]:
        table.add_row("error", error)
    if len(outcome["errors"]) > 10:
        table.add_row("error", f"... and {len(outcome['errors']) - 10} more")
    return table


def _accounts() -> PoolAccounts | None:
    try:
        pools = wiring.ledger().published().pools
        return fairness().of(pools[0].name)
    except TryLater:
        return None


def _states(moment: Moment) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(moment.states.items())) or "none arrived yet"


def _table(*columns: str) -> Table:
    """Words to the left, numbers to the right, nothing around."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold cyan")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _counts(moment: Moment, errors: int) -> Table:
    """Leads by state; where there are reasons, they stand in the state's place."""
    table = _table("leads", "")
    reasons = {_plain(name): n for name, n in moment.reasons.items()}
    told = {name.partition(":")[0] for name in reasons}
    states = {"new": 0, "offered": 0} | {name: n for name, n in moment.states.items() if name not in told}
    for name, n in [*states.items(), *sorted(reasons.items())]:
        table.add_row(name, f"{n:,}")
    for name, n in (("parked", moment.parked), ("errors", errors)):
        if n:
            table.add_row(name, f"{n:,}")
    return table


def _rings(moment: Moment) -> Table:
    table = _table("ring", "offers")
    for metres, n in sorted(moment.rings_m.items(), key=lambda item: float(item[0])):
        table.add_row(_ring(float(metres)), f"{n:,}")
    return table


def _ring(metres: float) -> str:
    """In the unit it was drawn in: kilometres where they come out even."""
    return f"{metres / 1000:.0f} km" if metres % 1000 == 0 else f"{metres / MILE_M:g} mi"


def _latency(moment: Moment) -> Table:
    table = _table("from event to", "median", "p99")
    for name, pair in (("offer", moment.offer_ms), ("Salesforce", moment.written_ms)):
        table.add_row(name, *(_time(v) for v in pair or (None, None)))
    return table


def _standings(accounts: PoolAccounts, lines: int) -> list[RenderableType]:
    """Those owed most and those ahead most, as many as there is room for."""
    table = _table("member", "turns received", "entitled to", "owed")
    rows = list(accounts.accounts)
    first = min(len(rows), lines) // 2
    shown = rows if len(rows) <= lines else [*rows[:first], *rows[len(rows) - (lines - first) :]]
    for one in shown:
        entitled = "-" if one.entitled is None else f"{one.entitled:.2f}"
        owed = "-" if one.deviation is None else f"{one.deviation:+.2f}"
        table.add_row(one.member, str(one.received), entitled, owed)
    fair = f"{len(rows)} members; nobody is farther than {accounts.worst_turns:.2f} turns from what is fair."
    return [table, Text(fair, overflow="ellipsis", no_wrap=True)]


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _time(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
