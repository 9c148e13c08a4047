"""The event log: what was published, under which replay id, for how long."""

import asyncio
import random
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sandbox.clock import Clock

RETENTION_MS = 72 * 3600 * 1000
_FIRST_NUMBER = 0x17905000


class UnknownReplayId(Exception):  # noqa: N818 - says what was asked, as Salesforce does
    """Malformed, from another org, or older than the retention: Salesforce does not say which."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it lies in the log."""

    number: int
    at_ms: int
    entity: str
    event_id: str
    schema_id: str
    payload: bytes

    @property
    def replay_id(self) -> bytes:
        return replay_id(self.number)


def replay_id(number: int) -> bytes:
    """10 bytes: a big-endian counter and two zeros, as seen on the wire."""
    return number.to_bytes(8, "big") + b"\0\0"


def _number(replay: bytes) -> int:
    """The counter inside a replay id; the Node client sends only its first 8 bytes back."""
    if len(replay) == 8 or (len(replay) == 10 and replay.endswith(b"\0\0")):
        return int.from_bytes(replay[:8], "big")
    raise UnknownReplayId


@dataclass(slots=True)
class Bus:
    """All topics in one order. Places in the log count from the org's first event, purged ones included."""

    clock: Clock
    dice: random.Random
    events: list[Event] = field(default_factory=list)
    purged: int = 0
    issued: dict[int, int] = field(default_factory=dict)
    listeners: set[asyncio.Event] = field(default_factory=set)
    tip: int = _FIRST_NUMBER
    on_issue: Callable[[int, int, Event | None], None] = lambda *_: None

    def _issue(self) -> int:
        """A new replay number, with gaps between: nobody may count with them."""
        self.tip += self.dice.randint(1, 4)
        self.issued[self.tip] = self.clock.now_ms()
        return self.tip

    def tick(self) -> bytes:
        """A replay id without an event: where a quiet reader may go on from."""
        number = self._issue()
        self.on_issue(number, self.issued[number], None)
        return replay_id(number)

    def event(self, entity: str, schema_id: str, payload: bytes, *, event_id: str = "") -> Event:
        """Appends an event and wakes whoever listens."""
        number = self._issue()
        event = Event(
            number=number,
            at_ms=self.issued[number],
            entity=entity,
            event_id=event_id or str(uuid.UUID(int=self.dice.getrandbits(128), version=4)),
            schema_id=schema_id,
            payload=payload,
        )
        self.events.append(event)
        self.on_issue(number, event.at_ms, event)
        self.wake()
        return event

    def wake(self) -> None:
        for listener in self.listeners:
            listener.set()

    def purge(self) -> None:
        """Forgets what the retention no longer covers."""
        floor = self.clock.now_ms() - RETENTION_MS
        gone = bisect_right(self.events, floor, key=lambda event: event.at_ms)
        if gone:
            del self.events[:gone]
            self.purged += gone
        for number in [number for number, at in self.issued.items() if at <= floor]:
            del self.issued[number]

    def clear(self) -> None:
        """Forgets all events; replay ids given out before are unknown from now on."""
        self.purged += len(self.events)
        self.events.clear()
        self.issued.clear()
        self.wake()

    def earliest(self) -> int:
        self.purge()
        return self.purged

    def latest(self) -> int:
        return self.purged + len(self.events)

    def after(self, replay: bytes) -> int:
        """The place right after this replay id. UnknownReplayId when the log no longer knows it."""
        self.purge()
        number = _number(replay)
        if number not in self.issued:
            raise UnknownReplayId
        return self.purged + bisect_right(self.events, number, key=lambda event: event.number)

    def read(self, place: int, entities: frozenset[str]) -> Iterator[tuple[int, Event]]:
        """Events of these entities from a place on, each with the place after it."""
        start = max(place - self.purged, 0)
        for index in range(start, len(self.events)):
            event = self.events[index]
            if event.entity in entities:
                yield self.purged + index + 1, event
