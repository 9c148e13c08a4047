"""What goes out: leads to Salesforce, freed places to the turnstile. Rows stay until they were delivered or parked."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from routing.change import Delivery, Free, Outcome, WriteBack, Written
from storage.postgres.engine import transaction
from storage.postgres.tables import outbox
from storage.postgres.timeline import Happening, add_many
from storage.postgres.values import clean_text

__all__ = ["Free", "Kind", "Outbox"]

Kind = Literal["salesforce", "turnstile"]

#: Seconds before a record is tried again: doubled by each try, spread over its upper half.
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0


class Outbox:
    """Deliveries. The calls themselves are made outside any transaction, between claiming and finishing."""

    def __init__(self, engine: sa.Engine, *, dice: Callable[[], float] = random.random) -> None:
        self._engine = engine
        self._dice = dice

    def claim_writes(self, limit: int = 200, lease_s: float = 30) -> list[Delivery]:
        """Lease what Salesforce must be told, as each lead stands now.

        Of a lead's rows only the newest is leased, the older ones are superseded; a lead that has a row in flight is
        left out. Leased rows that are not finished in time are given out again. While somebody else is claiming,
        there is nothing for us.
        """
        with transaction(self._engine) as connection:
            if not connection.scalar(_ONE_CLAIM_AT_A_TIME):
                return []
            rows = connection.execute(_CLAIM_WRITES, {"limit": limit, "lease": lease_s}).mappings()
            return [_delivery(row) for row in rows]

    def finish(self, results: Sequence[tuple[Delivery, Written]], *, task_id: str = "") -> list[int]:
        """Write down what came of deliveries; returns the leads whose record is gone, for the caller to withdraw.

        A delivery whose lease went to somebody else is left to that one.
        """
        by_outcome: dict[Outcome, list[tuple[Delivery, Written]]] = {outcome: [] for outcome in Outcome}
        for delivery, written in results:
            by_outcome[written.outcome].append((delivery, written))
        with transaction(self._engine) as connection:
            self._done(connection, by_outcome[Outcome.DONE], task_id)
            self._retry(connection, by_outcome[Outcome.RETRY])
            self._park(connection, by_outcome[Outcome.PARK], task_id)
            gone = by_outcome[Outcome.GONE]
            ours = _settle(connection, gone, "done")
            return sorted({delivery.write.lead_id for delivery, _ in gone if delivery.outbox_id in ours})

    def claim_frees(self, limit: int = 200, lease_s: float = 30) -> list[Free]:
        """Lease places that the turnstile must free, oldest first."""
        with transaction(self._engine) as connection:
            return [Free(*row) for row in connection.execute(_CLAIM_FREES, {"limit": limit, "lease": lease_s})]

    def freed(self, frees: Sequence[Free]) -> None:
        """These places are free in the turnstile."""
        with transaction(self._engine) as connection:
            connection.execute(
                _SETTLE,
                {
                    "ids": [free.outbox_id for free in frees],
                    "tokens": [free.token for free in frees],
                    "errors": [None for _ in frees],
                    "state": "done",
                },
            )

    def due(self, kind: Kind) -> bool:
        """Whether anything can be claimed now."""
        with transaction(self._engine) as connection:
            return bool(connection.scalar(_DUE, {"kind": kind}))

    def oldest_s(self, kind: Kind) -> float:
        """Seconds since the oldest undelivered row was written; 0 when all is delivered."""
        with transaction(self._engine) as connection:
            return float(connection.scalar(_OLDEST, {"kind": kind}))

    def replay(self, outbox_ids: Sequence[int]) -> int:
        """Try parked rows again; returns how many."""
        again = (
            sa.update(outbox)
            .where(outbox.c.id.in_(list(outbox_ids)), outbox.c.state == "parked")
            .values(state="pending", attempts=0, due_at=sa.func.now(), lease_until=None, token=None, done_at=None)
        )
        with transaction(self._engine) as connection:
            return int(connection.execute(again).rowcount)

    def _done(self, connection: sa.Connection, results: Sequence[tuple[Delivery, Written]], task_id: str) -> None:
        ours = _settle(connection, results, "done")
        told = [delivery for delivery, _ in results if delivery.outbox_id in ours]
        if told:
            connection.execute(
                _SUPERSEDE_TOLD,
                {"leads": [one.write.lead_id for one in told], "versions": [one.write.version for one in told]},
            )
        add_many(
            connection,
            [
                _happening(one, "written", task_id, since_received_ms=ours[one.outbox_id], attempts=one.attempts)
                for one in told
            ],
        )

    def _retry(self, connection: sa.Connection, results: Sequence[tuple[Delivery, Written]]) -> None:
        if results:
            connection.execute(
                _RETRY,
                {
                    "ids": [delivery.outbox_id for delivery, _ in results],
                    "tokens": [delivery.token for delivery, _ in results],
                    "waits": [self._wait_s(delivery.attempts) for delivery, _ in results],
                    "errors": [_error(written) for _, written in results],
                },
            )

    def _wait_s(self, attempts: int) -> float:
        longest = min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT_S)
        return longest * (0.5 + self._dice() / 2)

    def _park(self, connection: sa.Connection, results: Sequence[tuple[Delivery, Written]], task_id: str) -> None:
        ours = _settle(connection, results, "parked")
        parked = [(delivery, written) for delivery, written in results if delivery.outbox_id in ours]
        if parked:
            connection.execute(_PARK, [_parked_row(delivery, written, task_id) for delivery, written in parked])
        add_many(
            connection,
            [_happening(delivery, "write parked", task_id, code=written.code) for delivery, written in parked],
        )


_DUE = sa.text("""
    SELECT EXISTS (SELECT FROM outbox o
                   WHERE o.kind = :kind AND o.state = 'pending' AND o.due_at <= clock_timestamp()
                     AND (o.lease_until IS NULL OR o.lease_until <= clock_timestamp())
                     AND (o.kind = 'turnstile' OR NOT EXISTS (
                         SELECT FROM outbox flying
                         WHERE flying.lead_id = o.lead_id AND flying.kind = 'salesforce'
                           AND flying.state = 'pending' AND flying.lease_until > clock_timestamp())))
""")
_OLDEST = sa.text("""
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
    FROM outbox WHERE kind = :kind AND state = 'pending'
""")
# Two claims at once could each see only their own row of a lead as the newest.
_ONE_CLAIM_AT_A_TIME = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('fairturn:outbox'))")
_CLAIM_WRITES = sa.text("""
    WITH chosen AS (
        SELECT o.id FROM outbox o
        WHERE o.kind = 'salesforce' AND o.state = 'pending' AND o.due_at <= clock_timestamp()
          AND NOT EXISTS (SELECT FROM outbox flying
                          WHERE flying.lead_id = o.lead_id AND flying.kind = 'salesforce'
                            AND flying.state = 'pending' AND flying.lease_until > clock_timestamp())
          AND NOT EXISTS (SELECT FROM outbox newer
                          WHERE newer.lead_id = o.lead_id AND newer.kind = 'salesforce' AND newer.state = 'pending'
                            AND (newer.version, newer.id) > (o.version, o.id))
        ORDER BY o.id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), leased AS (
        UPDATE outbox SET lease_until = clock_timestamp() + make_interval(secs => :lease),
                          token = gen_random_uuid(), attempts = attempts + 1
        WHERE id IN (SELECT id FROM chosen)
        RETURNING id, lead_id, token, attempts
    ), superseded AS (
        UPDATE outbox SET state = 'superseded', done_at = clock_timestamp(), lease_until = NULL
        WHERE kind = 'salesforce' AND state = 'pending' AND lead_id IN (SELECT lead_id FROM leased)
          AND id NOT IN (SELECT id FROM leased)
    )
    SELECT leased.id AS outbox_id, leased.token, leased.attempts,
           l.id AS lead_id, l.salesforce_id, l.version, l.state, l.attempt, l.reason,
           m.key AS member_key, m.salesforce_id AS member_salesforce_id,
           o.distance_m, o.ring_m, o.offered_at, o.expires_at, d.policy_version
    FROM leased
    JOIN leads l ON l.id = leased.lead_id
    LEFT JOIN offers o ON o.lead_id = l.id AND o.state IN ('offered', 'accepted')
    LEFT JOIN members m ON m.id = o.member_id
    LEFT JOIN LATERAL (
        SELECT policy_version FROM decisions
        WHERE decisions.lead_id = l.id ORDER BY decisions.id = o.id DESC NULLS LAST, at DESC LIMIT 1
    ) d ON true
    ORDER BY leased.id
""")
_CLAIM_FREES = sa.text("""
    WITH leased AS (
        UPDATE outbox SET lease_until = clock_timestamp() + make_interval(secs => :lease),
                          token = gen_random_uuid(), attempts = attempts + 1
        WHERE id IN (SELECT id FROM outbox
                     WHERE kind = 'turnstile' AND state = 'pending' AND due_at <= clock_timestamp()
                       AND (lease_until IS NULL OR lease_until <= clock_timestamp())
                     ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING id, token, offer_id
    )
    SELECT leased.id, leased.token, o.id, o.member_id, o.market, o.lead_id
    FROM leased JOIN offers o ON o.id = leased.offer_id
    ORDER BY leased.id
""")
_SETTLE = sa.text("""
    UPDATE outbox SET state = :state, done_at = clock_timestamp(), lease_until = NULL, error = mine.error
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[]), CAST(:errors AS text[])) AS mine (id, token, error)
    WHERE outbox.id = mine.id AND outbox.token = mine.token AND outbox.state = 'pending'
    RETURNING outbox.id, (SELECT round(extract(epoch FROM clock_timestamp() - received_at) * 1000)::bigint
                          FROM leads WHERE leads.id = outbox.lead_id) AS since_received_ms
""")
_SUPERSEDE_TOLD = sa.text("""
    UPDATE outbox SET state = 'superseded', done_at = clock_timestamp()
    FROM unnest(CAST(:leads AS bigint[]), CAST(:versions AS bigint[])) AS told (lead_id, version)
    WHERE outbox.lead_id = told.lead_id AND outbox.kind = 'salesforce' AND outbox.state = 'pending'
      AND outbox.version <= told.version
      AND (outbox.lease_until IS NULL OR outbox.lease_until <= clock_timestamp())
""")
_RETRY = sa.text("""
    UPDATE outbox SET due_at = clock_timestamp() + make_interval(secs => mine.wait), error = mine.error,
                      lease_until = NULL, token = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[]), CAST(:waits AS float8[]), CAST(:errors AS text[]))
         AS mine (id, token, wait, error)
    WHERE outbox.id = mine.id AND outbox.token = mine.token AND outbox.state = 'pending'
""")
_PARK = sa.text("""
    INSERT INTO parked (kind, ref, reason, input, task_id)
    VALUES ('outbox', :ref, :reason, :input, :task_id)
    ON CONFLICT (kind, ref) DO UPDATE SET reason = excluded.reason, input = excluded.input,
        task_id = excluded.task_id, parked_at = clock_timestamp(), resolved_at = NULL
""").bindparams(sa.bindparam("input", type_=sa.JSON))


def _settle(connection: sa.Connection, results: Sequence[tuple[Delivery, Written]], state: str) -> dict[int, int]:
    """End the rows whose lease is still ours; their ids, with the milliseconds since each lead was received."""
    if not results:
        return {}
    ended = connection.execute(
        _SETTLE,
        {
            "ids": [delivery.outbox_id for delivery, _ in results],
            "tokens": [delivery.token for delivery, _ in results],
            "errors": [_error(written) for _, written in results],
            "state": state,
        },
    )
    return {row.id: row.since_received_ms for row in ended}


def _error(written: Written) -> str | None:
    text = ": ".join(part for part in (written.code, written.message) if part)
    return clean_text(text)[:1000] or None


def _delivery(row: sa.RowMapping) -> Delivery:
    write = WriteBack(**{name: row[name] for name in WriteBack.__dataclass_fields__})
    return Delivery(row["outbox_id"], row["token"], row["attempts"], write)


def _happening(delivery: Delivery, what: str, task_id: str, **detail: object) -> Happening:
    write = delivery.write
    return Happening(
        write.lead_id,
        what,
        actor="fairturn",
        task_id=task_id or None,
        policy_version=write.policy_version,
        detail={"outbox": delivery.outbox_id, "version": write.version, "state": write.state, **detail},
    )


def _parked_row(delivery: Delivery, written: Written, task_id: str) -> dict[str, Any]:
    write = delivery.write
    return {
        "ref": str(delivery.outbox_id),
        "reason": _error(written) or "Salesforce refused the record without saying why.",
        "input": {"lead_id": write.lead_id, "salesforce_id": write.salesforce_id, "version": write.version},
        "task_id": task_id or None,
    }
