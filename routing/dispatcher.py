"""The verbs of routing: route, free, fill, expire. Reads top to bottom; every neighbour is a port."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from routing.batch import Batch, Market, Saved
from routing.decision import Grant
from routing.errors import ColdTurnstile
from routing.lead import Lead, Point, Reason
from routing.member import Member, Roster
from routing.near import Index, cells_around
from routing.plan import Plan, Verdict, Versions, conclude, plan, reach_m, refusal
from routing.policy import Policy
from routing.ports import Snapshot, Turnstile

#: A batch is planned again this often when the turnstile turned out cold or wrong.
TRIES = 3
#: Waiting leads looked at together when a place is free.
PAGE = 50


class WaitingLead(Protocol):
    """A waiting lead in some member's neighbourhood."""

    @property
    def id(self) -> int: ...
    @property
    def place(self) -> Point: ...
    @property
    def country(self) -> str: ...
    @property
    def reason(self) -> Reason: ...


class Ledger(Protocol):
    """What the dispatcher asks of the ledger."""

    def batch(self, ids: Sequence[int], *, woken: bool, task_id: str) -> AbstractContextManager[Batch]:
        """Leads under lock until the context is left; leaving commits."""
        ...

    def policy(self, version: int) -> Policy:
        """One version of the policy."""
        ...

    def published(self) -> Policy:
        """The policy in force."""
        ...

    def roster(self, market: str) -> Roster:
        """All members of a market, with the roster's version."""
        ...

    def rebuild(self, market: str) -> AbstractContextManager[Snapshot]:
        """What the turnstile must hold, under a new generation; leaving commits it."""
        ...

    def waiting_near(self, cells: Sequence[int], member_id: int, *, limit: int, skip: int = 0) -> Sequence[WaitingLead]:
        """Waiting leads of these cells never offered to the member: best priority, then oldest, first."""
        ...

    def wake(self, ids: Sequence[int]) -> int:
        """Let these waiting leads be planned again."""
        ...

    def members_with_room(self, market: str, ids: Sequence[int] | None) -> Mapping[int, int]:
        """How many more offers each active member (of those, or all) may hold; none with 0."""
        ...


@dataclass(slots=True)
class Routed:
    """What one call of `route` came to."""

    verdicts: list[Verdict] = field(default_factory=list)
    refused: dict[int, Reason] = field(default_factory=dict)  # lead -> reason for review
    again: list[int] = field(default_factory=list)  # leads not decided: the relay brings them back

    @property
    def offered(self) -> int:
        return sum(v.decision.chosen is not None for v in self.verdicts)


class Dispatcher:
    """Gives leads to members. Holds the roster's index per market, rebuilt when the roster version changes."""

    def __init__(self, *, ledger: Ledger, turnstile: Turnstile, new_id: Callable[[], UUID]) -> None:
        self._ledger = ledger
        self._turnstile = turnstile
        self._new_id = new_id
        self._indexes: dict[str, tuple[Index, dict[int, Member]]] = {}
        self._policy: Policy | None = None

    def route(
        self, ids: Sequence[int], *, woken: bool = False, release: Sequence[UUID] = (), task_id: str = ""
    ) -> Routed:
        """Decide every lead of the batch that is free to decide; safe to run twice.

        `release`: offers that ended; their places are freed in the same step that the leads are given members, so
        that these leads, not newer ones, get them.
        """
        routed = Routed()
        left = list(ids)
        for _ in range(TRIES):
            try:
                left = self._route_once(left, woken, release, task_id, routed)
            except ColdTurnstile as exc:
                self.rebuild(str(exc.facts["market"]))
                continue
            release = ()
            if not left:
                return routed
        routed.again = left
        return routed

    def _route_once(
        self, ids: Sequence[int], woken: bool, release: Sequence[UUID], task_id: str, routed: Routed
    ) -> list[int]:
        with self._ledger.batch(ids, woken=woken, task_id=task_id) as batch:
            policy = self._policy_of(batch.policy_version)
            plans, refused = self._plans(batch, policy)
            verdicts: list[Verdict] = []
            for name, market in batch.markets.items():
                mine = [p for p in plans if p.pool.market == name]
                if mine or release:
                    verdicts += self._decide(market, policy.version, mine, release, first_ring_only=not woken)
            saved = batch.save(verdicts, refused=refused)
        routed.verdicts += saved.kept
        routed.refused |= {lead.id: reason for lead, reason in refused}
        return self._settle(saved)

    def _settle(self, saved: Saved) -> list[int]:
        """Tell the turnstile what was kept; when the ledger refused, the turnstile was wrong and is rebuilt."""
        keep: dict[str, list[tuple[int, int]]] = {}
        for v in saved.kept:
            if v.decision.chosen is not None:
                keep.setdefault(v.plan.pool.market, []).append((v.plan.lead.id, v.plan.lead.attempt))
        for market, keys in keep.items():
            self._turnstile.settle(market, keep=keys)
        for market in {v.plan.pool.market for v in saved.over}:
            self.rebuild(market)
        return [v.plan.lead.id for v in saved.over]

    # --- planning

    def _plans(self, batch: Batch, policy: Policy) -> tuple[list[Plan], list[tuple[Lead, Reason]]]:
        plans: list[Plan] = []
        refused: list[tuple[Lead, Reason]] = []
        by_market: dict[str, list[Lead]] = {}
        for lead in batch.leads:
            pool = policy.pool_for(lead.country)
            reason = refusal(lead, pool)
            if reason is not None or pool is None:
                refused.append((lead, reason or Reason.UNKNOWN_COUNTRY))
            else:
                by_market.setdefault(pool.market, []).append(lead)
        for market, leads in by_market.items():
            plans += self._plans_of(batch.markets[market], policy, leads)
        return plans, refused

    def _plans_of(self, market: Market, policy: Policy, leads: Sequence[Lead]) -> list[Plan]:
        index, _ = self._index(market.name, market.roster_version)
        located = [(lead, lead.place, pool) for lead in leads if lead.place and (pool := policy.pool_for(lead.country))]
        near = index.within([place for _, place, _ in located], [reach_m(lead, pool) for lead, _, pool in located])
        alone = [place for (_, place, _), found in zip(located, near, strict=True) if not found]
        nearest = iter(index.nearest(alone))
        plans = []
        for (lead, _, pool), found in zip(located, near, strict=True):
            away = None if found else next(nearest)
            plans.append(plan(lead, pool, policy, found, nearest_m=away[1] if away else None))
        return plans

    def _decide(
        self,
        market: Market,
        policy_version: int,
        plans: Sequence[Plan],
        release: Sequence[UUID],
        *,
        first_ring_only: bool,
    ) -> list[Verdict]:
        """Ask the turnstile for all at once; who finds nobody in the first ring that has members asks for all rings."""
        grants = self._reserve(market, plans, release, first_ring_only=first_ring_only)
        if first_ring_only:
            full = [p for p, g in zip(plans, grants, strict=True) if g.member is None and _has_more(p)]
            second = {g.lead: g for g in self._reserve(market, full, (), first_ring_only=False)}
            grants = [second.get(g.lead, g) for g in grants]
        roster_version = self._index(market.name)[0].version
        versions = Versions(policy_version, roster_version, market.generation)
        return [conclude(p, g, versions) for p, g in zip(plans, grants, strict=True)]

    def _reserve(
        self, market: Market, plans: Sequence[Plan], release: Sequence[UUID], *, first_ring_only: bool
    ) -> list[Grant]:
        if not plans and not release:
            return []
        asks = [p.ask(self._new_id(), first_ring_only=first_ring_only) for p in plans]
        try:
            return self._turnstile.reserve(market.name, asks, generation=market.generation, release=release)
        except ColdTurnstile as exc:
            raise ColdTurnstile(market=market.name) from exc

    # --- places that become free

    def free(self, offers: Mapping[UUID, int], market: str, *, task_id: str = "") -> list[Routed]:
        """Free the places of ended offers; waiting leads get them before any newer lead does."""
        routed = []
        for offer, member in offers.items():
            ids = self._next_waiting(market, member, 1)
            self._ledger.wake(ids)
            routed.append(self.route(ids, woken=True, release=[offer], task_id=task_id))
        return routed

    def fill(self, market: str, members: Sequence[int] | None = None, *, task_id: str = "") -> int:
        """Offer waiting leads to members who have room (all of the market when none are named), until none moves."""
        offered = 0
        self._indexes.pop(market, None)
        for member, room in self._ledger.members_with_room(market, members).items():
            left = room
            while left > 0:
                ids = self._next_waiting(market, member, min(left, 100))
                self._ledger.wake(ids)
                moved = self.route(ids, woken=True, task_id=task_id).offered if ids else 0
                offered += moved
                left = self._ledger.members_with_room(market, [member]).get(member, 0) if moved else 0
        return offered

    def _next_waiting(self, market: str, member_id: int, count: int) -> list[int]:
        """The first waiting leads this member may take, best priority, then oldest, first."""
        policy = self._published()
        _, members = self._index(market)
        member = members.get(member_id)
        if member is None or not member.active:
            return []
        pools = [p for p in policy.pools if p.market == market]
        furthest = max(r for p in pools for rings in (p.rings, *p.rings_by_country.values()) for r in rings.metres)
        cells = sorted({c for place in member.places for c in cells_around(place, furthest)})
        alone = Index(Roster(market, 0, [member]))
        found: list[int] = []
        skip = 0
        while len(found) < count:
            page = self._ledger.waiting_near(cells, member_id, limit=PAGE, skip=skip)
            found += _in_reach(page, alone, policy, market)
            skip += PAGE
            if len(page) < PAGE:
                break
        return found[:count]

    # --- what is held between batches

    def rebuild(self, market: str) -> None:
        """Load the turnstile from the ledger under a new generation; who comes second finds it done."""
        with self._ledger.rebuild(market) as snapshot:
            self._turnstile.rebuild(market, snapshot)

    def _policy_of(self, version: int) -> Policy:
        if self._policy is None or self._policy.version != version:
            self._policy = self._ledger.policy(version)
        return self._policy

    def _published(self) -> Policy:
        self._policy = self._ledger.published()
        return self._policy

    def _index(self, market: str, version: int | None = None) -> tuple[Index, dict[int, Member]]:
        held = self._indexes.get(market)
        if held is None or (version is not None and held[0].version != version):
            roster = self._ledger.roster(market)
            held = (Index(roster), {m.id: m for m in roster.members})
            self._indexes[market] = held
        return held


def _has_more(p: Plan) -> bool:
    return any(g.ring != p.groups[0].ring for g in p.groups)


def _in_reach(page: Sequence[WaitingLead], alone: Index, policy: Policy, market: str) -> list[int]:
    mine = [
        (lead, pool) for lead in page if (pool := policy.pool_for(lead.country)) is not None and pool.market == market
    ]
    near = alone.within([lead.place for lead, _ in mine], [p.rings_for(lead.country).metres for lead, p in mine])
    return [lead.id for (lead, _), hits in zip(mine, near, strict=True) if hits]
