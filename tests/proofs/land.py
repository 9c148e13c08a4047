"""A made-up land for proofs: partners and leads around towns, and a look at what the processes of a house take."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import psutil

from routing.lead import Point
from storage.postgres.members import MemberRow

TOWNS = [(34 + 1.7 * (n % 7), -118 + 2.9 * (n // 7)) for n in range(91)]


@dataclass(frozen=True, slots=True)
class Land:
    """The same towns for partners and leads; a place is a few miles from the middle of one."""

    dice: random.Random

    def place(self) -> tuple[float, float]:
        lat, lon = self.dice.choice(TOWNS)
        return round(lat + self.dice.gauss(0, 0.05), 5), round(lon + self.dice.gauss(0, 0.06), 5)

    def partners(self, count: int, *, market: str, capacity: int) -> Iterator[MemberRow]:
        for n in range(count):
            yield MemberRow(
                key=f"P-{n}", name=f"Partner {n}", market=market, places=(Point(*self.place()),), capacity=capacity
            )


def worst_turns(decisions: Iterable[Any]) -> float:
    """The farthest that received - entitled ever was for any partner, counted from the decisions alone."""
    balance: dict[tuple[str, int], Fraction] = {}
    worst = Fraction(0)
    for one in decisions:
        eligible = [(m, w) for m, w, gate in zip(one.member, one.weight, one.gate, strict=True) if gate == 0]
        weights = sum(w for _, w in eligible)
        for member, weight in eligible:
            key = (one.rotation, member)
            change = (member == one.chosen) - Fraction(weight, weights)
            # Whole micro-turns: exact fractions of ten thousand decisions have thousands of digits.
            balance[key] = balance.get(key, Fraction(0)) + Fraction(round(change * 1_000_000), 1_000_000)
            worst = max(worst, abs(balance[key]))
    return float(worst)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@dataclass(slots=True)
class Memory:
    """What the processes of a house hold, looked at now and then: proportional set size where the kernel tells it."""

    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def look(self, pids: dict[str, int]) -> None:
        for name, pid in pids.items():
            held = _held(pid) / 2**20
            self.first.setdefault(name, held)
            self.last[name], self.most[name] = held, max(held, self.most.get(name, 0.0))

    def told(self) -> dict[str, str]:
        return {n: f"{self.first[n]:.0f} -> {self.last[n]:.0f} MiB, at most {self.most[n]:.0f}" for n in self.first}


def _held(pid: int) -> float:
    total = 0.0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, AttributeError):
            continue
    return total
