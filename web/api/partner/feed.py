"""Who listens in this process, and one question twice a second for all of them: is there news?"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from starlette.concurrency import run_in_threadpool

from config import logs
from routing.errors import TryLater
from web.errors import TooManyRequests

log = structlog.get_logger()

#: How often the ledger is asked, and after a failure.
POLL_S, UNWELL_S = 0.5, 2.0
#: Streams of one caller in one process.
MOST_STREAMS = 10


class Feed:
    """The newest notice's number of every member that somebody listens for. Lives in one event loop."""

    def __init__(self, heads: Callable[[Sequence[int]], Mapping[int, int]]) -> None:
        self._heads = heads
        self._numbers: dict[int, int] = {}
        self._listeners: Counter[int] = Counter()
        self._callers: Counter[str] = Counter()
        self._news: dict[int, asyncio.Event] = {}
        self._poller: asyncio.Task[None] | None = None

    def check(self, caller: str) -> None:
        """Raises TooManyRequests when the caller has as many streams as it may have."""
        if self._callers[caller] >= MOST_STREAMS:
            raise TooManyRequests(f"At most {MOST_STREAMS} streams at once: close one first.", wait_s=15)

    @contextmanager
    def listening(self, member: int, caller: str) -> Iterator[None]:
        """While somebody listens for the member, the ledger is asked for its news."""
        self._listeners[member] += 1
        self._callers[caller] += 1
        self._news.setdefault(member, asyncio.Event())
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._leave(member, caller)

    def _leave(self, member: int, caller: str) -> None:
        self._listeners[member] -= 1
        self._callers[caller] -= 1
        self._callers += Counter()
        self._listeners += Counter()
        if member not in self._listeners:
            self._news.pop(member, None)
            self._numbers.pop(member, None)
        if not self._listeners and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def news(self, member: int, after: int, timeout_s: float) -> bool:
        """Whether there is a notice after this number; waits for one at most that long."""
        end = asyncio.get_running_loop().time() + timeout_s
        while self._numbers.get(member, 0) <= after:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(self._news[member].wait(), left)
            except TimeoutError:
                return False
        return True

    async def _poll(self) -> None:
        while self._listeners:
            try:
                numbers = await run_in_threadpool(self._heads, list(self._listeners))
            except TryLater as exc:  # the streams stay open, and go on when the ledger is back
                log.warning("stream.poll", failure=logs.tell(exc))
                await asyncio.sleep(UNWELL_S)
                continue
            self._tell(numbers)
            await asyncio.sleep(POLL_S)

    def _tell(self, numbers: Mapping[int, int]) -> None:
        for member, number in numbers.items():
            if number > self._numbers.get(member, 0) and member in self._news:
                self._numbers[member] = number
                news, self._news[member] = self._news[member], asyncio.Event()
                news.set()  # who waits wakes up; who comes later waits for the next
