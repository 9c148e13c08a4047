"""The ledger in memory: what the dispatcher asks of one, and what follows when offers end."""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from heapq import merge
from math import asin, cos, floor, radians, sin, sqrt
from typing import NamedTuple
from uuid import UUID

from routing.answering import TAKEN, day_of, month_of, returns_allowed, turn_effect, work_times, zone_of
from routing.batch import Market, Saved
from routing.decision import Decision
from routing.dispatcher import Stand
from routing.distance import LEAST_RADIUS_M
from routing.lane import Lane
from routing.lead import Lead, LeadState, Point, Reason
from routing.member import Roster
from routing.near import cell
from routing.offer import OPEN, Kind, OfferState
from routing.plan import Verdict
from routing.policy import Answering, Policy, TurnEffect
from routing.ports import Snapshot
from routing.simulation.past import MemberFacts, moment, us
from routing.timers import to_answer
from routing.turns import Correction, Effect, of_offer

#: Where a lead's pool is no more, or it never had one.
NO_POOL = Answering()
#: The reason of an accepted offer that ended because nothing happened on it.
WORK_OVERDUE = "work_overdue"
#: The turnstile is loaded once, at the start.
GENERATION = 1
#: Squares of the waiting, as a part of a degree.
_SQUARES = 4

Shares = tuple[str, int, Mapping[int, int]]  # the rotation, who was chosen, and what everyone eligible earned
Key = tuple[int, int, int]  # best priority, then oldest, first


@dataclass(slots=True)
class LeadRow:
    """A lead as the ledger knows it now."""

    lead: Lead  # as it came in
    state: LeadState = LeadState.NEW
    reason: Reason | None = None
    attempt: int = 1
    moves: int = 0
    lane: Lane = Lane.LIVE
    pool: str = ""
    rung: int | None = None
    units: int = 1  # of capacity, as it was weighed last
    next_try: int | None = None  # microseconds since 1970
    open_until: int | None = None
    offers: list[UUID] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)  # members who asked for another chance

    @property
    def key(self) -> Key:
        return -self.lead.priority, us(self.lead.received_at), self.lead.id


@dataclass(slots=True)
class OfferRow:
    """An offer as the ledger knows it now; times in microseconds since 1970."""

    id: UUID
    lead: int
    member: int
    market: str
    pool: str
    attempt: int
    offered: int
    expires: int
    distance_m: float = 0.0
    ring: int = 0
    slot: int = 0
    kind: Kind = Kind.TURN
    units: int = 1
    state: OfferState = OfferState.OFFERED
    reason: str = ""
    accepted: int | None = None
    ended: int | None = None


class Waiting(NamedTuple):
    """A waiting lead in the neighbourhood of a member."""

    id: int
    place: Point
    country: str
    reason: Reason
    moves: int
    rung: int | None
    key: Key


@dataclass(slots=True)
class News:
    """What has happened since somebody looked: for whoever drives the clock."""

    route: list[int] = field(default_factory=list)  # leads to be routed, by hand of nobody
    offered: list[OfferRow] = field(default_factory=list)
    ended: list[OfferRow] = field(default_factory=list)
    owed: list[Correction] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)  # leads that wait for the open pool
    decided: list[tuple[Verdict, Decision]] = field(default_factory=list)
    woken: list[int] = field(default_factory=list)


@dataclass(slots=True)
class MemoryBatch:
    """Leads of one batch; nobody else is there to route them."""

    leads: tuple[Lead, ...]
    policy_version: int
    markets: dict[str, Market]
    _ledger: "MemoryLedger"

    def save(self, verdicts: Sequence[Verdict], *, refused: Sequence[tuple[Lead, Reason]] = ()) -> Saved:
        """Write everything down; the turnstile is never wrong here, so nothing is refused."""
        for verdict in verdicts:
            self._ledger.write(verdict)
        for lead, reason in refused:
            self._ledger.review(lead.id, reason)
        return Saved(kept=tuple(verdicts), over=())


class MemoryLedger:
    """Keeps routing.dispatcher.Ledger's promises, and the rules around answers, by a clock that is given."""

    def __init__(self, now: Callable[[], int], members: Mapping[int, MemberFacts]) -> None:
        self.now = now
        self.leads: dict[int, LeadRow] = {}
        self.offers: dict[UUID, OfferRow] = {}
        self.news = News()
        self.policies: dict[int, Policy] = {}
        self.version = 0
        self.shares: dict[UUID, Shares] = {}  # of offers that moved standings
        self._members = members
        self._rosters: dict[str, Roster] = {}
        self._open: Counter[int] = Counter()
        self._waiting = _Waiters()
        self._of_member: defaultdict[int, list[UUID]] = defaultdict(list)
        self._capacities: dict[tuple[str, int, int], dict[int, int]] = {}

    # --- what the dispatcher asks

    @contextmanager
    def batch(self, ids: Sequence[int], *, woken: bool, task_id: str) -> Iterator[MemoryBatch]:  # noqa: ARG002 - a port
        """Those of the leads that may be decided now, best priority, then oldest, first."""
        rows = [self.leads[i] for i in dict.fromkeys(ids) if i in self.leads]
        ready = sorted((row for row in rows if self._is_free(row, woken)), key=lambda row: row.key)
        now = moment(self.now())
        markets = {name: Market(name, one.version, GENERATION, now=now) for name, one in self._rosters.items()}
        yield MemoryBatch(tuple(self._lead(row) for row in ready), self.version, markets, self)

    def policy(self, version: int) -> Policy:
        return self.policies[version]

    def roster(self, market: str) -> Roster:
        return self._rosters[market]

    def rebuild(self, market: str, seen: int, above: int) -> AbstractContextManager[Snapshot | None]:  # noqa: ARG002
        """Nothing is ever lost here."""
        return nullcontext(None)

    def stand_alone(self, market: str, seen: int) -> bool:  # noqa: ARG002 - a port
        return False

    def standing_at(self, market: str) -> Stand:
        roster = self._rosters.get(market)
        return Stand(self.version, roster.version if roster else 0, GENERATION)

    def waiting_near(
        self,
        places: Sequence[Point],
        radius_m: float,
        member_id: int,
        *,
        limit: int,
        after: Waiting | None = None,
        besides: Sequence[int] = (),
        again: bool = False,
        room: int | None = None,
    ) -> Sequence[Waiting]:
        without, found = set(besides), list[Waiting]()
        for key in self._waiting.around(places, radius_m, after.key if after else None):
            row = self.leads[key[2]]
            if key[2] in without or row.reason is Reason.OPEN_POOL or not self._may_have(row, member_id, again=again):
                continue
            if room is not None and row.units > room:
                continue
            place = row.lead.place
            if place is None or all(_apart_m(place, one) > radius_m for one in places):
                continue
            found.append(
                Waiting(key[2], place, row.lead.country, row.reason or Reason.NO_ROOM, row.moves, row.rung, key)
            )
            if len(found) == limit:
                break
        return found

    def wake(self, ids: Sequence[int]) -> int:
        rows = [self.leads[i] for i in ids if self.leads[i].state is LeadState.WAITING]
        for row in rows:
            row.next_try = self.now()
            self.news.woken.append(row.lead.id)
        return len(rows)

    def waiting_cells(self) -> frozenset[int]:
        return self._waiting.cells()

    def open_counts(self, market: str) -> Mapping[int, int]:
        return {m: n for m, n in self._open.items() if n and self._members[m].market == market}

    def members_with_room(self, market: str, ids: Sequence[int] | None) -> Mapping[int, int]:
        capacities = self._capacity(market)
        asked = capacities if ids is None else sorted(set(ids) & capacities.keys())
        return {one: room for one in asked if (room := capacities[one] - self._open[one]) > 0}

    # --- what is there

    def enrol(self, roster: Roster) -> None:
        """From now on these are the members of its market."""
        self._rosters[roster.market] = roster

    @property
    def markets(self) -> Sequence[str]:
        return list(self._rosters)

    def tier(self, member: int) -> str:
        """The member's tier now; empty for one that nobody knows."""
        facts = self._members.get(member)
        found = self._rosters[facts.market].get(member) if facts and facts.market in self._rosters else None
        return found.tier if found else (facts.tier if facts else "")

    def answering(self, pool: str) -> Answering:
        policy = self.policies[self.version]
        return next((one.answering for one in policy.pools if one.name == pool), NO_POOL)

    def add(self, row: LeadRow) -> None:
        """A lead comes in, in whatever state."""
        self.leads[row.lead.id] = row
        if row.state is LeadState.WAITING:
            self._waiting.add(row.key, row.lead.place)

    def hold(self, offer: OfferRow) -> None:
        """An offer that is open from the start, or by hand."""
        self.remember(offer)
        self._open[offer.member] += offer.units

    def remember(self, offer: OfferRow) -> None:
        """An offer that has ended before."""
        self.offers[offer.id] = offer
        self.leads[offer.lead].offers.append(offer.id)
        self._of_member[offer.member].append(offer.id)

    def write(self, verdict: Verdict) -> None:
        """One decision and what follows from it."""
        decision, plan = verdict.decision, verdict.plan
        row = self.leads[decision.lead]
        self._stays(row)
        row.pool, row.attempt, row.next_try = decision.pool, max(row.attempt, decision.attempt), None
        row.units = decision.units
        self.news.decided.append((verdict, decision))
        if decision.chosen is not None:
            self._offer(row, verdict)
        elif verdict.waits:
            row.state, row.reason, row.rung = LeadState.WAITING, verdict.reason, plan.rung
            self._waiting.add(row.key, row.lead.place)
        elif not (plan.pool.answering.open_for and self._to_open(row)):
            self.review(decision.lead, verdict.reason or Reason.EXHAUSTED)

    def review(self, lead: int, reason: Reason) -> None:
        """A person looks."""
        row = self.leads[lead]
        self._stays(row)
        row.state, row.reason = LeadState.REVIEW, reason

    # --- answers

    def accept(self, offer: OfferRow) -> bool:
        """Give the lead to the offer's member; others who were asked at the same time lose it."""
        if offer.state is not OfferState.OFFERED or offer.expires <= self.now():
            return False
        offer.state, offer.accepted = OfferState.ACCEPTED, self.now()
        row = self.leads[offer.lead]
        for other in self._open_offers(row):
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
        self._go_on(offer.lead, counts=reason == WORK_OVERDUE)
        return True

    def leave(self, lead: int, reason: Reason) -> None:
        """The lead is taken out; its offers end."""
        row = self.leads[lead]
        if row.state in {LeadState.DONE, LeadState.WITHDRAWN}:
            return
        for offer in self._open_offers(row):
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
        for offer in self._open_offers(row):
            self._end(offer, OfferState.WITHDRAWN, reason)
        self.review(lead, reason)

    def give(self, lead: int, offer: OfferRow) -> bool:
        """A person gives the lead to a member, whoever else was asked; it is accepted at once."""
        row = self.leads[lead]
        if row.state is LeadState.DONE:
            return False
        for other in self._open_offers(row):
            self._end(other, OfferState.WITHDRAWN, Reason.OWNED)
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
        if member not in self._lapsed(row) or member in row.queued or not self.answering(row.pool).second_chance:
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

    def _is_free(self, row: LeadRow, woken: bool) -> bool:
        if row.lead.place is None:
            return False
        if row.state is LeadState.NEW:
            return True
        due = row.next_try is not None and row.next_try <= self.now()
        return row.state is LeadState.WAITING and row.reason is not Reason.OPEN_POOL and (woken or due)

    def _lead(self, row: LeadRow) -> Lead:
        if row.attempt == 1 and not row.offers:
            return row.lead
        tried = frozenset(self.offers[i].member for i in row.offers)
        return replace(
            row.lead,
            attempt=row.attempt,
            moves=row.moves,
            lane=row.lane,
            tried=tried,
            lapsed=frozenset(self._lapsed(row)),
            chances=tuple(row.queued),
        )

    def _lapsed(self, row: LeadRow) -> set[int]:
        """Who was offered the lead once, and let it expire."""
        states: defaultdict[int, list[OfferState]] = defaultdict(list)
        for one in row.offers:
            states[self.offers[one].member].append(self.offers[one].state)
        return {member for member, its in states.items() if its == [OfferState.EXPIRED]}

    def _may_have(self, row: LeadRow, member: int, *, again: bool) -> bool:
        if all(self.offers[i].member != member for i in row.offers):
            return True
        return again and (member in row.queued or (row.rung == -1 and member in self._lapsed(row)))

    def _offer(self, row: LeadRow, verdict: Verdict) -> None:
        decision, plan = verdict.decision, verdict.plan
        member = decision.chosen or 0
        at = us(decision.at)
        due = to_answer(plan.pool.answering, decision.at, row.lane).due
        distance = next((w.distance_m for w in decision.weighed if w.member == member), 0.0)
        offer = OfferRow(
            decision.id,
            decision.lead,
            member,
            decision.market,
            decision.pool,
            decision.attempt,
            at,
            us(due),
            distance,
            decision.ring or 0,
            plan.slot,
            verdict.kind,
            decision.units,
        )
        if verdict.kind is Kind.SECOND and member in row.queued:
            row.queued.remove(member)
        self.hold(offer)
        row.state, row.reason, row.rung = LeadState.OFFERED, None, None
        self.news.offered.append(offer)

    def _open_offers(self, row: LeadRow) -> list[OfferRow]:
        return [self.offers[i] for i in row.offers if self.offers[i].state in OPEN]

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
        if self._open_offers(row):
            return
        row.attempt, row.moves, row.lane = row.attempt + 1, row.moves + counts, min(row.lane, Lane.LIVE)
        row.state, row.reason, row.next_try = LeadState.NEW, None, None
        rules = self.answering(row.pool)
        if stays:
            self.review(lead, stays)
        elif counts and row.moves > rules.reassignments and not row.queued:
            if not (rules.open_for and self._to_open(row)):
                self.review(lead, Reason.EXHAUSTED)
        else:
            self.news.route.append(lead)

    def _to_open(self, row: LeadRow) -> bool:
        """Let the lead wait for the open pool, where anybody let it expire."""
        states: defaultdict[int, set[OfferState]] = defaultdict(set)
        for one in row.offers:
            states[self.offers[one].member].add(self.offers[one].state)
        if not any(its == {OfferState.EXPIRED} for its in states.values()):
            return False
        row.state, row.reason, row.rung, row.next_try = LeadState.WAITING, Reason.OPEN_POOL, None, None
        length = self.answering(row.pool).open_for or timedelta(0)
        row.open_until = self.now() + length // timedelta(microseconds=1)
        self._waiting.add(row.key, row.lead.place)
        self.news.opened.append(row.lead.id)
        return True

    def _stays(self, row: LeadRow) -> None:
        """It waits no longer."""
        if row.state is LeadState.WAITING:
            self._waiting.remove(row.key, row.lead.place)

    def _capacity(self, market: str) -> dict[int, int]:
        """What each active member may hold, by id."""
        roster, policy = self._rosters[market], self.policies[self.version]
        key = (market, roster.version, policy.version)
        if key not in self._capacities:
            self._capacities = {k: v for k, v in self._capacities.items() if k[0] != market}
            self._capacities[key] = {
                one.id: policy.tier(one.tier).capacity if one.capacity is None else one.capacity
                for one in roster
                if one.active
            }
        return self._capacities[key]

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


class _Waiters:
    """Waiting leads by square, so that a freed place finds the first of its neighbourhood."""

    def __init__(self) -> None:
        self._squares: defaultdict[tuple[int, int], list[Key]] = defaultdict(list)
        self._cells: Counter[int] = Counter()

    def add(self, key: Key, place: Point | None) -> None:
        if place is not None:
            insort(self._squares[_square(place)], key)
            self._cells[cell(place.lat, place.lon)] += 1

    def remove(self, key: Key, place: Point | None) -> None:
        if place is None:
            return
        square = self._squares[_square(place)]
        at = bisect_left(square, key)
        if at < len(square) and square[at] == key:
            del square[at]
            one = cell(place.lat, place.lon)
            self._cells[one] -= 1
            if not self._cells[one]:
                del self._cells[one]

    def cells(self) -> frozenset[int]:
        return frozenset(self._cells)

    def around(self, places: Sequence[Point], radius_m: float, after: Key | None) -> Iterator[Key]:
        """Everyone in the squares around the places, in order; some are too far."""
        wanted = {square for place in places for square in _around(place, radius_m)}
        wanted &= self._squares.keys()
        rows = (self._squares[square] for square in wanted)
        return merge(*(row[bisect_left(row, (*after[:2], after[2] + 1)) if after else 0 :] for row in rows))


def _square(place: Point) -> tuple[int, int]:
    return floor(place.lat * _SQUARES), floor(place.lon * _SQUARES) % (360 * _SQUARES)


def _around(place: Point, radius_m: float) -> Iterator[tuple[int, int]]:
    high = radius_m / LEAST_RADIUS_M * 180 / 3.141592653589793 + 1e-6
    lean = cos(radians(min(89.0, abs(place.lat) + high)))
    wide = min(180.0, high / lean) if abs(place.lat) + high < 89 else 180.0
    rows = range(floor((place.lat - high) * _SQUARES), floor((place.lat + high) * _SQUARES) + 1)
    west, east = floor((place.lon - wide) * _SQUARES), floor((place.lon + wide) * _SQUARES)
    columns = {column % (360 * _SQUARES) for column in range(west, min(east, west + 360 * _SQUARES) + 1)}
    return ((row, column) for row in rows for column in columns)


def _apart_m(a: Point, b: Point) -> float:
    """On a sphere that is a little too small: never farther than it is."""
    half = sin(radians(b.lat - a.lat) / 2) ** 2
    half += cos(radians(a.lat)) * cos(radians(b.lat)) * sin(radians(b.lon - a.lon) / 2) ** 2
    return 2 * LEAST_RADIUS_M * asin(min(1.0, sqrt(half)))
