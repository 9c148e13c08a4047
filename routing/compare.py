"""Comparing with Salesforce: what the stream did not tell is found by asking, page by page, each page once.

How far a comparison has come is kept in the ledger with every page, so whoever comes after a crash goes on from there;
one worker at a time holds it. What is found is read into the leads as any record is, so reading it twice is harmless.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar
from uuid import UUID

from routing.change import Change
from routing.errors import FairturnError, TryLater
from routing.intake import Meaning
from routing.journey import Journey

#: How far before its beginning a comparison looks: rows of open transactions appear late.
OVERLAP = timedelta(hours=2)
#: What a house that never compared looks back for.
FIRST = timedelta(hours=24)
#: Records read into leads in one transaction, and ids asked for in one call.
CHUNK = 200
#: Meanings of a record that told us something.
NEWS = frozenset({Meaning.NEW, Meaning.MOVED, Meaning.UPDATED, Meaning.WITHDRAW})
#: How long to leave Salesforce alone when it does not say.
REST_S = 30.0
REFUSED_S = 900.0


class Kind(StrEnum):
    """What is compared."""

    CHANGED = "changed"  # every record that changed since a time, field by field
    ALL = "all"  # which records are open, and when each last changed


@dataclass(frozen=True, slots=True)
class Scan:
    """A comparison as its holder sees it."""

    kind: Kind
    token: UUID
    asks: int
    begun_at: datetime
    since: datetime | None = None
    at: datetime | None = None  # SystemModstamp of the last record read ...
    record: str = ""  # ... and its id


@dataclass(frozen=True, slots=True)
class Seen:
    """An open record of Salesforce, as little of it as a comparison needs."""

    record_id: str
    changed_at: datetime  # SystemModstamp
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """Records to read into leads, and how far the comparison has come when that is done."""

    scan: Scan
    as_of: datetime  # the ledger's clock when Salesforce was asked
    records: Sequence[Change] = ()
    read: int = 0
    done: bool = False


class ScanBook(Protocol):
    """What a comparison asks of the ledger; every method is one transaction."""

    def ask(self, kind: Kind, why: str, *, since: datetime | None = None, again: bool = True) -> None: ...
    def claim(self) -> Scan | None: ...
    def advance(self, scan: Scan, *, read: int, repaired: int, done: bool) -> Scan | None: ...
    def rest(self, scan: Scan, seconds: float) -> None: ...
    def differing(self, seen: Sequence[Seen], *, after: str, last: bool) -> list[str]: ...
    def alive(self, ids: Sequence[str]) -> list[str]: ...
    def swept(self) -> datetime | None: ...
    def waiting(self) -> bool: ...


class Org(Protocol):
    """What a comparison asks of Salesforce."""

    def changed_since(self, at: datetime, after: str = "") -> Iterable[list[Change]]: ...
    def deleted_between(self, start: datetime, end: datetime) -> list[str]: ...
    def open_records(self, after: str) -> tuple[list[Seen], bool]: ...
    def read(self, ids: Sequence[str]) -> list[Change]: ...


@dataclass(frozen=True, slots=True)
class Comparer:
    """Finds what the stream did not tell; running it twice, or twice at once, changes nothing more."""

    scans: ScanBook
    org: Callable[[], Org]
    journey: Journey
    #: Tells Salesforce again where these records show an older decision than it was told; how many.
    retell: Callable[[Sequence[Change]], int] = lambda _records: 0

    def hourly(self, *, within: timedelta | None = None, task_id: str = "") -> dict[str, int]:
        """Compare every record that changed since the last time."""
        since = self.scans.swept() or self.journey.leads.clock() - FIRST
        self.scans.ask(Kind.CHANGED, "hourly", since=since - OVERLAP, again=False)
        return self.work(within=within, task_id=task_id)

    def since(self, at: datetime, why: str) -> None:
        """Have every record compared that changed since then; `work` does it, whoever calls it."""
        self.scans.ask(Kind.CHANGED, why, since=at - OVERLAP)

    def everything(self, *, within: timedelta | None = None, task_id: str = "") -> dict[str, int]:
        """Compare which records are open and when each last changed, both ways; read again what differs."""
        self.scans.ask(Kind.ALL, "nightly", again=False)
        return self.work(within=within, task_id=task_id)

    def work(self, *, within: timedelta | None = None, task_id: str = "") -> dict[str, int]:
        """Go on with every comparison that nobody holds: to its end, or `within` so long. What it found, by meaning."""
        counts: dict[str, int] = {"read": 0}
        until = self.journey.leads.clock() + within if within else None
        while (scan := self.scans.claim()) is not None:
            try:
                if not self._to_its_end(scan, counts, until, task_id):
                    break
            except FairturnError as exc:
                pause = REST_S if isinstance(exc, TryLater) else REFUSED_S
                self.scans.rest(scan, float(str(exc.facts.get("pause_s", pause))))
                raise
        return counts

    def _to_its_end(self, scan: Scan, counts: dict[str, int], until: datetime | None, task_id: str) -> bool:
        """False when time was up before the end: the comparison is let go, for whoever comes next."""
        held: Scan | None = scan
        while held is not None:
            for step in self._changed(held) if held.kind is Kind.CHANGED else self._open(held):
                if until is not None and step.as_of > until:
                    self.scans.rest(held, 0)
                    return False
                held = self.scans.advance(
                    step.scan, read=step.read, repaired=self._read(step, counts, task_id), done=step.done
                )
                if held != step.scan:  # done, or another's by now, or asked to begin earlier
                    break
        return True

    def _read(self, step: Step, counts: dict[str, int], task_id: str) -> int:
        found = self.journey.snapshots(step.records, as_of=step.as_of, task_id=task_id)
        for meaning, n in found.items():
            counts[meaning] = counts.get(meaning, 0) + n
        counts["read"] += step.read
        if retold := self.retell(step.records):
            counts["retold"] = counts.get("retold", 0) + retold
        return sum(n for meaning, n in found.items() if meaning in NEWS)

    def _changed(self, scan: Scan) -> Iterator[Step]:
        org, began = self.org(), scan.since or scan.begun_at
        pages = iter(org.changed_since(scan.at or began, scan.record))
        while True:
            as_of = self.journey.leads.clock()
            page = next(pages, None)
            if page is None:
                break
            for records in _chunks(page):
                scan = replace(scan, at=records[-1].committed_at, record=records[-1].record_id)
                yield Step(scan, as_of, records, read=len(records))
        # What was deleted for good is in no query any more, only in the log of deletions.
        gone = org.deleted_between(began, max(as_of, scan.at or as_of))
        yield from self._again(scan, self.scans.alive(gone))
        yield Step(scan, as_of, done=True)

    def _open(self, scan: Scan) -> Iterator[Step]:
        last = False
        while not last:
            as_of = self.journey.leads.clock()
            seen, last = self.org().open_records(scan.record)
            yield from self._again(scan, self.scans.differing(seen, after=scan.record, last=last))
            scan = replace(scan, record=seen[-1].record_id if seen else scan.record)
            yield Step(scan, as_of, read=len(seen), done=last)

    def _again(self, scan: Scan, ids: Sequence[str]) -> Iterator[Step]:
        for some in _chunks(ids):
            as_of = self.journey.leads.clock()
            yield Step(scan, as_of, self.org().read(some))


T = TypeVar("T")


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
