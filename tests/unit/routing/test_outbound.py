"""What leaves the house: every record has its own result, every place is given back once it is free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import UUID

import pytest

from routing.change import Delivery, Free, Outcome, WriteBack, Written
from routing.dispatcher import Dispatcher, Routed
from routing.errors import GiveUp, TryLater
from routing.gate import OrgPaused
from routing.lead import Reason
from routing.outbound import Outbound, OutboxBook


def delivery(number: int) -> Delivery:
    return Delivery(number, UUID(int=number), 1, WriteBack(number, f"00Q{number}", 1, "offered", 1))


def free(number: int, market: str = "main") -> Free:
    return Free(number, UUID(int=number), UUID(int=1000 + number), number, market, number)


def hold(number: int) -> Free:
    return replace(free(number), holds=True)


@dataclass
class Book:
    writes: list[Delivery] = field(default_factory=list)
    frees: list[Free] = field(default_factory=list)
    finished: list[Written] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    released: list[int] = field(default_factory=list)
    paused: bool = False
    claim: int = 2

    def claim_writes(self) -> list[Delivery]:
        if self.paused:
            raise OrgPaused("the org has used its API calls")
        now, self.writes = self.writes[:2], self.writes[2:]
        return now

    def release(self, deliveries: Sequence[Delivery], because: str) -> None:
        assert because
        self.released += [one.outbox_id for one in deliveries]

    def finish(self, results: Sequence[tuple[Delivery, Written]], *, task_id: str = "") -> list[int]:
        self.finished += [written for _, written in results]
        return [written.lead_id for _, written in results if written.outcome is Outcome.GONE]

    def claim_frees(self, limit: int = 200) -> list[Free]:
        now, self.frees = self.frees[: self.claim], self.frees[self.claim :]
        return now

    def freed(self, frees: Sequence[Free]) -> None:
        self.done += [one.outbox_id for one in frees]


@dataclass
class Places:
    freed: list[tuple[str, dict[UUID, int]]] = field(default_factory=list)
    filled: list[tuple[str, Sequence[int] | None]] = field(default_factory=list)
    unwell: int | None = None

    def free(
        self, market: str, ended: Mapping[UUID, int], *, counted: Sequence[UUID] = (), task_id: str = ""
    ) -> Routed:
        if self.unwell in ended.values():
            raise TryLater
        self.freed.append((market, dict(ended)))
        return Routed()

    def fill(self, market: str, members: Sequence[int] | None = None, *, task_id: str = "") -> int:
        self.filled.append((market, members))
        return 0


@dataclass
class World:
    book: Book = field(default_factory=Book)
    places: Places = field(default_factory=Places)
    outcome: dict[int, Outcome] = field(default_factory=dict)
    error: Exception | None = None
    gone: list[tuple[list[int], Reason]] = field(default_factory=list)
    nudged: list[str] = field(default_factory=list)

    def write(self, writes: Sequence[WriteBack]) -> list[Written]:
        if self.error:
            raise self.error
        # Salesforce's answers may come in any order.
        return [Written(w.lead_id, self.outcome.get(w.lead_id, Outcome.DONE)) for w in reversed(writes)]

    @property
    def outbound(self) -> Outbound:
        return Outbound(
            outbox=cast("OutboxBook", self.book),
            dispatcher=cast("Dispatcher", self.places),
            write=self.write,
            withdraw=lambda ids, reason: self.gone.append((list(ids), reason)),
            nudge=self.nudged.append,
        )


@pytest.fixture
def world() -> World:
    return World()


def test_each_record_has_its_own_result(world: World) -> None:
    world.book.writes = [delivery(n) for n in range(1, 6)]
    world.outcome = {2: Outcome.RETRY, 3: Outcome.PARK}
    counts: Any = world.outbound.deliver()
    assert counts == {"done": 3, "retry": 1, "park": 1}
    assert [w.lead_id for w in world.book.finished] == [1, 2, 3, 4, 5]


def test_a_record_that_is_gone_withdraws_its_lead(world: World) -> None:
    world.book.writes = [delivery(1), delivery(2)]
    world.outcome = {2: Outcome.GONE}
    world.outbound.deliver()
    assert world.gone == [([2], Reason.DELETED)]
    assert world.nudged == ["outbox.free"]


def test_a_call_refused_for_good_parks_every_record_with_the_reason(world: World) -> None:
    world.book.writes = [delivery(1), delivery(2)]
    world.error = GiveUp("the field Status__c is missing")
    assert world.outbound.deliver() == {"park": 2}
    assert {w.message for w in world.book.finished} == {"the field Status__c is missing"}


def test_an_unwell_salesforce_gets_the_rows_later(world: World) -> None:
    world.book.writes = [delivery(1)]
    world.error = TryLater("503")
    with pytest.raises(TryLater):
        world.outbound.deliver()
    assert (world.book.finished, world.book.released) == ([], [1])


def test_I10_while_the_org_is_left_alone_nothing_is_asked_and_nothing_fails(world: World) -> None:
    world.book.writes, world.book.paused = [delivery(1)], True
    assert world.outbound.deliver() == {"paused": 1}
    assert len(world.book.writes) == 1


def test_every_freed_place_is_given_back_and_then_written_down(world: World) -> None:
    world.book.frees = [free(n) for n in (1, 2, 3)]
    assert world.outbound.free() == {"freed": 3, "offered": 0}
    assert world.places.freed == [("main", {UUID(int=1000 + n): n for n in together}) for together in ((1, 2), (3,))]
    assert world.places.filled == [("main", [1, 2]), ("main", [3])]
    assert world.book.done == [1, 2, 3]
    assert world.nudged == ["outbox.deliver"]


def test_places_given_back_before_a_failure_stay_given_back(world: World) -> None:
    world.book.frees = [free(1), free(2), free(3)]
    world.places.unwell = 3
    with pytest.raises(TryLater):
        world.outbound.free()
    assert world.book.done == [1, 2]


def test_places_are_given_back_together_market_by_market_and_never_more_than_a_batch_holds(world: World) -> None:
    world.book.claim = 200
    world.book.frees = [free(n, "north" if n % 8 == 0 else "main") for n in range(1, 201)]
    assert world.outbound.free() == {"freed": 200, "offered": 0}
    assert [(market, len(ended)) for market, ended in world.places.freed] == [
        ("main", 100),
        ("main", 75),
        ("north", 25),
    ]
    assert sorted(world.book.done) == list(range(1, 201))
    assert {offer: (market, n) for market, ended in world.places.freed for offer, n in ended.items()} == {
        UUID(int=1000 + n): ("north" if n % 8 == 0 else "main", n) for n in range(1, 201)
    }


def test_places_of_offers_made_by_hand_are_held_and_not_freed() -> None:
    world = World()
    world.book.frees = [free(1), hold(2)]
    held: list[tuple[str, list[int]]] = []

    def holds(market: str, offers: Mapping[UUID, int], _units: Mapping[UUID, int]) -> bool:
        held.append((market, list(offers.values())))
        return len(held) > 1

    outbound = replace(world.outbound, hold=holds)
    outbound.free()
    assert (held, world.book.done) == ([("main", [2])], [1])  # not held yet: it is claimed again
    world.book.frees = [hold(2)]
    outbound.free()
    assert (world.book.done, [sorted(ended.values()) for _, ended in world.places.freed]) == ([1, 2], [[1]])


def test_a_lead_that_salesforce_calls_converted_is_not_taken_for_deleted() -> None:
    world = World(outcome={1: Outcome.GONE, 2: Outcome.GONE})
    world.book.writes = [delivery(1), delivery(2)]

    def write(writes: Sequence[WriteBack]) -> list[Written]:
        codes = {1: "CANNOT_UPDATE_CONVERTED_LEAD", 2: "ENTITY_IS_DELETED"}
        return [Written(w.lead_id, Outcome.GONE, codes[w.lead_id]) for w in writes]

    replace(world.outbound, write=write).deliver()
    assert world.gone == [([1], Reason.CONVERTED), ([2], Reason.DELETED)]


def test_offers_are_shown_after_their_leads() -> None:
    world = World()
    world.book.writes = [delivery(1)]
    assert replace(world.outbound, offers=lambda: len(world.book.finished)).deliver() == {"done": 1, "offers": 1}
