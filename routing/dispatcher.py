"""The verbs of routing: route, free, fill, expire. Reads top to bottom; every neighbour is a port."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from routing.batch import Batch, Market, Saved
from routing.decision import Grant
from routing.errors import BadInput, ColdTurnstile, GiveUp, Refused, TryLater, TurnstileUnreachable
from routing.ladder import is_asked
from routing.lead import Lead, Point, Reason
from routing.member import Roster
from routing.near import Index, cells_around
from routing.plan import Plan, Verdict, Versions, conclude_all, plan_all, plan_besides, refusal, with_room
from routing.policy import Policy, Pool
from routing.ports import Decider, Snapshot, Turnstile

#: A batch is planned again this often when the turnstile turned out cold, wrong or away.
TRIES = 4
#: No offers to release.
NONE: Mapping[str, Sequence[UUID]] = {}
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
    @property
    def moves(self) -> int: ...
    @property
    def rung(self) -> int | None: ...


class Stand(NamedTuple):
    """The versions of one moment."""

    policy_version: int
    roster_version: int
    generation: int
    alone: bool = False  # the turnstile is away, the ledger decides
    seq: int = 0  # of the last decision or correction of this generation


class Ledger(Protocol):
    """What the dispatcher asks of the ledger."""

    def batch(self, ids: Sequence[int], *, woken: bool, task_id: str) -> AbstractContextManager[Batch]:
        """Leads under lock until the context is left; leaving commits."""
        ...

    def policy(self, version: int) -> Policy:
        """One version of the policy."""
        ...

    def roster(self, market: str) -> Roster:
        """All members of a market, with the roster's version."""
        ...

    def rebuild(self, market: str, seen: int, above: int) -> AbstractContextManager[Snapshot | None]:
        """What the turnstile must hold, under a new generation higher than `above`; leaving commits it.

        None when somebody else has raised the generation above `seen` meanwhile.
        """
        ...

    def stand_alone(self, market: str, seen: int) -> bool:
        """Decide alone until the next rebuild; False when somebody else has raised the generation above `seen`."""
        ...

    def standing_at(self, market: str) -> Stand:
        """Under which versions the market is now."""
        ...

    def waiting_near(
        self,
        places: Sequence[Point],
        radius_m: float,
        member_id: int,
        *,
        limit: int,
        after: Any = None,
        besides: Sequence[int] = (),
        again: bool = False,
        room: int | None = None,
    ) -> Sequence[WaitingLead]:
        """Waiting leads this near, never offered to the member: best priority, then oldest, first.

        `after`: the last one of the page before. `besides`: leads that are left out. `again`: with those it let expire
        and may be offered once more. `room`: those that take more units of capacity are passed over. A few that are a
        little too far may be among them.
        """
        ...

    def wake(self, ids: Sequence[int]) -> int:
        """Let these waiting leads be planned again."""
        ...

    def waiting_cells(self) -> frozenset[int]:
        """The cells in which any lead waits."""
        ...

    def open_counts(self, market: str) -> Mapping[int, int]:
        """How many units of capacity each member holds, by the ledger."""
        ...

    def members_with_room(self, market: str, ids: Sequence[int] | None) -> Mapping[int, int]:
        """How many more units each active member (of those, or all) may hold; none with 0."""
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
        self._indexes: dict[str, tuple[Index, Roster]] = {}
        self._policy: Policy | None = None

    def route(
        self,
        ids: Sequence[int],
        *,
        woken: bool = False,
        release: Mapping[str, Sequence[UUID]] = NONE,
        task_id: str = "",
    ) -> Routed:
        """Decide every lead of the batch that is free to decide; safe to run twice.

        `release`: offers that ended, by market; their places are freed in the same step that the leads are given
        members, so that these leads, not newer ones, get them.
        """
        routed = Routed()
        left = list(ids)
        for last in (False,) * (TRIES - 1) + (True,):
            try:
                left = self._route_once(left, woken, release, task_id, routed)
            except _Distrusted as exc:
                for market, generation in exc.generations.items():
                    self.mend(market, generation)
                if last and exc.refused:
                    raise exc.refused from exc
                continue
            except _Away as exc:
                self._ledger.stand_alone(exc.market, exc.generation)
                continue
            release = NONE
            if not left:
                return routed
        routed.again = left
        return routed

    def _route_once(
        self, ids: Sequence[int], woken: bool, release: Mapping[str, Sequence[UUID]], task_id: str, routed: Routed
    ) -> list[int]:
        trusted: dict[str, int] = {}
        try:
            with self._ledger.batch(ids, woken=woken, task_id=task_id) as batch:
                policy = self._policy_of(batch.policy_version)
                plans, refused = self._plans(batch, policy, all_rings=woken)
                trusted = {p.pool.market: batch.markets[p.pool.market].generation for p in plans}
                verdicts: list[Verdict] = []
                for name, market in batch.markets.items():
                    mine, freed = [p for p in plans if p.pool.market == name], release.get(name, ())
                    if mine or freed:
                        verdicts += self._decide(market, policy, mine, freed)
                saved = batch.save(verdicts, refused=refused)
        except Refused as exc:
            # The ledger holds an offer impossible: the turnstile forgot what is, or remembers what never was.
            raise _Distrusted(trusted, exc) from exc
        except ColdTurnstile as exc:
            raise _Distrusted({}) from exc  # who decides has changed while we took our locks
        routed.verdicts += saved.kept
        routed.refused |= {lead.id: reason for lead, reason in refused}
        if not woken:
            self._wake_the_overtaken(saved.kept, batch)
        self._settle(saved, batch)
        return self._over(saved, batch)

    def _settle(self, saved: Saved, batch: Batch) -> None:
        """Tell the turnstile what was kept; when it does not hear, the reaper or the next rebuild sees it."""
        keep: dict[str, list[tuple[int, int]]] = {}
        for v in saved.kept:
            if v.decision.chosen is not None:
                keep.setdefault(v.plan.pool.market, []).append((v.plan.lead.id, v.plan.lead.attempt))
        for market, keys in keep.items():
            with suppress(TurnstileUnreachable, GiveUp):
                self._decider(batch.markets[market]).settle(market, keep=keys)

    def _over(self, saved: Saved, batch: Batch) -> list[int]:
        """The leads whose member has no room by the ledger: the turnstile was wrong and is rebuilt."""
        for market in {v.plan.pool.market for v in saved.over}:
            self.mend(market, batch.markets[market].generation)
        return [v.plan.lead.id for v in saved.over]

    def _wake_the_overtaken(self, kept: Sequence[Verdict], batch: Batch) -> None:
        """Wake leads that begin to wait for something that came while they were being decided.

        Whoever freed a place or changed the roster looked for waiting leads before these were any; after this they
        are seen by everyone who comes.
        """
        waiting: dict[str, list[Verdict]] = {}
        for v in kept:
            if v.waits:
                waiting.setdefault(v.plan.pool.market, []).append(v)
        for market, verdicts in waiting.items():
            stand, before = self._ledger.standing_at(market), batch.markets[market]
            changed = stand[:2] != (batch.policy_version, before.roster_version)
            plans = [v.plan for v in verdicts]
            self._ledger.wake(
                [p.lead.id for p in (plans if changed else with_room(plans, partial(self._held, market, stand)))]
            )

    def _held(self, market: str, stand: Stand) -> Mapping[int, int]:
        """How many offers each member holds; nothing when the turnstile cannot say: then it is about to change."""
        if stand.alone:
            return self._ledger.open_counts(market)
        try:
            return self._turnstile.open_counts(market)
        except TryLater:
            return {}

    # --- planning

    def _plans(self, batch: Batch, policy: Policy, *, all_rings: bool) -> tuple[list[Plan], list[tuple[Lead, Reason]]]:
        plans: list[Plan] = []
        refused: list[tuple[Lead, Reason]] = []
        by_market: dict[str, list[tuple[Lead, Pool]]] = {}
        pools = {country: policy.pool_for(country) for country in {lead.country for lead in batch.leads}}
        for lead in batch.leads:
            pool = pools[lead.country]
            reason = refusal(lead, pool)
            if reason is not None or pool is None:
                refused.append((lead, reason or Reason.UNKNOWN_COUNTRY))
            elif lead.place is not None:
                by_market.setdefault(pool.market, []).append((lead, pool))
        for market, asked in by_market.items():
            index, _ = self._index(market, batch.markets[market].roster_version)
            plans += plan_all(asked, policy, index, all_rings=all_rings, now=batch.markets[market].now)
        return plans, refused

    def _decide(self, market: Market, policy: Policy, plans: Sequence[Plan], release: Sequence[UUID]) -> list[Verdict]:
        """Ask the turnstile for all at once; who finds nobody in the rings planned asks in all rings."""
        index, _ = self._index(market.name)
        grants = self._reserve(market, plans, release)
        full = [p for p, g in zip(plans, grants, strict=True) if g.member is None and p.more]
        if full:
            asked = [(p.lead, p.pool) for p in full]
            wide = {p.lead.id: p for p in plan_all(asked, policy, index, all_rings=True, now=market.now)}
            second = {g.lead: g for g in self._reserve(market, list(wide.values()), ())}
            plans = [wide.get(p.lead.id, p) for p in plans]
            grants = [second.get(g.lead, g) for g in grants]
        verdicts = conclude_all(plans, grants, Versions(policy.version, index.version, market.generation))
        return verdicts + self._decide_besides(market, policy, verdicts)

    def _decide_besides(self, market: Market, policy: Policy, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Ask for one member more for each lead, again and again, as far as the policy asks several at once."""
        index, _ = self._index(market.name)
        versions, more = Versions(policy.version, index.version, market.generation), list[Verdict]()
        while plans := plan_besides(verdicts, policy, index, now=market.now):
            answered = conclude_all(plans, self._reserve(market, plans, ()), versions)
            verdicts = [v for v in answered if v.decision.chosen is not None]
            more += verdicts
        return more

    def _reserve(self, market: Market, plans: Sequence[Plan], release: Sequence[UUID]) -> list[Grant]:
        if not plans and not release:
            return []
        asks = [p.ask(self._new_id()) for p in plans]
        decider = self._decider(market)
        try:
            grants = decider.reserve(market.name, asks, generation=market.generation, release=release)
            left = [a for a, g in zip(asks, grants, strict=True) if g.offer != a.offer]
            if not left:
                return grants
            # A try that died before its commit left these; no offer came of them, and this batch holds the leads.
            decider.settle(market.name, cancel=[(a.lead, a.attempt) for a in left])
            anew = {g.lead: g for g in decider.reserve(market.name, left, generation=market.generation)}
        except ColdTurnstile as exc:
            raise _Distrusted({market.name: market.generation}) from exc
        except BadInput:
            raise
        except (TurnstileUnreachable, GiveUp) as exc:
            # A turnstile that refuses us is away as well; the relay's own call says so, and is parked for a person.
            raise _Away(market.name, market.generation) from exc
        return [anew.get(g.lead, g) for g in grants]

    def _decider(self, market: Market) -> Decider:
        """The turnstile, or the ledger while that is away."""
        return self._turnstile if market.alone is None else market.alone

    # --- places that become free

    def free(self, market: str, ended: Mapping[UUID, int], *, task_id: str = "") -> Routed:
        """Free the places of ended offers (offer -> member) at once; waiting leads get them before newer leads do.

        At most one lead is planned for each offer, so name no more offers than a batch may hold leads.
        """
        ids = self._first_waiting(market, Counter(ended.values()))
        self._ledger.wake(ids)
        routed = self.route(ids, woken=True, release={market: list(ended)}, task_id=task_id)
        decided = {v.plan.lead.id for v in routed.verdicts} | routed.refused.keys()
        # Another batch had the lead, and saw the place taken still: it is planned again.
        self._ledger.wake([i for i in ids if i not in decided])
        return routed

    def fill(self, market: str, members: Sequence[int] | None = None, *, task_id: str = "") -> int:
        """Offer waiting leads to members who have room (all of the market when none are named), until none moves."""
        offered = 0
        waiting = self._ledger.waiting_cells()
        if not waiting:
            return 0
        stand = self._ledger.standing_at(market)
        for member, room in self._ledger.members_with_room(market, members).items():
            left = room if waiting.intersection(self._cells_of(market, stand, member)) else 0
            while left > 0:
                ids = self._next_waiting(market, self._ledger.standing_at(market), member, min(left, 100), room=left)
                self._ledger.wake(ids)
                moved = self.route(ids, woken=True, task_id=task_id).offered if ids else 0
                offered += moved
                left = self._ledger.members_with_room(market, [member]).get(member, 0) if moved else 0
        return offered

    def _first_waiting(self, market: str, places: Mapping[int, int]) -> list[int]:
        """A waiting lead for each freed place (member -> places), no lead twice; none for a member who stays full.

        A member stays full when its capacity was lowered, and when its places were given away before: by an earlier
        try, or by the ledger while it decided alone.
        """
        found: dict[int, None] = {}
        waiting = self._ledger.waiting_cells()
        if not waiting:
            return []
        stand = self._ledger.standing_at(market)
        for member, room in self._ledger.members_with_room(market, sorted(places)).items():
            if waiting.intersection(self._cells_of(market, stand, member)):
                count = min(room, places[member])
                found |= dict.fromkeys(self._next_waiting(market, stand, member, count, besides=list(found), room=room))
        return list(found)

    def _next_waiting(
        self,
        market: str,
        stand: Stand,
        member_id: int,
        count: int,
        *,
        besides: Sequence[int] = (),
        room: int | None = None,
    ) -> list[int]:
        """The first waiting leads this member may take besides these, best priority, then oldest, first.

        One that takes more than `room` lets those behind it pass.
        """
        policy = self._policy_of(stand.policy_version)
        member = self._index(market, stand.roster_version)[1].get(member_id)
        furthest = _furthest(policy, market)
        if member is None or not member.active or furthest is None:
            return []
        alone = Index(Roster(market, 0, [member]))
        found: list[int] = []
        limit, last = count, None
        while len(found) < count:
            page = self._ledger.waiting_near(
                member.places,
                furthest,
                member_id,
                limit=limit,
                after=last,
                besides=besides,
                again=_may_come_again(policy, market),
                room=room,
            )
            found += _in_reach(page, alone, policy, market)
            if len(page) < limit:
                break
            limit, last = max(limit, PAGE), page[-1]
        return found[:count]

    def _cells_of(self, market: str, stand: Stand, member_id: int) -> list[int]:
        """The cells that hold every lead the member may reach; none when it is to get no leads."""
        policy = self._policy_of(stand.policy_version)
        _, members = self._index(market, stand.roster_version)
        member = members.get(member_id)
        furthest = _furthest(policy, market)
        if member is None or not member.active or furthest is None:
            return []
        return sorted({c for place in member.places for c in cells_around(place, furthest)})

    # --- what is held between batches

    def rebuild(self, market: str, seen: int | None = None) -> bool:
        """Load the turnstile from the ledger under a new generation; who comes second finds it done.

        `seen` is the generation under which it was found wanting; None means the present one.
        """
        if seen is None:
            seen = self._ledger.standing_at(market).generation
        above = self._turnstile.mark(market).generation
        with self._ledger.rebuild(market, seen, above) as snapshot:
            if snapshot is not None:
                self._turnstile.rebuild(market, replace(snapshot, order=self._index(market)[0].order))
        return snapshot is not None

    def come_back(self, market: str) -> bool:
        """Let a turnstile that was away decide again, rebuild one that was set back; whether it decides now."""
        stand = self._ledger.standing_at(market)
        try:
            if stand.alone:
                self._turnstile.probe(market)
            elif not self._is_behind(market, stand):
                return True
            self.rebuild(market, stand.generation)
        except (ColdTurnstile, TurnstileUnreachable):
            return False
        return True

    def _is_behind(self, market: str, stand: Stand) -> bool:
        """Whether the turnstile has forgotten decisions that the ledger knows; it is asked last, so it is ahead."""
        mark = self._turnstile.mark(market)
        return (mark.generation, mark.seq) < (stand.generation, stand.seq)

    def mend(self, market: str, seen: int) -> None:
        """Rebuild a turnstile found wanting under this generation; if it does not answer, the ledger decides alone."""
        try:
            self.rebuild(market, seen)
        except ColdTurnstile:
            return  # it lost the snapshot half way: whoever asks next finds it cold
        except (TurnstileUnreachable, GiveUp):
            self._ledger.stand_alone(market, seen)

    def _policy_of(self, version: int) -> Policy:
        if self._policy is None or self._policy.version != version:
            self._policy = self._ledger.policy(version)
        return self._policy

    def _index(self, market: str, version: int | None = None) -> tuple[Index, Roster]:
        held = self._indexes.get(market)
        if held is None or (version is not None and held[0].version != version):
            roster = self._ledger.roster(market)
            held = (Index(roster), roster)
            self._indexes[market] = held
        return held


class _Distrusted(Exception):  # noqa: N818 - never leaves this module
    """The turnstile cannot be right in these markets; rebuild it and plan again."""

    def __init__(self, generations: Mapping[str, int], refused: Refused | None = None) -> None:
        super().__init__(generations)
        self.generations = generations
        self.refused = refused


class _Away(Exception):  # noqa: N818 - never leaves this module
    """The turnstile does not answer."""

    def __init__(self, market: str, generation: int) -> None:
        super().__init__(market, generation)
        self.market = market
        self.generation = generation


def _furthest(policy: Policy, market: str) -> float | None:
    """The widest ring of the market's pools; None when it has no pool."""
    pools = [p for p in policy.pools if p.market == market]
    rings = [rings for p in pools for rings in (p.rings, *p.rings_by_country.values())]
    return max((radius for one in rings for radius in one.metres), default=None)


def _may_come_again(policy: Policy, market: str) -> bool:
    """Whether a member may be offered a lead once more that it let expire."""
    rules = [pool.answering for pool in policy.pools if pool.market == market]
    return any(one.again_when_exhausted or one.second_chance for one in rules)


def _in_reach(page: Sequence[WaitingLead], alone: Index, policy: Policy, market: str) -> list[int]:
    mine = [
        (lead, pool) for lead in page if (pool := policy.pool_for(lead.country)) is not None and pool.market == market
    ]
    near = alone.within([lead.place for lead, _ in mine], [p.rings_for(lead.country).metres for lead, p in mine])
    return [
        lead.id
        for (lead, pool), hits in zip(mine, near, strict=True)
        if hits and is_asked(pool, lead, hits[0].ring, hits[0].member.tier)
    ]
