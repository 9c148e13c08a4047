"""When the standby works, and when it only looks."""

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

    def is_on_duty(self) -> bool:
        return self.standby.on_duty

    def looks(self, times: int) -> None:
        for _ in range(times):
            self.standby.look()


def test_while_the_broker_answers_it_only_sees_to_its_chores() -> None:
    world = World()
    world.looks(3)
    assert world.done == ["chore"] * 3
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
    assert "relay" in world.done
    world.broker.answers = True
    world.looks(1)
    assert not world.is_on_duty()
    assert world.done[-2:] == ["hand back", "chore"]


def test_what_fails_is_told_and_the_watch_goes_on() -> None:
    world = World()

    def fail() -> None:
        raise TurnstileUnreachable

    world.standby.chores = (fail, lambda: world.done.append("next"))
    world.looks(2)
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
