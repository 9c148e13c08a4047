"""One rate for all processes, so that a provider never sees more than was agreed with it."""

import time
from collections.abc import Callable

import redis

from storage.redis import scripts
from storage.redis.client import connect, in_our_words
from storage.redis.keys import rate

# Calls set out at their slots and arrive a little late, each by another bit: with slots 5 % farther apart than the
# rate asks for, that unevenness (50 ms at 1/s) cannot put one call too many into the provider's second.
SLACK = 1.05


class RateLimiter:
    """Hands out slots, one after the other at equal distances, in the order of asking; no bursts.

    The limits library's moving window lets the whole second's worth go at once, and twice that across its edge as the
    provider sees it.
    """

    def __init__(self, at: str | redis.Redis, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._redis = connect(at) if isinstance(at, str) else at
        self._slot = scripts.bind("slot", self._redis)
        self._sleep = sleep

    def acquire(self, name: str, per_s: float, timeout_s: float) -> bool:
        """Wait for a slot; False at once, and no slot taken, when it would come later than the timeout.

        Raises TurnstileUnreachable when Redis does not answer.
        """
        distance_us = max(1, round(SLACK / per_s * 1e6))
        with in_our_words():
            wait_us = int(self._slot(keys=[rate(name)], args=[distance_us, int(timeout_s * 1e6)]))
        if wait_us > 0:
            self._sleep(wait_us / 1e6)
        return wait_us >= 0
