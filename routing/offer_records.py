"""Offers shown in Salesforce in records of their own, once their leads are shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from routing.change import OfferDelivery, OfferRecord, Outcome, Written
from routing.errors import GiveUp, TryLater
from routing.journey import always


class RecordBook(Protocol):
    """What is asked of the ledger."""

    def claim(self) -> Sequence[OfferDelivery]: ...
    def release(self, deliveries: Sequence[OfferDelivery], because: str) -> object: ...
    def finish(self, results: Sequence[tuple[OfferDelivery, Written]]) -> object: ...


@dataclass(frozen=True, slots=True)
class OfferShower:
    """Shows what changed of offers; each is tried until it is shown or parked."""

    book: RecordBook
    write: Callable[[Sequence[OfferRecord]], list[Written]]
    may_go_on: Callable[[], bool] = always

    def deliver(self) -> int:
        """Show every offer as it stands now; how many. Raises OrgPaused."""
        shown = 0
        while self.may_go_on() and (claimed := self.book.claim()):
            self.book.finish(list(zip(claimed, self._written(claimed), strict=True)))
            shown += len(claimed)
        return shown

    def _written(self, claimed: Sequence[OfferDelivery]) -> list[Written]:
        try:
            return self.write([one.record for one in claimed])
        except GiveUp as exc:
            return [Written(one.record.lead_id, Outcome.PARK, type(exc).__name__, str(exc)) for one in claimed]
        except TryLater as exc:
            self.book.release(claimed, str(exc))
            raise
