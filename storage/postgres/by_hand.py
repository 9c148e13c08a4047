"""What people do to leads in Salesforce, carried out: given away, given to a member, answered, taken out, sent on.

Used inside the transaction that reads the change, which holds the leads' locks. An answer to an offer is kept as an
edit, to be given at the desk like every other answer; all else is done at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
import uuid_utils.compat as uuid_utils

from routing.answering import BY_HAND, By
from routing.distance import metres
from routing.intake import Asked, Taken
from routing.lane import Lane
from routing.lead import LeadState, Point, Reason
from routing.offer import Actor, Notice, OfferState
from routing.policy import TurnEffect
from storage.postgres import tables as t
from storage.postgres.accepting import accepted
from storage.postgres.corrections import owe_correction, owe_move
from storage.postgres.ending import Ended, conclude, end_offers, tell_salesforce
from storage.postgres.notices import tell_members
from storage.postgres.onward import go_on
from storage.postgres.steps import bigints, note, review, withdraw

#: Answers to an offer, and the state it must be in.
ANSWERS: Mapping[str, OfferState] = {
    "accepted": OfferState.OFFERED,
    "rejected": OfferState.OFFERED,
    "completed": OfferState.ACCEPTED,
    "lost": OfferState.ACCEPTED,
    "returned": OfferState.ACCEPTED,
}
#: What a lead is called when it is so already.
_SO_ALREADY = {"completed": "done", "lost": "done"}
#: Nothing brings these back but Salesforce itself.
_FINAL = frozenset({Reason.DELETED, Reason.CONVERTED})


@dataclass(slots=True)
class Stand:
    """A lead under lock, and who has it or is asked."""

    id: int
    state: LeadState
    reason: str | None
    lane: Lane
    place: Point | None
    offers: list[Any] = field(
        default_factory=list
    )  # open ones: id, member_id, state, offered_at, market, salesforce_id

    @property
    def over(self) -> bool:
        return self.state is LeadState.DONE or (self.state is LeadState.WITHDRAWN and self.reason in _FINAL)

    def held_by(self, record: str) -> bool:
        return any(_same(one.salesforce_id, record) for one in self.offers)


def heed(conn: sa.Connection, asked: Mapping[int, Asked], task_id: str) -> Taken:
    """Carry out what was asked for, a lead at a time; what cannot be is shown again as it is here."""
    taken = Taken()
    for lead_id, one in asked.items():
        lead = _stand(conn, lead_id)
        owner = _new_owner(conn, lead, one)
        if owner is not None:
            _give(conn, lead, owner, task_id)
        elif one.status is not None or one.stage is not None:
            _set(conn, lead, one, taken, task_id)
        elif one.partner is not None and _is_wrong(lead, one.partner):
            _show_again(conn, lead, {"partner": "emptied"}, task_id)
    taken.asked += asked
    return taken


def leave(conn: sa.Connection, ids: Sequence[int], reason: Reason, task_id: str) -> int:
    """End leads that are no more, and their offers; how many offers ended.

    An accepted lead that was converted has come to its end: its offer is completed.
    """
    done = _complete(conn, ids, task_id) if reason is Reason.CONVERTED and ids else []
    return len(done) + withdraw(conn, [one for one in ids if one not in {e.lead_id for e in done}], reason, task_id)


def _complete(conn: sa.Connection, ids: Sequence[int], task_id: str) -> list[Ended]:
    locked = list(conn.execute(_LOCK_ACCEPTED, {"ids": list(ids)}).scalars())
    ended = [Ended(*row) for row in conn.execute(_COMPLETE, {"ids": locked})] if locked else []
    conclude(conn, ended, OfferState.COMPLETED, str(Reason.CONVERTED), By(Actor.SALESFORCE, task_id=task_id))
    leads = [one.lead_id for one in ended]
    if leads:
        conn.execute(_DONE, {"ids": leads})
        tell_salesforce(conn, leads)
    return ended


# --- who has it


def _new_owner(conn: sa.Connection, lead: Stand, asked: Asked) -> str | None:
    """To whom the lead was given, when it was: who has it already, and who we gave it to before, is no news."""
    if asked.partner and not lead.held_by(asked.partner):
        return asked.partner
    if asked.owner is None or lead.held_by(asked.owner):
        return None
    if asked.by_rest and conn.execute(_WAS_ASKED, {"lead": lead.id, "record": asked.owner}).first():
        return None
    return asked.owner


def _give(conn: sa.Connection, lead: Stand, owner: str, task_id: str) -> None:
    """The offers that are open end; a member of ours holds the lead from now on, anybody else takes it from us."""
    if lead.over:
        return
    member = conn.execute(_MEMBER, {"record": owner}).one_or_none()
    if member is None:
        if lead.state is not LeadState.WITHDRAWN:
            withdraw(conn, [lead.id], Reason.OWNED, task_id)
            owe_correction(conn, [one.id for one in lead.offers], TurnEffect.RETURN, Reason.OWNED)
            tell_salesforce(conn, [lead.id])
        return
    _lock_members(conn, [*(one.member_id for one in lead.offers), member.id])
    ended = end_offers(conn, [lead.id], OfferState.WITHDRAWN, Reason.OWNED, task_id, by=Actor.SALESFORCE)
    _move_turns(conn, lead, ended, member)
    offer = uuid_utils.uuid7()
    values = {"id": offer, "lead": lead.id, "member": member.id, "market": member.market, "ended": bool(ended)}
    conn.execute(_HOLD, values | {"distance": _distance(conn, lead, member.id)})
    detail = {"offer": str(offer), "member": member.id, "kind": "manual"}
    note(conn, [(lead.id, "offered", detail)], task_id, actor=Actor.SALESFORCE)
    tell_members(conn, [(member.id, offer, lead.id, Notice.CREATED)], locked=True)
    accepted(conn, [(offer, lead.id, member.id)], By(Actor.SALESFORCE, task_id=task_id))
    conn.execute(sa.insert(t.outbox), {"kind": "turnstile", "lead_id": lead.id, "version": 0, "offer_id": offer})


def _move_turns(conn: sa.Connection, lead: Stand, ended: Sequence[Ended], member: Any) -> None:
    """A turn goes with the lead: whoever has it now has paid for it, where both take turns in the same market."""
    here = [one.id for one in lead.offers if one.market == member.market]
    ids = [one.offer for one in ended]
    owe_move(conn, [one for one in ids if one in here], member.id, Reason.OWNED)
    owe_correction(conn, [one for one in ids if one not in here], TurnEffect.RETURN, Reason.OWNED)


def _distance(conn: sa.Connection, lead: Stand, member: int) -> float:
    """From the lead to the member's nearest place; 0 where either is not known."""
    if lead.place is None:
        return 0.0
    places = [Point(row.lat, row.lon) for row in conn.execute(_PLACES, {"member": member})]
    return min((metres(lead.place, place) for place in places), default=0.0)


# --- its status


def _set(conn: sa.Connection, lead: Stand, asked: Asked, taken: Taken, task_id: str) -> None:
    """Do what the status says; one that cannot be is shown again as it is here, unless it is the lead's own Status."""
    wish = asked.status if asked.status is not None else str(asked.stage)
    shown = asked.status is not None
    if wish == _called(lead, wish):
        return
    if wish in ANSWERS:
        done = _answer(conn, lead, wish, asked)
    else:
        done = not lead.over and _MOVES.get(wish, _refuse)(conn, lead, taken, task_id)
    if shown and not done:
        _show_again(conn, lead, {"status": wish[:40]}, task_id)


def _called(lead: Stand, wish: str) -> str:
    return wish if _SO_ALREADY.get(wish) == lead.state else str(lead.state)


def _answer(conn: sa.Connection, lead: Stand, wish: str, asked: Asked) -> bool:
    """Keep the answer for the desk; False when there is not exactly one offer it can mean."""
    meant = [one for one in lead.offers if one.state == ANSWERS[wish] and one.offered_at <= asked.at]
    if len(meant) != 1:
        return False
    edit = {"lead_id": lead.id, "offer_id": meant[0].id, "asked": wish, "reason": asked.reason, "at": asked.at}
    conn.execute(sa.insert(t.edits), edit | {"shown": asked.status is not None})
    return True


def _take_out(conn: sa.Connection, lead: Stand, _taken: Taken, task_id: str) -> bool:
    withdraw(conn, [lead.id], Reason.RESCINDED, task_id)
    tell_salesforce(conn, [lead.id])
    return True


def _look_at(conn: sa.Connection, lead: Stand, _taken: Taken, task_id: str) -> bool:
    """A person looks: open offers are taken back."""
    if end_offers(conn, [lead.id], OfferState.WITHDRAWN, BY_HAND, task_id, by=Actor.SALESFORCE):
        conn.execute(_NEXT_ATTEMPT, {"id": lead.id})
    review(conn, [lead.id], Reason.BY_HAND, task_id)
    return True


def _send_on(conn: sa.Connection, lead: Stand, taken: Taken, task_id: str) -> bool:
    """To the next member; False when the chain is at its end, as then a person gives it to somebody."""
    if lead.reason == Reason.EXHAUSTED:
        return False
    if end_offers(conn, [lead.id], OfferState.WITHDRAWN, BY_HAND, task_id, by=Actor.SALESFORCE):
        go_on(conn, [lead.id], {}, task_id, counts=False)
    else:
        conn.execute(_AGAIN, {"id": lead.id})
        tell_salesforce(conn, [lead.id])
    (taken.to_locate if lead.place is None else taken.to_route).append(lead.id)
    if lead.lane is not Lane.LIVE:
        taken.lanes[lead.id] = lead.lane
    return True


def _refuse(_conn: sa.Connection, _lead: Stand, _taken: Taken, _task_id: str) -> bool:
    return False


_MOVES = {"withdrawn": _take_out, "review": _look_at, "waiting": _send_on}


def _is_wrong(lead: Stand, partner: str) -> bool:
    """Whether the partner lookup shows other than who has the lead."""
    accounts = [one.salesforce_id for one in lead.offers if (one.salesforce_id or "").startswith("001")]
    return bool(accounts) and not any(_same(one, partner) for one in accounts)


def _show_again(conn: sa.Connection, lead: Stand, detail: Mapping[str, Any], task_id: str) -> None:
    note(conn, [(lead.id, "edit refused", {**detail, "state": str(lead.state)})], task_id, actor=Actor.SALESFORCE)
    tell_salesforce(conn, [lead.id])


# --- the rows


def _stand(conn: sa.Connection, lead_id: int) -> Stand:
    row = conn.execute(_LEAD, {"id": lead_id}).one()
    place = None if row.lat is None else Point(row.lat, row.lon)
    offers = list(conn.execute(_OFFERS, {"id": lead_id}))
    return Stand(row.id, LeadState(row.state), row.reason, Lane(row.lane), place, offers)


def _lock_members(conn: sa.Connection, ids: Sequence[int]) -> None:
    query = sa.select(t.members.c.id).where(t.members.c.id == sa.any_(bigints(ids))).order_by(t.members.c.id)
    conn.execute(query.with_for_update())


def _same(known: str | None, told: str) -> bool:
    """Whether these are one record: ids of 15 and of 18 characters begin alike."""
    return bool(known) and str(known)[:15] == told[:15]


_LEAD = sa.text("SELECT id, state, reason, lane, lat, lon FROM leads WHERE id = :id FOR UPDATE")
_OFFERS = sa.text("""
    SELECT o.id, o.member_id, o.state, o.offered_at, o.market, m.salesforce_id
    FROM offers o JOIN members m ON m.id = o.member_id
    WHERE o.lead_id = :id AND o.state IN ('offered', 'accepted') ORDER BY o.slot
""")
_MEMBER = sa.text("""
    SELECT id, market FROM members WHERE salesforce_id IN (:record, left(:record, 15)) ORDER BY id LIMIT 1
""")
_PLACES = sa.text("SELECT lat, lon FROM places WHERE member_id = :member")
_WAS_ASKED = sa.text("""
    SELECT FROM offers o JOIN members m ON m.id = o.member_id
    WHERE o.lead_id = :lead AND o.state <> 'void' AND left(m.salesforce_id, 15) = left(:record, 15)
""")
# The place is counted whether there is room or not, and the ring is as wide as it takes: a person has decided.
_HOLD = sa.text("""
    WITH lead AS (
        UPDATE leads SET attempt = attempt + CASE WHEN :ended THEN 1 ELSE 0 END, next_try_at = NULL
        WHERE id = :lead RETURNING attempt, units
    ), taken AS (UPDATE members SET open = open + lead.units FROM lead WHERE members.id = :member)
    INSERT INTO offers (id, lead_id, member_id, market, attempt, state, kind, actor, distance_m, ring_m, offered_at,
                        expires_at, accepted_at, worked_at, units)
    SELECT :id, :lead, :member, :market, lead.attempt, 'accepted', 'manual', 'salesforce', :distance, ceil(:distance),
           now, now, now, now, lead.units
    FROM lead, (SELECT clock_timestamp() AS now) clock
""")
_NEXT_ATTEMPT = sa.text("UPDATE leads SET attempt = attempt + 1 WHERE id = :id")
_AGAIN = sa.text("""
    UPDATE leads SET state = 'new', reason = NULL, version = version + 1, updated_at = clock_timestamp(),
           nudged_at = NULL, deaths = 0, delays = 0, next_try_at = NULL
    WHERE id = :id
""")
_LOCK_ACCEPTED = sa.text("""
    SELECT id FROM leads WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'accepted' ORDER BY id FOR UPDATE
""")
_COMPLETE = sa.text("""
    UPDATE offers SET state = 'completed', reason = 'converted', ended_at = clock_timestamp(), version = version + 1,
           actor = 'salesforce', remind_at = NULL
    WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND state = 'accepted'
    RETURNING id, lead_id, member_id, ended_at
""")
_DONE = sa.text("""
    UPDATE leads SET state = 'done', reason = NULL, version = version + 1, updated_at = clock_timestamp(),
           next_try_at = NULL
    WHERE id = ANY(CAST(:ids AS bigint[]))
""")
