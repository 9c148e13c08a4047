"""Plan one lead: who is in reach, in which order they are asked, and what the answer means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from routing.decision import Ask, Candidate, Decision, Gate, Grant, Group, Weighed
from routing.lead import Lead, Precision, Reason
from routing.near import Near
from routing.policy import Mode, Policy, Pool, PoorPlace, Scope, Tiers

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything decided about a lead before the turnstile is asked."""

    lead: Lead
    pool: Pool
    rings_m: tuple[float, ...]
    groups: tuple[Group, ...]
    tried: tuple[Weighed, ...]  # in reach, but offered this lead before
    nearest_m: float | None = None  # when nobody is in reach

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everyone who may be asked, in order."""
        return tuple(c for group in self.groups for c in group.candidates)

    def ask(self, offer: UUID, *, first_ring_only: bool = False) -> Ask:
        """What to ask the turnstile; the first ring that has anybody is enough for most leads."""
        groups = self.groups
        if first_ring_only and groups:
            groups = tuple(g for g in groups if g.ring == groups[0].ring)
        return Ask(self.lead.id, self.lead.attempt, offer, self.pool.mode, groups)


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


@dataclass(slots=True)
class _Reach:
    free: dict[tuple[int, int], list[Candidate]] = field(default_factory=dict)
    tried: list[Weighed] = field(default_factory=list)


def refusal(lead: Lead, pool: Pool | None) -> Reason | None:
    """Why a lead cannot be planned at all, if so."""
    if pool is None:
        return Reason.UNKNOWN_COUNTRY
    if lead.attempt > pool.reassignments + 1:
        return Reason.EXHAUSTED
    if _poor_place(lead, pool) is PoorPlace.REVIEW:
        return Reason.IMPRECISE_PLACE
    return None


def reach_m(lead: Lead, pool: Pool) -> tuple[float, ...]:
    """The radii searched for this lead, in metres, smallest first."""
    radii = pool.rings_for(lead.country).metres
    wider = _poor_place(lead, pool) is PoorPlace.WIDER_RING and len(radii) > 1
    return radii[1:] if wider else radii


def plan(lead: Lead, pool: Pool, policy: Policy, near: Sequence[Near], *, nearest_m: float | None = None) -> Plan:
    """Candidates ring by ring (and tier by tier where tiers are ranked), leaving out who was tried.

    `near` was measured with the radii of `reach_m`; distances are kept to a decimetre, as the ledger stores them.
    """
    radii = reach_m(lead, pool)
    by_tier = pool.tiers is Tiers.RANKED or pool.mode is Mode.CURSOR
    reach = _Reach()
    for member, distance, ring in near:
        tier = policy.tier(member.tier)
        candidate = Candidate(
            member=member.id,
            distance_m=round(distance, 1),
            ring=ring,
            tier_rank=tier.rank,
            weight=tier.weight if member.weight is None else member.weight,
            capacity=tier.capacity if member.capacity is None else member.capacity,
        )
        if member.id in lead.tried:
            reach.tried.append(_weigh(candidate, Gate.TRIED))
        else:
            reach.free.setdefault((ring, tier.rank if by_tier else 0), []).append(candidate)
    groups = tuple(
        Group(ring, rotation(pool, ring, rank if by_tier else None), tuple(candidates))
        for (ring, rank), candidates in sorted(reach.free.items())
    )
    return Plan(lead, pool, radii, groups, tuple(reach.tried), nearest_m)


def rotation(pool: Pool, ring: int, tier_rank: int | None) -> str:
    """The name of the fairness account that decides, such as `installers` or `installers/ring1/tier2` (row F4)."""
    name = pool.rotation if pool.scope is Scope.SHARED else pool.name
    if pool.scope is Scope.POOL_RING:
        name += f"/ring{ring + 1}"
    return name if tier_rank is None else f"{name}/tier{tier_rank}"


def conclude(plan: Plan, grant: Grant, versions: Versions) -> Verdict:
    """Put the plan and the turnstile's answer together into one decision."""
    sights = {s.member: s for s in grant.sights}
    asked = plan.groups if grant.group is None else plan.groups[: grant.group + 1]
    weighed = [
        _weigh(c, Gate.ELIGIBLE if s.eligible else Gate.FULL, open=s.open, standing=s.standing, served=s.served)
        for group in asked
        for c in group.candidates
        if (s := sights.get(c.member)) is not None
    ]
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
        weighed=(*weighed, *plan.tried),
        nearest_m=plan.nearest_m,
    )
    return Verdict(plan, decision, reason)


def _why_nobody(plan: Plan) -> Reason:
    if plan.groups:
        return Reason.NO_ROOM
    return Reason.EVERYONE_TRIED if plan.tried else Reason.NO_PARTNER_IN_RANGE


def _poor_place(lead: Lead, pool: Pool) -> PoorPlace:
    return pool.poor_places.get(lead.precision or Precision.EXACT, PoorPlace.CENTROID)


def _weigh(c: Candidate, gate: Gate, *, open: int = 0, standing: int = 0, served: int = 0) -> Weighed:  # noqa: A002 - the trade's word
    return Weighed(
        member=c.member,
        distance_m=c.distance_m,
        ring=c.ring,
        weight=c.weight,
        capacity=c.capacity,
        tier_rank=c.tier_rank,
        gate=gate,
        open=open,
        standing=standing,
        served=served,
    )
