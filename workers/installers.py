"""Simulated installers: each hears of its offers by the live stream and answers through the API, as an app does.

`python -m workers.installers --url http://127.0.0.1:8000 --keys FILE` plays every member named in the file (key of the
member -> API key) until it is stopped. The demo starts it; nothing of the product knows it.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

#: Tries of one answer, all under the same key; then the installer forgets about it, as people do.
TRIES = 4
AGAIN_S = 1.0
QUIET_S = 60.0  # the stream says something every 15 s
PATIENCE_S = (14.0, 18.0)
#: Phones have machines of their own, elsewhere: here they take what the house leaves.
STAND_BACK = 10


@dataclass(frozen=True, slots=True)
class Habits:
    """How installers behave; shares of one. What is left over does not answer, and leaves accepted work open."""

    accept: float = 0.65
    reject: float = 0.20
    complete: float = 0.55
    lose: float = 0.25
    give_back: float = 0.05
    think_s: tuple[float, float] = (0.5, 6.0)
    work_s: tuple[float, float] = (2.0, 12.0)

    def told(self, within: str) -> str:
        """In words, for whoever watches."""
        ignore = 1 - self.accept - self.reject
        return (
            f"Simulated installers answer through the API: {self.accept:.0%} accept, {self.reject:.0%} reject, "
            f"{ignore:.0%} let {within} pass. Of what they accept they complete {self.complete:.0%}, "
            f"lose {self.lose:.0%}, return {self.give_back:.0%}."
        )


@dataclass(slots=True)
class Installer:
    """One installer's phone."""

    client: httpx.AsyncClient
    key: str
    dice: random.Random
    habits: Habits
    jobs: set[asyncio.Task[None]] = field(default_factory=set)
    seen: int = 0

    async def live(self) -> None:
        """Listen for ever, from the first notice on; a stream that breaks is taken up where it was."""
        while True:
            with suppress(httpx.HTTPError):
                async for kind, offer in self._notices():
                    if kind == "offer.created":
                        self._begin(self._answer(offer))
                    elif kind == "offer.accepted":
                        self._begin(self._work(offer))
            await asyncio.sleep(AGAIN_S)

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.jobs.add(task)
        task.add_done_callback(self.jobs.discard)

    async def _notices(self) -> AsyncIterator[tuple[str, str]]:
        headers = self._headers() | {"Last-Event-ID": str(self.seen)}
        async with self.client.stream("GET", "/api/v1/events", headers=headers) as stream:
            if stream.status_code != HTTPStatus.OK:
                return
            kind = ""
            async for line in stream.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind != "ready":
                    data = json.loads(value)
                    self.seen = data["number"]
                    yield kind, data["offer_id"]

    async def _answer(self, offer: str) -> None:
        await asyncio.sleep(self.dice.uniform(*self.habits.think_s))
        lot = self.dice.random()
        if lot < self.habits.accept:
            await self._say(offer, "accept")
        elif lot < self.habits.accept + self.habits.reject:
            await self._say(offer, "reject", "reject_reasons")

    async def _work(self, offer: str) -> None:
        await asyncio.sleep(self.dice.uniform(*self.habits.work_s))
        lot, habits = self.dice.random(), self.habits
        if lot < habits.complete:
            await self._say(offer, "complete")
        elif lot < habits.complete + habits.lose:
            await self._say(offer, "lose", "lose_reasons")
        elif lot < habits.complete + habits.lose + habits.give_back:
            await self._say(offer, "return", "return_reasons")

    async def _say(self, offer: str, verb: str, reasons: str = "") -> None:
        """Give the answer, with one of the reasons that the offer allows; too late is too late."""
        body: dict[str, Any] = {}
        if reasons:
            shown = await self._ask(lambda: self.client.get(f"/api/v1/offers/{offer}", headers=self._headers()))
            choices = shown.json()["choices"][reasons] if shown is not None and shown.is_success else []
            if not choices:
                return
            body = {"json": {"reason": self.dice.choice(choices)}}
        once = self._headers() | {"Idempotency-Key": str(UUID(int=self.dice.getrandbits(128)))}
        await self._ask(lambda: self.client.post(f"/api/v1/offers/{offer}/{verb}", headers=once, **body))

    async def _ask(self, call: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
        for _ in range(TRIES):
            with suppress(httpx.HTTPError):
                answer = await call()
                if answer.status_code not in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
                    return answer
            await asyncio.sleep(AGAIN_S)
        return None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def play(url: str, keys: dict[str, str], habits: Habits, seed: int, slow: str) -> None:
    """Play all of them until cancelled; one of them so slowly that a person can be faster."""
    patient = replace(habits, think_s=PATIENCE_S, work_s=PATIENCE_S)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    timeout = httpx.Timeout(10.0, read=QUIET_S)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=timeout, trust_env=False) as client:
        phones = [
            Installer(client, key, random.Random(f"{seed} {member}"), patient if member == slow else habits)  # noqa: S311 - a game, to be repeatable
            for member, key in sorted(keys.items())
        ]
        async with asyncio.TaskGroup() as group:
            for phone in phones:
                group.create_task(phone.live())


def main() -> int:
    """The process."""
    options = argparse.ArgumentParser(prog="python -m workers.installers", description=__doc__)
    options.add_argument("--url", required=True)
    options.add_argument("--keys", type=Path, required=True, help="JSON: the key of each member, and its API key")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--slow", default="", help="the key of a member that takes its time, for a person to be faster"
    )
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.nice(STAND_BACK)
    with suppress(KeyboardInterrupt):
        asyncio.run(play(given.url, json.loads(given.keys.read_text("utf-8")), Habits(), given.seed, given.slow))
    return 0


if __name__ == "__main__":
    sys.exit(main())
