"""From drafts to the log, where events get duplicated, reordered, garbled or lost when a fault says so."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.bus import Bus, Event
from sandbox.cdc import Draft
from sandbox.faults import Fault, Faults

MAX_EVENT_BYTES = 1_000_000
_GARBAGE = b"\xff" * 24  # no Avro reader makes an array length of it


@dataclass(slots=True)
class Press:
    """Encodes drafts and puts them on the bus."""

    bus: Bus
    faults: Faults
    held: list[Draft] = field(default_factory=list)

    def publish(self, drafts: list[Draft]) -> list[Event]:
        """Publishes in order; what a fault held back before follows."""
        held, self.held = self.held, []
        printed = [event for draft in drafts for event in self._one(draft)]
        return printed + [self._print(draft) for draft in held]

    def _one(self, draft: Draft) -> list[Event]:
        facts = {"object": draft.entity, "type": draft.header["changeType"], "id": " ".join(draft.header["recordIds"])}
        fault = self.faults.take("event", facts)
        return _STRIKES[fault.kind](self, draft, fault) if fault else [self._print(draft)]

    def _print(self, draft: Draft, *, schema_id: str | None = None, payload: bytes | None = None) -> Event:
        payload = draft.encoded() if payload is None else payload
        if len(payload) > MAX_EVENT_BYTES:
            payload = draft.as_gap().encoded()
        return self.bus.event(draft.entity, draft.schema.id if schema_id is None else schema_id, payload)

    def flush(self) -> None:
        """Publishes what is still held back."""
        held, self.held = self.held, []
        for draft in held:
            self._print(draft)

    def duplicate(self, draft: Draft, _fault: Fault) -> list[Event]:
        first = self._print(draft)
        again = self.bus.event(first.entity, first.schema_id, first.payload, event_id=first.event_id)
        return [first, again]

    def hold(self, draft: Draft, fault: Fault) -> list[Event]:
        """Lets the next transaction's events pass first; comes by itself when none follow."""
        self.held.append(draft)
        asyncio.get_running_loop().call_later(float(fault.args.get("seconds", 1.0)), self.flush)
        return []

    def delay(self, draft: Draft, fault: Fault) -> list[Event]:
        asyncio.get_running_loop().call_later(float(fault.args.get("seconds", 1.0)), self._print, draft)
        return []

    def garble(self, draft: Draft, _fault: Fault) -> list[Event]:
        return [self._print(draft, payload=_GARBAGE)]

    def misname(self, draft: Draft, fault: Fault) -> list[Event]:
        return [self._print(draft, schema_id="" if fault.kind == "blank_schema" else "AAAAAAAAAAAAAAAAAAAAAA")]

    def gap(self, draft: Draft, _fault: Fault) -> list[Event]:
        return [self._print(draft.as_gap())]

    def lose(self, _draft: Draft, _fault: Fault) -> list[Event]:
        return []


_STRIKES: dict[str, Callable[[Press, Draft, Fault], list[Event]]] = {
    "duplicate": Press.duplicate,
    "reorder": Press.hold,
    "delay": Press.delay,
    "undecodable": Press.garble,
    "blank_schema": Press.misname,
    "unknown_schema": Press.misname,
    "gap": Press.gap,
    "lost": Press.lose,
}
