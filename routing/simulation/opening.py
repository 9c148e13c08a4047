"""How a simulated house stands when its clock begins: who holds what, which leads wait, and what is known to come."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from routing.lane import Lane
from routing.lead import NOTHING_RULED, LeadState, Reason
from routing.offer import OPEN, OfferState
from routing.simulation.answers import WORK_OVERDUE
from routing.simulation.happenings import Happens, accepted, as_it_was
from routing.simulation.past import PastDecision, PastLead, PastOffer, us
from routing.simulation.rows import LeadRow, OfferRow

if TYPE_CHECKING:
    from routing.simulation.world import World

#: Why a lead waits that was decided, and went to nobody.
WAITS = frozenset({Reason.NO_ROOM, Reason.NO_PARTNER_IN_RANGE, Reason.NOBODY_FITS, Reason.HELD})
#: Ends that use up a move.
_MOVES = frozenset({OfferState.REJECTED, OfferState.EXPIRED, OfferState.RETURNED})


def begin_leads(world: "World", known: Collection[int] | None = None) -> None:
    """Put every lead where it stood, and let the rest come in when it came.

    `known`: leads that are there already, as another simulation left off with them; all others come in now.
    """
    past = world.past
    offers: defaultdict[int, list[PastOffer]] = defaultdict(list)
    for offer in past.offers:
        offers[offer.lead].append(offer)
    last = {decision.lead: decision for decision in past.before}  # in order: the last one counts
    for one in past.leads:
        if known is None:
            _begin_lead(world, one, offers[one.lead.id], last.get(one.lead.id))
        else:
            _go_on(world, one, there=one.lead.id in known)


def _begin_lead(world: "World", one: PastLead, offers: Sequence[PastOffer], decided: PastDecision | None) -> None:
    since, lead = world.past.since, one.at(world.past.since)
    received = us(lead.received_at)
    earlier = [offer for offer in offers if offer.offered < since]
    released = frozenset(edit.rule for edit in one.edits if edit.rule and edit.at < since)
    row = LeadRow(lead, lane=lead.lane, ruled=replace(NOTHING_RULED, released=released))
    if received >= world.past.until:
        return
    _expect_others(world, one)
    if not earlier and decided is None:
        world.ledger.add(row)
        if not (one.left and one.left[0][0] < since):
            seen = world.script.next_look(lead.id, since)
            world.at(max(received if seen is None else seen, received), Happens.ARRIVAL, lead.id)
        return
    if decided is not None:
        world.decided_at[lead.id] = decided.at
        row.ruled = replace(decided.ruled, released=decided.ruled.released | released)
    _stand(world, row, one, earlier, decided)
    world.ledger.add(row)
    for offer in earlier:
        made = as_it_was(offer, row.pool, since)
        if made.state in OPEN:
            world.ledger.hold(made)
            _expect(world, made, offer)
        else:
            world.ledger.remember(made)
    if row.state is LeadState.NEW:
        at = world.script.routed.get((lead.id, row.attempt), since)
        world.at(max(at, since), Happens.ARRIVAL, lead.id)


def _go_on(world: "World", one: PastLead, *, there: bool) -> None:
    since, lead = world.past.since, one.at(world.past.since)
    received = us(lead.received_at)
    _expect_others(world, one)
    if there or received >= world.past.until:
        return
    decided = world.script.next_look(lead.id, since)
    if received >= since or decided is not None:
        world.ledger.add(LeadRow(lead, lane=lead.lane))
        world.at(max(decided or received, received), Happens.ARRIVAL, lead.id)


def _expect_others(world: "World", one: PastLead) -> None:
    """What others do to the lead from the beginning on."""
    for at, reason in one.left:
        if at >= world.past.since:
            world.at(at, Happens.LEAVES, (one.lead.id, reason))
    for edit in one.edits:
        if edit.at >= world.past.since:
            world.at(edit.at, Happens.EDIT, (one.lead.id, edit))


def _stand(
    world: "World", row: LeadRow, one: PastLead, earlier: Sequence[PastOffer], decided: PastDecision | None
) -> None:
    """Where a lead stood that had been decided before."""
    since = world.past.since
    row.pool = decided.pool if decided else ""
    row.attempt = max([o.attempt for o in earlier] + ([decided.attempt] if decided else []))
    ended = [o for o in earlier if not o.open_at(since)]
    row.moves = sum(o.state in _MOVES or o.reason == WORK_OVERDUE for o in ended)
    row.lane = min(row.lane, Lane.LIVE) if ended else row.lane
    held = [o for o in earlier if o.open_at(since)]
    last = max(earlier, key=lambda o: o.offered, default=None)
    if held:
        taken = any(o.accepted is not None and o.accepted < since for o in held)
        row.state = LeadState.ACCEPTED if taken else LeadState.OFFERED
    elif decided and decided.chosen is None and (last is None or last.offered < decided.at):
        waits = decided.reason in WAITS
        row.state, row.reason = (LeadState.WAITING if waits else LeadState.REVIEW), Reason(decided.reason)
    elif last and last.state in {OfferState.COMPLETED, OfferState.LOST}:
        row.state = LeadState.DONE
    elif (row.lead.id, row.attempt + 1) in world.script.routed:
        row.attempt += 1
        row.state = LeadState.NEW
    else:
        row.state, row.reason = LeadState.REVIEW, Reason.EXHAUSTED
    if any(at < since for at, _ in one.left):
        row.state, row.reason = LeadState.WITHDRAWN, one.left[0][1]


def _expect(world: "World", made: OfferRow, past: PastOffer) -> None:
    if made.state is OfferState.OFFERED:
        world.expect(made)
        return
    world.keep(made, past)
    accepted(world, made)
