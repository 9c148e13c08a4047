"""What goes out: leads to Salesforce, freed places to the turnstile. Rows stay until they were delivered or parked."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa

from routing.change import Delivery, Free, Outcome, WriteBack, Written
from routing.gate import Purpose
from storage.postgres.engine import transaction
from storage.postgres.gates import OrgGate
from storage.postgres.outbox_statements import (
    BEGIN_AGAIN,
    CLAIM_FREES,
    CLAIM_WRITES,
    DONE,
    DUE_FREES,
    DUE_OFFERS,
    DUE_WRITES,
    END,
    FOLLOW,
    OLDEST,
    PARK,
    RELEASE,
    RETELL,
    RETRY,
)
from storage.postgres.timeline import Happening, add_many
from storage.postgres.values import clean_text

__all__ = ["Free", "Kind", "Outbox"]

Kind = Literal["salesforce", "turnstile"]

#: A call to Salesforce ends long before this: in 25 seconds at most.
LEASE_S = 45.0
#: While another call is under way, fewer records than a call can carry wait for its end, though never longer.
COMPANY_S = 1.0
#: Seconds before a record is tried again: doubled by each try, spread over its upper half.
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
#: Rows whose process died are tried in small company, then alone, then no more.
WITH_ONE_DEATH, DEATHS = 14, 3


class Outbox:
    """Deliveries. The calls themselves are made outside any transaction, between claiming and finishing."""

    def __init__(
        self,
        engine: sa.Engine,
        gate: OrgGate | None = None,
        *,
        tries: int = 100,
        offers: bool = False,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._gate = gate or OrgGate(engine)
        self._tries = tries
        self._offers = offers  # whether each offer is shown in a record of its own
        self._dice = dice

    def claim_writes(self, limit: int = 200, lease_s: float | None = None) -> list[Delivery]:
        """Lease what Salesforce must be told, as each lead stands now, the hottest first. Raises OrgPaused.

        Of a lead's rows only the newest is leased, the older ones are superseded; a lead that has a row in flight is
        left out. Leased rows that are not finished in time are given out again: their process died. Nothing is given
        out while it pays to wait for more to go by the same call.
        """
        with transaction(self._engine) as connection:
            gate, leave = self._gate.leave(connection, Purpose.WRITE)
            token = uuid4()
            values = {
                "token": token,
                "lease": LEASE_S if lease_s is None else lease_s,
                "most": min(limit, leave.most),
                "few": WITH_ONE_DEATH,
                "linger": leave.linger_s,
                "company": COMPANY_S,
            }
            while found := [(row[1], _delivery(row, token)) for row in connection.execute(CLAIM_WRITES, values)]:
                claimed = [one for deaths, one in found if deaths < DEATHS]
                self._park(connection, [(one, _killer(deaths)) for deaths, one in found if deaths >= DEATHS], "")
                if claimed:
                    self._gate.take(connection, gate, leave, Purpose.WRITE)
                    return claimed
            return []

    def release(self, deliveries: Sequence[Delivery], because: str) -> None:
        """Give back what was leased: it was not its own fault, so it does not count as an attempt."""
        if deliveries:
            with transaction(self._engine) as connection:
                values = {"ids": _ids(deliveries), "token": deliveries[0].token, "error": clean_text(because)[:1000]}
                connection.execute(RELEASE, values)

    def finish(self, results: Sequence[tuple[Delivery, Written]], *, task_id: str = "") -> list[int]:
        """Write down what came of deliveries; returns the leads whose record is gone, for the caller to withdraw.

        A delivery whose lease went to somebody else is left to that one.
        """
        done, retry, park, gone = self._sorted(results)
        with transaction(self._engine) as connection:
            self._done(connection, done, task_id)
            self._retry(connection, retry)
            self._park(connection, park, task_id)
            ours = _end(connection, gone, "done")
            if self._offers and (told := [delivery.write.lead_id for delivery, _ in (*done, *gone)]):
                connection.execute(FOLLOW, {"leads": told})
            return sorted({delivery.write.lead_id for delivery, _ in gone if delivery.outbox_id in ours})

    def compare(self, shown: Mapping[str, int | None]) -> int:
        """Tell Salesforce again where it shows an older version of a lead than it was told; returns how many.

        `shown`: the version by record id. It happens where the org has no rule that refuses older versions, or
        where somebody emptied the field.
        """
        if not shown:
            return 0
        values = {"ids": list(shown), "versions": [-1 if one is None else one for one in shown.values()]}
        with transaction(self._engine) as connection:
            return int(connection.execute(RETELL, values).rowcount)

    def claim_frees(self, limit: int = 200, lease_s: float = 30) -> list[Free]:
        """Lease places that the turnstile must free, oldest first."""
        with transaction(self._engine) as connection:
            return [Free(*row) for row in connection.execute(CLAIM_FREES, {"limit": limit, "lease": lease_s})]

    def freed(self, frees: Sequence[Free]) -> None:
        """These places are free in the turnstile."""
        values = {
            "ids": [free.outbox_id for free in frees],
            "tokens": [free.token for free in frees],
            "errors": [None for _ in frees],
            "state": "done",
        }
        with transaction(self._engine) as connection:
            connection.execute(END, values)

    def due(self, kind: Kind) -> bool:
        """Whether anything can be claimed now; what waits for an org that is unwell, or for its budget, is not due."""
        if kind == "turnstile":
            with transaction(self._engine) as connection:
                return bool(connection.scalar(DUE_FREES))
        with transaction(self._engine) as connection:
            due = bool(connection.scalar(DUE_WRITES) or (self._offers and connection.scalar(DUE_OFFERS)))
        return due and self._gate.open()

    def oldest_s(self, kind: Kind) -> float:
        """Seconds since the oldest undelivered row was written; 0 when all is delivered."""
        with transaction(self._engine) as connection:
            return float(connection.scalar(OLDEST, {"kind": kind}))

    def replay(self, outbox_ids: Sequence[int]) -> int:
        """Try parked rows again; returns how many."""
        with transaction(self._engine) as connection:
            return int(connection.execute(BEGIN_AGAIN, {"ids": list(outbox_ids)}).rowcount)

    def _sorted(self, results: Sequence[tuple[Delivery, Written]]) -> tuple[list[tuple[Delivery, Written]], ...]:
        """Done, to be tried again, to be parked, gone; what was tried often enough is parked."""
        by_outcome: dict[Outcome, list[tuple[Delivery, Written]]] = {outcome: [] for outcome in Outcome}
        for delivery, written in results:
            spent = written.outcome is Outcome.RETRY and delivery.attempts >= (written.tries or self._tries)
            by_outcome[Outcome.PARK if spent else written.outcome].append((delivery, written))
        return tuple(by_outcome[outcome] for outcome in (Outcome.DONE, Outcome.RETRY, Outcome.PARK, Outcome.GONE))

    def _done(self, connection: sa.Connection, results: Sequence[tuple[Delivery, Written]], task_id: str) -> None:
        """One statement a lease, for the rows and the timeline."""
        by_token: dict[UUID, list[Delivery]] = {}
        for delivery, _ in results:
            by_token.setdefault(delivery.token, []).append(delivery)
        for token, deliveries in by_token.items():
            values = {
                "token": token,
                "task": task_id or None,
                "ids": _ids(deliveries),
                "told": orjson.dumps({str(one.outbox_id): _told(one.write) for one in deliveries}).decode(),
            }
            connection.execute(DONE, values)

    def _retry(self, connection: sa.Connection, results: Sequence[tuple[Delivery, Written]]) -> None:
        if results:
            values = {
                "ids": [delivery.outbox_id for delivery, _ in results],
                "tokens": [delivery.token for delivery, _ in results],
                "waits": [self._wait_s(delivery.attempts) for delivery, _ in results],
                "errors": [_error(written) for _, written in results],
            }
            connection.execute(RETRY, values)

    def _wait_s(self, attempts: int) -> float:
        longest = min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT_S)
        return longest * (0.5 + self._dice() / 2)

    def _park(self, connection: sa.Connection, results: Sequence[tuple[Delivery, Written]], task_id: str) -> None:
        ours = _end(connection, results, "parked")
        parked = [(delivery, written) for delivery, written in results if delivery.outbox_id in ours]
        if parked:
            connection.execute(PARK, [_parked_row(delivery, written, task_id) for delivery, written in parked])
            add_many(connection, [_parked_step(delivery, written, task_id) for delivery, written in parked])


def _end(connection: sa.Connection, results: Sequence[tuple[Delivery, Written]], state: str) -> set[int]:
    """End the rows whose lease is still ours; their ids."""
    if not results:
        return set()
    values = {
        "ids": [delivery.outbox_id for delivery, _ in results],
        "tokens": [delivery.token for delivery, _ in results],
        "errors": [_error(written) for _, written in results],
        "state": state,
    }
    return set(connection.execute(END, values).scalars())


def _ids(deliveries: Sequence[Delivery]) -> str:
    """As Postgres writes an array: a list of 200 takes the driver ten times as long."""
    return f"{{{','.join(str(one.outbox_id) for one in deliveries)}}}"


def _told(write: WriteBack) -> dict[str, object]:
    return {"version": write.version, "state": write.state, "policy": write.policy_version}


def _delivery(row: Sequence[Any], token: UUID) -> Delivery:
    return Delivery(row[0], token, row[2], WriteBack(*row[3:]))


def _killer(deaths: int) -> Written:
    why = f"{deaths} processes ended while writing this lead; look for its outbox number in their logs, then replay it."
    return Written(0, Outcome.PARK, "DIED", why)


def _error(written: Written) -> str | None:
    text = ": ".join(part for part in (written.code, written.message) if part)
    return clean_text(text)[:1000] or None


def _parked_step(delivery: Delivery, written: Written, task_id: str) -> Happening:
    write = delivery.write
    detail = {"outbox": delivery.outbox_id, "version": write.version, "state": write.state, "code": written.code}
    return Happening(
        write.lead_id, "write parked", task_id=task_id or None, policy_version=write.policy_version, detail=detail
    )


def _parked_row(delivery: Delivery, written: Written, task_id: str) -> dict[str, Any]:
    write = delivery.write
    return {
        "ref": str(delivery.outbox_id),
        "reason": _error(written) or "Salesforce refused the record without saying why.",
        "input": {"lead_id": write.lead_id, "salesforce_id": write.salesforce_id, "version": write.version},
        "task_id": task_id or None,
    }
