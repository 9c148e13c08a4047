"""Allowances of callers: token buckets in Redis, and in this process while Redis is away."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from routing.errors import GiveUp, TurnstileUnreachable
from storage.redis import scripts
from storage.redis.client import Client, connect, in_our_words
from storage.redis.keys import rate

#: After Redis did not answer it is left alone for so long: nobody's request waits for it.
AWAY_S = 5.0
#: Callers remembered by one process; who was away longest is forgotten first.
REMEMBERED = 10_000
#: Less than this is no time at all.
ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many requests a second on average, and so many at once."""

    per_s: float
    burst: int

    @property
    def step_us(self) -> int:
        return max(1, round(1e6 / self.per_s))


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking: `left` is -1 when the request has to wait for `wait_s`."""

    left: int
    wait_s: float  # until the allowance is full again; when none was left, until the next request may come

    @property
    def ok(self) -> bool:
        return self.left >= 0


class LocalBuckets:
    """The same arithmetic in this process alone; safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, name: str, allowance: Allowance) -> Taken:
        """One request of this caller."""
        step = allowance.step_us / 1e6
        with self._lock:
            now = self._clock()
            full = max(now, self._full.pop(name, now)) + step
            over = full - now - step * allowance.burst
            fits = over <= ROUNDING_S
            self._full[name] = full if fits else full - step
            while len(self._full) > REMEMBERED:
                del self._full[next(iter(self._full))]
        return Taken(int((ROUNDING_S - over) / step), full - now) if fits else Taken(-1, over)


class Buckets:
    """Allowances shared by all processes; each process keeps to them alone while Redis does not answer."""

    def __init__(self, at: str | Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = scripts.bind("bucket", connect(at) if isinstance(at, str) else at)
        self._clock = clock
        self._local = LocalBuckets(clock)
        self._away_until = 0.0

    def take(self, name: str, allowance: Allowance) -> Taken:
        """One request of this caller; never raises."""
        if self._clock() >= self._away_until:
            try:
                with in_our_words():
                    left, us = self._bucket(keys=[rate(f"api:{name}")], args=[allowance.step_us, allowance.burst])
            except (TurnstileUnreachable, GiveUp):
                self._away_until = self._clock() + AWAY_S
            else:
                return Taken(int(left), int(us) / 1e6)
        return self._local.take(name, allowance)
