"""Faults on demand: what goes wrong, where, how often."""

import random
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PLACES: Mapping[str, frozenset[str]] = {
    "event": frozenset(
        {"duplicate", "reorder", "undecodable", "blank_schema", "unknown_schema", "gap", "lost", "delay"}
    ),
    "stream": frozenset({"status", "stall"}),
    "call": frozenset({"status", "stall"}),
    "http": frozenset({"answer", "timeout_before", "timeout_after", "late_apply"}),
    "record": frozenset({"refuse"}),
    "login": frozenset({"refuse"}),
}


@dataclass(slots=True)
class Fault:
    """One order: at `place`, do `kind` to what `match` fits, skipping the first `skip`, `count` times.

    At a stream it waits until `after_events` events were delivered there.
    """

    id: int
    place: str
    kind: str
    match: dict[str, str] = field(default_factory=dict)
    skip: int = 0
    count: int | None = 1
    probability: float = 1.0
    after_events: int = 0
    args: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    def fits(self, place: str, facts: Mapping[str, str], delivered: int) -> bool:
        return (
            self.place == place
            and delivered >= self.after_events
            and all(re.search(pattern, facts.get(name, "")) is not None for name, pattern in self.match.items())
        )


def _check(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"match {name}: {pattern!r} is no regular expression: {error}") from None


@dataclass(slots=True)
class Faults:
    """The orders that stand, oldest first."""

    dice: random.Random
    standing: list[Fault] = field(default_factory=list)
    made: int = 0

    def add(self, order: Mapping[str, Any]) -> Fault:
        """Takes an order. ValueError or TypeError names what is wrong with it."""
        self.made += 1
        fault = Fault(id=self.made, **order)
        if fault.kind not in PLACES.get(fault.place, frozenset()):
            known = {place: sorted(kinds) for place, kinds in PLACES.items()}
            raise ValueError(f"no fault {fault.kind!r} at {fault.place!r}; there are {known}")
        for name, pattern in fault.match.items():
            _check(name, pattern)
        self.standing.append(fault)
        return fault

    def take(self, place: str, facts: Mapping[str, str] | None = None, *, delivered: int = 0) -> Fault | None:
        """The first fault that strikes here now; a fault that has struck `count` times is gone."""
        for fault in self.standing:
            if fault.fits(place, facts or {}, delivered) and self._strikes(fault):
                return fault
        return None

    def _strikes(self, fault: Fault) -> bool:
        if fault.skip > 0:
            fault.skip -= 1
            return False
        if self.dice.random() >= fault.probability:
            return False
        fault.hits += 1
        if fault.count is not None and fault.hits >= fault.count:
            self.standing.remove(fault)
        return True

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.standing]
