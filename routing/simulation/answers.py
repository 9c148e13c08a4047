"""Answers in memory: what follows when offers are taken, turned down, given back or forgotten."""

from dataclasses import replace

from routing.answering import REROUTED, TAKEN, day_of, month_of, returns_allowed, turn_effect, work_times, zone_of
from routing.entry import LOOKED_AT_AGAIN
from routing.lane import Lane
from routing.lead import LeadState, Reason
from routing.offer import OPEN, OfferState
from routing.policy import Answering, TurnEffect
from routing.simulation.ledger import MemoryLedger
from routing.simulation.past import PastEdit, moment, us
from routing.simulation.rows import OfferRow
from routing.turns import Correction, Effect, of_offer

#: The reason of an accepted offer that ended because nothing happened on it.
WORK_OVERDUE = "work_overdue"


#: What a person's word to route on frees: whatever rules keep apart.
_KEPT_APART = frozenset({Reason.HELD, Reason.QUARANTINED, Reason.RULED, Reason.MISSING_FACTS, Reason.OVERFLOW})


class Answers(MemoryLedger):
    """The ledger in memory with the rules of the desk; each answer says whether it could be given."""

    # --- answers

    def accept(self, offer: OfferRow) -> bool:
        """Give the lead to the offer's member; others who were asked at the same time lose it."""
        if offer.state is not OfferState.OFFERED or offer.expires <= self.now():
            return False
        offer.state, offer.accepted = OfferState.ACCEPTED, self.now()
        row = self.leads[offer.lead]
        for other in self.open_offers(row):
            if other is not offer:
                self._end(other, OfferState.WITHDRAWN, TAKEN)
                self._owe(other, TurnEffect.RETURN, TAKEN)
        row.state, row.reason = LeadState.ACCEPTED, None
        return True

    def reject(self, offer: OfferRow, reason: str) -> bool:
        """End the offer and send its lead on; False beyond the member's limit of a day."""
        if offer.state is not OfferState.OFFERED or offer.expires <= self.now():
            return False
        rules = self.answering(offer.pool)
        if rules.rejects_a_day is not None and self._rejected_today(offer.member, rules) >= rules.rejects_a_day:
            return False
        self._end(offer, OfferState.REJECTED, reason)
        self._owe(offer, turn_effect(OfferState.REJECTED, reason, rules), reason)
        self._go_on(offer.lead, counts=True)
        return True

    def expire(self, offer: OfferRow) -> bool:
        """End an offer whose deadline has passed."""
        if offer.state is not OfferState.OFFERED or offer.expires > self.now():
            return False
        rules = self.answering(offer.pool)
        self._end(offer, OfferState.EXPIRED, "no answer")
        self._owe(offer, rules.expired_turn, "no answer")
        self._go_on(offer.lead, counts=rules.expiry_counts)
        return True

    def close(self, offer: OfferRow, state: OfferState) -> bool:
        """The accepted lead is done: completed or lost."""
        if offer.state is not OfferState.ACCEPTED:
            return False
        self._end(offer, state, "")
        self._owe(offer, turn_effect(state, "", self.answering(offer.pool)), "")
        row = self.leads[offer.lead]
        row.state, row.reason = LeadState.DONE, None
        return True

    def give_back(self, offer: OfferRow, reason: str) -> bool:
        """Return an accepted lead: it goes on, or to a person beyond the member's share."""
        if offer.state is not OfferState.ACCEPTED:
            return False
        rules = self.answering(offer.pool)
        self._end(offer, OfferState.RETURNED, reason)
        self._owe(offer, turn_effect(OfferState.RETURNED, reason, rules), reason)
        accepted, returned = self._this_month(offer.member, rules)
        over = returned > returns_allowed(accepted, rules.returns_percent)
        self._go_on(offer.lead, counts=True, stays=Reason.RETURNED if over else None)
        return True

    def take_back(self, offer: OfferRow, reason: str) -> bool:
        """Somebody takes the offer back, or nothing happened on it: the lead goes on."""
        if offer.state not in OPEN:
            return False
        self._end(offer, OfferState.WITHDRAWN, reason)
        if reason == REROUTED:
            self._owe(offer, TurnEffect.RETURN, reason)
        self._go_on(offer.lead, counts=reason == WORK_OVERDUE)
        return True

    def leave(self, lead: int, reason: Reason) -> None:
        """The lead is taken out; its offers end."""
        row = self.leads[lead]
        if row.state in {LeadState.DONE, LeadState.WITHDRAWN}:
            return
        for offer in self.open_offers(row):
            done = reason is Reason.CONVERTED and offer.state is OfferState.ACCEPTED
            self._end(offer, OfferState.COMPLETED if done else OfferState.WITHDRAWN, reason)
            if reason is Reason.OWNED:
                self._owe(offer, TurnEffect.RETURN, reason)
        self._stays(row)
        row.state, row.reason = LeadState.WITHDRAWN, reason

    def stop(self, lead: int, reason: Reason) -> None:
        """A person looks, because somebody asked for it; an open offer is taken back."""
        row = self.leads[lead]
        if row.state in {LeadState.DONE, LeadState.WITHDRAWN}:
            return
        for offer in self.open_offers(row):
            self._end(offer, OfferState.WITHDRAWN, reason)
        self.review(lead, reason)

    def edit(self, lead: int, edit: PastEdit) -> bool:
        """What others did to the lead, done; whether it is to be routed anew."""
        row = self.leads[lead]
        self._stays(row)
        if edit.lead is not None:
            row.lead = edit.lead
        if edit.rule:
            row.ruled = replace(row.ruled, released=row.ruled.released | {edit.rule})
        if row.state in {LeadState.WAITING, LeadState.REVIEW} and _frees(edit.what, row.reason):
            row.state, row.reason, row.basket, row.next_try, row.open_until = LeadState.NEW, None, "", None, None
        elif row.state is LeadState.WAITING:
            self._waiting.add(row.key, row.lead.place)
        return row.state is LeadState.NEW

    def give(self, lead: int, offer: OfferRow) -> bool:
        """A person gives the lead to a member, whoever else was asked; it is accepted at once."""
        row = self.leads[lead]
        if row.state is LeadState.DONE:
            return False
        for other in self.open_offers(row):
            self._end(other, OfferState.WITHDRAWN, Reason.OWNED)
            self._owe(other, TurnEffect.RETURN, Reason.OWNED)
        self._stays(row)
        self.hold(offer)
        row.state, row.reason = LeadState.ACCEPTED, None
        return True

    def take_open(self, lead: int, offer: OfferRow) -> bool:
        """Give a lead of the open pool to a member that has room."""
        row = self.leads[lead]
        room = self.members_with_room(offer.market, [offer.member])
        if row.reason is not Reason.OPEN_POOL or row.state is not LeadState.WAITING or not room:
            return False
        self._stays(row)
        self.hold(offer)
        row.state, row.reason, row.open_until = LeadState.ACCEPTED, None, None
        return True

    def shut(self, lead: int) -> None:
        """Nobody took the lead while it was open: a person looks."""
        row = self.leads[lead]
        if row.state is LeadState.WAITING and row.reason is Reason.OPEN_POOL:
            self.review(lead, Reason.EXHAUSTED)

    def ask_again(self, lead: int, member: int) -> bool:
        """A member that let its only offer expire queues for the lead again."""
        row = self.leads[lead]
        if member not in self.lapsed(row) or member in row.queued or not self.answering(row.pool).second_chance:
            return False
        if row.state not in {LeadState.NEW, LeadState.OFFERED, LeadState.WAITING} or row.reason is Reason.OPEN_POOL:
            return False
        row.queued.append(member)
        if row.state is LeadState.WAITING:
            row.next_try = self.now()
            self.news.woken.append(lead)
        return True

    def work_by(self, offer: OfferRow) -> int | None:
        """Until when the next step is due; microseconds."""
        due, _ = work_times(moment(offer.accepted or self.now()), self.answering(offer.pool))
        return None if due is None else us(due)

    # --- parts

    def _end(self, offer: OfferRow, state: OfferState, reason: str) -> None:
        offer.state, offer.reason, offer.ended = state, str(reason), self.now()
        self._open[offer.member] -= offer.units
        self.news.ended.append(offer)

    def _owe(self, offer: OfferRow, effect: TurnEffect, reason: str) -> None:
        if effect is TurnEffect.CONSUME or offer.id not in self.shares:
            return
        rotation, chosen, shares = self.shares[offer.id]
        what = Effect(effect.value)
        made = Correction(offer.id, offer.market, rotation, what, str(reason), of_offer(what, chosen, shares), offer.id)
        self.news.owed.append(made)

    def _go_on(self, lead: int, *, counts: bool, stays: Reason | None = None) -> None:
        """On to the next member, or at the end of the chain to a person; with an open offer it stays as it is."""
        row = self.leads[lead]
        if self.open_offers(row):
            return
        row.attempt, row.moves, row.lane = row.attempt + 1, row.moves + counts, min(row.lane, Lane.LIVE)
        row.state, row.reason, row.next_try = LeadState.NEW, None, None
        rules = self.answering(row.pool)
        if stays:
            self.review(lead, stays)
        elif counts and row.moves > rules.reassignments and not row.queued:
            if not (rules.open_for and self.to_open(row)):
                self.review(lead, Reason.EXHAUSTED)
        else:
            self.news.route.append(lead)

    def _rejected_today(self, member: int, rules: Answering) -> int:
        begin, _ = day_of(moment(self.now()), zone_of(self._members[member].zone, rules))
        since = us(begin)
        mine = (self.offers[i] for i in self._of_member[member])
        return sum(o.state is OfferState.REJECTED and (o.ended or 0) >= since for o in mine)

    def _this_month(self, member: int, rules: Answering) -> tuple[int, int]:
        begin, _ = month_of(moment(self.now()), zone_of(self._members[member].zone, rules))
        since = us(begin)
        mine = [self.offers[i] for i in self._of_member[member]]
        accepted = sum((o.accepted or 0) >= since for o in mine)
        return accepted, sum(o.state is OfferState.RETURNED and (o.ended or 0) >= since for o in mine)


def _frees(what: str, reason: Reason | None) -> bool:
    """Whether a lead that stands so is routed anew: its facts changed, or a person said so."""
    if what == "ruled_again":
        return reason in LOOKED_AT_AGAIN
    return reason in _KEPT_APART if what == "released" else what in {"moved", "reprocessed"}
