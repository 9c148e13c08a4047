"""A wire that fails on order: `python -m tests.chaos.proxy LISTEN:PORT TARGET:PORT`, orders as lines on stdin.

pass            both ways, as a wire does
refuse          hang up on everyone, and on whoever calls
stall           take everything, pass nothing on: a peer that is half open
cut WORD N      pass on the next N requests that hold WORD, and hang up before they are answered
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Wire:
    """One listening port and all its connections."""

    target: tuple[str, int]
    mode: str = "pass"
    word: re.Pattern[bytes] | None = None
    cuts_left: int = 0
    moves: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def obey(self, order: str) -> None:
        name, *rest = order.split()
        if name == "cut":
            self.word, self.cuts_left = re.compile(re.escape(rest[0]).encode(), re.IGNORECASE), int(rest[1])
            return
        self.mode = name
        if name == "stall":
            self.moves.clear()
        else:
            self.moves.set()
        if name == "refuse":
            for writer in self.writers:
                writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One caller, connected through to the target."""
        if self.mode == "refuse":
            writer.close()
            return
        try:
            there, back = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        self.writers |= {writer, back}
        cut = asyncio.Event()
        both = [
            asyncio.create_task(self._pump(reader, back, cut, asks=True)),
            asyncio.create_task(self._pump(there, writer, cut, asks=False)),
        ]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, back):
            self.writers.discard(end)
            end.close()
        for task in both:
            task.cancel()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event, *, asks: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.moves.wait()
                if asks and self.cuts_left > 0 and self.word and self.word.search(data):
                    self.cuts_left -= 1
                    cut.set()
                elif not asks and cut.is_set():
                    _note(self.target[1])  # the request was done; its answer is what gets lost
                    return
                writer.write(data)
                await writer.drain()


def _note(port: int) -> None:
    line = {"t": time.time(), "who": "wire", "what": "cut", "port": port}
    with Path(os.environ["FAIRTURN_CHAOS_DEATHS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


async def main(listen: str, target: str) -> None:
    host, _, port = listen.rpartition(":")
    to_host, _, to_port = target.rpartition(":")
    wire = Wire((to_host, int(to_port)))
    wire.moves.set()
    await asyncio.start_server(wire.serve, host, int(port), limit=2**20)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        wire.obey(line.decode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
