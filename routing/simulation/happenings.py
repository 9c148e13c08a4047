"""What happens in a simulated house, one function a kind: each tells the ledger, or asks the dispatcher."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from routing.lead import LeadState, Reason
from routing.offer import OPEN, Kind, OfferState
from routing.simulation.answers import WORK_OVERDUE
from routing.simulation.ledger import GENERATION
from routing.simulation.past import PastEdit, PastOffer
from routing.simulation.rows import OfferRow
from routing.turns import Correction

if TYPE_CHECKING:
    from routing.simulation.world import World

#: After a change of the roster or the policy, waiting leads are looked at this much later, in microseconds.
ROUND = 5_000_000
#: What history did within so long is what it did about that, in microseconds.
SOON = 60_000_000
#: Leads, or offers, in one batch: at least as many as the house decides by one call, which it does in their own order.
TOGETHER = 10_000


class Happens(IntEnum):
    """What can happen; of what happens at the same moment, the lower goes first."""

    POLICY = 0
    ROSTER = 1
    LEAVES = 2  # a lead is taken out by others
    EDIT = 3  # its facts change, or a person sends it on
    ANSWER = 4
    END = 5  # of an accepted offer
    EXPIRY = 6
    CHANCE = 7  # somebody asks for a lead again
    BY_HAND = 8
    CORRECTION = 9
    FREE = 10
    HOLD = 11  # the turnstile hears of a place that was taken without a turn
    ARRIVAL = 12
    LOOK = 13  # at leads that wait
    DUE = 14  # leads that were to be looked at again
    SHUT = 15  # the open pool
    FILL = 16


def policy(world: "World", versions: Sequence[int]) -> None:
    """Another policy is in force: everyone who waits is looked at soon."""
    world.ledger.version = versions[-1]
    waiting = [i for i, row in world.ledger.leads.items() if row.state is LeadState.WAITING]
    if waiting:
        world.at(world.now + ROUND, Happens.LOOK, waiting)


def roster(world: "World", rosters: Sequence[Any]) -> None:
    """The members of a market are others: whoever has room is offered what waits, soon."""
    for one in rosters:
        world.ledger.enrol(one)
        world.at(world.now + ROUND, Happens.FILL, (one.market, None))


def leaves(world: "World", leaving: Sequence[tuple[int, Reason]]) -> None:
    """Leads are taken out in Salesforce, or somebody asks for a person's look."""
    for lead, reason in leaving:
        if lead not in world.ledger.leads:
            continue
        if reason in {Reason.BY_HAND, Reason.ERROR}:
            world.ledger.stop(lead, reason)
        else:
            world.ledger.leave(lead, reason)


def edited(world: "World", edits: Sequence[tuple[int, PastEdit]]) -> None:
    """Others change leads, or send them on: who is new by that is routed when history did, or soon."""
    for lead, edit in edits:
        if lead in world.ledger.leads and world.ledger.edit(lead, edit):
            at = world.script.next_look(lead, world.now, SOON)
            world.at(world.now + world.script.lag if at is None else at, Happens.ARRIVAL, lead)


def answer(world: "World", offers: Sequence[UUID]) -> None:
    """Members answer; who is too late, or beyond its limit, is as good as silent."""
    for offer in (world.ledger.offers[i] for i in offers):
        reply = world.replies[offer.id].reply
        if reply.answer is OfferState.REJECTED:
            world.ledger.reject(offer, reply.reason)
        elif reply.answer is OfferState.WITHDRAWN and offer.state is OfferState.OFFERED:
            world.ledger.take_back(offer, reply.reason)
        elif reply.answer is OfferState.ACCEPTED and world.ledger.accept(offer):
            accepted(world, offer)


def accepted(world: "World", offer: OfferRow) -> None:
    """How an accepted lead goes on: its end, or its being pulled back where the draft is stricter than history was."""
    kept = world.replies[offer.id]
    since = offer.accepted or world.now
    if kept.reply.then is not None:
        world.at(since + kept.reply.hold, Happens.END, offer.id)
    due = world.ledger.work_by(offer)
    limited = kept.past.work_by is not None if kept.past else world.limited
    if due is not None and not limited:
        world.at(due, Happens.END, (offer.id, WORK_OVERDUE))


def end(world: "World", ends: Sequence[UUID | tuple[UUID, str]]) -> None:
    """Accepted leads are done, given back or pulled back."""
    for one in ends:
        offer = world.ledger.offers[one[0] if isinstance(one, tuple) else one]
        reply = world.replies[offer.id].reply
        if offer.state is not OfferState.ACCEPTED:
            continue
        if isinstance(one, tuple):
            world.ledger.take_back(offer, one[1])
        elif reply.then is OfferState.RETURNED:
            world.ledger.give_back(offer, reply.then_reason)
        elif reply.then is OfferState.WITHDRAWN:
            world.ledger.take_back(offer, reply.then_reason)
        elif reply.then is not None:
            world.ledger.close(offer, reply.then)


def expiry(world: "World", offers: Sequence[UUID]) -> None:
    for offer in offers:
        world.ledger.expire(world.ledger.offers[offer])


def chance(world: "World", asked: Sequence[tuple[int, int]]) -> None:
    for lead, member in asked:
        world.ledger.ask_again(lead, member)


def by_hand(world: "World", offers: Sequence[PastOffer]) -> None:
    """Leads that were given by a person, or taken from the open pool: as in history."""
    for past in offers:
        row = world.ledger.leads[past.lead]
        made = as_it_was(past, row.pool, world.now)
        made.state, made.accepted, made.ended = OfferState.ACCEPTED, world.now, None
        if past.kind is Kind.OPEN:
            if not world.ledger.take_open(past.lead, made):
                continue
        elif not world.ledger.give(past.lead, made):
            continue
        world.hold(made, past)
        world.keep(made, past)
        accepted(world, made)


def correction(world: "World", corrections: Sequence[Correction]) -> None:
    """Turns are set right."""
    for one in corrections:
        if one.market not in world.ledger.markets:
            continue
        numbered = world.turnstile.correct(one.market, [one], generation=GENERATION)
        world.turnstile.settle_corrections(one.market, keep=[(n.id, n.seq) for n in numbered])
        world.heard_correction(one)


def free(world: "World", offers: Sequence[UUID]) -> None:
    """Places become free, and go first of all to who waits: to whom history asked about in the same call."""
    markets: defaultdict[str, dict[UUID, int]] = defaultdict(dict)
    for offer in (world.ledger.offers[i] for i in offers):
        markets[offer.market][offer.id] = offer.member
    for market, ended in markets.items():
        ids, asked = list(ended), _asked_now(world, market)
        for start in range(0, len(ids), TOGETHER):
            some = ids[start : start + TOGETHER]
            counted = [i for i in some if world.ledger.offers[i].uses]
            world.dispatcher.free(market, {i: ended[i] for i in some}, counted=counted, leads=asked)
        if world.ledger.waiting_cells():
            world.at(world.now + world.script.lag, Happens.FILL, (market, sorted(set(ended.values()))))


def _asked_now(world: "World", market: str) -> Sequence[int] | None:
    """The waiting leads that history asked for in one call at this moment; None where there was no such call."""
    asked = world.script.calls.get((market, world.now)) if world.policy is None else None
    if asked is None:
        return None
    rows = (world.ledger.leads[i] for i in asked if i in world.ledger.leads)
    return [row.lead.id for row in rows if row.state is LeadState.WAITING]


def hold(world: "World", offers: Sequence[tuple[UUID, int]]) -> None:
    """Places without a turn are counted, but for those that are free again by now."""
    for offer, freed in ((world.ledger.offers[i], freed) for i, freed in offers):
        if offer.state in OPEN or freed > world.now:
            world.turnstile.hold(offer.market, offer.id, offer.member, offer.units)


def arrival(world: "World", leads: Sequence[int]) -> None:
    """Leads come in, or go on to the next member."""
    new = [i for i in leads if world.ledger.leads[i].state is LeadState.NEW]
    for start in range(0, len(new), TOGETHER):
        world.dispatcher.route(new[start : start + TOGETHER])
    before = len(world.arrived)
    world.arrived.update(new)
    if len(world.arrived) > before:
        world.progress(len(world.arrived))


def look(world: "World", lists: Sequence[Sequence[int]]) -> None:
    """Leads that wait are looked at again."""
    ids = dict.fromkeys(i for some in lists for i in some)
    rows = [world.ledger.leads[i] for i in ids if i in world.ledger.leads]
    waiting = [
        row.lead.id for row in rows if row.state is LeadState.WAITING and world.decided_at.get(row.lead.id) != world.now
    ]
    for start in range(0, len(waiting), TOGETHER):
        world.dispatcher.route(waiting[start : start + TOGETHER], woken=True)


def due(world: "World", leads: Sequence[int]) -> None:
    """The time has come for leads that wait: less is asked for, or facts are waited for no longer."""
    rows = [world.ledger.leads[i] for i in leads]
    look(world, [[row.lead.id for row in rows if row.next_try is not None and row.next_try <= world.now]])


def shut(world: "World", leads: Sequence[int]) -> None:
    for lead in leads:
        if (world.ledger.leads[lead].open_until or 0) <= world.now:
            world.ledger.shut(lead)


def fill(world: "World", asked: Sequence[tuple[str, Sequence[int] | None]]) -> None:
    for market, members in asked:
        world.dispatcher.fill(market, members)


def as_it_was(past: PastOffer, pool: str, now: int) -> OfferRow:
    """An offer of history as it stood at a moment."""
    ended = past.ended if past.ended is not None and past.ended < now else None
    taken = past.accepted if past.accepted is not None and past.accepted < now else None
    state = past.state if ended is not None else OfferState.OFFERED if taken is None else OfferState.ACCEPTED
    return OfferRow(
        past.id,
        past.lead,
        past.member,
        past.market,
        pool,
        past.attempt,
        past.offered,
        past.expires,
        past.distance_m,
        slot=past.slot,
        kind=past.kind,
        units=past.units,
        state=state,
        reason=past.reason if ended is not None else "",
        accepted=taken,
        ended=ended,
    )


HAPPENS: Mapping[Happens, Callable[["World", Sequence[Any]], None]] = {
    Happens.POLICY: policy,
    Happens.ROSTER: roster,
    Happens.LEAVES: leaves,
    Happens.EDIT: edited,
    Happens.ANSWER: answer,
    Happens.END: end,
    Happens.EXPIRY: expiry,
    Happens.CHANCE: chance,
    Happens.BY_HAND: by_hand,
    Happens.CORRECTION: correction,
    Happens.FREE: free,
    Happens.HOLD: hold,
    Happens.ARRIVAL: arrival,
    Happens.LOOK: look,
    Happens.DUE: due,
    Happens.SHUT: shut,
    Happens.FILL: fill,
}
