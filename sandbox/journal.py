"""Where an org that outlives its process writes what it commits."""

from collections.abc import Iterable
from typing import Protocol

from sandbox.bus import Event
from sandbox.values import Record

Row = tuple[str, str, Record]


class Journal(Protocol):
    """Takes the records (object, id, record) and events of one commit."""

    def write(self, records: Iterable[Row], events: Iterable[Event]) -> None: ...


class NoJournal:
    """Remembers nothing."""

    def write(self, records: Iterable[Row], events: Iterable[Event]) -> None:
        """Lets go."""
