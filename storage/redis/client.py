"""Our connections to Redis: no hidden repeats, short patience, errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from routing.errors import ColdTurnstile, GiveUp, TurnstileUnreachable

Client = redis.Redis | RedisCluster

CONNECT_S = 1.0
ANSWER_S = 2.0


def connect(url: str) -> redis.Redis:
    """A client that asks once and waits two seconds at most; nothing is opened before the first command."""
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        decode_responses=False,
    )


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
    except RedisError as exc:
        raise TurnstileUnreachable(said=type(exc).__name__) from exc
