"""Keeps turns exact beside decisions: leads given by hand, absences, rolling windows, minimums; by the clock."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid5

import numpy as np

from routing.distance import metres
from routing.fairness import TURN
from routing.lead import Lead, Point, Precision
from routing.member import Member, Roster
from routing.near import EDGE_M, Index
from routing.plan import plan_all, rotation
from routing.policy import Mode, Policy, Pool, Tiers
from routing.rotation import (
    Absence,
    ByHand,
    Reset,
    base_of,
    by_distance,
    is_over,
    label_of,
    missed,
    misses,
    period,
    projected,
    span,
    summed,
)
from routing.turns import Correction, Effect, of_offer

if TYPE_CHECKING:
    from routing.dispatcher import Stand

#: The name under which a lead's turn is counted once, beside its offer.
BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class GivenByHand:
    """An offer that was nobody's turn, and what of its lead tells whose it might have been."""

    offer: UUID
    member: int
    market: str
    lead: int
    pool: str | None
    country: str
    place: Point | None
    precision: Precision | None
    moved: Correction | None  # by which the member paid for it, as it was taken from somebody who had


@dataclass(frozen=True, slots=True)
class Return:
    """A member that was away and is back."""

    id: int
    member: int
    market: str
    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision by turn, as far as it tells what somebody else missed."""

    pool: str
    rotation: str
    ring: int
    rings_m: Sequence[float]
    place: Point
    eligible: Mapping[int, int]  # weights
    turn: int


@dataclass(frozen=True, slots=True)
class Debt:
    """What a member is owed in one rotation for an absence, and how it is paid."""

    rotation: str
    deltas: Mapping[int, int]
    percent: int  # a day
    told: str


@dataclass(frozen=True, slots=True)
class Flag:
    """A member on the way to miss its minimum."""

    member: int
    period: str
    received: int
    projected: float
    minimum: int
    until: datetime


class Follows(Protocol):
    """Who keeps up how far accounts are from what is due: storage.postgres.followed.FollowedAccounts."""

    def follow(self, market: str) -> int: ...


class TurnBook(Protocol):
    """What is asked of the ledger: storage.postgres.turn_book.TurnBook."""

    def clock(self) -> datetime: ...

    def count(self, judge: Callable[[GivenByHand], Correction | None]) -> int: ...

    def returned(self) -> Sequence[Return]: ...

    def decided(
        self, one: Return, pools: Sequence[str], places: Sequence[Point], reach_m: float
    ) -> Iterable[Decided]: ...

    def settle(self, one: Return, debts: Sequence[Debt]) -> None: ...

    def pay(self) -> int: ...

    def rolling(self, pools: Sequence[str]) -> Sequence[tuple[str, str, str]]: ...

    def roll(self, market: str, rotation: str, window: timedelta) -> int: ...

    def received(self, pool: str, market: str, begun: datetime) -> Sequence[tuple[int, int, datetime]]: ...

    def flag(self, pool: str, market: str, flags: Sequence[Flag]) -> bool: ...

    def over(self, market: str, is_over: Callable[[str], bool]) -> Sequence[str]: ...


class Rosters(Protocol):
    """Who is on the roster, and under which policy: routing.dispatcher.Ledger."""

    def published(self) -> Policy: ...

    def roster(self, market: str, *, full: bool = False) -> Roster: ...

    def standing_at(self, market: str) -> "Stand": ...


class TurnKeeper:
    """Finds by the clock what turns are worth besides decisions; safe to run twice, and twice at once."""

    def __init__(
        self,
        *,
        book: TurnBook,
        follows: Follows,
        ledger: Rosters,
        markets: Callable[[], Iterable[str]],
        correct: Callable[[], int],
        forget: Callable[[str, Sequence[str]], object],
    ) -> None:
        self._book, self._follows, self._ledger = book, follows, ledger
        self._markets, self._correct, self._forget = markets, correct, forget
        self._indexes: dict[str, Index] = {}

    def keep(self) -> dict[str, int]:
        """What happened since: accounts followed, turns counted, absences settled and paid, windows rolled."""
        policy, now = self._ledger.published(), self._book.clock()
        counts = {"followed": sum(self._follows.follow(market) for market in self._markets())}
        counts["by hand"] = self._book.count(partial(self._judge, policy, now))
        counts["returned"] = self._settle(policy, now)
        counts["repaid"] = self._book.pay()
        counts["rolled"] = self._roll(policy)
        counts["corrected"] = self._correct()
        return {name: n for name, n in counts.items() if n}

    def look_ahead(self) -> dict[str, int]:
        """Who is on the way to miss its minimum, by pool; and the accounts of periods that nobody needs any more."""
        policy, now = self._ledger.published(), self._book.clock()
        flagged = {pool.name: flags for pool in policy.pools for flags in [self._flags(pool, now)]}
        for pool in policy.pools:
            self._book.flag(pool.name, pool.market, flagged[pool.name])
        gone = 0
        for market in self._markets():
            if names := self._book.over(market, partial(is_over, at=now)):
                self._forget(market, names)
                gone += len(names)
        return {"flagged": sum(map(len, flagged.values())), "forgotten": gone}

    # --- leads given by hand

    def _judge(self, policy: Policy, now: datetime, given: GivenByHand) -> Correction | None:
        """What an offer that was nobody's turn costs its member (row F10)."""
        pool = next((p for p in policy.pools if p.name == given.pool), None) or policy.pool_for(given.country)
        if pool is None or pool.market != given.market:
            return None
        if pool.turns.by_hand is ByHand.NONE and given.moved is not None:
            back = {member: -delta for member, delta in given.moved.deltas.items()}
            return _by_hand(given, given.moved.rotation, back)
        if pool.turns.by_hand is not ByHand.ALL or given.moved is not None or pool.mode is not Mode.FAIR:
            return None
        name, deltas = turn_of(given, pool, policy, self._index(given.market), now)
        return _by_hand(given, name, deltas)

    # --- absences

    def _settle(self, policy: Policy, now: datetime) -> int:
        returned = self._book.returned()
        for one in returned:
            pools = {p.name: p for p in policy.pools if p.market == one.market and p.turns.absence is not Absence.NONE}
            self._book.settle(one, self._debts(one, pools, policy, now) if pools else ())
        return len(returned)

    def _debts(self, one: Return, pools: Mapping[str, Pool], policy: Policy, now: datetime) -> list[Debt]:
        index = self._index(one.market)
        member = index.member(one.member)
        if member is None:
            return []
        reach = max(
            r for p in pools.values() for rings in (p.rings, *p.rings_by_country.values()) for r in rings.metres
        )
        owed: dict[str, list[Mapping[int, int]]] = {}
        of: dict[str, Pool] = {}
        for made in self._book.decided(one, list(pools), member.places, reach):
            pool = pools[made.pool]
            weight = _weight_in(pool, made, member, policy, index, now)
            if weight:
                deltas = missed(weight, made.eligible, member.id, turn=made.turn)
                owed[made.rotation] = [summed([*owed.get(made.rotation, ()), deltas])]
                of[made.rotation] = pool
        return [
            Debt(name, deltas, of[name].turns.percent_a_day, of[name].turns.told)
            for name, [deltas] in owed.items()
            if deltas
        ]

    # --- windows

    def _roll(self, policy: Policy) -> int:
        pools = {p.name: p for p in policy.pools if p.turns.reset is Reset.ROLLING}
        if not pools:
            return 0
        found = self._book.rolling(list(pools))
        return sum(self._book.roll(market, name, pools[pool].turns.window) for market, name, pool in found)

    # --- minimums

    def _flags(self, pool: Pool, now: datetime) -> list[Flag]:
        minimum = pool.turns.minimum
        if minimum is None:
            return []
        begun, end = span(minimum.per, pool.turns.zone, now)
        if now < end - minimum.ahead:
            return []
        label = period(minimum.per, pool.turns.zone, now)
        found = []
        for member, received, joined in self._book.received(pool.name, pool.market, begun):
            since = max(begun, joined)
            if since < now and misses(minimum, received, since, end, now):
                expected = projected(received, since, end, now)
                found.append(Flag(member, label, received, expected, minimum.leads, end))
        return found

    def _index(self, market: str) -> Index:
        held, version = self._indexes.get(market), self._ledger.standing_at(market).roster_version
        if held is None or held.version != version:
            held = self._indexes[market] = Index(self._ledger.roster(market, full=True))
        return held


def turn_of(given: GivenByHand, pool: Pool, policy: Policy, index: Index, now: datetime) -> tuple[str, dict[int, int]]:
    """The rotation and the deltas as if the lead had been the member's turn, among those who compete for it there.

    A member that is not in reach of the lead competes with everybody.
    """
    if given.place is not None:
        lead = Lead(given.lead, now, given.country, given.place, given.precision)
        [plan] = plan_all([(lead, pool)], policy, index, all_rings=True, now=now)
        for group in plan.groups:
            weights = {c.member: c.weight for c in group.candidates}
            if given.member in weights:
                return group.rotation, of_offer(Effect.PENALISE, given.member, _shares(weights))
    terms = index.terms(policy)
    weights = dict(zip(terms.member.tolist(), index.weights(pool, terms, now).tolist(), strict=True))
    member = index.member(given.member)
    ranked = pool.tiers is Tiers.RANKED and member is not None
    rank = policy.tier(member.tier).rank if ranked and member is not None else None
    name = rotation(pool, len(pool.rings_for(given.country).radii) - 1, rank, now)
    return name, of_offer(Effect.PENALISE, given.member, _shares({given.member: 1000} | weights))


def _by_hand(given: GivenByHand, name: str, deltas: Mapping[int, int]) -> Correction:
    return Correction(uuid5(given.offer, BY_HAND), given.market, name, Effect.COUNT, BY_HAND, deltas)


def _shares(weights: Mapping[int, int]) -> dict[int, int]:
    total = max(sum(weights.values()), 1)
    return {member: weight * TURN // total for member, weight in weights.items()}


def _weight_in(  # noqa: PLR0917 - a decision, and all that weighs in it
    pool: Pool, made: Decided, member: Member, policy: Policy, index: Index, now: datetime
) -> int:
    """What the member would have weighed in this decision, had it been there; 0: it was none of its own."""
    away = min((metres(made.place, place) for place in member.places), default=None)
    if away is None or away > made.rings_m[made.ring] + EDGE_M:
        return 0
    name, label = base_of(made.rotation), label_of(made.rotation)
    if label != period(pool.turns.reset, pool.turns.zone, now):
        return 0
    if "/tier" in name and int(name.rpartition("/tier")[2]) != policy.tier(member.tier).rank:
        return 0
    terms = index.terms(policy)
    row = int(np.searchsorted(terms.member, member.id))
    weight = index.weights(pool, terms, now)[row : row + 1]
    if pool.turns.halves_at_m:
        weight = by_distance(weight, np.array([round(away * 10)]), pool.turns.halves_at_m)
    return int(weight[0])
