"""Limits between Python and Lua: each told once for a batch, and what the script says of them."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from routing.columns import Column, Ints
from routing.decision import Ask
from routing.limits import Check, Stop, Use

Argument = str | int | bytes
Int32s = NDArray[np.int32]

COUNTED = struct.Struct("<iii")
BUCKET = struct.Struct("<ii")
NO_STOPS: Mapping[int, Stop] = {}
NO_LIMITS: list[Argument] = [b"", b"", b""]


def packed_uses(uses: Sequence[Use], units: int) -> bytes:
    """What an offer counts in, as scripts/shared.lua tells it."""
    names = [(one, one.counter.encode()) for one in uses]
    return b"".join(COUNTED.pack(one.bucket, units, len(name)) + name for one, name in names)


def unpacked_uses(packed: bytes) -> list[tuple[str, int, int]]:
    """Counter, bucket and units of each."""
    found, at = [], 0
    while at < len(packed):
        bucket, units, length = COUNTED.unpack_from(packed, at)
        at += COUNTED.size + length
        found.append((packed[at - length : at].decode(), bucket, units))
    return found


def packed_buckets(held: Mapping[int, int]) -> bytes:
    """What a counter holds."""
    return b"".join(BUCKET.pack(bucket, units) for bucket, units in held.items())


def buckets_of(packed: bytes) -> dict[int, int]:
    """Bucket -> units."""
    return dict(BUCKET.iter_unpack(packed))


@dataclass(frozen=True, slots=True)
class Limited:
    """The limits of a batch's candidates, each told once."""

    checks: list[Check]
    counters: list[str]
    bundles: list[tuple[int, int]]  # the first check (from 1) and how many
    bundle: Int32s  # of each candidate, from 1; 0: it has no limits

    @classmethod
    def of(cls, asks: Sequence[Ask], members: Sequence[int]) -> "Limited | None":
        """None when no candidate has any."""
        checks: list[Check] = []
        counters: dict[str, int] = {}
        bundles: list[tuple[int, int]] = []
        numbers: dict[int, int] = {}  # the same bundle is the same object
        bundle, each = np.zeros(len(members), dtype=np.int32), iter(enumerate(members))
        for ask in asks:
            for at, member in islice(each, sum(len(group.candidates) for group in ask.groups)):
                its = ask.limits.get(member)
                if not its:
                    continue
                number = numbers.get(id(its))
                if number is None:
                    bundles.append((len(checks) + 1, len(its)))
                    number = numbers[id(its)] = len(bundles)
                    checks += its
                bundle[at] = number
        for check in checks:
            for name in (check.counter, check.whole):
                if name:
                    counters.setdefault(name, len(counters) + 1)
        return cls(checks, list(counters), bundles, bundle) if checks else None

    def arguments(self) -> list[Argument]:
        """The limits, the bundles, and the bundle of each candidate, as reserve.lua takes them."""
        numbers = {name: number for number, name in enumerate(self.counters, start=1)} | {"": 0}
        rows = [
            (numbers[c.counter], c.bucket, c.buckets, c.most, c.percent, c.floor, numbers[c.whole]) for c in self.checks
        ]
        table, bundles = np.array(rows, dtype="<i4"), np.array(self.bundles, dtype="<i4")
        return [table.tobytes(), bundles.tobytes(), self.bundle.astype("<i4").tobytes()]


class Told:
    """What the script says of limits, by the number of the ask: who was stopped, and what each offer counts in."""

    def __init__(  # noqa: PLR0917 - whose candidates these are, of which ask, and what was answered
        self, limited: Limited, members: Column, ask_of: Ints, answers: Int32s, stops: bytes, choices: bytes
    ) -> None:
        self.stops: dict[int, dict[int, Stop]] = {}
        self.uses: dict[int, tuple[Use, ...]] = {}
        self.stopped = np.zeros(len(members), dtype=np.bool_)
        for candidate, number, used, most in np.frombuffer(stops, dtype="<i4").reshape(-1, 4).tolist():
            at, check = candidate - 1, limited.checks[number - 1]
            self.stopped[at] = True
            stop = Stop(check.limit, used, most, check.until)
            self.stops.setdefault(int(ask_of[at]), {})[int(members[at])] = stop
        told = iter(np.frombuffer(choices, dtype="<i4").tolist())
        for ask in np.flatnonzero(answers[:, 0] > 0).tolist():
            bundle = next(told)
            if bundle:
                first, count = limited.bundles[bundle - 1]
                its = limited.checks[first - 1 : first - 1 + count]
                self.uses[ask] = tuple(
                    Use(one.limit, one.counter, one.bucket, one.buckets, one.lasts, next(told), next(told), one.percent)
                    for one in its
                )
