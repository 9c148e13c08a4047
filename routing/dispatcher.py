"""The verbs of routing: route, free, fill, expire. Reads top to bottom; every neighbour is a port."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

from routing.atlas import Atlas
from routing.batch import Batch, Market, Saved
from routing.decision import Grant
from routing.errors import BadInput, ColdTurnstile, GiveUp, Refused, TryLater, TurnstileUnreachable
from routing.lead import Reason
from routing.ledger import Ledger, Stand
from routing.plan import Plan, Verdict, Versions, conclude_all, plan_besides, with_room
from routing.planning import Asked, Sorted, sort_out, spill, spills
from routing.policy import Policy
from routing.ports import Decider, Turnstile
from routing.waiting_room import WaitingRoom

__all__ = ["Dispatcher", "Ledger", "Routed", "Stand"]

#: A batch is planned again this often when the turnstile turned out cold, wrong or away.
TRIES = 4
#: No offers to release.
NONE: Mapping[str, Sequence[UUID]] = {}


@dataclass(slots=True)
class Routed:
    """What one call of `route` came to."""

    verdicts: list[Verdict] = field(default_factory=list)
    refused: dict[int, Reason] = field(default_factory=dict)  # lead -> reason for review
    again: list[int] = field(default_factory=list)  # leads not decided: the relay brings them back
    given: list[int] = field(default_factory=list)  # leads that a rule gave to a member it names

    @property
    def offered(self) -> int:
        return sum(v.decision.chosen is not None for v in self.verdicts)


class Dispatcher:
    """Gives leads to members. Holds the roster's index per market, rebuilt when the roster version changes."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        turnstile: Turnstile,
        new_id: Callable[[], UUID],
        stopped: Callable[[str, int], object] = lambda _limit, _times: None,  # hears what limits hold back
    ) -> None:
        self._ledger = ledger
        self._turnstile = turnstile
        self._new_id = new_id
        self._stopped = stopped
        self._atlas = Atlas(ledger)
        self._erred: dict[tuple[str, int], bool] = {}  # market and generation whose turnstile let a limit be passed
        self._waiting = WaitingRoom(ledger, self._atlas)

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
                policy = self._atlas.policy(batch.policy_version)
                plans, out = self._planned(batch, policy, all_rings=woken)
                trusted = {p.pool.market: batch.markets[p.pool.market].generation for p in plans}
                verdicts: list[Verdict] = []
                for name, market in batch.markets.items():
                    mine, freed = [p for p in plans if p.pool.market == name], release.get(name, ())
                    if mine or freed:
                        verdicts += self._decide(market, policy, mine, freed)
                self._overflow(batch, policy, verdicts, out, woken)
                trusted |= {v.plan.pool.market: v.decision.generation for v in verdicts}
                gifts = [(self._new_id(), gift) for gift in out.gifts]
                saved = batch.save(verdicts, refused=out.refused, asides=out.asides, gifts=gifts)
        except Refused as exc:
            # The ledger holds an offer impossible: the turnstile forgot what is, or remembers what never was.
            raise _Distrusted(trusted, exc) from exc
        except ColdTurnstile as exc:
            raise _Distrusted({}) from exc  # who decides has changed while we took our locks
        routed.verdicts += saved.kept
        for limit, times in Counter(s.limit for v in saved.kept for s in v.decision.stops.values()).items():
            self._stopped(limit, times)
        routed.refused |= {lead.id: reason for lead, reason in out.refused}
        routed.refused |= {one.lead.id: one.reason for one in out.asides}
        routed.given += [gift.lead.id for _, gift in gifts]
        if not woken:
            self._wake_the_overtaken(saved.kept, batch)
        self._settle(saved, batch)
        return self._spent(saved, batch) + self._over(saved, batch)

    def _settle(self, saved: Saved, batch: Batch) -> None:
        """Tell the turnstile what was kept; when it does not hear, the reaper or the next rebuild sees it."""
        keep: dict[str, list[tuple[int, int]]] = {}
        for v in saved.kept:
            if v.decision.chosen is not None:
                keep.setdefault(v.plan.pool.market, []).append((v.plan.lead.id, v.plan.lead.attempt))
        for market, keys in keep.items():
            with suppress(TurnstileUnreachable, GiveUp):
                self._decider(batch.markets[market]).settle(market, keep=keys)

    def _spent(self, saved: Saved, batch: Batch) -> list[int]:
        """The leads that would pass a limit by the ledger: planned again; a turnstile that errs twice is rebuilt."""
        cancel: dict[str, list[tuple[int, int]]] = {}
        for v in saved.spent:
            if v.decision.chosen is not None:
                cancel.setdefault(v.plan.pool.market, []).append((v.plan.lead.id, v.plan.lead.attempt))
        for name, keys in cancel.items():
            market = batch.markets[name]
            if self._erred.pop((name, market.generation), False):
                self.mend(name, market.generation)
                continue
            self._erred[name, market.generation] = True
            with suppress(TurnstileUnreachable, GiveUp):
                self._decider(market).settle(name, cancel=keys)
        return sorted({v.plan.lead.id for v in saved.spent})

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
            if v.waits and v.reason is not Reason.HELD:
                waiting.setdefault(v.plan.pool.market, []).append(v)
        for market, verdicts in waiting.items():
            stand, before = self._ledger.standing_at(market), batch.markets[market]
            changed = stand[:2] != (batch.policy_version, before.roster_version)
            plans = [v.plan_but_stopped for v in verdicts]
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

    def _planned(self, batch: Batch, policy: Policy, *, all_rings: bool) -> tuple[list[Plan], Sorted]:
        """A plan for each lead that is asked for, and what becomes of the others."""
        known = batch.known(policy) if policy.asks_leads else None
        rosters = {} if known is None else self._atlas.rosters(policy, batch.markets)
        sorted_out = sort_out(batch.leads, policy, known, rosters)
        return self._plans(batch, policy, sorted_out.asked, all_rings=all_rings), sorted_out

    def _plans(self, batch: Batch, policy: Policy, asked: Sequence[Asked], *, all_rings: bool) -> list[Plan]:
        by_market: dict[str, list[Asked]] = {}
        for one in asked:
            by_market.setdefault(one.pool.market, []).append(one)
        plans: list[Plan] = []
        for name, mine in by_market.items():
            market = batch.markets[name]
            self._atlas.index(name, policy, market.roster_version)
            plans += self._atlas.plans(name, policy, mine, now=market.now, all_rings=all_rings)
        return plans

    def _overflow(self, batch: Batch, policy: Policy, verdicts: list[Verdict], out: Sorted, all_rings: bool) -> None:
        """Ask in another pool for leads that nobody has room for, where their pool says so; again and again."""
        pools = {pool.name: pool for pool in policy.pools}
        rosters = self._atlas.rosters(policy, batch.markets) if any(map(spills, verdicts)) else {}
        for _ in pools:
            spilled = [v for v in verdicts if spills(v)]
            if not spilled:
                return
            gone = {v.plan.lead.id for v in spilled}
            verdicts[:] = [v for v in verdicts if v.plan.lead.id not in gone]
            moved = spill(spilled, pools, rosters)
            out.refused += moved.refused
            plans = self._plans(batch, policy, moved.asked, all_rings=all_rings)
            for name, market in batch.markets.items():
                if mine := [p for p in plans if p.pool.market == name]:
                    verdicts += self._decide(market, policy, mine, ())

    def _decide(self, market: Market, policy: Policy, plans: Sequence[Plan], release: Sequence[UUID]) -> list[Verdict]:
        """Ask the turnstile for all at once; who finds nobody in the rings planned asks in all rings."""
        index = self._atlas.index(market.name)
        plans = self._atlas.limited(market, policy, plans)
        grants = self._reserve(market, plans, release)
        full = [p for p, g in zip(plans, grants, strict=True) if g.member is None and p.more]
        if full:
            asked = [Asked(p.lead, p.pool, p.ruling) for p in full]
            again = self._atlas.plans(market.name, policy, asked, now=market.now, all_rings=True)
            wide = {p.lead.id: p for p in self._atlas.limited(market, policy, again)}
            second = {g.lead: g for g in self._reserve(market, list(wide.values()), ())}
            plans = [wide.get(p.lead.id, p) for p in plans]
            grants = [second.get(g.lead, g) for g in grants]
        verdicts = conclude_all(plans, grants, Versions(policy.version, index.version, market.generation))
        return verdicts + self._decide_besides(market, policy, verdicts)

    def _decide_besides(self, market: Market, policy: Policy, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Ask for one member more for each lead, again and again, as far as the policy asks several at once."""
        index, fit = self._atlas.index(market.name), self._atlas.fit(market.name, policy)
        versions, more = Versions(policy.version, index.version, market.generation), list[Verdict]()
        while besides := plan_besides(verdicts, policy, index, now=market.now, fit=fit):
            plans = self._atlas.limited(market, policy, besides)
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

    def free(
        self,
        market: str,
        ended: Mapping[UUID, int],
        *,
        counted: Sequence[UUID] = (),
        leads: Sequence[int] | None = None,
        task_id: str = "",
    ) -> Routed:
        """Free the places of ended offers (offer -> member) at once; waiting leads get them before newer leads do.

        At most one lead is planned for each offer, so name no more offers than a batch may hold leads. `counted`: those
        in limits that count only what is kept. `leads`: who is asked for; None: the first who wait near these members.
        """
        if counted and (back := self._ledger.given_back(counted)):
            with suppress(TryLater, GiveUp):  # then the next rebuild, or the auditor, does it
                self._turnstile.release(market, list(back), back=back)
        ids = list(leads) if leads is not None else self._first_waiting(market, Counter(ended.values()))
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
            left = room if self._waiting.reaches(market, stand, member, waiting) else 0
            while left > 0:
                ids = self._waiting.next(market, self._ledger.standing_at(market), member, min(left, 100), room=left)
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
            if self._waiting.reaches(market, stand, member, waiting):
                count = min(room, places[member])
                found |= dict.fromkeys(self._waiting.next(market, stand, member, count, besides=list(found), room=room))
        return list(found)

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
                self._turnstile.rebuild(market, replace(snapshot, order=self._atlas.index(market).order))
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
