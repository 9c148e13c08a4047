"""Where an org that outlives its process writes what it commits."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from sandbox.bus import Event
from sandbox.values import Record

if TYPE_CHECKING:
    from sandbox.avro import EventSchema
    from sandbox.org import Org
    from sandbox.schema import SObject

Row = tuple[str, str, Record | None]  # None: the record is destroyed


class Journal(Protocol):
    """Takes what changes; `flush` ends a commit."""

    def records(self, rows: Iterable[Row]) -> None: ...
    def issued(self, number: int, at_ms: int, event: Event | None) -> None: ...
    def shape(self, sobject: "SObject", described: "EventSchema") -> None: ...
    def forget(self) -> None: ...
    def flush(self, org: "Org") -> None: ...


class NoJournal:
    """Remembers nothing."""

    def records(self, rows: Iterable[Row]) -> None:
        """Lets go."""

    def issued(self, number: int, at_ms: int, event: Event | None) -> None:
        """Lets go."""

    def shape(self, sobject: "SObject", described: "EventSchema") -> None:
        """Lets go."""

    def forget(self) -> None:
        """Has nothing to forget."""

    def flush(self, org: "Org") -> None:
        """Has nothing to write."""
