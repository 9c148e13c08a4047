"""How the online geocoders are, kept where every process and the alerts can see it: among the heartbeats."""

import time
from collections.abc import Callable
from typing import Protocol

#: The same news of a provider is written down this often at most.
EVERY_S = 10.0


class Beats(Protocol):
    """Signs of life: storage.postgres.heartbeats.Heartbeats."""

    def beat(self, name: str, worker: str) -> None: ...


class Health:
    """Writes down who was well and who was not; news first, then now and then."""

    def __init__(self, beats: Beats, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._beats, self._clock = beats, clock
        self._last: dict[str, tuple[bool, float]] = {}

    def told(self, provider: str, well: bool) -> None:
        """A question to the provider was answered, or ended in an error."""
        before, at = self._last.get(provider, (None, 0.0))
        if well is before and self._clock() - at < EVERY_S:
            return
        self._last[provider] = well, self._clock()
        self._beats.beat(f"{'geocoder' if well else 'geocoder-unwell'}:{provider}", provider)
