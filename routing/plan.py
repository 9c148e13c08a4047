"""Plan leads: who is in reach, in which order they are asked, and what the answer means. Whole batches at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from routing.admission import Then
from routing.columns import CANDIDATE, SIGHT, WEIGHED, Column, Columns, Ints, Rows, Table, gather
from routing.course import Course
from routing.decision import Ask, Candidate, Decision, Gate, Grant, Group, Weighed
from routing.fairness import TURN, turn_of
from routing.fit import Fit
from routing.given import given
from routing.ladder import Look, first_rung, look, poor_place, reach_m
from routing.lead import Lead, Reason
from routing.limits import Check
from routing.near import Index
from routing.offer import Kind
from routing.policy import ONE_TURN, Answering, Policy, Pool, PoorPlace, Scope
from routing.rotation import named
from routing.ruling import Ruling
from routing.search import Run, Search

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

NO_RULINGS: Mapping[int, Ruling] = {}
#: Whoever is in these does not go to rings farther away.
_STAYS = frozenset({Then.WAIT, Then.NEXT_TIER})

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Why a member was chosen, beside its turn.
CHOSEN, CHOSEN_AGAIN, SECOND_CHANCE, PREFERRED = "chosen", "chosen_again", "second_chance", "preferred"
#: Leads for which nobody is found for one of these may go where their pool says (row C9).
NOBODY = frozenset({Reason.NO_ROOM, Reason.NO_PARTNER_IN_RANGE, Reason.NOBODY_FITS})
#: Gates of members who are none for this lead, now or ever: they come after those of turns.
_UNFIT = Gate.SKILL


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
    limits: Mapping[int, tuple[Check, ...]] = field(default_factory=dict)  # of those candidates that have any
    boosted: frozenset[int] = frozenset()  # members in reach whose weight was raised, as they may miss their minimum
    ruling: Ruling | None = None  # with the course: how the lead is asked for
    words: Mapping[int, str] = field(default_factory=dict)  # of members who do not fit, why not
    next_at: datetime | None = None  # when somebody may fit who does not now

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everyone who may be asked, in order."""
        return tuple(c for group in self.groups for c in group.candidates)

    @property
    def relaxes(self) -> bool:
        """Whether less will be asked for by and by, so that the lead waits for that first (row M6)."""
        return self.ruling is not None and self.ruling.relaxes

    @property
    def units(self) -> int:
        """Of capacity that the lead takes."""
        return 1 if self.course is None else self.course.units

    @property
    def turn(self) -> int:
        """Micro-turns that the lead costs: as a rule says, else as its pool counts turns."""
        said = TURN if self.course is None else self.course.turn
        return said if said != TURN or self.pool.cost is ONE_TURN else turn_of(self.pool.cost, self.units, self.lead)

    def ask(self, offer: UUID) -> Ask:
        """What to ask the turnstile."""
        goes_on = self.more or self.slot or (self.pool.overflow.then is Then.POOL and not self.relaxes)
        last = not goes_on  # nobody more to ask at once is nothing to write down
        return Ask(
            self.lead.id,
            self.lead.attempt,
            offer,
            self.pool.mode,
            self.groups,
            last,
            self.units,
            self.turn,
            self.limits,
        )


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
    def plan_but_stopped(self) -> Plan:
        """The plan without those whom a limit stopped: they may have room, and are none the nearer to the lead."""
        stops = self.decision.stops
        if not stops:
            return self.plan
        free = (
            replace(g, candidates=tuple(c for c in g.candidates if c.member not in stops)) for g in self.plan.groups
        )
        return replace(self.plan, groups=tuple(g for g in free if g.candidates))

    @property
    def waits(self) -> bool:
        return self.reason in NOBODY or self.reason is Reason.HELD

    @property
    def answering(self) -> Answering:
        """By which rules the offer is answered: who is asked first of all has a time of its own (row M8)."""
        own, course = self.plan.pool.answering, self.plan.course
        if self.decision.reason != PREFERRED or course is None or course.preferred_for is None:
            return own
        return replace(own, within=course.preferred_for, hot_within=None)


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
    rulings: Mapping[int, Ruling] = NO_RULINGS,
    fit: Fit | None = None,
) -> list[Plan]:
    """A plan for each located lead: the first ring that has anybody who was not tried, or all rings.

    Candidates ring by ring (and tier by tier where tiers are ranked), leaving out who was tried; nearest first, equals
    by id. Distances are kept to a decimetre, as the ledger stores them. Where the pool has a ladder, the first rung
    from the attempt's own on that has anybody. `now` is the batch's clock, which periods and ramps of turns need.
    `rulings`, by lead, and `fit` are there where the policy asks something of leads and members.
    """
    search = Search(policy, index, all_rings, now, fit)
    looks = [look(lead, pool, policy, first_rung(lead, pool), rulings.get(lead.id)) for lead, pool in asked]
    plans = _plans(search, looks)
    todo = {n: one for n, one in enumerate(looks) if not plans[n].groups and one.further is not None}
    while todo:
        todo = {
            n: look(one.lead, one.pool, policy, one.further, one.ruling)
            for n, one in todo.items()
            if one.further is not None
        }
        found = _plans(search, list(todo.values()))
        for n, plan in zip(todo, found, strict=True):
            plans[n] = plan
        todo = {n: one for n, one in todo.items() if not plans[n].groups and one.further is not None}
    return plans


def plan_besides(
    verdicts: Sequence[Verdict], policy: Policy, index: Index, *, now: datetime | None = None, fit: Fit | None = None
) -> list[Plan]:
    """Whom to ask at the same time as the members of these verdicts, where the policy asks several at once (row O8).

    On the same rung, each under an attempt of its own; where nobody is left, no plan.
    """
    more = [
        v
        for v in verdicts
        if v.plan.slot + 1 < v.plan.pool.answering.fan_out
        and v.decision.chosen is not None
        and v.decision.reason != PREFERRED
    ]
    looks = [look(_besides(v), v.plan.pool, policy, v.plan.rung, v.plan.ruling) for v in more]
    plans = _plans(Search(policy, index, True, now, fit), looks) if looks else []
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


def _plans(search: Search, asked: Sequence[Look]) -> list[Plan]:
    """A plan for each look."""
    found, now = search.found(asked), search.now
    return [
        Plan(
            one.lead,
            one.pool,
            found.radii[i],
            made := _first(one, tuple(_group(one.pool, found.crowd, run, now) for run in found.groups[i])),
            found.aside[i].tried,
            found.nearest_m.get(i),
            found.upto[i] < len(found.radii[i]) - 1 and not (made and one.pool.overflow.then in _STAYS),
            one.rung,
            wide=search.all_rings,
            now=now,
            boosted=search.index.boosted(one.pool),
            course=one.ruling.course if one.ruling else None,
            ruling=one.ruling,
            words=found.aside[i].words,
            next_at=found.aside[i].next_at,
        )
        for i, one in enumerate(asked)
    ]


def _first(asked: Look, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups that are asked, in order: who is preferred or has asked for another chance before all others."""
    if asked.lead.chances:
        return _chances_first(asked, groups)
    preferred = asked.ruling.preferred if asked.ruling else None
    if preferred is None:
        return _as_far_as_may(asked.pool, groups)
    alone = [Group(g.ring, g.rotation, (c,)) for g in groups for c in g.candidates if c.member == preferred]
    if not alone:
        return _as_far_as_may(asked.pool, groups)
    others = (Group(g.ring, g.rotation, tuple(c for c in g.candidates if c.member != preferred)) for g in groups)
    return (*alone, *_as_far_as_may(asked.pool, tuple(g for g in others if g.candidates)))


def _as_far_as_may(pool: Pool, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups that a lead goes through before it is one that nobody has room for (row C9)."""
    if not groups or pool.overflow.then not in _STAYS:
        return groups
    if pool.overflow.then is Then.WAIT:
        return groups[:1]
    return tuple(g for g in groups if g.ring == groups[0].ring)


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


def _group(pool: Pool, crowd: Table[Candidate], run: Run, now: datetime | None) -> Group:
    return Group(run.ring, rotation(pool, run.ring, run.tier_rank, now), Rows(crowd, run.start, run.stop))


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
    reason = None if grant.member is not None else _overflowed(plan, _why_nobody(plan))
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
        reason=reason or _why(plan, grant.member),
        weighed=weighed,
        nearest_m=plan.nearest_m,
        rule=plan.course.rule if plan.course else "",
        units=plan.units,
        turn=plan.turn,
        stops=grant.stops,
        uses=grant.uses,
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
    if any(grant.stops for grant in grants):
        _tell_stopped(gate, member, sizes, grants)
    columns: Columns = (member, distance_m, ring, weight, capacity, tier_rank, gate, open_, standing, served)
    tried, more = gather(WEIGHED, [plan.tried for plan in plans])
    if not more.any():
        return columns
    order = np.argsort(
        np.concatenate([np.repeat(np.arange(len(plans)), sizes), np.repeat(np.arange(len(plans)), more)]), kind="stable"
    )
    return tuple(np.concatenate(pair)[order] for pair in zip(columns, tried, strict=True))


def _tell_stopped(gate: Column, member: Column, sizes: Ints, grants: Sequence[Grant]) -> None:
    """Who had room and was stopped by a limit is told from who was full."""
    ends = np.cumsum(sizes).tolist()
    for grant, start, end in zip(grants, [0, *ends], ends, strict=False):
        if grant.stops:
            gate[start:end][np.isin(member[start:end], list(grant.stops))] = Gate.QUOTA


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
    stopped = {one.gate for one in plan.tried}
    if stopped & _FOR_NOW or (stopped & _FOREVER and Gate.TRIED not in stopped):
        return Reason.NOBODY_FITS
    if Gate.TRIED in stopped:
        return Reason.NOBODY_FITS if plan.relaxes else Reason.EVERYONE_TRIED
    return Reason.NO_PARTNER_IN_RANGE


#: Who is stopped by one of these may fit by and by; who is stopped by one of those does not unless somebody is changed.
_FOR_NOW = frozenset({Gate.HOURS})
_FOREVER = frozenset({Gate.SKILL, Gate.CERTIFICATE, Gate.CONDITION, Gate.AREA})


def _overflowed(plan: Plan, reason: Reason) -> Reason:
    """Where leads go for which nobody is found, and of which no less will be asked, by their pool (row C9)."""
    if reason not in NOBODY or plan.relaxes:
        return reason
    return {Then.HOLD: Reason.HELD, Then.REVIEW: Reason.OVERFLOW}.get(plan.pool.overflow.then, reason)


def _why(plan: Plan, chosen: int | None) -> str:
    if chosen in plan.lead.chances:
        return SECOND_CHANCE
    if chosen in plan.lead.tried:
        return CHOSEN_AGAIN
    return PREFERRED if plan.ruling is not None and chosen == plan.ruling.preferred else CHOSEN
