"""Plan leads: who is in reach, in which order they are asked, and what the answer means. Whole batches at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from routing.columns import CANDIDATE, SIGHT, WEIGHED, Columns, Rows, Table, gather
from routing.decision import Ask, Candidate, Decision, Gate, Grant, Group, Weighed
from routing.lead import Lead, Point, Precision, Reason
from routing.near import Index, Reach, Terms
from routing.policy import Mode, Policy, Pool, PoorPlace, Scope, Tiers

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything decided about a lead before the turnstile is asked."""

    lead: Lead
    pool: Pool
    rings_m: tuple[float, ...]
    groups: tuple[Group, ...]
    tried: tuple[Weighed, ...]  # in the rings searched, but offered this lead before
    nearest_m: float | None = None  # when nobody is in reach
    more: bool = False  # there are rings farther out that were not searched

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everyone who may be asked, in order."""
        return tuple(c for group in self.groups for c in group.candidates)

    def ask(self, offer: UUID) -> Ask:
        """What to ask the turnstile."""
        return Ask(self.lead.id, self.lead.attempt, offer, self.pool.mode, self.groups, not self.more)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the turnstile's answer means for the lead: offered to a member, waiting, or for a person to review."""

    plan: Plan
    decision: Decision
    reason: Reason | None = None  # why nobody was chosen

    @property
    def waits(self) -> bool:
        return self.reason in {Reason.NO_ROOM, Reason.NO_PARTNER_IN_RANGE}


@dataclass(frozen=True, slots=True)
class Versions:
    """Under which versions a decision is made."""

    policy: int
    roster: int
    generation: int


def refusal(lead: Lead, pool: Pool | None) -> Reason | None:
    """Why a lead cannot be planned at all, if so."""
    if pool is None:
        return Reason.UNKNOWN_COUNTRY
    if lead.moves > pool.reassignments:
        return Reason.EXHAUSTED
    if _poor_place(lead, pool) is PoorPlace.REVIEW:
        return Reason.IMPRECISE_PLACE
    return None


def reach_m(lead: Lead, pool: Pool) -> tuple[float, ...]:
    """The radii searched for this lead, in metres, smallest first."""
    radii = pool.rings_for(lead.country).metres
    wider = _poor_place(lead, pool) is PoorPlace.WIDER_RING and len(radii) > 1
    return radii[1:] if wider else radii


def plan_all(
    asked: Sequence[tuple[Lead, Pool]], policy: Policy, index: Index, *, all_rings: bool = False
) -> list[Plan]:
    """A plan for each located lead: the first ring that has anybody who was not tried, or all rings.

    Candidates ring by ring (and tier by tier where tiers are ranked), leaving out who was tried; nearest first, equals
    by id. Distances are kept to a decimetre, as the ledger stores them.
    """
    radii = _radii(asked)
    terms = index.terms(policy)
    found, upto = _search(asked, radii, index, terms, all_rings=all_rings)
    crowd, groups, tried = _sorted(asked, found, terms)
    nobody = [i for i in range(len(asked)) if not groups[i] and not tried[i]]
    nearest = dict(zip(nobody, index.nearest([_place(asked[i][0]) for i in nobody]), strict=True))
    return [
        Plan(
            lead,
            pool,
            radii[i],
            tuple(_group(pool, crowd, one) for one in groups[i]),
            tried[i],
            away[1] if (away := nearest.get(i)) else None,
            upto[i] < len(radii[i]) - 1,
        )
        for i, (lead, pool) in enumerate(asked)
    ]


def _radii(asked: Sequence[tuple[Lead, Pool]]) -> list[tuple[float, ...]]:
    """The radii of each lead; the same ones are the same object."""
    known: dict[tuple[int, str, Precision | None], tuple[float, ...]] = {}
    found = []
    for lead, pool in asked:
        key = id(pool), lead.country, lead.precision
        if key not in known:
            known[key] = reach_m(lead, pool)
        found.append(known[key])
    return found


class _Run(NamedTuple):
    """Where a group is in the crowd."""

    ring: int
    tier_rank: int | None
    start: int
    stop: int


def _search(
    asked: Sequence[tuple[Lead, Pool]], radii: Sequence[Sequence[float]], index: Index, terms: Terms, *, all_rings: bool
) -> tuple[Reach, list[int]]:
    """Everyone in the first ring that has anybody free, lead by lead; and up to which ring it was searched.

    Most leads have somebody in the smallest ring; for the others everyone in reach is looked up, and cut.
    """
    last = [len(r) - 1 for r in radii]
    upto = last if all_rings else [min(0, n) for n in last]
    leads = [lead for lead, _ in asked]
    near = index.reach([_place(lead) for lead in leads], radii, upto)
    if all_rings:
        return near, upto
    free = ~_was_tried(leads, near, terms)
    found = np.bincount(near.lead[free], minlength=len(asked)) > 0
    todo = [i for i in np.flatnonzero(~found).tolist() if last[i] > 0]
    if not todo:
        return near, upto
    wide = index.reach([_place(leads[i]) for i in todo], [radii[i] for i in todo], [last[i] for i in todo])
    first = np.array([last[i] for i in todo], dtype=np.intp)
    free = ~_was_tried([leads[i] for i in todo], wide, terms)
    np.minimum.at(first, wide.lead[free], wide.ring[free])
    for i, ring in zip(todo, first.tolist(), strict=True):
        upto[i] = ring
    keep, inside = found[near.lead] | (np.array(last) <= 0)[near.lead], wide.ring <= first[wide.lead]
    numbers = np.array(todo, dtype=np.intp)[wide.lead[inside]]
    return Reach(
        np.concatenate([near.lead[keep], numbers]),
        *(np.concatenate([one[keep], other[inside]]) for one, other in zip(near[1:], wide[1:], strict=True)),
    ), upto


def _was_tried(leads: Sequence[Lead], near: Reach, terms: Terms) -> NDArray[np.bool_]:
    tried = np.zeros(len(near.lead), dtype=np.bool_)
    for number, lead in [(number, lead) for number, lead in enumerate(leads) if lead.tried]:
        tried |= (near.lead == number) & np.isin(terms.member[near.row], list(lead.tried))
    return tried


def _sorted(
    asked: Sequence[tuple[Lead, Pool]], found: Reach, terms: Terms
) -> tuple[Table[Candidate], list[list[_Run]], list[tuple[Weighed, ...]]]:
    """The crowd of candidates in the order of asking, each lead's groups in it, and who was tried."""
    ranked = [pool.tiers is Tiers.RANKED or pool.mode is Mode.CURSOR for _, pool in asked]
    decimetres = np.rint(found.distance_m * 10).astype(np.int64)
    tiers = np.where(np.array(ranked)[found.lead], terms.tier_rank[found.row], 0) if any(ranked) else None
    order = _order(found, decimetres, tiers)
    lead, row, ring = found.lead[order], found.row[order], found.ring[order]
    tried = _was_tried([one for one, _ in asked], Reach(lead, row, found.distance_m, ring), terms)
    columns: Columns = (
        terms.member[row],
        decimetres[order] / 10,
        ring.astype(np.int16),
        terms.tier_rank[row],
        terms.weight[row],
        terms.capacity[row],
    )
    seen: list[tuple[Weighed, ...]] = [()] * len(asked)
    if tried.any():
        for number in np.unique(lead[tried]).tolist():
            mine = tried & (lead == number)
            rows = Table(CANDIDATE, tuple(c[mine] for c in columns)).rows(0, int(mine.sum()))
            seen[number] = tuple(_weigh_tried(c) for c in rows)
        free = ~tried
        columns, lead, ring = tuple(c[free] for c in columns), lead[free], ring[free]
        tiers = None if tiers is None else tiers[order][free]
    elif tiers is not None:
        tiers = tiers[order]
    return Table(CANDIDATE, columns), _runs(len(asked), lead, ring, tiers, ranked), seen


def _order(found: Reach, decimetres: NDArray[np.int64], tiers: NDArray[np.int32] | None) -> NDArray[np.intp]:
    """By lead, ring, tier (where ranked), distance, id."""
    row = found.row.astype(np.int64)  # rows ascend with ids
    if tiers is None and not (found.lead >> 12).any() and not (found.ring >> 3).any() and not (row >> 20).any():
        key = ((found.lead.astype(np.int64) << 3 | found.ring) << 28 | decimetres) << 20 | row
        return np.argsort(key)  # one key of 63 bits sorts in a tenth of the time
    return np.lexsort((row, decimetres, np.zeros_like(row) if tiers is None else tiers, found.ring, found.lead))


def _runs(
    count: int,
    lead: NDArray[np.intp],
    ring: NDArray[np.intp],
    tiers: NDArray[np.int32] | None,
    ranked: Sequence[bool],
) -> list[list[_Run]]:
    starts_here = np.ones(len(lead), dtype=np.bool_)
    starts_here[1:] = (lead[1:] != lead[:-1]) | (ring[1:] != ring[:-1])
    if tiers is not None:
        starts_here[1:] |= tiers[1:] != tiers[:-1]
    starts = np.flatnonzero(starts_here)
    ranks = [0] * len(starts) if tiers is None else tiers[starts].tolist()
    bounds = pairwise([*starts.tolist(), len(lead)])
    runs: list[list[_Run]] = [[] for _ in range(count)]
    for number, at, rank, (start, stop) in zip(
        lead[starts].tolist(), ring[starts].tolist(), ranks, bounds, strict=True
    ):
        runs[number].append(_Run(at, rank if ranked[number] else None, start, stop))
    return runs


def _group(pool: Pool, crowd: Table[Candidate], run: _Run) -> Group:
    return Group(run.ring, rotation(pool, run.ring, run.tier_rank), Rows(crowd, run.start, run.stop))


def _place(lead: Lead) -> Point:
    if lead.place is None:
        raise ValueError(f"lead {lead.id} has no place")
    return lead.place


def rotation(pool: Pool, ring: int, tier_rank: int | None) -> str:
    """The name of the fairness account that decides, such as `installers` or `installers/ring1/tier2` (row F4)."""
    name = pool.rotation if pool.scope is Scope.SHARED else pool.name
    if pool.scope is Scope.POOL_RING:
        name += f"/ring{ring + 1}"
    return name if tier_rank is None else f"{name}/tier{tier_rank}"


def conclude_all(plans: Sequence[Plan], grants: Sequence[Grant], versions: Versions) -> list[Verdict]:
    """Put each plan and the turnstile's answer to it together into one decision."""
    table = Table(WEIGHED, lambda: _weighed(plans, grants))
    verdicts, start = [], 0
    for one, grant in zip(plans, grants, strict=True):
        stop = start + len(grant.sights) + len(one.tried)
        verdicts.append(_conclude(one, grant, versions, Rows(table, start, stop)))
        start = stop
    return verdicts


def _conclude(plan: Plan, grant: Grant, versions: Versions, weighed: Sequence[Weighed]) -> Verdict:
    deciding = None if grant.group is None else plan.groups[grant.group]
    reason = None if grant.member is not None else _why_nobody(plan)
    decision = Decision(
        id=grant.offer,
        lead=plan.lead.id,
        attempt=plan.lead.attempt,
        at=EPOCH + timedelta(microseconds=grant.at_us),
        market=plan.pool.market,
        pool=plan.pool.name,
        rotation=deciding.rotation if deciding else "",
        mode=plan.pool.mode,
        rings_m=plan.rings_m,
        ring=deciding.ring if deciding else None,
        policy_version=versions.policy,
        roster_version=versions.roster,
        generation=versions.generation,
        seq=grant.seq,
        chosen=grant.member,
        reason=reason or "chosen",
        weighed=weighed,
        nearest_m=plan.nearest_m,
    )
    return Verdict(plan, decision, reason)


def _weighed(plans: Sequence[Plan], grants: Sequence[Grant]) -> Columns:
    """Everyone in the groups looked at with what was seen, then who was tried; decision by decision."""
    asked = [p.groups if g.group is None else p.groups[: g.group + 1] for p, g in zip(plans, grants, strict=True)]
    candidates, _ = gather(CANDIDATE, [group.candidates for groups in asked for group in groups])
    sights, sizes = gather(SIGHT, [grant.sights for grant in grants])
    member, distance_m, ring, tier_rank, weight, capacity = candidates
    _, eligible, open_, standing, served = sights
    gate = np.where(eligible, Gate.ELIGIBLE, Gate.FULL).astype(np.int16)
    columns: Columns = (member, distance_m, ring, weight, capacity, tier_rank, gate, open_, standing, served)
    tried, more = gather(WEIGHED, [plan.tried for plan in plans])
    if not more.any():
        return columns
    order = np.argsort(
        np.concatenate([np.repeat(np.arange(len(plans)), sizes), np.repeat(np.arange(len(plans)), more)]), kind="stable"
    )
    return tuple(np.concatenate(pair)[order] for pair in zip(columns, tried, strict=True))


def with_room(plans: Sequence[Plan], held: Callable[[], Mapping[int, int]]) -> list[Plan]:
    """Those of the plans with a candidate who holds fewer offers than it may; `held` is asked when there are any."""
    if not any(plan.groups for plan in plans):
        return []
    (member, *_, capacity), sizes = gather(CANDIDATE, [group.candidates for plan in plans for group in plan.groups])
    known, at = np.unique(member, return_inverse=True)
    holds = held()
    counts = np.array([holds.get(one, 0) for one in known.tolist()], dtype=np.int64)
    whose = np.repeat(np.repeat(np.arange(len(plans)), [len(plan.groups) for plan in plans]), sizes)
    return [plans[i] for i in np.unique(whose[counts[at] < capacity]).tolist()]


def _why_nobody(plan: Plan) -> Reason:
    if plan.groups:
        return Reason.NO_ROOM
    return Reason.EVERYONE_TRIED if plan.tried else Reason.NO_PARTNER_IN_RANGE


def _poor_place(lead: Lead, pool: Pool) -> PoorPlace:
    return pool.poor_places.get(lead.precision or Precision.EXACT, PoorPlace.CENTROID)


def _weigh_tried(c: Candidate) -> Weighed:
    return Weighed(c.member, c.distance_m, c.ring, c.weight, c.capacity, c.tier_rank, Gate.TRIED)
