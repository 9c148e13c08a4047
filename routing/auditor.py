"""The auditor: compares turnstile and ledger while both work, and mends what differs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

from routing.drift import Drift, Held, Known, drift


class Truth(Protocol):
    """What the auditor asks of the ledger: storage.postgres.truth.Truth."""

    def clock(self) -> datetime: ...

    def turn(self, market: str) -> AbstractContextManager[bool]:
        """Whether nobody else audits this market, and nobody will until the context is left."""
        ...

    def known(self, market: str, held: Held, since: datetime) -> Known | None:
        """What the ledger knows as of `held`, which was read after `since`; None when they cannot be compared."""
        ...

    def still_open(self, offers: list[UUID]) -> AbstractContextManager[set[UUID]]:
        """Those of the offers that are open, and stay so until the context is left."""
        ...

    def mended(self, market: str, found: Drift) -> None: ...


class Inspected(Protocol):
    """What the auditor asks of the turnstile: storage.redis.audit.TurnstileAudit."""

    def look(self, market: str) -> Held | None:
        """Everything held for a market; None when it holds nothing or is not the one that was loaded."""
        ...

    def amend(self, market: str, held: Held, found: Drift) -> bool:
        """Mend it, all at once; False when it is not of that generation or order any more."""
        ...


@dataclass(frozen=True, slots=True)
class Auditor:
    """Looks twice before it believes its eyes; then it mends, counts and tells."""

    truth: Truth
    turnstile: Inspected
    tell: Callable[[str, Drift], object]

    def audit(self, market: str) -> Drift | None:
        """What differed and was mended; None when the two could not be compared at this moment."""
        with self.truth.turn(market) as mine:
            return self._audit(market) if mine else None

    def _audit(self, market: str) -> Drift | None:
        first = self._compare(market)
        if first is None or not first[1]:
            return first[1] if first else None
        second = self._compare(market)
        if second is None:
            return None
        held, found = second[0], second[1].also_in(first[1])
        if found:
            self._mend(market, held, found)
        return found

    def _compare(self, market: str) -> tuple[Held, Drift] | None:
        since = self.truth.clock()
        held = self.turnstile.look(market)
        if held is None:
            return None
        known = self.truth.known(market, held, since)
        return None if known is None else (held, drift(held, known))

    def _mend(self, market: str, held: Held, found: Drift) -> None:
        self.tell(market, found)
        with self.truth.still_open(list(found.missing)) as open_:
            missing = {offer: member for offer, member in found.missing.items() if offer in open_}
            self.turnstile.amend(
                market,
                held,
                replace(found, missing=missing),
            )
        self.truth.mended(market, found)
