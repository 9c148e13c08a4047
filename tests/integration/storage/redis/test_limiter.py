"""One rate for everybody, whatever they do."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from routing.errors import TurnstileUnreachable
from storage.redis.keys import rate
from storage.redis.limiter import SLACK, RateLimiter


class Clock:
    """Time that passes by sleeping only, unless somebody oversleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.oversleep = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self.oversleep


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(redis_url: str, clock: Clock) -> RateLimiter:
    return RateLimiter(redis_url, clock=clock, sleep=clock.sleep)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as made:
        yield made


def test_G3_fifty_workers_never_exceed_the_rate_at_the_provider(redis_url: str) -> None:
    per_s, calls_each = 40, 2
    seen: list[float] = []
    all_here = threading.Barrier(50)

    def work(_: int) -> None:
        looked_at: list[float] = []  # the last one is the instant at which the limiter let go

        def clock() -> float:
            looked_at.append(time.monotonic())
            return looked_at[-1]

        mine = RateLimiter(redis_url, clock=clock)
        all_here.wait()
        for _call in range(calls_each):
            assert mine.acquire("provider", per_s, timeout_s=60)
            seen.append(looked_at[-1])

    with ThreadPoolExecutor(50) as workers:
        list(workers.map(work, range(50)))
    seen.sort()
    assert len(seen) == 100
    assert all(bisect_left(seen, start + 1) - number <= per_s for number, start in enumerate(seen))


def test_slots_are_handed_out_one_after_the_other_at_equal_distances(redis_url: str, client: redis.Redis) -> None:
    seconds, micros = client.time()

    def work(_: int) -> None:
        clock = Clock()
        RateLimiter(redis_url, clock=clock, sleep=clock.sleep).acquire("provider", 1.0, timeout_s=1000)

    with ThreadPoolExecutor(20) as workers:
        list(workers.map(work, range(100)))
    next_slot = int(client.get(rate("provider")) or 0)
    assert next_slot - (seconds * 1_000_000 + micros) >= 100 * SLACK * 1e6


def test_a_slot_beyond_the_timeout_is_refused_at_once_and_left_to_others(
    limiter: RateLimiter, clock: Clock, client: redis.Redis
) -> None:
    assert limiter.acquire("provider", 0.01, timeout_s=5)
    before = client.get(rate("provider"))
    assert not limiter.acquire("provider", 0.01, timeout_s=5)
    assert client.get(rate("provider")) == before
    assert clock.slept == [0.0]


def test_a_slot_that_was_slept_through_is_given_up_for_another(limiter: RateLimiter, clock: Clock) -> None:
    clock.oversleep = 0.2
    assert not limiter.acquire("provider", 100.0, timeout_s=1)
    assert len(clock.slept) > 1


def test_each_name_has_a_rate_of_its_own(limiter: RateLimiter) -> None:
    assert limiter.acquire("nominatim", 0.01, timeout_s=0)
    assert limiter.acquire("arcgis", 0.01, timeout_s=0)
    assert not limiter.acquire("nominatim", 0.01, timeout_s=0)


def test_the_key_of_an_idle_rate_goes_by_itself(limiter: RateLimiter, client: redis.Redis) -> None:
    limiter.acquire("provider", 2.0, timeout_s=0)
    assert 0 < int(client.pttl(rate("provider"))) <= 1600


def test_a_server_that_does_not_answer_is_unreachable() -> None:
    with pytest.raises(TurnstileUnreachable):
        RateLimiter("redis://127.0.0.1:1/0").acquire("provider", 1.0, timeout_s=0)
