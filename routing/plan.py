"""Plan leads: who is in reach, in which order they are asked, and what the answer means. Whole batches at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from routing.columns import CANDIDATE, SIGHT, WEIGHED, Columns, Rows, Table, gather
from routing.course import Course
from routing.decision import Ask, Candidate, Decision, Gate, Grant, Group, Weighed
from routing.fairness import TURN
from routing.given import given
from routing.ladder import Look, first_rung, look, poor_place, reach_m
from routing.lead import Lead, Point, Reason
from routing.near import Index, Reach, Terms
from routing.offer import Kind
from routing.policy import Mode, Policy, Pool, PoorPlace, Scope, Tiers
from routing.rotation import by_distance, named

__all__ = [
    "Plan",
    "Verdict",
    "Versions",
    "conclude_all",
    "plan_all",
    "plan_besides",
    "reach_m",
    "refusal",
    "rotation",
    "with_room",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Why a member was chosen, beside its turn.
CHOSEN, CHOSEN_AGAIN, SECOND_CHANCE = "chosen", "chosen_again", "second_chance"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything decided about a lead before the turnstile is asked."""

    lead: Lead
    pool: Pool
    rings_m: tuple[float, ...]
    groups: tuple[Group, ...]
    tried: tuple[Weighed, ...]  # in the rings searched, but offered this lead before, or of a tier not asked yet
    nearest_m: float | None = None  # when nobody is in reach
    more: bool = False  # there are rings farther out that were not searched
    rung: int = 0  # of the pool's ladder
    slot: int = 0  # of several who are asked at once, which one
    wide: bool = False  # all rings were searched, not only as far as the first that has anybody
    course: Course | None = None  # what the rules said; None: no rule was asked
    now: datetime | None = None  # the batch's clock
    boosted: frozenset[int] = frozenset()  # members in reach whose weight was raised, as they may miss their minimum

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everyone who may be asked, in order."""
        return tuple(c for group in self.groups for c in group.candidates)

    @property
    def units(self) -> int:
        """Of capacity that the lead takes."""
        return 1 if self.course is None else self.course.units

    @property
    def turn(self) -> int:
        """Micro-turns that the lead costs."""
        return TURN if self.course is None else self.course.turn

    def ask(self, offer: UUID) -> Ask:
        """What to ask the turnstile."""
        last = not self.more and not self.slot  # nobody more to ask at once is nothing to write down
        return Ask(self.lead.id, self.lead.attempt, offer, self.pool.mode, self.groups, last, self.units, self.turn)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the turnstile's answer means for the lead: offered to a member, waiting, or for a person to review."""

    plan: Plan
    decision: Decision
    reason: Reason | None = None  # why nobody was chosen

    @property
    def kind(self) -> Kind:
        """How the offer came about, if there is one."""
        return Kind.SECOND if self.decision.chosen in self.plan.lead.tried else Kind.TURN

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
    if is_over(lead, pool) and not lead.chances:
        return Reason.EXHAUSTED
    if poor_place(lead, pool) is PoorPlace.REVIEW:
        return Reason.IMPRECISE_PLACE
    return None


def is_over(lead: Lead, pool: Pool) -> bool:
    """Whether the last reassignment is used up; who asked for another chance before is still asked."""
    return lead.moves > pool.reassignments


def plan_all(
    asked: Sequence[tuple[Lead, Pool]],
    policy: Policy,
    index: Index,
    *,
    all_rings: bool = False,
    now: datetime | None = None,
) -> list[Plan]:
    """A plan for each located lead: the first ring that has anybody who was not tried, or all rings.

    Candidates ring by ring (and tier by tier where tiers are ranked), leaving out who was tried; nearest first, equals
    by id. Distances are kept to a decimetre, as the ledger stores them. Where the pool has a ladder, the first rung
    from the attempt's own on that has anybody. `now` is the batch's clock, which periods and ramps of turns need.
    """
    looks = [look(lead, pool, policy, first_rung(lead, pool)) for lead, pool in asked]
    plans = _plan_looks(looks, policy, index, all_rings=all_rings, now=now)
    todo = {n: one for n, one in enumerate(looks) if not plans[n].groups and one.further is not None}
    while todo:
        todo = {n: look(one.lead, one.pool, policy, one.further) for n, one in todo.items() if one.further is not None}
        found = _plan_looks(list(todo.values()), policy, index, all_rings=all_rings, now=now)
        for n, plan in zip(todo, found, strict=True):
            plans[n] = plan
        todo = {n: one for n, one in todo.items() if not plans[n].groups and one.further is not None}
    return plans


def plan_besides(
    verdicts: Sequence[Verdict], policy: Policy, index: Index, *, now: datetime | None = None
) -> list[Plan]:
    """Whom to ask at the same time as the members of these verdicts, where the policy asks several at once (row O8).

    On the same rung, each under an attempt of its own; where nobody is left, no plan.
    """
    more = [v for v in verdicts if v.plan.slot + 1 < v.plan.pool.answering.fan_out and v.decision.chosen is not None]
    looks = [look(_besides(v), v.plan.pool, policy, v.plan.rung) for v in more]
    plans = _plan_looks(looks, policy, index, all_rings=True, now=now) if looks else []
    asked = [replace(plan, slot=v.plan.slot + 1) for plan, v in zip(plans, more, strict=True)]
    return [plan for plan in asked if plan.groups]


def _besides(verdict: Verdict) -> Lead:
    """The lead as it is when one more is asked for it."""
    lead, chosen = verdict.plan.lead, verdict.decision.chosen
    return replace(
        lead,
        attempt=lead.attempt + 1,
        tried=lead.tried | {chosen} if chosen is not None else lead.tried,
        lapsed=lead.lapsed - {chosen},
        chances=tuple(one for one in lead.chances if one != chosen),
    )


def _plan_looks(
    asked: Sequence[Look], policy: Policy, index: Index, *, all_rings: bool, now: datetime | None
) -> list[Plan]:
    radii = _radii(asked)
    terms = index.terms(policy)
    found, upto = _search(asked, radii, index, terms, all_rings=all_rings)
    crowd, groups, tried = _sorted(asked, found, index, terms, now)
    nobody = [i for i in range(len(asked)) if not groups[i] and not tried[i]]
    nearest = dict(zip(nobody, index.nearest([_place(asked[i].lead) for i in nobody]), strict=True))
    return [
        Plan(
            one.lead,
            one.pool,
            radii[i],
            _chances_first(one, tuple(_group(one.pool, crowd, run, now) for run in groups[i])),
            tried[i],
            away[1] if (away := nearest.get(i)) else None,
            upto[i] < len(radii[i]) - 1,
            one.rung,
            wide=all_rings,
            now=now,
            boosted=index.boosted(one.pool),
        )
        for i, one in enumerate(asked)
    ]


def _chances_first(asked: Look, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Who asked for another chance is asked before all others, each alone, in the order of asking (row O18)."""
    lead = asked.lead
    if not lead.chances:
        return groups
    queued = {
        c.member: Group(g.ring, g.rotation, (c,)) for g in groups for c in g.candidates if c.member in lead.chances
    }
    others = (Group(g.ring, g.rotation, tuple(c for c in g.candidates if c.member not in queued)) for g in groups)
    first = tuple(queued[m] for m in lead.chances if m in queued)
    return first if is_over(lead, asked.pool) else (*first, *(g for g in others if g.candidates))


def _radii(asked: Sequence[Look]) -> list[tuple[float, ...]]:
    """The radii of each lead; the same ones are the same object."""
    known: dict[tuple[float, ...], tuple[float, ...]] = {}
    return [known.setdefault(one.radii_m, one.radii_m) for one in asked]


class _Run(NamedTuple):
    """Where a group is in the crowd."""

    ring: int
    tier_rank: int | None
    start: int
    stop: int


def _search(
    asked: Sequence[Look], radii: Sequence[Sequence[float]], index: Index, terms: Terms, *, all_rings: bool
) -> tuple[Reach, list[int]]:
    """Everyone in the first ring that has anybody free, lead by lead; and up to which ring it was searched.

    Most leads have somebody in the smallest ring; for the others everyone in reach is looked up, and cut.
    """
    last = [len(r) - 1 for r in radii]
    upto = last if all_rings else [n if one.lead.chances else min(0, n) for one, n in zip(asked, last, strict=True)]
    near = index.reach([_place(one.lead) for one in asked], radii, upto)
    if all_rings:
        return near, upto
    free = _gates(asked, near, terms) == Gate.ELIGIBLE
    found = np.bincount(near.lead[free], minlength=len(asked)) > 0
    todo = [i for i in np.flatnonzero(~found).tolist() if last[i] > upto[i]]
    if not todo:
        return near, upto
    wide = index.reach([_place(asked[i].lead) for i in todo], [radii[i] for i in todo], [last[i] for i in todo])
    first = np.array([last[i] for i in todo], dtype=np.intp)
    free = _gates([asked[i] for i in todo], wide, terms) == Gate.ELIGIBLE
    np.minimum.at(first, wide.lead[free], wide.ring[free])
    for i, ring in zip(todo, first.tolist(), strict=True):
        upto[i] = ring
    anew = np.zeros(len(asked), dtype=np.bool_)
    anew[todo] = True
    keep, inside = ~anew[near.lead], wide.ring <= first[wide.lead]
    numbers = np.array(todo, dtype=np.intp)[wide.lead[inside]]
    return Reach(
        np.concatenate([near.lead[keep], numbers]),
        *(np.concatenate([one[keep], other[inside]]) for one, other in zip(near[1:], wide[1:], strict=True)),
    ), upto


def _gates(asked: Sequence[Look], near: Reach, terms: Terms) -> NDArray[np.int8]:
    """Who of those in reach is not asked, and why; ELIGIBLE: is asked."""
    gates = np.zeros(len(near.lead), dtype=np.int8)
    for number, one in [(number, one) for number, one in enumerate(asked) if one.ranks is not None]:
        away = (near.lead == number) & ~np.isin(terms.tier_rank[near.row], list(one.ranks or ()))
        gates[away & ~np.isin(terms.member[near.row], one.lead.chances)] = Gate.TIER
    for number, one in [(number, one) for number, one in enumerate(asked) if one.tried]:
        gates[(near.lead == number) & np.isin(terms.member[near.row], list(one.tried))] = Gate.TRIED
    return gates


def _sorted(
    asked: Sequence[Look], found: Reach, index: Index, terms: Terms, now: datetime | None
) -> tuple[Table[Candidate], list[list[_Run]], list[tuple[Weighed, ...]]]:
    """The crowd of candidates in the order of asking, each lead's groups in it, and who is not asked."""
    ranked = [one.pool.tiers is Tiers.RANKED or one.pool.mode is Mode.CURSOR for one in asked]
    decimetres = np.rint(found.distance_m * 10).astype(np.int64)
    tiers = np.where(np.array(ranked)[found.lead], terms.tier_rank[found.row], 0) if any(ranked) else None
    order = _order(found, decimetres, tiers)
    lead, row, ring = found.lead[order], found.row[order], found.ring[order]
    gates = _gates(asked, Reach(lead, row, found.distance_m, ring), terms)
    aside = gates != Gate.ELIGIBLE
    columns: Columns = (
        terms.member[row],
        decimetres[order] / 10,
        ring.astype(np.int16),
        terms.tier_rank[row],
        _weights(asked, lead, row, decimetres[order], index, terms, now),
        terms.capacity[row],
    )
    seen: list[tuple[Weighed, ...]] = [()] * len(asked)
    if aside.any():
        for number in np.unique(lead[aside]).tolist():
            mine = aside & (lead == number)
            rows = Table(CANDIDATE, tuple(c[mine] for c in columns)).rows(0, int(mine.sum()))
            seen[number] = tuple(_weigh_aside(c, Gate(g)) for c, g in zip(rows, gates[mine].tolist(), strict=True))
        free = ~aside
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


def _weights(  # noqa: PLR0917 - the crowd, column by column
    asked: Sequence[Look],
    lead: NDArray[np.intp],
    row: NDArray[np.intp],
    decimetres: NDArray[np.int64],
    index: Index,
    terms: Terms,
    now: datetime | None,
) -> NDArray[np.int32]:
    """What each weighs for its lead: its own weight, and where the pool says so, by its day and by its distance."""
    weight = terms.weight[row]
    for pool in {id(one.pool): one.pool for one in asked if one.pool.weighs_anew}.values():
        mine = np.array([one.pool is pool for one in asked])[lead]
        weighed = index.weights(pool, terms, now)[row[mine]]
        if pool.turns.halves_at_m:
            weighed = by_distance(weighed, decimetres[mine], pool.turns.halves_at_m)
        weight[mine] = weighed
    return weight


def _group(pool: Pool, crowd: Table[Candidate], run: _Run, now: datetime | None) -> Group:
    return Group(run.ring, rotation(pool, run.ring, run.tier_rank, now), Rows(crowd, run.start, run.stop))


def _place(lead: Lead) -> Point:
    if lead.place is None:
        raise ValueError(f"lead {lead.id} has no place")
    return lead.place


def rotation(pool: Pool, ring: int, tier_rank: int | None, now: datetime | None = None) -> str:
    """The name of the fairness account that decides, such as `installers` or `installers/ring1/tier2` (row F4).

    Where accounts begin anew (row F14) it names the period, such as `installers@2026-11`.
    """
    name = pool.rotation if pool.scope is Scope.SHARED else pool.name
    if pool.scope is Scope.POOL_RING:
        name += f"/ring{ring + 1}"
    if tier_rank is not None:
        name += f"/tier{tier_rank}"
    if not pool.turns.has_periods:
        return name
    if now is None:
        raise ValueError(f"the accounts of pool {pool.name} have periods, and no clock was given")
    return named(name, pool.turns, now)


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
        reason=reason or _why(plan.lead, grant.member),
        weighed=weighed,
        nearest_m=plan.nearest_m,
        units=plan.units,
        turn=plan.turn,
        inputs=given(plan),
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
    """Those of the plans with a candidate who has room for the lead; `held` is asked when there are any."""
    if not any(plan.groups for plan in plans):
        return []
    (member, *_, capacity), sizes = gather(CANDIDATE, [group.candidates for plan in plans for group in plan.groups])
    known, at = np.unique(member, return_inverse=True)
    holds = held()
    counts = np.array([holds.get(one, 0) for one in known.tolist()], dtype=np.int64)
    whose = np.repeat(np.repeat(np.arange(len(plans)), [len(plan.groups) for plan in plans]), sizes)
    units = np.array([plan.units for plan in plans], dtype=np.int64)[whose]
    return [plans[i] for i in np.unique(whose[counts[at] + units <= capacity]).tolist()]


def _why_nobody(plan: Plan) -> Reason:
    if is_over(plan.lead, plan.pool):
        return Reason.EXHAUSTED
    if plan.groups:
        return Reason.NO_ROOM
    tried = any(one.gate is Gate.TRIED for one in plan.tried)
    return Reason.EVERYONE_TRIED if tried else Reason.NO_PARTNER_IN_RANGE


def _why(lead: Lead, chosen: int | None) -> str:
    if chosen in lead.chances:
        return SECOND_CHANCE
    return CHOSEN_AGAIN if chosen in lead.tried else CHOSEN


def _weigh_aside(c: Candidate, gate: Gate) -> Weighed:
    return Weighed(c.member, c.distance_m, c.ring, c.weight, c.capacity, c.tier_rank, gate)
