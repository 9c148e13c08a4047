"""The verbs of a lead's way: who is told, who is set aside, where a loop ends."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from routing.change import Change
from routing.dispatcher import Dispatcher, Routed
from routing.errors import GiveUp, TryLater
from routing.intake import Taken
from routing.journey import EXPIRY, Dead, Journey, LeadBook, Left, Run, Verb
from routing.lane import Lane
from routing.lead import Address, Located, Point, Precision, ToLocate
from routing.ports import Geocoder

HERE = Located(Point(40, -75), Precision.CITY, "atlas")


@dataclass
class Book:
    """Leads in memory: as many as a test needs to see what the journey does with them."""

    bad: set[int] = field(default_factory=set)
    unwell: bool = False
    parked: list[tuple[int | str, str]] = field(default_factory=list)
    stuck: list[Any] = field(default_factory=list)
    overdue: list[int] = field(default_factory=list)
    unclean: list[str] = field(default_factory=list)

    delayed: list[tuple[int, str]] = field(default_factory=list)
    died: list[Dead] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)  # runs that have not ended

    def begin(self, verb: Verb, ids: Sequence[int]) -> Run:
        self.begun.append(len(self.begun) + 1)
        return Run(self.begun[-1], tuple(ids))

    def end(self, run: Run) -> None:
        self.begun.remove(run.id)

    def bury(self) -> list[Dead]:
        return self.died

    def put_off(self, lead_ids: Sequence[int], because: str, *, task_id: str = "") -> None:
        self.delayed += [(lead, because) for lead in lead_ids]

    def intake(self, event_ids: Sequence[int], read: object, *, task_id: str = "") -> Taken:
        if self.unwell:
            raise TryLater
        if self.bad & {*event_ids}:
            raise ValueError("a name and an address")
        return Taken(to_route=[*event_ids], meanings={"new": len(event_ids)})

    def park_event(self, event_id: int, reason: str, *, task_id: str = "") -> None:
        self.parked.append((event_id, reason))

    park_lead = park_event

    def clock(self) -> datetime:
        return datetime.now(UTC)

    def snapshots(self, changes: Sequence[Change], read: object, *, as_of: datetime, task_id: str = "") -> Taken:
        self.unclean = [one for one in self.unclean if one not in {c.record_id for c in changes}]
        return Taken(meanings={"updated": len(changes)})

    def dirty(self, *, limit: int = 200, gather_s: float = 0.0) -> list[str]:
        asked, self.unclean = self.unclean[:limit], self.unclean[limit:]
        return asked

    def are_dirty(self, *, for_s: float) -> bool:
        return bool(self.unclean)

    def park_record(self, record_id: str, reason: str, *, task_id: str = "") -> None:
        self.parked.append((record_id, reason))

    def unplaced(self, ids: Sequence[int]) -> list[ToLocate]:
        return [ToLocate(one, 1, Address(city="BAD" if one in self.bad else "Town")) for one in ids]

    def placed(self, found: Sequence[tuple[ToLocate, Located | None]], *, task_id: str = "") -> list[int]:
        return [lead.id for lead, at in found if at is not None]

    def woken(self, *, limit: int = 100) -> list[int]:
        return self.stuck[:limit]

    def expire(self, limits: object, *, limit: int = 200, task_id: str = "") -> tuple[dict[int, Lane], list[int]]:
        now, self.overdue = self.overdue[:limit], self.overdue[limit:]
        return dict.fromkeys(now[1:], Lane.LIVE), now[:1]

    def left_behind(
        self, *, older_than_s: float, lanes: Collection[Lane], died: bool = False, limit: int = 1000
    ) -> list[Left]:
        if died:
            return [Left("route", Lane.LIVE, (5,), died=True)]
        found = [Left("intake", Lane.LIVE, (1,)), Left("route", Lane.BULK, (2, 3)), Left("refresh", Lane.LIVE, (4,))]
        return [left for left in found if left.lane in lanes]


@dataclass
class Places:
    def locate_each(self, addresses: Sequence[Address]) -> list[Located | TryLater | GiveUp | None]:
        return [GiveUp("no such thing") if a.city == "BAD" else HERE for a in addresses]


@dataclass
class Routes:
    """A dispatcher that decides nothing."""

    asked: list[list[int]] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)

    def route(self, ids: Sequence[int], *, woken: bool = False, task_id: str = "") -> Routed:
        self.asked.append([*ids])
        if self.bad & {*ids}:
            raise KeyError("secret")
        return Routed()


@dataclass
class World:
    book: Book = field(default_factory=Book)
    routes: Routes = field(default_factory=Routes)
    told: list[tuple[str, list[int]]] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    nudged: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    fetch: Callable[[Sequence[str]], list[Change]] = lambda _ids: []
    at_once: tuple[Verb, ...] = ()

    @property
    def journey(self) -> Journey:
        return Journey(
            leads=cast("LeadBook", self.book),
            runs=self.book,
            dispatcher=cast("Dispatcher", self.routes),
            geocoder=cast("Geocoder", Places()),
            read=cast("Any", None),
            fetch=self.fetch,
            answering=dict,
            announce=self.announce,
            nudge=self.nudged.append,
            report=self.errors.append,
            at_once=self.at_once,
        )

    def announce(self, task: str, ids: Sequence[int], lane: Lane = Lane.LIVE, /) -> None:
        self.told.append((task, [*ids]))
        self.lanes.append(lane)


@pytest.fixture
def world() -> World:
    return World()


def test_one_bad_event_is_parked_and_the_others_go_on(world: World) -> None:
    world.book.bad = {2}
    assert world.journey.intake([1, 2, 3]) == {"new": 2, "parked": 1}
    assert world.told == [("leads.route", [1, 3])]
    assert world.book.parked == [(2, "ValueError: see the log of the task")]
    assert [str(e) for e in world.errors] == ["a name and an address"]


def test_an_unwell_neighbour_parks_nothing(world: World) -> None:
    world.book.unwell = True
    with pytest.raises(TryLater):
        world.journey.intake([1, 2])
    assert world.book.parked == []


def test_a_lead_goes_on_in_the_same_run_without_a_message(world: World) -> None:
    world.at_once = ("route", "locate")
    assert world.journey.intake([1, 2]) == {"new": 2, "offered": 0, "not_offered": 0, "refused": 0}
    world.journey.locate([3])
    assert world.routes.asked == [[1, 2], [3]]
    assert (world.told, world.book.begun) == ([], [])


def test_one_bad_event_keeps_no_other_lead_from_going_on(world: World) -> None:
    world.at_once, world.book.bad = ("route",), {2}
    world.journey.intake([1, 2, 3])
    assert world.routes.asked == [[1, 3]]
    assert world.book.parked == [(2, "ValueError: see the log of the task")]


def test_a_lead_that_cannot_go_on_at_once_is_parked_and_its_event_stays_read(world: World) -> None:
    world.at_once, world.routes.bad = ("route",), {2}
    assert world.journey.intake([1, 2])["parked"] == 1
    assert world.book.parked == [(2, "KeyError: see the log of the task")]


def test_leads_are_routed_by_the_hundred_however_many_were_read(world: World) -> None:
    world.at_once = ("route",)
    world.journey.intake(list(range(250)))
    assert [len(batch) for batch in world.routes.asked] == [100, 100, 50]


def test_nothing_to_do_asks_nobody(world: World) -> None:
    assert world.journey.intake([]) == world.journey.route([]) == {}
    assert world.routes.asked == []


def test_a_lead_that_cannot_be_routed_is_parked_without_the_error_s_text(world: World) -> None:
    world.routes.bad = {7}
    assert world.journey.route([6, 7]) == {"offered": 0, "not_offered": 0, "refused": 0, "parked": 1}
    assert world.book.parked == [(7, "KeyError: see the log of the task")]


def test_an_address_that_is_given_up_parks_its_lead_with_the_reason(world: World) -> None:
    world.book.bad = {2}
    world.journey.locate([1, 2])
    assert world.told == [("leads.route", [1])]
    assert world.book.parked == [(2, "no such thing")]


def test_woken_leads_that_do_not_move_end_the_loop(world: World) -> None:
    world.book.stuck = [1, 2]
    world.journey.wake()
    assert world.routes.asked == [[1, 2]]


def test_records_that_salesforce_does_not_show_end_the_loop(world: World) -> None:
    world.book.unclean = ["00Q1"]
    assert world.journey.refresh() == {}


def test_every_overdue_offer_is_ended_however_many_there_are(world: World) -> None:
    world.book.overdue = list(range(2 * EXPIRY + 5))
    assert world.journey.expire() == {"expired": 2 * EXPIRY + 5, "exhausted": 3}
    assert [len(ids) for _, ids in world.told] == [EXPIRY - 1, EXPIRY - 1, 4]
    assert {"outbox.free", "outbox.deliver"} == {*world.nudged}


def test_the_last_attempt_alone_frees_its_place_too(world: World) -> None:
    world.book.overdue = [1]
    world.journey.expire()
    assert "outbox.free" in world.nudged
    assert world.told == []


def test_what_its_process_died_with_goes_before_what_came_since(world: World) -> None:
    assert world.journey.bring_back(died=True) == {"route": 1}
    assert world.lanes == [Lane.HOT]


def test_what_was_left_behind_is_announced_again(world: World) -> None:
    assert world.journey.bring_back() == {"intake": 1, "route": 2, "refresh": 1}
    assert world.told == [("leads.intake", [1]), ("leads.route", [2, 3])]
    assert world.nudged == ["leads.refresh"]
