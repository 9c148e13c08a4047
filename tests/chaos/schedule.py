"""What breaks when: a list made from the seed alone, printed before the run and the same each time."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.world import Wanted

#: Nothing breaks in the first and the last seconds: there must be a before and an after.
CALM_S = 5.0
#: A worker that answers at all holds no transaction for so long: whoever sleeps longer has lost its lease.
LEASE_S = 10.0
#: Kills strike these roles in this proportion; a role that does not exist is left out.
TARGETS = {"worker": 6, "bulk": 2, "subscriber": 3, "beat": 2, "web": 1, "courier": 1, "standby": 2}
FAULTS: Sequence[Mapping[str, Any]] = (
    {"place": "http", "kind": "answer", "args": {"name": "unavailable"}},
    {"place": "http", "kind": "answer", "args": {"name": "invalid_session"}, "probability": 0.3},
    {"place": "http", "kind": "timeout_after", "args": {"seconds": 2}, "probability": 0.3},
    {"place": "http", "kind": "late_apply", "args": {"seconds": 6}, "probability": 0.3},
    {"place": "record", "kind": "refuse", "args": {"name": "locked"}, "probability": 0.05},
)
STREAM_FAULTS: Sequence[Mapping[str, Any]] = (
    {"place": "event", "kind": "duplicate", "probability": 0.1},
    {"place": "event", "kind": "reorder", "probability": 0.05},
    {"place": "event", "kind": "gap", "probability": 0.02},
    {"place": "stream", "kind": "status", "after_events": 1, "args": {"name": "rst_stream"}, "count": 1},
    {"place": "stream", "kind": "status", "after_events": 1, "args": {"name": "service_unavailable"}, "count": 1},
)


@dataclass(frozen=True, slots=True)
class Strike:
    """One thing that breaks."""

    at_s: float
    nemesis: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> str:
        facts = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.at_s:7.1f} s  {self.nemesis:<18} {facts}"


@dataclass(frozen=True, slots=True)
class Profile:
    """A named way to break the house."""

    strikes: Callable[[random.Random, float], list[Strike]]
    wanted: Wanted = field(default_factory=Wanted)
    at_once: bool = False  # the leads come as fast as they can be made
    capacity: int = 8  # about so many offers a member at once
    poison: int = 0
    killers: int = 0


def plan(name: str, seed: int, length_s: float) -> list[Strike]:
    """The strikes of this profile, by time."""
    dice = random.Random(f"{seed} {name}")
    return sorted(PROFILES[name].strikes(dice, length_s), key=lambda strike: strike.at_s)


def _times(dice: random.Random, length_s: float, count: int) -> list[float]:
    """So many moments, spread evenly but not quite."""
    step = (length_s - 2 * CALM_S) / count
    return [CALM_S + step * (n + dice.uniform(0.1, 0.9)) for n in range(count)]


def _kill(dice: random.Random, at_s: float) -> Strike:
    role = dice.choices(list(TARGETS), weights=list(TARGETS.values()))[0]
    if role != "worker":
        return Strike(at_s, "kill", {"role": role})
    which = dice.choice(["worker", "worker-2"])
    return Strike(at_s, "kill", {"role": which, "child": dice.choice([None, 0, 1])})


def calm(_dice: random.Random, _length_s: float) -> list[Strike]:
    """Nothing: what the figures of the others are to be compared with."""
    return []


def kills(dice: random.Random, length_s: float) -> list[Strike]:
    """A kill -9 every two seconds; Postgres and Valkey once each."""
    strikes = [_kill(dice, at) for at in _times(dice, length_s, int((length_s - 2 * CALM_S) / 2))]
    once = [dice.uniform(0.2, 0.45), dice.uniform(0.55, 0.8)]
    dice.shuffle(once)
    strikes.append(Strike(once[0] * length_s, "crash_postgres"))
    strikes.append(Strike(once[1] * length_s, "kill_valkey", {"for_s": 0.5}))
    return strikes


def flush(dice: random.Random, length_s: float) -> list[Strike]:
    """Everything in Valkey gone, ten times."""
    return [Strike(at, "flush", {"database": None}) for at in _times(dice, length_s, 10)]


def rollback(dice: random.Random, length_s: float) -> list[Strike]:
    """Valkey set back by one to ten seconds, ten times."""
    return [Strike(at, "roll_back", {"by_s": round(dice.uniform(1, 10), 1)}) for at in _times(dice, length_s, 10)]


def away(dice: random.Random, length_s: float) -> list[Strike]:
    """Valkey gone for a minute (a third of a run that is shorter than three)."""
    return [Strike(length_s / 3, "kill_valkey", {"for_s": min(60.0, length_s / 3)})]


def frozen(dice: random.Random, length_s: float) -> list[Strike]:
    """Workers that stand still, half of them for longer than their lease, and go on as if nothing had been."""
    strikes = []
    for n, at in enumerate(_times(dice, length_s, max(2, int(length_s / 15)))):
        for_s = dice.uniform(3, LEASE_S) if n % 2 else dice.uniform(LEASE_S + 5, LEASE_S + 15)
        role = dice.choice(["worker", "worker-2", "worker", "worker-2", "subscriber", "bulk"])
        strikes.append(Strike(at, "freeze", {"role": role, "for_s": round(for_s, 1)}))
    return strikes


def wires(dice: random.Random, length_s: float) -> list[Strike]:
    """Answers that get lost after the work was done; a Valkey that takes everything and says nothing."""
    strikes = []
    for at in _times(dice, length_s, max(4, int(length_s / 6))):
        which, word = dice.choice([("postgres", "COMMIT"), ("postgres", "INSERT"), ("valkey", "EVALSHA")])
        strikes.append(Strike(at, "cut", {"wire": which, "word": word, "count": dice.randint(1, 5)}))
    strikes.append(Strike(length_s * 0.4, "freeze_valkey", {"for_s": min(20.0, length_s / 4)}))
    strikes.append(Strike(length_s * 0.7, "stall", {"wire": "valkey", "for_s": min(10.0, length_s / 8)}))
    return strikes


def salesforce(dice: random.Random, length_s: float) -> list[Strike]:
    """An org that is away, locks rows, answers late, ends sessions; a stream that breaks, repeats and leaves out."""
    strikes = [
        Strike(at, "org_fault", {"which": dice.randrange(len(FAULTS)), "for_s": dice.randint(3, 10)})
        for at in _times(dice, length_s, max(3, int(length_s / 15)))
    ]
    for at in _times(dice, length_s, max(3, int(length_s / 10))):
        which = dice.randrange(len(STREAM_FAULTS))
        strikes.append(Strike(at, "stream_fault", {"which": which, "for_s": dice.randint(3, 10)}))
    return strikes


def garbage(dice: random.Random, length_s: float) -> list[Strike]:
    """What nobody sent, in the queues."""
    return [Strike(at, "garbage", {"which": n}) for n, at in enumerate(_times(dice, length_s, 12))]


def config(dice: random.Random, length_s: float) -> list[Strike]:
    """Members paused and resumed, capacities lowered below what is held and raised again, policies published."""
    strikes = []
    for n, at in enumerate(_times(dice, length_s, max(6, int(length_s / 10)))):
        nemesis = ("pause", "shrink", "new_policy")[n % 3]
        strikes.append(Strike(at, nemesis, {"pick": dice.randrange(10**6), "for_s": dice.randint(5, 15)}))
    return strikes


def crowd(dice: random.Random, length_s: float) -> list[Strike]:
    """A second subscriber and two more beats; a worker whose clock is two hours off, either way."""
    third = length_s / 3
    return [
        Strike(CALM_S, "crowd", {"for_s": round(length_s - 2 * CALM_S)}),
        Strike(third, "clock_off", {"by_s": 7200, "for_s": round(third / 2)}),
        Strike(2 * third, "clock_off", {"by_s": -7200, "for_s": round(third / 2)}),
    ]


def points(_dice: random.Random, _length_s: float) -> list[Strike]:
    """Nothing from outside: the processes die at their fail-points."""
    return []


def disk(dice: random.Random, length_s: float) -> list[Strike]:
    """No room for Valkey's file, for Postgres's, for the logs, one after the other."""
    for_s = min(60.0, length_s / 6)
    names = ["aof", "wal", "logs"]
    dice.shuffle(names)
    return [
        Strike(at, "disk_full", {"disk": name, "for_s": for_s})
        for at, name in zip(_times(dice, length_s, 3), names, strict=True)
    ]


def own_hosts(dice: random.Random, length_s: float) -> list[Strike]:
    """Workers on hosts of their own, cut off now and then."""
    return [
        Strike(at, "cut_off", {"host": dice.choice(["worker-2", "worker-3"]), "for_s": dice.randint(5, 20)})
        for at in _times(dice, length_s, max(2, int(length_s / 30)))
    ]


def everything(dice: random.Random, length_s: float) -> list[Strike]:
    """A piece of each of the others."""
    parts = (kills, wires, frozen, salesforce, config, garbage, own_hosts)
    strikes = [s for part in parts for s in part(dice, length_s) if dice.random() < 0.35]
    strikes += [Strike(at, "flush", {"database": dice.choice([None, 0, 1])}) for at in _times(dice, length_s, 2)]
    strikes += [Strike(at, "roll_back", {"by_s": round(dice.uniform(1, 10), 1)}) for at in _times(dice, length_s, 2)]
    strikes.append(Strike(length_s * dice.uniform(0.2, 0.7), "kill_valkey", {"for_s": round(length_s / 20)}))
    strikes.append(Strike(length_s * dice.uniform(0.2, 0.7), "crash_postgres"))
    return [*strikes, *crowd(dice, length_s), *disk(dice, length_s)]


def short(dice: random.Random, length_s: float) -> list[Strike]:
    """The least of everything that hurts, for every change of the code."""
    strikes = [_kill(dice, at) for at in _times(dice, length_s, int(length_s / 4))]
    names: list[tuple[str, dict[str, Any]]] = [
        ("crash_postgres", {}),
        ("flush", {"database": None}),
        ("roll_back", {"by_s": 1.5}),
        ("cut", {"wire": "postgres", "word": "COMMIT", "count": 3}),
        ("cut", {"wire": "valkey", "word": "EVALSHA", "count": 3}),
        ("garbage", {"which": 2}),
        ("shrink", {"pick": 0, "for_s": 3}),
    ]
    dice.shuffle(names)
    times = _times(dice, length_s, len(names))
    return strikes + [Strike(at, name, facts) for at, (name, facts) in zip(times, names, strict=True)]


_DEADLY = "after_store=0.02,after_intake=0.02,after_reserve=0.02,before_commit=0.002,after_commit=0.002,after_settle=0.02,after_http=0.03,before_announce=0.003,in_rebuild=0.1"  # noqa: E501 - one list
_WHOLE = frozenset[str]()  # with Flower, which only watches, and takes a while to start

PROFILES: Mapping[str, Profile] = {
    "calm": Profile(calm, Wanted(killers=True)),
    "kills": Profile(kills, Wanted(without=_WHOLE)),
    "flush": Profile(flush),
    "rollback": Profile(rollback),
    "away": Profile(away, Wanted(answer_within="4h"), at_once=True, capacity=1000),
    "frozen": Profile(frozen),
    "wires": Profile(wires),
    "salesforce": Profile(salesforce),
    "poison": Profile(garbage, Wanted(killers=True), poison=100, killers=5),
    "config": Profile(config),
    "crowd": Profile(crowd),
    "points": Profile(points, Wanted(points=_DEADLY)),
    "disk": Profile(disk, Wanted(own_disks=True)),
    "hosts": Profile(own_hosts, Wanted(workers=3, own_hosts=2)),
    "all": Profile(
        everything,
        Wanted(workers=3, without=_WHOLE, own_hosts=2, own_disks=True, points=_DEADLY, killers=True),
        poison=50,
        killers=2,
    ),
    "short": Profile(short, Wanted(answer_within="8s", work_within="4h", answers_a_second=5.0), poison=5),
}
