"""The ledger in memory: what the dispatcher asks of one, by a clock that is given."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

from routing.answering import TAKEN_BACK
from routing.batch import Known, Market, Saved
from routing.columns import of_member
from routing.lead import Lead, LeadState, Point, Reason
from routing.ledger import Stand
from routing.limits import Use
from routing.member import Roster
from routing.offer import OPEN, Kind, OfferState
from routing.plan import Verdict
from routing.policy import Answering, Policy
from routing.ports import Snapshot
from routing.ruling import Aside, Gift
from routing.simulation.past import MemberFacts, moment, us
from routing.simulation.rows import LeadRow, News, OfferRow, Shares, Waiters, Waiting, apart_m, without_room
from routing.timers import to_answer

#: Where a lead's pool is no more, or it never had one.
NO_POOL = Answering()
#: The turnstile is loaded once, at the start.
GENERATION = 1
#: Waiting leads that are not looked at because something changed nearby.
NOT_WOKEN = frozenset({Reason.OPEN_POOL, Reason.HELD})
_NOT_NEAR = NOT_WOKEN | {Reason.MISSING_FACTS}
#: Ends after which a lead was not kept: limits that count what is kept count it no longer.
NOT_KEPT = frozenset({OfferState.REJECTED, OfferState.EXPIRED, OfferState.WITHDRAWN})
#: Nobody fits a lead now: it is looked at again after so long.
AGAIN_AFTER = timedelta(hours=1)


@dataclass(slots=True)
class MemoryBatch:
    """Leads of one batch; nobody else is there to route them."""

    leads: tuple[Lead, ...]
    policy_version: int
    markets: dict[str, Market]
    _ledger: "MemoryLedger"

    def known(self, policy: Policy) -> Known:
        """What the rules of the policy may ask of these leads."""
        return self._ledger.known_of([lead.id for lead in self.leads], policy)

    def save(
        self,
        verdicts: Sequence[Verdict],
        *,
        refused: Sequence[tuple[Lead, Reason]] = (),
        asides: Sequence[Aside] = (),
        gifts: Sequence[tuple[UUID, Gift]] = (),
    ) -> Saved:
        """Write everything down; the turnstile is never wrong here, so nothing is refused."""
        for verdict in verdicts:
            self._ledger.write(verdict)
        for lead, reason in refused:
            self._ledger.review(lead.id, reason)
        for aside in asides:
            self._ledger.set_aside(aside)
        for offer, gift in gifts:
            self._ledger.give_by_rule(offer, gift)
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
        self.awaits: Callable[[int, int], bool] = lambda _lead, _attempt: False  # it is known to be looked at later
        self._members = members
        self._rosters: dict[str, Roster] = {}
        self._open: Counter[int] = Counter()
        self._waiting = Waiters()
        self._scores: list[int] = []  # of the last leads that rules gave a priority
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

    def roster(self, market: str, *, full: bool = False) -> Roster:  # noqa: ARG002 - always with everything
        return self._rosters[market]

    def known(self, ids: Sequence[int], policy: Policy) -> tuple[Sequence[Lead], Known]:
        waiting = [self.leads[i] for i in ids if self.leads[i].state is LeadState.WAITING]
        return [self._lead(row) for row in waiting], self.known_of(ids, policy)

    def known_of(self, ids: Sequence[int], policy: Policy) -> Known:
        """The facts of these leads that rules may ask, and what rules have made of them so far."""
        rows = {i: self.leads[i] for i in ids}
        facts = {i: row.lead.facts for i, row in rows.items()}
        return Known(moment(self.now()), facts, {i: row.ruled for i, row in rows.items()}, self._best_above(policy))

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
            if key[2] in without or row.reason in _NOT_NEAR or not self._may_have(row, member_id, again=again):
                continue
            if self.awaits(row.lead.id, row.attempt):
                continue
            if room is not None and row.units > room:
                continue
            place = row.lead.place
            if place is None or all(apart_m(place, one) > radius_m for one in places):
                continue
            found.append(
                Waiting(key[2], place, row.lead.country, row.reason or Reason.NO_ROOM, row.moves, row.rung, key)
            )
            if len(found) == limit:
                break
        return found

    def wake(self, ids: Sequence[int]) -> int:
        rows = [self.leads[i] for i in ids if self.leads[i].state is LeadState.WAITING]
        rows = [row for row in rows if row.reason not in NOT_WOKEN]
        for row in rows:
            row.next_try = self.now()
            self.news.woken.append(row.lead.id)
        return len(rows)

    def given_back(self, offers: Sequence[UUID]) -> Mapping[UUID, Sequence[Use]]:
        found = (self.offers[i] for i in offers)
        return {o.id: uses for o in found if o.state in NOT_KEPT and (uses := [u for u in o.uses if u.kept])}

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
        self.news.decided.append(verdict)
        if decision.chosen is not None:
            self._keep_ruling(row, verdict)
            self._offer(row, verdict)
        elif verdict.waits:
            row.state, row.reason, row.rung = LeadState.WAITING, verdict.reason, plan.rung
            self._keep_ruling(row, verdict)
            self._waiting.add(row.key, row.lead.place)
        elif not (plan.pool.answering.open_for and self.to_open(row)):
            self.review(decision.lead, verdict.reason or Reason.EXHAUSTED)

    def _keep_ruling(self, row: LeadRow, verdict: Verdict) -> None:
        """What the rules came to, and when less will be asked for."""
        ruling = verdict.plan.ruling
        if ruling is None or verdict.plan.slot:
            return
        held = verdict.reason is Reason.HELD
        row.rank, row.score, row.lane, row.ruled = ruling.rank, ruling.score, verdict.plan.lead.lane, ruling.ruled
        row.rule = ruling.course.rule
        row.basket = (verdict.plan.pool.overflow.target or verdict.plan.pool.name) if held else ""
        self._scores.append(ruling.score)
        moments = [at for at in (ruling.next_at, verdict.plan.next_at) if at is not None]
        if verdict.reason is Reason.NOBODY_FITS:
            moments.append(ruling.now + AGAIN_AFTER)
        if verdict.waits and not held and moments:
            self._look_again(row, min(moments))

    def _look_again(self, row: LeadRow, at: datetime) -> None:
        row.next_try = us(at)
        self.news.later.append((row.next_try, row.lead.id))

    def set_aside(self, one: Aside) -> None:
        """Leave a lead where its rules send it."""
        row = self.leads[one.lead.id]
        self._stays(row)
        row.state, row.reason, row.rule, row.rank, row.ruled = one.state, one.reason, one.rule, one.rank, one.ruled
        row.lane = one.lead.lane
        row.basket, row.next_try = one.target if one.reason is Reason.HELD else "", None
        if row.state is LeadState.WAITING:
            self._waiting.add(row.key, row.lead.place)
        if one.next_try_at is not None:
            self._look_again(row, one.next_try_at)

    def give_by_rule(self, id_: UUID, gift: Gift) -> None:
        """Give a lead to the member that a rule names, or let it wait for room."""
        row, ruling = self.leads[gift.lead.id], gift.ruling
        units, member = ruling.course.units, gift.member
        if not (gift.beyond or self.has_room(gift)):
            self.set_aside(without_room(gift))
            return
        self._stays(row)
        rules = gift.pool.answering if gift.pool else NO_POOL
        facts = self._members.get(member.id)
        taken = gift.accept or (facts is not None and facts.auto_accept)
        due = us(to_answer(rules, moment(self.now()), gift.lead.lane).due)
        offer = OfferRow(
            id_, gift.lead.id, member.id, member.market, gift.pool.name if gift.pool else "", gift.lead.attempt,
            self.now(), due, gift.distance_m, kind=Kind.MANUAL, units=units,
        )  # fmt: skip
        row.pool, row.rank, row.rule, row.lane, row.ruled = (
            offer.pool, ruling.rank, ruling.course.rule, gift.lead.lane, ruling.ruled,
        )  # fmt: skip
        row.units, row.basket, row.next_try, row.reason = units, "", None, None
        self.hold(offer)
        if taken:
            offer.state, offer.accepted = OfferState.ACCEPTED, self.now()
        row.state = LeadState.ACCEPTED if taken else LeadState.OFFERED
        self.news.given.append(offer)

    def has_room(self, gift: Gift) -> bool:
        """Whether the member that a rule names may hold the lead as well."""
        member = gift.member
        room = self._capacity(member.market).get(member.id, 0) - self._open[member.id]
        return room >= gift.ruling.course.units

    def review(self, lead: int, reason: Reason) -> None:
        """A person looks."""
        row = self.leads[lead]
        self._stays(row)
        row.state, row.reason = LeadState.REVIEW, reason

    # --- parts

    def _is_free(self, row: LeadRow, woken: bool) -> bool:
        if row.lead.place is None:
            return False
        if row.state is LeadState.NEW:
            return True
        due = row.next_try is not None and row.next_try <= self.now()
        if self.awaits(row.lead.id, row.attempt):
            return False
        return row.state is LeadState.WAITING and row.reason not in NOT_WOKEN and (woken or due)

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
            lapsed=frozenset(self.lapsed(row)),
            chances=tuple(row.queued),
            taken_back=self._taken_back(row),
        )

    def lapsed(self, row: LeadRow) -> set[int]:
        """Who was offered the lead once, and let it expire."""
        states: defaultdict[int, list[OfferState]] = defaultdict(list)
        for one in row.offers:
            states[self.offers[one].member].append(self.offers[one].state)
        return {member for member, its in states.items() if its == [OfferState.EXPIRED]}

    def _taken_back(self, row: LeadRow) -> frozenset[int]:
        """Who was offered the lead and gave no answer, as it was taken back."""
        ended: defaultdict[int, set[bool]] = defaultdict(set)
        for one in (self.offers[i] for i in row.offers):
            ended[one.member].add(one.state is OfferState.WITHDRAWN and one.reason in TAKEN_BACK)
        return frozenset(member for member, back in ended.items() if back == {True})

    def _best_above(self, policy: Policy) -> float | None:
        """The priority from which leads are among the best of the last ones."""
        best = policy.priority.best
        if best is None or best.at_least is not None or best.percent is None or not self._scores:
            return None
        last = sorted(self._scores[-best.of_last :])
        share = 1 - best.percent / 100
        return float(last[max(0, ceil(share * len(last)) - 1)])

    def _may_have(self, row: LeadRow, member: int, *, again: bool) -> bool:
        if all(self.offers[i].member != member for i in row.offers):
            return True
        return again and (member in row.queued or (row.rung == -1 and member in self.lapsed(row)))

    def _offer(self, row: LeadRow, verdict: Verdict) -> None:
        decision, plan = verdict.decision, verdict.plan
        member = decision.chosen or 0
        at = us(decision.at)
        due = to_answer(verdict.answering, decision.at, row.lane).due
        chosen = of_member((group.candidates for group in plan.groups), member)
        offer = OfferRow(
            decision.id,
            decision.lead,
            member,
            decision.market,
            decision.pool,
            decision.attempt,
            at,
            us(due),
            chosen.distance_m if chosen else 0.0,
            decision.ring or 0,
            plan.slot,
            verdict.kind,
            decision.units,
            tuple(decision.uses),
        )
        if verdict.kind is Kind.SECOND and member in row.queued:
            row.queued.remove(member)
        self.hold(offer)
        row.state, row.reason, row.rung = LeadState.OFFERED, None, None
        self.news.offered.append(offer)

    def open_offers(self, row: LeadRow) -> list[OfferRow]:
        return [self.offers[i] for i in row.offers if self.offers[i].state in OPEN]

    def to_open(self, row: LeadRow) -> bool:
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
