"""Leads that changed while an offer was out: the offer is taken back, and they are routed as they are now.

Used inside the transaction that reads the change, which holds the leads' locks: who has accepted meanwhile keeps the
lead, as it is not `offered` any more.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from routing.answering import REROUTED
from routing.intake import Sheet, Taken
from routing.lane import Lane
from routing.offer import Actor, OfferState
from routing.policy import TurnEffect
from storage.postgres.corrections import owe_correction
from storage.postgres.ending import end_offers
from storage.postgres.onward import go_on


def take_back(conn: sa.Connection, leads: Mapping[int, Sheet], task_id: str) -> Taken:
    """End what was offered and send the leads on, as none of their reassignments; who was asked gets its turn back."""
    taken, ids = Taken(), sorted(leads)
    ended = end_offers(conn, ids, OfferState.WITHDRAWN, REROUTED, task_id, by=Actor.SALESFORCE)
    owe_correction(conn, [one.offer for one in ended], TurnEffect.RETURN, REROUTED)
    onward = go_on(conn, ids, {}, task_id, counts=False)
    for lead_id, lane in onward.again.items():
        (taken.to_route if leads[lead_id].place else taken.to_locate).append(lead_id)
        if lane is not Lane.LIVE:
            taken.lanes[lead_id] = lane
    return taken
