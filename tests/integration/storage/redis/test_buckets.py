"""Allowances: the same in Redis and in a process alone, which keeps to them while Redis is away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.redis.buckets import Allowance, Buckets, LocalBuckets
from workers.embedded_servers import free_port


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    burst=st.integers(1, 20),
    per_s=st.sampled_from([0.5, 1.0, 10.0]),
    waits=st.lists(st.floats(0, 5, allow_nan=False), max_size=60),
)
def test_no_span_of_time_sees_more_than_its_share_and_the_burst(burst: int, per_s: float, waits: list[float]) -> None:
    clock, allowance = Clock(), Allowance(per_s, burst)
    buckets, taken = LocalBuckets(clock), []
    for wait in waits:
        clock.now += wait
        if buckets.take("me", allowance).ok:
            taken.append(clock.now)
    for n, begin in enumerate(taken):
        for m, end in enumerate(taken[n:], start=1):
            assert m <= burst + (end - begin) * per_s + 1e-3


@given(burst=st.integers(1, 10))
def test_all_at_once_so_many_and_then_one_for_each_step(burst: int) -> None:
    clock, allowance = Clock(), Allowance(2.0, burst)
    buckets = LocalBuckets(clock)
    assert [buckets.take("me", allowance).left for _ in range(burst)] == list(range(burst))[::-1]
    refused = buckets.take("me", allowance)
    assert not refused.ok
    assert refused.wait_s == pytest.approx(0.5, abs=1e-3)
    clock.now += refused.wait_s + 1e-4
    assert buckets.take("me", allowance).ok
    assert not buckets.take("me", allowance).ok
    assert buckets.take("somebody else", allowance).ok


def test_redis_gives_each_caller_the_same(redis_url: str) -> None:
    slow = Allowance(per_s=0.01, burst=3)
    here, there = Buckets(redis_url), Buckets(redis_url)
    assert [here.take("me", slow).left, there.take("me", slow).left, here.take("me", slow).left] == [2, 1, 0]
    refused = there.take("me", slow)
    assert not refused.ok
    assert 0 < refused.wait_s <= 100
    assert there.take("somebody else", slow).left == 2


def test_what_was_used_grows_back_in_redis(redis_url: str) -> None:
    quick, buckets = Allowance(per_s=1000.0, burst=1), Buckets(redis_url)
    assert buckets.take("me", quick).ok
    while not buckets.take("me", quick).ok:
        pass


def test_while_redis_is_away_each_process_keeps_to_the_allowance_alone(redis_url: str) -> None:
    clock = Clock()
    buckets = Buckets(f"redis://127.0.0.1:{free_port()}/0", clock=clock)
    slow = Allowance(per_s=1.0, burst=2)
    assert [buckets.take("me", slow).ok for _ in range(3)] == [True, True, False]
    clock.now += 1.001
    assert buckets.take("me", slow).ok
