"""A stretch of time played through: the real dispatcher over a ledger and a turnstile in memory, event by event.

Nothing here decides: leads come in, members answer, deadlines pass, places are freed, and the dispatcher, the ladder
and the desk's rules do what they always do. Where history tells when something happened, it happens then; the rest
follows after the lag that history shows.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any
from uuid import UUID

from routing.dispatcher import Dispatcher
from routing.fairness import Deviation
from routing.fairness import Verdict as Turn
from routing.lead import LeadState
from routing.offer import OPEN, Kind, OfferState
from routing.plan import Verdict
from routing.policy import Mode, Policy
from routing.ports import Snapshot
from routing.simulation.answers import Answers
from routing.simulation.checkpoint import books_of, resume
from routing.simulation.habits import Habits, Reply, seen
from routing.simulation.happenings import HAPPENS, SOON, Happens, accepted
from routing.simulation.ledger import GENERATION
from routing.simulation.opening import begin_leads
from routing.simulation.past import Past, PastCorrection, PastOffer, PastPolicy
from routing.simulation.rows import OfferRow
from routing.simulation.script import Script
from routing.simulation.turnstile import MemoryTurnstile
from routing.turns import Correction, Effect

#: What happens within this time of what history says happens as in history, in microseconds.
NEAR = 1_000_000


@dataclass(frozen=True, slots=True)
class Made:
    """One decision of the simulation."""

    at: int
    verdict: Verdict

    @property
    def lead(self) -> int:
        return self.verdict.plan.lead.id

    @property
    def attempt(self) -> int:
        return self.verdict.decision.attempt

    @property
    def chosen(self) -> int | None:
        return self.verdict.decision.chosen


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply to an offer, and the deadline it was made under."""

    reply: Reply
    past: PastOffer | None


class Turns(MemoryTurnstile):
    """A turnstile in memory that tells what each turn moved."""

    def __init__(self, clock: Callable[[], int], heard: Callable[[UUID, str, Turn], None]) -> None:
        super().__init__(clock)
        self._heard = heard

    def settle(
        self,
        market: str,
        *,
        keep: Sequence[tuple[int, int]] = (),
        cancel: Sequence[tuple[int, int]] = (),
        offers: Sequence[UUID] = (),
    ) -> None:
        reservations = self._markets[market].reservations
        for one in keep:
            if kept := reservations.get(one):
                self._heard(kept.grant.offer, kept.rotation, kept.verdict)
        super().settle(market, keep=keep, cancel=cancel, offers=offers)

    def held(self, market: str) -> Any:
        """Everything held for a market."""
        return self._markets[market]

    def hold(self, market: str, offer: UUID, member: int, units: int = 1) -> None:
        """A place that was taken without a turn."""
        self._markets[market].take(offer, member, units)


def begun(snapshot: Snapshot) -> dict[str, Deviation]:
    """How far everyone was from what was due to it as the stretch began, by rotation."""
    return {
        rotation: Deviation.since({member: one.standing for member, one in accounts.items()})
        for rotation, accounts in snapshot.standings.items()
    }


@dataclass(slots=True)
class World:
    """Leads, members and a clock. `policy`: the draft; None: what was in force at each moment."""

    past: Past
    script: Script
    habits: Habits
    policy: Policy | None = None
    told: Mapping[str, Any] | None = None  # what another left off with: it is gone on from
    progress: Callable[[int], None] = lambda _: None  # hears how many leads have come in
    now: int = 0
    made: list[Made] = field(default_factory=list)
    corrected: list[PastCorrection] = field(default_factory=list)
    deviations: dict[str, Deviation] = field(default_factory=dict)  # by rotation
    modes: dict[str, Mode] = field(default_factory=dict)
    fresh: int = 0  # offers of which the answer was never seen
    known: int = 0
    ledger: Answers = field(init=False)
    turnstile: Turns = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    replies: dict[UUID, Kept] = field(default_factory=dict)
    decided_at: dict[int, int] = field(default_factory=dict)  # lead -> when it was decided last
    arrived: set[int] = field(default_factory=set)
    _events: list[tuple[int, int, int, Any]] = field(default_factory=list)
    _count: int = 0
    ids: int = 0  # of offers, so far
    limited: bool = field(init=False)  # history pulled leads back on which nothing happened
    _past_offers: dict[tuple[int, int], list[PastOffer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        past = self.past
        self.now = past.since
        self.limited = any(offer.work_by is not None for offer in past.offers)
        self.ledger = Answers(lambda: self.now, past.members)
        if self.policy is None:  # as long as a lead goes as it went, it is looked at when it was
            self.ledger.awaits = lambda i, attempt: self.script.awaits(i, attempt, self.decided_at.get(i), self.now)
        self.turnstile = Turns(lambda: self.now, self._heard)
        self.dispatcher = Dispatcher(ledger=self.ledger, turnstile=self.turnstile, new_id=self._new_id)
        offers: defaultdict[tuple[int, int], list[PastOffer]] = defaultdict(list)
        for offer in past.offers:
            offers[offer.lead, offer.member].append(offer)
        self._past_offers = dict(offers)
        self._begin_rules()
        self._begin_rosters()
        begin_leads(self, resume(self, self.told) if self.told else None)
        self._begin_turnstile()
        self._begin_others()

    # --- the clock

    def run(self, until: int | None = None) -> None:
        """Let everything happen up to a moment: the end of the stretch when none is given."""
        until = self.past.until if until is None else until
        while self._events and self._events[0][0] < until:
            at, what, _, first = heappop(self._events)
            together = [first]
            while self._events and self._events[0][:2] == (at, what):
                together.append(heappop(self._events)[3])
            self.now = max(self.now, at)
            HAPPENS[Happens(what)](self, together)
            self._follow()
        self.now = max(self.now, until)

    def at(self, at: int, what: Happens, payload: Any) -> None:
        """Let this happen then; never before now."""
        self._count += 1
        heappush(self._events, (max(at, self.now), int(what), self._count, payload))

    def pending(self) -> Sequence[tuple[int, int, int, Any]]:
        """What is still to happen: (moment, kind, number, of what)."""
        return self._events

    def _follow(self) -> None:
        """What follows from what has just happened."""
        news = self.ledger.news
        while any(getattr(news, name) for name in news.__dataclass_fields__):
            self.ledger.news = type(news)()
            self._decided(news.decided)
            for offer in news.ended:
                self._ended(offer)
            for offer in news.offered:
                self.expect(offer)
            for offer in news.given:
                self._given(offer)
            for correction in news.owed:
                self._owed(correction)
            for at, lead in news.later:
                self.at(at, Happens.DUE, lead)
            for lead in news.route:
                self._goes_on(lead)
            for lead in news.opened:
                self.at(self.ledger.leads[lead].open_until or self.now, Happens.SHUT, lead)
            if waiting := [i for i in news.woken if self.ledger.leads[i].state is LeadState.WAITING]:
                self.at(self.now + self.script.lag, Happens.LOOK, waiting)
            news = self.ledger.news

    # --- the beginning

    def _begin_rules(self) -> None:
        policies = [PastPolicy(0, self.policy)] if self.policy is not None else list(self.past.policies)
        for at, policy in ((p.at, p.policy) for p in policies):
            self.ledger.policies[policy.version] = policy
            if at <= self.past.since or not self.ledger.version:
                self.ledger.version = policy.version
            else:
                self.at(at, Happens.POLICY, policy.version)

    def _begin_rosters(self) -> None:
        known: set[str] = set()
        for one in self.past.rosters:
            if one.at <= self.past.since or one.roster.market not in known:
                self.ledger.enrol(one.roster)
                known.add(one.roster.market)
            else:
                self.at(one.at, Happens.ROSTER, one.roster)

    def _begin_turnstile(self) -> None:
        for market in self.ledger.markets:
            held = [o for o in self.ledger.offers.values() if o.market == market and o.state in OPEN]
            mine, units = {o.id: o.member for o in held}, {o.id: o.units for o in held if o.units > 1}
            start = (books_of(self.told) if self.told else self.past.start).get(market) or Snapshot(
                GENERATION, 0, mine, {}, {}, {}
            )
            self.deviations |= begun(start)
            self.turnstile.rebuild(market, replace(start, generation=GENERATION, seq=0, open_offers=mine, units=units))

    def _begin_others(self) -> None:
        for at, _market, leads in self.script.looks:
            if at >= self.past.since:
                self.at(at, Happens.LOOK, leads)
        for at, lead, member in self.past.chances:
            if at >= self.past.since and lead in self.ledger.leads:
                self.at(at, Happens.CHANCE, (lead, member))
        for one in self.past.corrections:
            if one.at >= self.past.since and one.correction.effect not in self._owed_here():
                self.at(one.at, Happens.CORRECTION, one.correction)
        given = (o for o in self.past.offers if o.kind in {Kind.OPEN, Kind.MANUAL} and not o.by_rule)
        beside = (o for o in given if o.offered >= self.past.since)
        for offer in beside:
            if offer.lead in self.ledger.leads:
                self.at(offer.offered, Happens.BY_HAND, offer)

    def _owed_here(self) -> Collection[Effect]:
        """What follows from offers is owed here as well; under a draft, only a person's word is as it was."""
        own = {Effect.RETURN, Effect.PENALISE}
        return own if self.policy is None else own | {Effect.COUNT, Effect.REPAY, Effect.FORGET}

    # --- what follows

    def _heard(self, offer: UUID, rotation: str, turn: Turn) -> None:
        self.deviations.setdefault(rotation, Deviation()).add(turn)
        self.modes.setdefault(rotation, turn.mode)
        if turn.mode is Mode.FAIR and turn.chosen is not None:
            self.ledger.shares[offer] = rotation, turn.chosen, turn.shares

    def _decided(self, verdicts: Sequence[Verdict]) -> None:
        self.made += [Made(self.now, verdict) for verdict in verdicts]
        self.decided_at |= {verdict.decision.lead: self.now for verdict in verdicts}

    def _given(self, offer: OfferRow) -> None:
        """A rule gave a lead to a member: the turnstile hears of the place."""
        self.hold(offer, self._was(offer))
        self.expect(offer)

    def hold(self, offer: OfferRow, past: PastOffer | None) -> None:
        """Have the turnstile count a place without a turn: at once, or when it heard of it in history."""
        at = self.script.held.get(past.id) if past is not None and self.policy is None else None
        if past is None or at is None or at <= self.now:
            self.turnstile.hold(offer.market, offer.id, offer.member, offer.units)
        else:
            self.at(at, Happens.HOLD, (offer.id, self.script.freed.get(past.id, 0)))

    def expect(self, offer: OfferRow) -> None:
        """An open offer is answered some day, or its deadline passes."""
        past = self._was(offer)
        kept = self.replies[offer.id] = Kept(self._reply(offer, past), past)
        if offer.state is OfferState.ACCEPTED:
            accepted(self, offer)
            return
        near = past is not None and abs(offer.offered - past.offered) < NEAR
        since = past.offered if past is not None and near else offer.offered
        if past and near and self.policy is None:
            offer.expires = past.expires  # history's clock, by which its answer was in time
        expiry = offer.expires
        if past and past.accepted is None and abs(past.expires - offer.expires) < NEAR:
            expiry = max(offer.expires, past.ended or self.past.until)  # so late somebody looked that it was due
        self.at(expiry, Happens.EXPIRY, offer.id)
        if kept.reply.answer is not None:
            self.at(since + kept.reply.after, Happens.ANSWER, offer.id)

    def keep(self, offer: OfferRow, past: PastOffer) -> None:
        """An offer that was accepted goes on as it did."""
        reply = seen(past, self.past.until)
        self.replies[offer.id] = Kept(reply or Reply(OfferState.ACCEPTED, seen=True), past)

    def heard_correction(self, one: Correction) -> None:
        """A correction was carried out."""
        self.corrected.append(PastCorrection(self.now, one))
        self.deviations.setdefault(one.rotation, Deviation()).correct(one.deltas)

    def _reply(self, offer: OfferRow, past: PastOffer | None) -> Reply:
        facts = self.past.members.get(offer.member)
        if past is not None and (reply := seen(past, self.past.until)) is not None:
            self.known += 1
            return reply
        self.fresh += 1
        if facts is not None and facts.auto_accept:
            drawn = self.habits.reply(offer.lead, offer.member, facts.tier)
            return replace(drawn, answer=OfferState.ACCEPTED, after=0)
        silent = 0
        if past is not None:  # taken from it before it said anything
            silent = min(past.ended or self.past.until, past.expires) - past.offered
        nth = sum(self.ledger.offers[i].member == offer.member for i in self.ledger.leads[offer.lead].offers) - 1
        tier = self.ledger.tier(offer.member)
        return self.habits.reply(offer.lead, offer.member, tier, nth=nth, longer_than=silent)

    def _was(self, offer: OfferRow) -> PastOffer | None:
        """The offer that history knows for the same member and lead, the first for the first."""
        known = self._past_offers.get((offer.lead, offer.member))
        if not known:
            return None
        nth = sum(self.ledger.offers[i].member == offer.member for i in self.ledger.leads[offer.lead].offers) - 1
        return known[nth] if 0 <= nth < len(known) else None

    def _ended(self, offer: OfferRow) -> None:
        past = self.replies[offer.id].past if offer.id in self.replies else None
        as_it_was = past is not None and self.policy is None and self._same(offer, past)
        freed = self.script.freed.get(past.id) if past and as_it_was else None
        at = freed if freed is not None and freed >= self.now else self.now + self.script.lag
        self.at(at, Happens.FREE, offer.id)

    def _owed(self, correction: Correction) -> None:
        past = self.replies[correction.id].past if correction.id in self.replies else None
        at = (
            self.script.corrected.get(past.id) if past and self._same(self.ledger.offers[correction.id], past) else None
        )
        self.at(at if at is not None and at >= self.now else self.now + 1, Happens.CORRECTION, correction)

    def _goes_on(self, lead: int) -> None:
        row = self.ledger.leads[lead]
        last = self.ledger.offers[row.offers[-1]] if row.offers else None
        past = self.replies[last.id].past if last and last.id in self.replies else None
        at = None
        if last and past and self._same(last, past):
            first = self.script.next_look(lead, self.now, SOON)  # a rule may have set it aside before it was decided
            at = first if first is not None else self.script.routed.get((lead, row.attempt))
        self.at(at if at is not None and at >= self.now else self.now + self.script.lag, Happens.ARRIVAL, lead)

    def _same(self, offer: OfferRow, past: PastOffer) -> bool:
        """Whether the offer went as it did: the same attempt, the same end."""
        if offer.attempt != past.attempt or offer.ended is None or past.ended is None:
            return False
        return abs(offer.ended - past.ended) < NEAR

    def _new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=self.ids)
