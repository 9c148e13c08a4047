"""How full the broker's queues are."""

from storage.redis.client import connect, in_our_words

#: STRING: written to see whether the server takes writes.
PROBE = "leads.probe"


class Broker:
    """Looks at Celery's queues without touching them."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    def probe(self) -> None:
        """Raise TurnstileUnreachable unless the server answers and takes a write."""
        with in_our_words():
            self._redis.set(PROBE, 1, px=1000)

    def depth(self, queue: str) -> int:
        """Messages waiting in a queue. Raises TurnstileUnreachable when Redis does not answer."""
        with in_our_words():
            return int(self._redis.llen(queue))

    def depths(self, queues: tuple[str, ...]) -> dict[str, int]:
        """Messages waiting in each queue, in one round trip."""
        with in_our_words():
            pipe = self._redis.pipeline(transaction=False)
            for queue in queues:
                pipe.llen(queue)
            return dict(zip(queues, map(int, pipe.execute()), strict=True))
