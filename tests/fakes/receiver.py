"""Somebody else's server: takes what is sent to it, and answers as well or as badly as it was told to."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Self

Writer = asyncio.StreamWriter
Answer = Callable[[Writer], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=monotonic)


def says(status: int, *headers: str, body: bytes = b"ok") -> Answer:
    """An answer with this status."""

    async def answer(writer: Writer) -> None:
        head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()

    return answer


async def hangs(_writer: Writer) -> None:
    """Takes the request and never says a word."""
    await asyncio.sleep(3600)


async def drips(writer: Writer) -> None:
    """A letter of the answer now and then: each within any timeout of its own."""
    for letter in "HTTP/1.1 200 OK\r\n" + "X-A: b\r\n" * 10_000:
        writer.write(letter.encode())
        await writer.drain()
        await asyncio.sleep(0.02)


async def floods(writer: Writer) -> None:
    """A good answer, and ten megabytes behind it."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n")
    for _ in range(160):
        writer.write(b"x" * 65536)
        await writer.drain()


class Receiver:
    """Listens on a port of this machine, in a thread of its own."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer: Answer = answer or says(200)
        self.calls: list[Call] = []
        self.sent_back = 0
        self._came = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._open = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._open.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for(self, number: int, within_s: float = 30) -> list[Call]:
        """The calls, when so many have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.calls) >= number, within_s), f"only {len(self.calls)} came"
            return list(self.calls)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._open.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            call = await _read(reader)
            with self._came:
                self.calls.append(call)
                self._came.notify_all()
            await self.answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever called has hung up, or the test is over
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Call(head[0].split()[1], headers, body)
