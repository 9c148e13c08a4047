"""A comparison with Salesforce: what is asked, in which order, and how it goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import pytest

from routing.change import Change
from routing.compare import CHUNK, OVERLAP, REFUSED_S, REST_S, Comparer, Kind, Scan, Seen
from routing.errors import GiveUp, TryLater
from routing.journey import Journey

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def record(number: int) -> Change:
    at = NOON + number * SECOND
    return Change(f"sweep:{number}", f"00Q{number:05}", "SNAPSHOT", b"", at)


@dataclass
class World:
    """The ledger's comparisons, the org and the journey in one place; it writes down what it was asked."""

    scan: Scan | None = None
    mark: datetime | None = None
    pages: list[list[Change]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    open: list[Seen] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    led_back_at: int = -1
    failure: Exception | None = None
    now: datetime = NOON
    takes: timedelta = timedelta(0)
    asked: list[tuple[object, ...]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    places: list[tuple[datetime | None, str]] = field(default_factory=list)
    rested: list[float] = field(default_factory=list)

    # as the ledger
    @property
    def leads(self) -> "World":
        return self

    def clock(self) -> datetime:
        self.now += self.takes
        return self.now

    def swept(self) -> datetime | None:
        return self.mark

    def ask(self, kind: Kind, why: str, *, since: datetime | None = None, again: bool = True) -> None:
        self.asked.append((why, since, again))
        self.scan = Scan(kind, UUID(int=1), 1, NOON, since)

    def waiting(self) -> bool:
        return self.scan is not None

    def claim(self) -> Scan | None:
        mine, self.scan = self.scan, None
        return mine

    def advance(self, scan: Scan, *, read: int, repaired: int, done: bool) -> Scan | None:
        self.places.append((scan.at, scan.record))
        if len(self.places) == self.led_back_at:
            return replace(scan, asks=2, at=NOON, record="")
        return None if done else scan

    def rest(self, scan: Scan, seconds: float) -> None:
        self.rested.append(seconds)

    def differing(self, seen: Sequence[Seen], *, after: str, last: bool) -> list[str]:
        self.asked.append(("differing", len(seen), after, last))
        return self.differ

    def alive(self, ids: Sequence[str]) -> list[str]:
        return list(ids)

    # as the org
    def changed_since(self, at: datetime, after: str = "") -> Iterator[list[Change]]:
        self.asked.append(("changed", at, after))
        for page in self.pages:
            if self.failure:
                raise self.failure
            yield page

    def deleted_between(self, start: datetime, end: datetime) -> list[str]:
        self.asked.append(("deleted", start, end))
        return self.deleted

    def open_records(self, after: str) -> tuple[list[Seen], bool]:
        rest = [one for one in self.open if one.record_id > after]
        return rest[:2], len(rest) <= 2

    def read(self, ids: Sequence[str]) -> list[Change]:
        self.asked.append(("read", len(ids)))
        return [replace(record(0), record_id=one) for one in ids]

    # as the journey
    def snapshots(self, changes: Sequence[Change], *, as_of: datetime, task_id: str = "") -> dict[str, int]:
        self.taken += [change.record_id for change in changes]
        return {"updated": len(changes)} if changes else {}

    @property
    def comparer(self) -> Comparer:
        return Comparer(scans=self, org=lambda: self, journey=cast("Journey", self))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("mark", [None, NOON - timedelta(hours=1)])
def test_the_hourly_sweep_overlaps_the_one_before(world: World, mark: datetime | None) -> None:
    world.mark = mark
    world.pages = [[record(1), record(2)], [record(3)]]
    assert world.comparer.hourly() == {"read": 3, "updated": 3}
    since = (mark or NOON - timedelta(hours=24)) - OVERLAP
    assert world.asked == [("hourly", since, False), ("changed", since, ""), ("deleted", since, NOON + 3 * SECOND)]


def test_every_chunk_of_a_page_is_a_place_to_go_on_from(world: World) -> None:
    world.pages = [[record(n) for n in range(2 * CHUNK + 1)]]
    world.comparer.hourly()
    ends = [CHUNK - 1, 2 * CHUNK - 1, 2 * CHUNK]
    assert world.places[:3] == [(NOON + n * SECOND, f"00Q{n:05}") for n in ends]


def test_what_is_gone_for_good_is_read_by_its_id(world: World) -> None:
    world.deleted = ["00Qx", "00Qy"]
    assert world.comparer.hourly() == {"read": 0, "updated": 2}
    assert world.taken == ["00Qx", "00Qy"]


def test_one_that_was_led_back_goes_on_from_there(world: World) -> None:
    world.pages, world.led_back_at = [[record(1)]], 2
    world.comparer.hourly()
    assert [what for what in world.asked if what[0] == "changed"][-1] == ("changed", NOON, "")
    assert world.taken == ["00Q00001", "00Q00001"]


def test_everything_open_is_compared_page_by_page_and_only_what_differs_is_read(world: World) -> None:
    world.open = [Seen(f"00Q{n}", NOON, NOON) for n in range(5)]
    world.differ = ["00Q3"]
    assert world.comparer.everything() == {"read": 5, "updated": 3}
    assert world.asked == [
        ("nightly", None, False),
        ("differing", 2, "", False),
        ("read", 1),
        ("differing", 2, "00Q1", False),
        ("read", 1),
        ("differing", 1, "00Q3", True),
        ("read", 1),
    ]


@pytest.mark.parametrize(
    ("failure", "pause"),
    [(TryLater("no"), REST_S), (TryLater("no", pause_s=900.0), 900.0), (GiveUp("no"), REFUSED_S)],
)
def test_a_comparison_that_fails_rests_as_long_as_is_asked_for(world: World, failure: Exception, pause: float) -> None:
    world.pages, world.failure = [[record(1)]], failure
    with pytest.raises(type(failure)):
        world.comparer.hourly()
    assert world.rested == [pause]


def test_one_that_takes_too_long_is_let_go_for_whoever_comes_next(world: World) -> None:
    world.pages, world.takes = [[record(1)], [record(2)], [record(3)]], timedelta(seconds=10)
    world.comparer.hourly(within=timedelta(seconds=15))
    assert world.taken == ["00Q00001"]
    assert world.rested == [0]


def test_a_time_is_asked_for_with_its_overlap(world: World) -> None:
    world.comparer.since(NOON, "overflow")
    assert world.asked == [("overflow", NOON - OVERLAP, True)]
