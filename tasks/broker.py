"""The wire to the broker: Kombu's Redis transport with a doorkeeper that lets in our own messages only.

Whoever can write to the broker can put anything there. What is no message of ours is taken off the queue, counted and
told to `on_reject`; it is never handed to Celery, which would end its connection over some and log others whole.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty
from typing import Any

from celery import current_app
from kombu.transport import redis
from kombu.utils.json import dumps
from kombu.utils.scheduling import round_robin_cycle

from config import metrics
from config.celery import LANES, QUEUES

#: Ours are below 3 KB: at most a hundred ids.
LARGEST_BYTES = 64 * 1024
#: So much of a refused message is kept, to see where it came from.
SAMPLE_BYTES = 300
#: No queue gets longer than this: messages are hints, and whoever takes one clears the desk.
FULL: Mapping[str, int] = {**dict.fromkeys(LANES.values(), 1000), "outbox": 50, "deliveries": 50, "sweeps": 100}
#: Goes before everything else in its queue: it asks whether anybody works there, not how much there is to do.
CANARY = "sweep.canary"
_OURS = ("leads.", "outbox.", "deliveries.", "sweep.")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is none of ours."""

    queue: str
    reason: str
    size: int
    sample: bytes


class NotOurs(Exception):  # noqa: N818 - never leaves this module
    """Why a message is none of ours."""


_hooks: list[Callable[[Rejected], None]] = []


def known(task: str) -> bool:
    """Whether this is one of our tasks."""
    return task.startswith(_OURS) and task in current_app.tasks


def on_reject(hook: Callable[[Rejected], None]) -> Callable[[Rejected], None]:
    """Decorator: the hook is told of every message that was refused."""
    if hook not in _hooks:
        _hooks.append(hook)
    return hook


def check(raw: bytes, known: Callable[[str], bool]) -> dict[str, Any]:
    """The message, when it is one that our own tasks and beat could have written. Raises NotOurs."""
    if len(raw) > LARGEST_BYTES:
        raise NotOurs("too large")
    message = _object(_json(raw, "not JSON"), "not a message")
    headers = _object(message.get("headers"), "no headers")
    properties = _object(message.get("properties"), "no address")
    if (message.get("content-type"), message.get("content-encoding")) != ("application/json", "utf-8"):
        raise NotOurs("not JSON inside")
    if headers.get("compression"):
        raise NotOurs("compressed")
    if not isinstance(properties.get("delivery_tag"), str) or not isinstance(properties.get("delivery_info"), dict):
        raise NotOurs("no address")
    if not isinstance(headers.get("id"), str) or not isinstance(headers.get("task"), str):
        raise NotOurs("no task")
    if not known(headers["task"]):
        raise NotOurs("unknown task")
    if headers.get("eta") is not None or _limited(headers.get("timelimit")):
        raise NotOurs("has a time of its own")  # one to come is held in memory, one at the end kills in mid-commit
    _check_body(message.get("body"), properties.get("body_encoding"))
    return message


def _check_body(body: object, encoding: object) -> None:
    if not isinstance(body, str) or encoding != "base64":
        raise NotOurs("no body")
    try:
        inside = b64decode(body, validate=True)
    except ValueError as exc:
        raise NotOurs("no body") from exc
    match _json(inside, "not JSON inside"):
        case [list(), dict(), dict() as then] if not any(then.values()):
            return
        case _:
            raise NotOurs("arguments in no order")


def _limited(limits: object) -> bool:
    return limits not in (None, [None, None])


def _json(raw: bytes, otherwise: str) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise NotOurs(otherwise) from exc


def _object(value: object, otherwise: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotOurs(otherwise)
    return value


class HotFirst(round_robin_cycle):
    """Every queue in its turn, but what is urgent always first."""

    def consume(self, n: int) -> list[str]:
        """The order in which to look."""
        found: list[str] = super().consume(n)  # type: ignore[no-untyped-call]  # Kombu's types are partial
        return sorted(found, key=lambda queue: not queue.endswith(".hot"))


class _Ours:
    """What our channels do differently; mixed into those of plain Redis and of Sentinel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._kept: tuple[Any, Any] = (None, None)
        self._depths: dict[str, int] = {}
        super().__init__(*args, **kwargs)

    @contextmanager
    def conn_or_acquire(self: Any, client: Any = None) -> Iterator[Any]:
        """One client for as long as its pool lives: making one for each command is a quarter of a worker's work."""
        if client is None:
            if self._kept[0] is not self.pool:
                self._kept = (self.pool, self._create_client())
            client = self._kept[1]
        yield client

    def _brpop_read(self: Any, **options: Any) -> bool:
        """As Kombu's own, but that a message is looked at before anybody else does."""
        try:
            try:
                found = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not found:
                raise Empty
            queue = found[0].decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            message = self._let_in(queue, found[1])
            if message is not None:
                self.connection._deliver(message, queue)  # noqa: SLF001 - the transport's own door for its channels
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _let_in(self: Any, queue: str, raw: bytes) -> object:
        if queue not in QUEUES:  # the answers of remote control, to whoever asked
            return json.loads(raw)
        try:
            return check(raw, known)
        except NotOurs as exc:
            refused = Rejected(queue, str(exc), len(raw), bytes(raw[:SAMPLE_BYTES]))
        metrics.count("fairturn_messages_rejected_total", queue=queue, reason=refused.reason)
        for hook in _hooks:
            hook(refused)
        return None

    def _put(self: Any, queue: str, message: Mapping[str, Any], **more: Any) -> None:
        """Put a message into its queue, unless that holds enough."""
        if queue not in FULL:
            super()._put(queue, message, **more)  # type: ignore[misc]  # of the channel this is mixed into
            return
        task = message["headers"].get("task", "")
        text = dumps(message)  # type: ignore[no-untyped-call]  # Kombu's types are partial
        with self.conn_or_acquire() as client:
            if task == CANARY:
                client.rpush(queue, text)
            elif self._depths.get(queue, 0) < FULL[queue] or client.llen(queue) < FULL[queue]:
                self._depths[queue] = client.lpush(queue, text)
            else:
                metrics.count("fairturn_announcements_held_total", task=task)


class Channel(_Ours, redis.Channel):  # type: ignore[misc]  # Kombu has no types
    """A channel to a plain server."""


class SentinelChannel(_Ours, redis.SentinelChannel):  # type: ignore[misc]  # Kombu has no types
    """A channel to the primary that Sentinel names."""


class Transport(redis.Transport):
    """Named in Celery's configuration."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """Named in Celery's configuration."""

    Channel = SentinelChannel
