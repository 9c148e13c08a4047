"""Offers shown in records of their own: what changed waits in the outbox behind its lead, the newest state of each."""

import random
from collections.abc import Callable, Sequence
from uuid import uuid4

import sqlalchemy as sa

from routing.change import OfferDelivery, OfferRecord, Outcome, Written
from routing.gate import Purpose
from storage.postgres.engine import transaction
from storage.postgres.gates import OrgGate
from storage.postgres.outbox import FIRST_WAIT_S, LEASE_S, LONGEST_WAIT_S
from storage.postgres.outbox_statements import CLAIM_OFFERS, END, PARK, RETRY
from storage.postgres.values import clean_text

#: Records one call may carry.
MOST = 200
_ENDS = (Outcome.RETRY, Outcome.PARK, Outcome.DONE)


class OfferRecords:
    """Keeps routing.offer_records.RecordBook's promises; the call itself is made outside any transaction."""

    def __init__(
        self,
        engine: sa.Engine,
        gate: OrgGate | None = None,
        *,
        tries: int = 100,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._gate = gate or OrgGate(engine)
        self._tries = tries
        self._dice = dice

    def claim(self, limit: int = MOST) -> Sequence[OfferDelivery]:
        """Lease offers to be shown, as they stand now. Raises OrgPaused."""
        with transaction(self._engine) as connection:
            gate, leave = self._gate.leave(connection, Purpose.WRITE)
            token = uuid4()
            values = {"token": token, "lease": LEASE_S, "most": min(limit, leave.most)}
            rows = connection.execute(CLAIM_OFFERS, values).all()
            if rows:
                self._gate.take(connection, gate, leave, Purpose.WRITE)
            return [OfferDelivery(row[0], token, row[1], OfferRecord(*row[2:])) for row in rows]

    def release(self, deliveries: Sequence[OfferDelivery], because: str) -> None:
        """Give back what was leased, for a while."""
        self.finish([(one, Written(one.record.lead_id, Outcome.RETRY, message=because)) for one in deliveries])

    def finish(self, results: Sequence[tuple[OfferDelivery, Written]]) -> None:
        """Write down what came of deliveries; what was tried often enough, or is refused, is parked."""
        ends = {one: self._end(*one) for one in results}
        again, parked, done = ([one for one in results if ends[one] is end] for end in _ENDS)
        with transaction(self._engine) as connection:
            _end(connection, done, "done")
            _end(connection, parked, "parked")
            if parked:
                connection.execute(PARK, [_parked(*one) for one in parked])
            if again:
                waits = [self._wait_s(delivery.attempts) for delivery, _ in again]
                connection.execute(RETRY, _values(again) | {"waits": waits})

    def _end(self, delivery: OfferDelivery, written: Written) -> Outcome:
        spent = written.outcome is Outcome.RETRY and delivery.attempts >= (written.tries or self._tries)
        if spent:
            return Outcome.PARK
        return Outcome.DONE if written.outcome is Outcome.GONE else written.outcome

    def _wait_s(self, attempts: int) -> float:
        longest = min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT_S)
        return longest * (0.5 + self._dice() / 2)


def _end(connection: sa.Connection, results: Sequence[tuple[OfferDelivery, Written]], state: str) -> None:
    if results:
        connection.execute(END, _values(results) | {"state": state})


def _values(results: Sequence[tuple[OfferDelivery, Written]]) -> dict[str, object]:
    return {
        "ids": [delivery.outbox_id for delivery, _ in results],
        "tokens": [delivery.token for delivery, _ in results],
        "errors": [_error(written) or None for _, written in results],
    }


def _error(written: Written) -> str:
    return clean_text(": ".join(part for part in (written.code, written.message) if part))[:1000]


def _parked(delivery: OfferDelivery, written: Written) -> dict[str, object]:
    record = delivery.record
    return {
        "ref": str(delivery.outbox_id),
        "reason": _error(written) or "Salesforce refused the record without saying why.",
        "input": {"lead_id": record.lead_id, "offer": str(record.offer_id), "version": record.version},
        "task_id": None,
    }
