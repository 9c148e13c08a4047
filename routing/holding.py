"""Places of offers the turnstile did not give: somebody gave the lead, or its member took it from the open pool."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from routing.auditor import Inspected
from routing.drift import Drift
from routing.errors import TurnstileUnreachable

#: Members may stand elsewhere in the turnstile by the time it is told.
TRIES = 3


class Open(Protocol):
    """What is asked of the ledger: storage.postgres.truth.Truth."""

    def still_open(self, offers: list[UUID]) -> AbstractContextManager[set[UUID]]: ...


@dataclass(frozen=True, slots=True)
class Holder:
    """Has the turnstile hold the place of an offer that the ledger has made; doing it twice changes nothing."""

    truth: Open
    turnstile: Inspected

    def hold(self, market: str, offers: Mapping[UUID, int], units: Mapping[UUID, int]) -> bool:
        """Count these open offers (offer -> member), whatever the limit; False when it must be tried again.

        Those that ended meanwhile are left out; `units`: of those that take more than one. A turnstile that is away, or
        holds nothing, is rebuilt from the ledger before it decides again, and then holds them.
        """
        for _ in range(TRIES):
            try:
                held = self.turnstile.look(market)
                if held is None:
                    return True
                with self.truth.still_open(list(offers)) as still:
                    missing = {offer: member for offer, member in offers.items() if offer in still}
                    if self.turnstile.amend(market, held, Drift(missing=missing, units=units)):
                        return len(missing) == len(offers)
            except TurnstileUnreachable:
                return True
        return False
