"""One rate for all processes, so that a provider never sees more than was agreed with it."""

import time
from collections.abc import Callable

from storage.redis import scripts
from storage.redis.client import Client, connect, in_our_words
from storage.redis.keys import rate

# A call sets out a little after its slot, each by another bit. With slots 5 % farther apart than the rate asks for, and
# slots that were missed by more than 50 ms given up, no second ever sees more than the rate.
SLACK = 1.05
LATE_S = SLACK - 1


class RateLimiter:
    """Hands out slots, one after the other at equal distances, in the order of asking; no bursts.

    The limits library's moving window lets the whole second's worth go at once, and with uneven ways to the provider
    that can be twice the rate in one of its seconds.
    """

    def __init__(
        self,
        at: str | Client,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._redis = connect(at) if isinstance(at, str) else at
        self._slot = scripts.bind("slot", self._redis)
        self._clock = clock
        self._sleep = sleep

    def acquire(self, name: str, per_s: float, timeout_s: float) -> bool:
        """Wait for a slot; False, and no slot taken, as soon as it is known that none comes within the timeout.

        Raises TurnstileUnreachable when Redis does not answer.
        """
        give_up_at = self._clock() + timeout_s
        while True:
            asked_at = self._clock()
            wait_s = self._take_slot(name, per_s, max(0.0, give_up_at - asked_at))
            if wait_s is None:
                return False
            self._sleep(wait_s)
            if self._clock() - asked_at - wait_s <= LATE_S:
                return True

    def _take_slot(self, name: str, per_s: float, longest_s: float) -> float | None:
        distance_us = max(1, round(SLACK / per_s * 1e6))
        with in_our_words():
            wait_us = int(self._slot(keys=[rate(name)], args=[distance_us, int(longest_s * 1e6)]))
        return wait_us / 1e6 if wait_us >= 0 else None
