"""The order in which things happened, read out of what the choosers saw: when leads were looked at, places freed."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import groupby
from statistics import median
from uuid import UUID

from routing.decision import Gate
from routing.offer import Kind, OfferState
from routing.simulation.past import Past, PastDecision, PastOffer

#: Where nothing was seen: from the end of an offer to the next decision, and to the freed place, in microseconds.
LAG = 50_000
_SEEN = frozenset({int(Gate.ELIGIBLE), int(Gate.FULL), int(Gate.QUOTA)})
_TOGETHER = 60_000_000  # places that are freed one after the other belong together within this time
_SKEW = 2_000_000  # the clocks of ledger and turnstile are apart by less than this


#: When a lead was looked at, and for which attempt.
Look = tuple[int, int]
#: Stands for the attempt where a rule set the lead aside.
ASIDE = 0


@dataclass(slots=True)
class Script:
    """When things happened, in microseconds by the turnstile's clock; a call's decisions are one moment."""

    routed: dict[tuple[int, int], int] = field(default_factory=dict)  # (lead, attempt) -> its first decision
    looks: list[tuple[int, str, list[int]]] = field(default_factory=list)  # at leads, if they wait
    calls: dict[tuple[str, int], list[int]] = field(default_factory=dict)  # (market, moment) -> what it decided
    freed: dict[UUID, int] = field(default_factory=dict)  # offer -> its place was free from here on
    held: dict[UUID, int] = field(default_factory=dict)  # offer without a turn -> its place was counted from here on
    corrected: dict[UUID, int] = field(default_factory=dict)
    moments: defaultdict[int, list[Look]] = field(default_factory=lambda: defaultdict(list))  # lead -> by time
    lag: int = LAG

    def next_look(self, lead: int, after: int, within: int | None = None) -> int | None:
        """When history next looked at the lead, not before a moment; None: never, or not within so long."""
        known = self.moments.get(lead, [])
        at = bisect_left(known, (after, 0))
        found = known[at][0] if at < len(known) else None
        return found if found is None or within is None or found - after <= within else None

    def awaits(self, lead: int, attempt: int, last: int | None, now: int) -> bool:
        """Whether history looked at this attempt of the lead later and not now, or never again after the last look."""
        known = self.moments.get(lead, [])
        at = bisect_left(known, (now, 0))
        if at < len(known):
            return known[at][0] > now and known[at][1] in {ASIDE, attempt}
        return (last is not None and (last, attempt) in known) or (bool(known) and known[-1][1] == ASIDE)


def script(past: Past) -> Script:
    """The order of a stretch of history; empty where there is none."""
    made = Script()
    for row in past.before:
        made.moments[row.lead].append((row.at, row.attempt))
    for one in past.corrections:
        made.corrected[one.correction.id] = one.at
    for market, rows in groupby(past.decisions, key=lambda d: d.market):
        _one_market(made, market, list(rows), past)
    _looked_at(made, past)
    made.looks.sort(key=lambda look: look[0])
    lags = [
        made.routed[lead, attempt] - ended
        for lead, attempt, ended in _ends(past.offers)
        if made.routed.get((lead, attempt), 0) >= ended
    ]
    made.lag = max(1, round(median(lags))) if lags else LAG
    return made


def _looked_at(made: Script, past: Past) -> None:
    """Leads that rules set aside, or gave to somebody, were looked at without a decision."""
    beside = [(o.lead, o.offered) for o in past.offers if o.by_rule]
    beside += [(one.lead.id, at) for one in past.leads for at in one.asides]
    for lead, at in beside:
        made.moments[lead].append((at, ASIDE))
    for moments in made.moments.values():
        moments.sort()
    made.looks += [(at, "", [lead]) for lead, at in beside]


def _ends(offers: Sequence[PastOffer]) -> list[tuple[int, int, int]]:
    """(lead, next attempt, end) of the offers after which a lead went on."""
    on = {OfferState.REJECTED, OfferState.EXPIRED, OfferState.RETURNED}
    return [(o.lead, o.attempt + 1, o.ended) for o in offers if o.state in on and o.ended is not None]


def _one_market(made: Script, market: str, rows: list[PastDecision], past: Past) -> None:
    places = _Places([o for o in past.offers if o.market == market], past.since)
    looked: defaultdict[int, list[int]] = defaultdict(list)
    starts = _starts(rows)
    begun = _calls(rows, starts, {(o.lead, o.attempt): o.slot for o in past.offers if o.slot})
    for row, start in zip(rows, starts, strict=True):
        call = begun.get(start, start)
        made.moments[row.lead].append((call, row.attempt))
        looked[call].append(row.lead)
        made.routed.setdefault((row.lead, row.attempt), call)
        places.look(row, start, call)
    made.looks += [(at, market, leads) for at, leads in looked.items()]
    made.calls |= {(market, at): leads for at, leads in looked.items()}
    made.freed |= _with_unseen(places.freed, places.held_on(), [o for o in past.offers if o.market == market])
    made.held |= places.held | places.unseen()


def _starts(rows: Sequence[PastDecision]) -> list[int]:
    """When the turnstile was asked for each: all that it answered at once have one moment."""
    found, last = list[int](), None
    for row in rows:
        apart = last is None or row.seq != last.seq + 1 or row.at != last.at + 1 or row.generation != last.generation
        found.append(row.at if apart else found[-1])
        last = row
    return found


def _calls(rows: Sequence[PastDecision], starts: Sequence[int], slots: Mapping[tuple[int, int], int]) -> dict[int, int]:
    """Asked when -> when the call began, of calls that asked several members for a lead: once more for each slot."""
    first = {(row.lead, row.attempt): start for row, start in zip(rows, starts, strict=True)}
    asked: defaultdict[int, set[int]] = defaultdict(set)
    for row, start in zip(rows, starts, strict=True):
        if slot := slots.get((row.lead, row.attempt)):
            asked[start].add(first.get((row.lead, row.attempt - slot), start))
    begun: dict[int, int] = {}
    for start, some in asked.items():
        begun |= dict.fromkeys({start, *some}, min(begun.get(one, one) for one in {start, *some}))
    return begun


def _with_unseen(
    freed: Mapping[UUID, int], held_on: Mapping[UUID, int], offers: Sequence[PastOffer]
) -> dict[UUID, int]:
    """With places that nobody looked at after they were freed: those are freed in the order in which offers ended.

    `held_on`: those that were seen to be held on after their offers had ended, and when they were for the last time.
    """
    found, following = dict(freed), None
    for offer in sorted((o for o in offers if o.ended is not None), key=lambda o: -(o.ended or 0)):
        if offer.id in freed:
            following = freed[offer.id]
            continue
        if following is not None and 0 <= following - (offer.ended or 0) <= _TOGETHER:
            found[offer.id] = following
        if offer.id in held_on:
            found[offer.id] = max(found.get(offer.id, 0), held_on[offer.id] + 1)
    return found


class _Places:
    """Works out when places were freed: a chooser sees how many each member holds."""

    def __init__(self, offers: Sequence[PastOffer], since: int) -> None:
        self.freed: dict[UUID, int] = {}
        self.held: dict[UUID, int] = {}
        self._seen: dict[int, int] = {}  # member -> when somebody last looked how many it holds
        self._held: defaultdict[int, int] = defaultdict(int)
        self._ending: defaultdict[int, list[tuple[int, UUID, int]]] = defaultdict(list)  # held ones, by their end
        self._made = {o.id: o for o in offers}
        self._turns: Mapping[tuple[int, int, int], PastOffer] = {(o.lead, o.attempt, o.member): o for o in offers}
        beside = (o for o in offers if o.kind in {Kind.OPEN, Kind.MANUAL} and o.offered >= since)
        self._beside: defaultdict[int, list[PastOffer]] = defaultdict(list)  # taken without a decision, oldest last
        for offer in sorted(beside, key=lambda o: -o.offered):
            self._beside[offer.member].append(offer)
        for offer in offers:
            if offer.open_at(since):
                self._take(offer)

    def look(self, row: PastDecision, start: int, call: int) -> None:
        """Take in one decision, made at that moment with others, in a call that began at `call`."""
        for member, gate, open_ in zip(row.member, row.gate, row.open, strict=True):
            if gate in _SEEN and (gate == Gate.ELIGIBLE or open_):
                self._learn(member, open_, call if self._seen.get(member, -1) < call else start)
        if row.chosen is not None:
            offer = self._turns.get((row.lead, row.attempt, row.chosen))
            if offer is not None:
                self._take(offer)

    def unseen(self) -> dict[UUID, int]:
        """Places that were counted, if ever, after the last look at their members."""
        left = [offer for offers in self._beside.values() for offer in offers]
        return {o.id: at + 1 for o in left if (at := self._seen.get(o.member, 0)) >= o.offered}

    def held_on(self) -> dict[UUID, int]:
        """Places of ended offers that were never seen to be free: when they were last seen to be held."""
        left = [(offer, member, ended) for member, heap in self._ending.items() for ended, offer, _ in heap]
        return {offer: at for offer, member, ended in left if (at := self._seen.get(member, 0)) >= ended}

    def _take(self, offer: PastOffer) -> None:
        self._held[offer.member] += offer.units
        if offer.ended is not None:
            heappush(self._ending[offer.member], (offer.ended, offer.id, offer.units))

    def _taken(self, member: int, at: int) -> PastOffer | None:
        """What the member took without a turn and is now seen: by then, rather one that has not ended, the oldest."""
        beside = self._beside.get(member, [])
        known = [offer for offer in reversed(beside) if offer.offered <= at + _SKEW]
        known.sort(key=lambda o: (o.offered > at, o.ended is not None and o.ended <= at))
        found = known[0] if known else None
        if found is not None:
            beside.remove(found)
        return found

    def _learn(self, member: int, open_: int, at: int) -> None:
        self._seen[member] = at
        while self._held[member] < open_ and (taken := self._taken(member, at)) is not None:
            self.held[taken.id] = at
            self._take(taken)
        ending = self._ending.get(member)
        while ending and self._held[member] > open_ and ending[0][0] <= at + _SKEW:
            _, offer, units = heappop(ending)
            self._held[member] -= units
            self.freed[offer] = at
