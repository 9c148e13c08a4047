"""The ledger lets an offer's life go one way only: the way of routing.offer."""

from uuid import uuid4

import pytest
import sqlalchemy as sa

from routing.errors import Refused
from routing.offer import OPEN, OfferState, may_become
from storage.postgres.engine import transaction
from storage.postgres.tables import offers
from tests.integration.storage.postgres.rows import NOON, add_lead, add_members, publish


def an_offer(engine: sa.Engine, state: OfferState) -> None:
    [member] = add_members(engine, 1)
    with transaction(engine) as connection:
        values = {
            "id": uuid4(),
            "lead_id": add_lead(connection, 1),
            "member_id": member,
            "market": "us",
            "attempt": 1,
            "state": state,
            "distance_m": 1.0,
            "ring_m": 5.0,
            "offered_at": NOON,
            "expires_at": NOON,
            "ended_at": None if state in OPEN else NOON,
        }
        connection.execute(sa.insert(offers).values(values))


@pytest.mark.parametrize("old", OfferState)
def test_only_legal_changes_of_an_offer_are_let_through(engine: sa.Engine, old: OfferState) -> None:
    publish(engine)
    an_offer(engine, old)
    for new in sorted(set(OfferState) - {old}):
        change = sa.update(offers).values(state=new, ended_at=None if new in OPEN else NOON)
        if may_become(old, new):
            with engine.connect() as connection:
                connection.execute(change)
                connection.rollback()
        else:
            with pytest.raises(Refused, match="offers_legal_life"), transaction(engine) as connection:
                connection.execute(change)
