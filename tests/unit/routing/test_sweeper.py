"""The relay and the sweep: what they look at, and what they leave alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

import pytest

from routing.compare import Comparer
from routing.dispatcher import Dispatcher
from routing.errors import ColdTurnstile
from routing.journey import Journey
from routing.ports import Pending, Turnstile
from routing.sweeper import BUSY, Sweeper


@dataclass
class World:
    """Everyone the sweeper speaks to, in one place; it writes down what it was asked."""

    asked: list[str] = field(default_factory=list)
    waiting_messages: int = 0
    woken_leads: list[int] = field(default_factory=list)
    due: set[str] = field(default_factory=set)
    lost: list[Pending] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    cold: bool = False
    comparing: bool = False
    dirty: bool = False
    gather_s: float = 2.0

    # as the journey and its leads
    @property
    def leads(self) -> "World":
        return self

    def expire(self, *, task_id: str = "") -> dict[str, int]:
        self.asked.append("expire")
        return {"expired": 0}

    def bury(self, *, task_id: str = "") -> dict[str, int]:
        return {}

    def bring_back(self, _lanes: object, *, older_than_s: float = 5.0, died: bool = False) -> dict[str, int]:
        self.asked.append("bring back what died" if died else "bring back")
        return {}

    def woken(self, *, limit: int) -> list[int]:
        return self.woken_leads[:limit]

    def are_dirty(self, *, for_s: float) -> bool:
        return self.dirty and for_s == self.gather_s

    # as the dispatcher, the turnstile and the ledger's judgement
    def come_back(self, _market: str) -> bool:
        return True

    def rebuild(self, market: str) -> bool:
        self.asked.append(f"rebuild {market}")
        return True

    def fill(self, market: str, members: Sequence[int] | None = None, *, task_id: str = "") -> int:
        self.asked.append(f"fill {market} {members}")
        return 2

    def pending(self, market: str, *, older_than_s: float) -> list[Pending]:
        if self.cold:
            raise ColdTurnstile(market=market)
        return self.lost

    def settle(
        self,
        market: str,
        *,
        keep: Sequence[tuple[int, int]],
        cancel: Sequence[tuple[int, int]],
        offers: Sequence[UUID],
    ) -> None:
        assert len(offers) == len(keep) + len(cancel)
        self.asked.append(f"settle keep {keep} cancel {cancel}")

    @contextmanager
    def judged(self, pending: Sequence[Pending]) -> Iterator[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
        keys = [(p.lead, p.attempt) for p in pending]
        yield [k for k in keys if k[0] in self.kept], [k for k in keys if k[0] not in self.kept]

    # as the comparer and its scans
    @property
    def scans(self) -> "World":
        return self

    def waiting(self) -> bool:
        return self.comparing

    def hourly(self, *, within: object = None, task_id: str = "") -> dict[str, int]:
        self.asked.append("compare")
        return {"read": 3}

    @property
    def sweeper(self) -> Sweeper:
        return Sweeper(
            journey=cast("Journey", self),
            dispatcher=cast("Dispatcher", self),
            turnstile=cast("Turnstile", self),
            reservations=self,
            comparer=cast("Comparer", self),
            markets=lambda: ["main"],
            due=lambda kind: kind in self.due,
            depth=lambda _queue: self.waiting_messages,
            nudge=self.asked.append,
        )


@pytest.fixture
def world() -> World:
    return World()


def reservation(lead: int) -> Pending:
    return Pending(lead, 1, UUID(int=lead), 100 + lead, 60.0)


def test_an_idle_relay_starts_nothing(world: World) -> None:
    assert world.sweeper.relay() == {}
    assert world.asked == ["expire", "bring back"]


def test_a_full_queue_gets_no_second_announcement_but_of_what_a_process_died_with(world: World) -> None:
    world.waiting_messages = BUSY
    world.sweeper.relay()
    assert world.asked == ["expire", "bring back what died"]


def test_the_relay_starts_what_is_due(world: World) -> None:
    world.woken_leads, world.due, world.comparing = [1], {"salesforce", "turnstile"}, True
    world.dirty = True
    world.sweeper.relay()
    assert world.asked[2:] == ["leads.wake", "leads.refresh", "sweep.resync", "outbox.deliver", "outbox.free"]


def test_the_hourly_sweep_compares_and_then_fills_every_member(world: World) -> None:
    assert world.sweeper.hourly() == {"read": 3, "filled": 2}
    assert world.asked == ["compare", "fill main None"]


def test_reservations_are_settled_by_what_the_ledger_says_and_freed_places_are_filled(world: World) -> None:
    world.lost, world.kept = [reservation(1), reservation(2)], {1}
    assert world.sweeper.reap("main") == 2
    assert world.asked == ["settle keep [(1, 1)] cancel [(2, 1)]", "fill main [102]"]


def test_kept_reservations_free_nothing(world: World) -> None:
    world.lost, world.kept = [reservation(1)], {1}
    world.sweeper.reap("main")
    assert world.asked == ["settle keep [(1, 1)] cancel []"]


def test_a_cold_turnstile_is_rebuilt_and_stops_no_relay(world: World) -> None:
    world.cold = True
    assert world.sweeper.relay() == {}
    assert world.asked[-1] == "rebuild main"
