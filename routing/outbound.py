"""What leaves the house after a commit: write-backs to Salesforce, and places given back to the turnstile."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from routing.change import Delivery, Free, Outcome, WriteBack, Written
from routing.dispatcher import Dispatcher
from routing.errors import GiveUp, TryLater
from routing.gate import OrgPaused
from routing.journey import always
from routing.lead import Reason

#: Offers given back by one call; each may bring one lead, and a batch holds no more.
TOGETHER = 100


def nothing() -> int:
    """Do nothing."""
    return 0


class OutboxBook(Protocol):
    """What is asked of the ledger's outbox."""

    def claim_writes(self) -> Sequence[Delivery]: ...
    def release(self, deliveries: Sequence[Delivery], because: str) -> object: ...
    def finish(self, results: Sequence[tuple[Delivery, Written]], *, task_id: str = "") -> Sequence[int]: ...
    def claim_frees(self, limit: int = 200) -> Sequence[Free]: ...
    def freed(self, frees: Sequence[Free]) -> object: ...


@dataclass(frozen=True, slots=True)
class Outbound:
    """Empties the outbox; each row is tried until it is delivered or parked."""

    outbox: OutboxBook
    dispatcher: Dispatcher
    write: Callable[[Sequence[WriteBack]], list[Written]]
    withdraw: Callable[[Sequence[int], Reason], object]
    nudge: Callable[[str], object]
    hold: Callable[[str, Mapping[UUID, int], Mapping[UUID, int]], bool] = lambda _market, _offers, _units: True
    offers: Callable[[], int] | None = None  # shows each offer in a record of its own
    may_go_on: Callable[[], bool] = always  # asked between claims
    correct: Callable[[], int] = nothing  # carry out the corrections of turns that are owed

    def deliver(self, *, task_id: str = "") -> dict[str, int]:
        """Show Salesforce every lead as it stands now; one record's failure touches no other.

        While the org is unwell, or its API calls are used up, everything stays where it is.
        """
        counts: dict[str, int] = {}
        try:
            while self.may_go_on() and (claimed := self.outbox.claim_writes()):
                for written in self._deliver(claimed, task_id):
                    counts[written.outcome] = counts.get(written.outcome, 0) + 1
            if self.offers is not None:
                counts["offers"] = self.offers()
        except OrgPaused:
            counts["paused"] = 1
        return counts

    def free(self, *, task_id: str = "") -> dict[str, int]:
        """Set right the turns of ended offers, and give back their places, first of all to waiting leads."""
        try:
            corrected = self.correct()
        finally:
            counts = self._free(task_id)
        return counts | ({"corrected": corrected} if corrected else {})

    def _free(self, task_id: str) -> dict[str, int]:
        freed = offered = 0
        while self.may_go_on() and (claimed := self.outbox.claim_frees()):
            for market, rows in _together([row for row in claimed if row.holds]):
                if self.hold(market, {row.offer_id: row.member_id for row in rows}, _heavy(rows)):
                    self.outbox.freed(rows)
            for market, rows in _together([row for row in claimed if not row.holds]):
                ended = {row.offer_id: row.member_id for row in rows}
                counted = [row.offer_id for row in rows if row.counted]
                offered += self.dispatcher.free(market, ended, counted=counted, task_id=task_id).offered
                self.outbox.freed(rows)
                # Two who free places at once may have thought of the same lead, or it went to another member: then a
                # place is left over, and nobody else would ever look who waits for it.
                offered += self.dispatcher.fill(market, sorted({*ended.values()}), task_id=task_id)
            freed += len(claimed)
        if freed:
            self.nudge("outbox.deliver")
        return {"freed": freed, "offered": offered}

    def _deliver(self, claimed: Sequence[Delivery], task_id: str) -> list[Written]:
        written = self._written(claimed)
        gone = self.outbox.finish(list(zip(claimed, written, strict=True)), task_id=task_id)
        converted = {w.lead_id for w in written if w.outcome is Outcome.GONE and "CONVERTED" in w.code}
        for reason, ids in (
            (Reason.CONVERTED, [lead for lead in gone if lead in converted]),
            (Reason.DELETED, [lead for lead in gone if lead not in converted]),
        ):
            if ids:
                self.withdraw(ids, reason)
        if gone:
            self.nudge("outbox.free")
        return written

    def _written(self, claimed: Sequence[Delivery]) -> list[Written]:
        """The results in order; when the whole call is refused for good, every record is parked with the reason."""
        writes = [d.write for d in claimed]
        try:
            by_lead = {w.lead_id: w for w in self.write(writes)}
        except GiveUp as exc:
            return [Written(w.lead_id, Outcome.PARK, type(exc).__name__, str(exc)) for w in writes]
        except TryLater as exc:
            self.outbox.release(claimed, str(exc))
            raise
        return [by_lead[w.lead_id] for w in writes]


def _heavy(rows: Sequence[Free]) -> dict[UUID, int]:
    """The units of those offers that take more than one of capacity."""
    return {row.offer_id: row.units for row in rows if row.units > 1}


def _together(claimed: Sequence[Free]) -> Iterator[tuple[str, list[Free]]]:
    """The rows by market, in parts that go by one call."""
    markets: dict[str, list[Free]] = {}
    for row in claimed:
        markets.setdefault(row.market, []).append(row)
    for market, rows in markets.items():
        for start in range(0, len(rows), TOGETHER):
            yield market, rows[start : start + TOGETHER]
