"""A worker that runs but takes nothing is found; one that cannot be judged is left alone."""

from dataclasses import dataclass, field

import pytest

from routing.errors import LedgerUnreachable
from workers.watch import ANSWER_S, LONGEST_TASK_S, QUIET_S, Watch


@dataclass
class World:
    now: float = 1000.0
    beats: dict[str, float] = field(default_factory=lambda: {"leads": 1000.0, "outbox": 1000.0})
    asked: list[str] = field(default_factory=list)
    broker: bool = True
    busy: bool = False
    ledger: bool = True

    def ages(self) -> dict[str, float]:
        if not self.ledger:
            raise LedgerUnreachable
        return {queue: self.now - at for queue, at in self.beats.items()}

    def ask(self, queue: str) -> bool:
        self.asked.append(queue)
        return self.broker

    def watch(self) -> Watch:
        return Watch(["leads", "outbox"], self.ages, self.ask, lambda: self.busy, lambda: self.now)

    def looks(self, watch: Watch, seconds: float, *, every: float = 5.0) -> float | None:
        """Look again and again; after how long the worker was found unwell."""
        end, start = self.now + seconds, self.now
        while self.now < end:
            self.now += every
            if not watch():
                return self.now - start
        return None


@pytest.fixture
def world() -> World:
    return World()


def test_a_worker_that_takes_nothing_is_found_within_a_minute(world: World) -> None:
    watch = world.watch()
    assert watch()
    found = world.looks(watch, 300)
    assert found is not None
    assert found <= 60
    assert world.asked == ["leads", "outbox"]


def test_one_quiet_queue_of_several_is_enough(world: World) -> None:
    watch = world.watch()
    assert watch()
    world.beats["outbox"] = 1e9
    assert world.looks(watch, 300) is not None
    assert world.asked == ["leads"]


def test_whoever_answers_is_well(world: World) -> None:
    watch = world.watch()
    assert watch()
    for _ in range(50):
        world.now += 5
        assert watch()
        if world.asked:
            world.beats = {"leads": world.now, "outbox": world.now}
            world.asked.clear()


def test_a_long_task_is_let_finish_but_not_for_ever(world: World) -> None:
    world.busy = True
    watch = world.watch()
    assert watch()
    found = world.looks(watch, 2 * LONGEST_TASK_S)
    assert found is not None
    assert found >= LONGEST_TASK_S


def test_nobody_is_blamed_for_a_ledger_or_a_broker_that_is_away(world: World) -> None:
    watch = world.watch()
    assert watch()
    world.ledger = False
    assert world.looks(watch, 300) is None
    world.ledger, world.broker = True, False
    assert world.looks(watch, 300) is None


def test_a_worker_just_started_anew_is_given_time(world: World) -> None:
    watch = world.watch()
    assert watch()
    assert world.looks(watch, 300)
    again = world.looks(watch, 300)
    assert again is not None
    assert again > QUIET_S + ANSWER_S
