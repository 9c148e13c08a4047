"""Members who let an offer expire and ask for another chance (row O18)."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.offer import Actor, Answered, NoSecondChance, OfferState, OfferTaken, UnknownOffer
from routing.policy import Answering
from storage.postgres.engine import transaction
from storage.postgres.onward import NO_POOL
from storage.postgres.steps import note

#: Where a lead can still come to somebody by turns.
_ON_ITS_WAY = frozenset({"new", "offered", "waiting"})


class Chances:
    """The queues of leads for those who come too late."""

    def __init__(self, engine: sa.Engine, answering: Callable[[], Mapping[str, Answering]]) -> None:
        self._engine = engine
        self._answering = answering

    def ask(self, offer: UUID, *, member: int, person: UUID | None = None, task_id: str = "") -> Answered:
        """Queue for the lead of an offer that this member let expire; once a lead, and asking twice is asking once."""
        answering = self._answering()
        with transaction(self._engine) as conn:
            row = conn.execute(_LOOK, {"offer": offer, "member": member}).one_or_none()
            if row is None:
                raise UnknownOffer
            conn.execute(_LOCK, {"lead": row.lead_id})
            row = conn.execute(_LOOK, {"offer": offer, "member": member}).one()
            if row.asked_at is not None and row.used_at is None:
                return Answered(offer, row.lead_id, member, OfferState.EXPIRED, row.asked_at, repeated=True)
            _judge(row, answering.get(row.pool, NO_POOL))
            asked_at = conn.execute(_ASK, {"offer": offer, "lead": row.lead_id, "member": member}).scalar_one()
            conn.execute(_WAKE, {"lead": row.lead_id})
            whose = {"person": str(person)} if person else {}
            entry = {"offer": str(offer), "member": member, **whose}
            note(conn, [(row.lead_id, "another chance asked", entry)], task_id, actor=Actor.MEMBER)
            return Answered(offer, row.lead_id, member, OfferState.EXPIRED, asked_at)


def _judge(row: sa.Row[Any], rules: Answering) -> None:
    if row.state != OfferState.EXPIRED:
        raise NoSecondChance(f"Only an offer that expired can be asked for again; this one is {row.state}.")
    if not rules.second_chance:
        raise NoSecondChance("Your programme gives no second chances.")
    if row.lead_state in {"accepted", "done"}:
        raise OfferTaken(state="expired")
    if row.offers > 1:
        raise NoSecondChance("You were offered this lead twice.")
    if row.lead_state not in _ON_ITS_WAY or row.reason == "open_pool":
        raise NoSecondChance("This lead goes to nobody by turns any more.")


_LOOK = sa.text("""
    SELECT o.lead_id, o.state, l.state AS lead_state, l.reason, l.pool, c.asked_at, c.used_at,
           (SELECT count(*) FROM offers own
            WHERE own.lead_id = o.lead_id AND own.member_id = o.member_id AND own.state <> 'void') AS offers
    FROM offers o JOIN leads l ON l.id = o.lead_id
    LEFT JOIN chances c ON c.lead_id = o.lead_id AND c.member_id = o.member_id
    WHERE o.id = :offer AND o.member_id = :member AND o.state <> 'void'
""")
_LOCK = sa.text("SELECT 1 FROM leads WHERE id = :lead FOR UPDATE")
_ASK = sa.text("""
    INSERT INTO chances (lead_id, member_id, offer_id) VALUES (:lead, :member, :offer) RETURNING asked_at
""")
_WAKE = sa.text("UPDATE leads SET next_try_at = clock_timestamp() WHERE id = :lead AND state = 'waiting'")
