"""The ledger's judgement on reservations that nobody settled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from routing.ports import Pending
from storage.postgres.engine import transaction

Keys = list[tuple[int, int]]


class Reservations:
    """Tells kept reservations from lost ones."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def judged(self, pending: Sequence[Pending]) -> Iterator[tuple[Keys, Keys]]:
        """(keep, cancel) as (lead, attempt), with the leads locked until the context is left.

        A batch that is still at work holds its leads' locks, so its reservations are in neither list; once it is
        over, committed or dead, what the ledger says is final. A reservation is known by its offer: who was frozen may
        have reserved a place for a lead that somebody else has offered meanwhile.
        """
        with transaction(self._engine) as conn:
            free = set(conn.execute(_FREE, {"ids": sorted({p.lead for p in pending})}).scalars())
            judged = [p for p in pending if p.lead in free]
            known = set(conn.execute(_KNOWN, {"ids": [p.offer for p in judged]}).scalars()) if judged else set()
            keep = [(p.lead, p.attempt) for p in judged if p.offer in known]
            cancel = [(p.lead, p.attempt) for p in judged if p.offer not in known]
            yield keep, cancel


_FREE = sa.text("SELECT id FROM leads WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE SKIP LOCKED")
_KNOWN = sa.text("SELECT id FROM offers WHERE id = ANY(CAST(:ids AS uuid[])) AND state <> 'void'")
