"""Our connections to Redis: no hidden repeats, short patience, errors in our words."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from routing.errors import ColdTurnstile, GiveUp, TurnstileUnreachable
from storage.redis.address import Address

CONNECT_S = 1.0
ANSWER_S = 1.0


class Cluster:
    """A cluster's client that looks for its nodes at the first command, as a single server's does.

    A command goes to the node that holds its slot. When that node does not answer, the next command asks the cluster
    anew who holds the slot: after a fail-over, its replica.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: RedisCluster | None = None
        self._opening = threading.Lock()

    def __getattr__(self, command: str) -> Any:
        return getattr(self._opened(), command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back; the next command opens new ones."""
        with self._opening:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _opened(self) -> RedisCluster:
        with self._opening:
            if self._client is None:
                nodes = [ClusterNode(*at) for at in self._address.hosts]  # type: ignore[no-untyped-call] # redis-py's
                self._client = RedisCluster(
                    startup_nodes=nodes,
                    username=self._address.username,
                    password=self._address.password,
                    ssl=self._address.tls,
                    require_full_coverage=False,  # a market whose node is gone does not stop the others
                    reinitialize_steps=1,
                    **_patience(),
                )
            return self._client


Client = redis.Redis | RedisCluster | Cluster


def connect(url: str) -> redis.Redis | Cluster:
    """A client that asks once and waits a second at most; nothing is opened before the first command."""
    address = Address.of(url)
    if address.kind == "cluster":
        return Cluster(address)
    if address.kind == "sentinel":
        return _watched(address)
    return redis.Redis.from_url(url, **_patience())


def _watched(address: Address) -> redis.Redis:
    login = {"username": address.username, "password": address.password, "db": address.database}
    asking = {**_patience(), **address.sentinel_login()}
    made: Any = Sentinel  # redis-py leaves it untyped
    client: redis.Redis = made(address.hosts, sentinel_kwargs=asking, **_patience()).master_for(address.master, **login)
    return client


def _patience() -> dict[str, Any]:
    return {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "decode_responses": False,
    }


@contextmanager
def in_our_words() -> Iterator[None]:
    """Redis errors leave as ColdTurnstile, GiveUp (credentials) or TurnstileUnreachable."""
    try:
        yield
    except (AuthenticationError, NoPermissionError) as exc:
        fix = "Check the user and password in the turnstile's URL, and its ACL: ~turnstile:* ~rate:*."
        raise GiveUp(f"Redis refused us. {fix}") from exc
    except ResponseError as exc:
        if str(exc).startswith("COLD"):
            raise ColdTurnstile(said=str(exc)) from exc
        raise TurnstileUnreachable(said=str(exc)) from exc
    except (RedisError, RedisClusterException) as exc:
        raise TurnstileUnreachable(said=type(exc).__name__) from exc
