"""Every promise of the turnstile, kept on a cluster of three primaries."""

from collections.abc import Iterator

import pytest

from routing.ports import Turnstile
from storage.redis.limiter import RateLimiter
from storage.redis.turnstile import RedisTurnstile
from tests.contract import test_turnstile as contract
from tests.integration.cluster.servers import Cluster

# The whole contract is run again, with the fixture "turnstile" below; the long comparison of the two rules is about
# the script, which is the same here.
LONG = "test_the_rule_in_python_and_the_rule_in_lua_never_differ"
globals().update({name: test for name, test in vars(contract).items() if name.startswith("test_") and name != LONG})


@pytest.fixture
def redis_url(cluster: Cluster) -> str:
    for node in cluster.primaries:
        node.client.flushall()
    return cluster.url


@pytest.fixture
def turnstile(redis_url: str) -> Iterator[Turnstile]:
    """A turnstile warm at generation 1 with nothing in it."""
    made = RedisTurnstile(redis_url)
    made.rebuild(contract.MARKET, contract.EMPTY)
    yield made
    made.close()


def test_markets_live_on_different_nodes(cluster: Cluster, redis_url: str) -> None:
    turnstile = RedisTurnstile(redis_url)
    for number in range(3):
        market = cluster.market_on(number)
        turnstile.rebuild(market, contract.EMPTY)
        (grant,) = turnstile.reserve(market, [contract.an_ask(contract.a_group(1, 2))], generation=1)
        assert grant.member == 1
    turnstile.close()
    for number, node in enumerate(cluster.primaries):
        held = {key.decode().split("}")[0].split("{")[1] for key in node.client.scan_iter("turnstile:*")}
        assert held == {cluster.market_on(number)}


def test_scripts_are_sent_again_to_a_node_that_has_forgotten_them(cluster: Cluster, turnstile: Turnstile) -> None:
    for node in cluster.primaries:
        node.client.script_flush()
    (grant,) = turnstile.reserve(contract.MARKET, [contract.an_ask(contract.a_group(1))], generation=1)
    assert grant.member == 1


def test_one_rate_is_kept_for_all_processes(redis_url: str) -> None:
    one, other = (RateLimiter(redis_url) for _ in range(2))
    assert all(limiter.acquire("geocoder", per_s=20, timeout_s=30) for limiter in (one, other))
    one.acquire("geocoder", per_s=0.001, timeout_s=60)  # the next slot is a quarter of an hour away
    assert not other.acquire("geocoder", per_s=0.001, timeout_s=60)
