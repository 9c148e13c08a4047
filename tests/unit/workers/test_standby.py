"""When the standby works, and when it only looks."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from routing.errors import TurnstileUnreachable
from workers.standby import AWAY_S, ROOM, Desk, Standby, Watch


@dataclass
class Broker:
    """It answers or not, and time passes with each question."""

    answers: bool = True
    now: float = 100.0

    def probe(self) -> None:
        self.now += 1.0
        if not self.answers:
            raise TurnstileUnreachable

    def clock(self) -> float:
        return self.now


@dataclass
class World:
    """A standby, and what it did."""

    broker: Broker = field(default_factory=Broker)
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.relayed = threading.Event()
        self.desk = Desk()
        self.standby = Standby(
            watch=Watch(self.broker, self.broker.clock),
            desk=self.desk,
            work=self.work,
            relay=self.relay,
            hand_back=lambda: self.done.append("hand back"),
            chores=(lambda: self.done.append("chore"),),
        )

    def work(self, task: str, ids: Sequence[int]) -> None:
        self.done.append(f"{task} {list(ids)}")

    def relay(self) -> None:
        self.done.append("relay")
        self.relayed.set()

    def is_on_duty(self) -> bool:
        return self.standby.on_duty

    def looks(self, times: int) -> None:
        for _ in range(times):
            self.standby.look()


def test_while_the_broker_answers_it_only_sees_to_its_chores() -> None:
    world = World()
    world.looks(3)
    world.standby.see_to_chores()
    assert world.done == ["chore"]
    assert not world.standby.on_duty


def test_a_broker_that_is_away_for_a_moment_brings_nobody_on_duty() -> None:
    world = World()
    world.looks(1)
    world.broker.answers = False
    world.looks(int(AWAY_S))
    world.broker.answers = True
    world.looks(1)
    assert "relay" not in world.done


def test_it_works_until_the_broker_answers_and_hands_the_turnstile_back() -> None:
    world = World()
    world.looks(1)
    world.broker.answers = False
    world.looks(4)
    assert world.is_on_duty()
    assert world.relayed.wait(30)
    world.broker.answers = True
    world.looks(1)
    assert not world.is_on_duty()
    assert world.done[-1] == "hand back"


def test_what_would_go_on_for_ever_does_not_keep_it_on_duty_and_ends_with_its_batch() -> None:
    world = World()
    begun, batch_over, ended = threading.Event(), threading.Event(), threading.Event()

    def endless(_task: str, _ids: Sequence[int]) -> None:
        while world.desk.is_open:
            begun.set()
            assert batch_over.wait(30)
        ended.set()

    world.standby.work = endless
    world.looks(1)
    world.broker.answers = False
    world.looks(4)
    world.desk.nudge("outbox.free")
    assert begun.wait(30)
    world.broker.answers = True
    world.looks(1)  # while a batch is under way
    assert not world.is_on_duty()
    assert world.done[-1] == "hand back"
    assert not ended.is_set()
    batch_over.set()
    assert ended.wait(30)


def test_a_chore_that_takes_long_keeps_nobody_from_looking() -> None:
    world = World()
    begun, may_end, back = threading.Event(), threading.Event(), threading.Event()

    def long() -> None:
        begun.set()
        assert may_end.wait(30)

    world.standby.chores = (long,)
    world.standby.hand_back = back.set
    watching = threading.Thread(target=world.standby.run)
    watching.start()
    assert begun.wait(30)
    world.broker.answers = False
    assert world.relayed.wait(30)
    world.broker.answers = True
    assert back.wait(30)
    world.standby.stopped.set()
    may_end.set()
    watching.join()


def test_whoever_comes_on_duty_again_waits_for_the_batch_of_the_last_time() -> None:
    world = World()
    begun, may_end = threading.Event(), threading.Event()
    second = threading.Event()

    def work(task: str, _ids: Sequence[int]) -> None:
        if task == "leads.wake":
            begun.set()
            assert may_end.wait(30)
            world.done.append("first")
        else:
            world.done.append("second")
            second.set()

    world.standby.work = work
    world.looks(1)
    for answers, task in ((False, "leads.wake"), (True, ""), (False, "outbox.free")):
        world.broker.answers = answers
        world.looks(4)
        if task:
            world.desk.nudge(task)
            assert begun.wait(30)
    may_end.set()
    assert second.wait(30)
    assert [what for what in world.done if what in {"first", "second"}] == ["first", "second"]
    world.broker.answers = True
    world.looks(1)


def test_what_fails_is_told_and_the_watch_goes_on() -> None:
    world = World()

    def fail() -> None:
        raise TurnstileUnreachable

    world.standby.chores = (fail, lambda: world.done.append("next"))
    world.standby.see_to_chores()
    world.standby.see_to_chores()
    assert world.done == ["next", "next"]


def test_the_desk_gives_each_pair_of_hands_its_own_and_forgets_what_finds_no_room() -> None:
    desk = Desk()
    assert desk.announce("leads.route", list(range(250)))
    assert desk.nudge("outbox.deliver")
    assert not desk.nudge("outbox.deliver")
    assert desk.announce("leads.geocode", [7])
    assert desk.take("calls", 0) == ("outbox.deliver", ())
    assert desk.take("calls", 0) is None
    assert desk.take("places", 0) == ("leads.geocode", (7,))
    assert [len(piece[1]) for _ in range(3) if (piece := desk.take("leads", 0))] == [100, 100, 50]
    assert desk.is_clear
    assert not desk.announce("leads.route", list(range(100 * (ROOM + 1))))
    desk.clear()
    assert desk.is_clear
