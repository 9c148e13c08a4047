"""Waiting leads, from the side of whoever has a place for one."""

from collections.abc import Sequence

from routing.atlas import Atlas
from routing.fit import Fit
from routing.ladder import is_asked
from routing.ledger import Ledger, Stand, WaitingLead
from routing.member import Member, Roster
from routing.near import Index, any_around
from routing.plan import plan_all
from routing.planning import sort_out, spilling
from routing.policy import Policy

#: Waiting leads looked at together when a place is free.
PAGE = 50


class WaitingRoom:
    """Finds the leads that a member may take."""

    def __init__(self, ledger: Ledger, atlas: Atlas) -> None:
        self._ledger = ledger
        self._atlas = atlas

    def next(  # noqa: PLR0917 - told nowhere else
        self,
        market: str,
        stand: Stand,
        member_id: int,
        count: int,
        besides: Sequence[int] = (),
        room: int | None = None,
    ) -> list[int]:
        """The first waiting leads this member may take besides these, best priority, then oldest, first.

        One that takes more than `room` lets those behind it pass.
        """
        policy = self._atlas.policy(stand.policy_version)
        member = self._atlas.index(market, policy, stand.roster_version).roster.get(member_id)
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
            found += self._asked(page, alone, member, policy) if policy.asks_leads else _in_reach(page, alone, policy)
            if len(page) < limit:
                break
            limit, last = max(limit, PAGE), page[-1]
        return found[:count]

    def reaches(self, market: str, stand: Stand, member_id: int, cells: frozenset[int]) -> bool:
        """Whether one of these cells may hold a lead that the member reaches; not when it is to get no leads."""
        policy = self._atlas.policy(stand.policy_version)
        member = self._atlas.index(market, policy, stand.roster_version).roster.get(member_id)
        furthest = _furthest(policy, market)
        if member is None or not member.active or furthest is None:
            return False
        return any(any_around(place, furthest, cells) for place in member.places)

    def _asked(self, page: Sequence[WaitingLead], alone: Index, member: Member, policy: Policy) -> list[int]:
        """Those of the leads that would ask this member, by the rules and by what it is."""
        if not page:
            return []
        market = alone.roster.market
        leads, known = self._ledger.known([one.id for one in page], policy)
        out = sort_out(leads, policy, known, {market: alone.roster})
        asked = [one for each in out.asked for one in spilling(each, policy) if one.pool.market == market]
        waits = {one.id: one for one in page}
        fit = Fit(alone) if policy.asks_members else None
        would = {gift.lead.id for gift in out.gifts}
        for one in asked:
            rulings = {} if one.ruling is None else {one.lead.id: one.ruling}
            plan = plan_all(
                [(one.lead, one.pool)], policy, alone, all_rings=True, now=known.now, rulings=rulings, fit=fit
            )
            if (groups := plan[0].groups) and is_asked(one.pool, waits[one.lead.id], groups[0].ring, member.tier):
                would.add(one.lead.id)
        return [one.id for one in page if one.id in would]


def _furthest(policy: Policy, market: str) -> float | None:
    """The widest ring of the market's pools; None when it has no pool."""
    pools = [p for p in policy.pools if p.market == market]
    rings = [rings for p in pools for rings in (p.rings, *p.rings_by_country.values())]
    return max((radius for one in rings for radius in one.metres), default=None)


def _may_come_again(policy: Policy, market: str) -> bool:
    """Whether a member may be offered a lead once more that it let expire."""
    rules = [pool.answering for pool in policy.pools if pool.market == market]
    return any(one.again_when_exhausted or one.second_chance for one in rules)


def _in_reach(page: Sequence[WaitingLead], alone: Index, policy: Policy) -> list[int]:
    market = alone.roster.market
    mine = [
        (lead, pool) for lead in page if (pool := policy.pool_for(lead.country)) is not None and pool.market == market
    ]
    near = alone.within([lead.place for lead, _ in mine], [p.rings_for(lead.country).metres for lead, p in mine])
    return [
        lead.id
        for (lead, pool), hits in zip(mine, near, strict=True)
        if hits and is_asked(pool, lead, hits[0].ring, hits[0].member.tier)
    ]
