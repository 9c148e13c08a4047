"""The org's clock: real time plus an offset that tests may set."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class Clock:
    """Epoch milliseconds, as Salesforce counts."""

    offset_ms: int = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms

    def second_ms(self) -> int:
        """Now, cut to the second: the grain of LastModifiedDate and SystemModstamp."""
        return self.now_ms() // 1000 * 1000

    def advance(self, seconds: float) -> None:
        self.offset_ms += int(seconds * 1000)

    def set(self, now_ms: int) -> None:
        self.offset_ms += now_ms - self.now_ms()


def iso(ms: int) -> str:
    """2026-11-22T03:04:05.000+0000, the way the REST API writes a moment."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}+0000"


def from_iso(text: str) -> int:
    """Epoch milliseconds of an ISO 8601 moment; ValueError without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return round(moment.timestamp() * 1000)
