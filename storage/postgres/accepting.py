"""What follows when offers are accepted; used inside other transactions, which hold their leads' locks."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from routing.answering import TAKEN, By
from routing.offer import Notice, OfferState
from routing.policy import TurnEffect
from storage.postgres.corrections import owe_correction
from storage.postgres.ending import end_offers, tell_salesforce
from storage.postgres.notices import tell_members
from storage.postgres.steps import note

Taking = tuple[UUID, int, int]  # offer, lead, member


def accepted(conn: sa.Connection, takings: Sequence[Taking], by: By, *, others: bool = False) -> None:
    """Carry on after offers were accepted, one a lead: leads, timeline, Salesforce, notices.

    `others`: more members were asked at the same time; they are told that the lead is taken.
    """
    leads = [lead for _, lead, _ in takings]
    if others:
        conn.execute(_LOCK_ASKED, {"ids": leads})  # all at once and in order, as two leads may have asked the same
        for offer, lead, _ in takings:
            gone = end_offers(conn, [lead], OfferState.WITHDRAWN, TAKEN, by.task_id, besides=offer, notice=Notice.TAKEN)
            owe_correction(conn, [one.offer for one in gone], TurnEffect.RETURN, TAKEN)  # one lead, one turn
    conn.execute(_ACCEPTED, {"ids": leads})
    tell_salesforce(conn, leads)
    person = {"person": str(by.person)} if by.person else {}
    entries = [(lead, "accepted", {"offer": str(offer), "member": member, **person}) for offer, lead, member in takings]
    note(conn, entries, by.task_id, actor=by.actor)
    tell_members(conn, [(member, offer, lead, Notice.ACCEPTED) for offer, lead, member in takings])


_LOCK_ASKED = sa.text("""
    SELECT 1 FROM members WHERE id IN (
        SELECT member_id FROM offers
        WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND state IN ('offered', 'accepted')
    ) ORDER BY id FOR UPDATE
""")
_ACCEPTED = sa.text("""
    UPDATE leads SET state = 'accepted', reason = NULL, version = version + 1, updated_at = clock_timestamp()
    WHERE id = ANY(CAST(:ids AS bigint[]))
""")
