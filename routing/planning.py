"""Rules first: which leads of a batch are asked for, how, and what becomes of the others. No clock, no I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from routing.admission import Then
from routing.batch import Known
from routing.course import Course, Skill, Way
from routing.distance import metres
from routing.given import set_by
from routing.lane import Lane
from routing.lead import Lead, LeadState, Reason, Ruled
from routing.member import Member, Roster
from routing.plan import NOBODY, Verdict, refusal
from routing.policy import Policy, Pool
from routing.priority import rank
from routing.ruling import Aside, Gift, Ruling, Step

#: A rule that waits without saying how long waits so long.
WAIT = timedelta(hours=1)
#: No lead meets more rules than this that it has to wait for.
WAITS = 100


class Asked(NamedTuple):
    """A lead that is asked for, and where."""

    lead: Lead
    pool: Pool
    ruling: Ruling | None = None


@dataclass(slots=True)
class Sorted:
    """A batch, sorted out."""

    asked: list[Asked] = field(default_factory=list)
    refused: list[tuple[Lead, Reason]] = field(default_factory=list)
    asides: list[Aside] = field(default_factory=list)
    gifts: list[Gift] = field(default_factory=list)


def sort_out(leads: Sequence[Lead], policy: Policy, known: Known | None, rosters: Mapping[str, Roster]) -> Sorted:
    """What the policy says about each lead; `known` and `rosters` are looked at only where it has rules.

    Leads are asked for in order: by rank, then the oldest first.
    """
    found = Sorted()
    if known is None:
        pools = {country: policy.pool_for(country) for country in {lead.country for lead in leads}}
        for lead in leads:
            _ask(found, lead, pools[lead.country], None)
        return found
    for lead in leads:
        _follow(found, _informed(lead, known), policy, known, rosters)
    found.asked.sort(key=lambda one: (-(one.ruling.rank if one.ruling else 0), one.lead.received_at, one.lead.id))
    return found


def _ask(found: Sorted, lead: Lead, pool: Pool | None, ruling: Ruling | None) -> None:
    reason = refusal(lead, pool)
    if reason is not None or pool is None:
        found.refused.append((lead, reason or Reason.UNKNOWN_COUNTRY))
    elif lead.place is not None:
        found.asked.append(Asked(lead, pool, ruling))


def _informed(lead: Lead, known: Known) -> Lead:
    """The lead with the facts that rules may ask, its age among them."""
    age = (known.now - lead.received_at) / timedelta(hours=1)
    own: dict[str, object] = {
        **known.facts.get(lead.id, {}),
        "lead.country": lead.country,
        "lead.priority": lead.priority,
        "lead.hot": lead.lane is Lane.HOT,
        "lead.precision": str(lead.precision) if lead.precision else "",
        "lead.received_at": lead.received_at,
        "lead.attempt": lead.attempt,
        "lead.moves": lead.moves,
        "lead.age_hours": age,
    }
    if lead.place is not None:
        own |= {"lead.latitude": lead.place.lat, "lead.longitude": lead.place.lon}
    return replace(lead, facts=own, ruled=known.ruled.get(lead.id, lead.ruled))


def _follow(found: Sorted, lead: Lead, policy: Policy, known: Known, rosters: Mapping[str, Roster]) -> None:
    """Send the lead where its course goes."""
    course, ruled, steps, until = _course(lead, policy, known.now)
    if course is None:
        found.refused.append((lead, Reason.UNKNOWN_COUNTRY))
        return
    if course.hot is not None:
        lead = replace(lead, lane=Lane.HOT if course.hot else Lane.LIVE if lead.lane is Lane.HOT else lead.lane)
    lead = replace(lead, ruled=ruled)
    own = lead.priority if course.priority is None else course.priority
    score = policy.priority.score(own, lead.facts)
    made = Ruling(
        course,
        known.now,
        score,
        rank(score, lead.received_at, policy.priority.ageing),
        best=course.best_first or policy.priority.is_best(score, known.best_above),
        best_above=known.best_above,
        ruled=ruled,
        steps=steps,
        used=_used(course, policy, lead, known.now),
    )
    if course.way is Way.POOL:
        _ask(found, lead, course.pool, None if course.pool is None else _relaxed(made, lead, course.pool, rosters))
    elif course.way is Way.OWNER:
        _give(found, lead, policy, made, rosters)
    else:
        found.asides.append(_aside(lead, made, until))


def _course(
    lead: Lead, policy: Policy, now: datetime
) -> tuple[Course | None, Ruled, tuple[Step, ...], datetime | None]:
    """What the rules say, what of it is kept, what is new about it, and until when it waits for facts."""
    if policy.rulebook is None:
        pool = policy.pool_for(lead.country)
        return (None if pool is None else Course(Way.POOL, pool=pool)), lead.ruled, (), None
    ruled, steps = lead.ruled, list[Step]()
    for _ in range(WAITS):
        course = policy.rulebook.course(lead.facts, now, without=ruled.released | ruled.passed.keys())
        if course is None or course.way is not Way.WAIT:
            return course, replace(ruled, waits={}), tuple(steps), None
        since = ruled.waits.get(course.rule, now)
        until = since + (course.wait_up_to or WAIT)
        missing = [name for name in course.wait_for if lead.facts.get(name) in (None, "")]
        if missing and now < until:
            if course.rule not in ruled.waits:
                steps.append(("waits for facts", {"rule": course.rule, "missing": missing, "until": until.isoformat()}))
            return course, replace(ruled, waits={course.rule: since}), tuple(steps), until
        by = "time" if missing else "facts"
        if course.rule in ruled.waits:
            steps.append(("waited for facts", {"rule": course.rule, "exit": by, "missing": missing}))
        ruled = replace(ruled, passed={**ruled.passed, course.rule: by})
    return None, ruled, tuple(steps), None


def _used(course: Course, policy: Policy, lead: Lead, now: datetime) -> Mapping[str, object]:
    """The facts that were looked at, as they can be written down."""
    names = set(policy.priority.names())
    if course.pool is not None:
        names |= {name for demand in course.pool.admission.conditions for name in demand.names}
    held = {name: lead.facts[name] for name in sorted(names) if name in lead.facts}
    used = {**course.used, **held, "now": now}
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in used.items()}


# --- into a pool


def _relaxed(made: Ruling, lead: Lead, pool: Pool, rosters: Mapping[str, Roster]) -> Ruling:
    """With what is asked for by now: the longer a lead is searched for in vain, the less (row M6)."""
    attempt, since = lead.ruled.searched or (0, made.now)
    if attempt != lead.attempt:
        since = made.now
    waited = made.now - since
    skills, dropped = _skills(made.course.skills, pool, waited)
    cut = sum(step.rings for step in pool.relax)
    granted = sum(step.rings for step in pool.relax if waited >= step.after)
    rings = None if not cut else max(1, len(pool.rings_for(lead.country).radii) - cut + granted)
    before = lead.ruled.dropped if attempt == lead.attempt else ()
    now_asked = (*dropped, *(("ring",) * granted))
    news = (Counter(now_asked) - Counter(before)).elements()
    softer = any(not skill.required for skill in skills)
    limits = [step.after for step in pool.relax if step.rings or (step.drop and softer)]
    limits += [skill.drop_after for skill in skills if skill.drop_after]
    return replace(
        made,
        skills=skills,
        rings=rings,
        preferred=_preferred(made.course, lead, pool, rosters),
        next_at=min((since + limit for limit in limits if limit > waited), default=None),
        ruled=replace(made.ruled, searched=(lead.attempt, since), dropped=now_asked),
        steps=(*made.steps, *(("asked for less", {"dropped": one, "after_s": waited.total_seconds()}) for one in news)),
    )


def _skills(skills: Sequence[Skill], pool: Pool, waited: timedelta) -> tuple[tuple[Skill, ...], tuple[str, ...]]:
    """The skills that are still asked for after so long, and those that were dropped, in the order of dropping."""
    left, moments = list(skills), list[tuple[timedelta, int, Skill | None]]()
    moments += [(s.drop_after, -n, s) for n, s in enumerate(skills) if s.drop_after is not None]
    moments += [(step.after, 1, None) for step in pool.relax if step.drop]
    dropped: list[str] = []
    for after, _, skill in sorted(moments, key=lambda one: one[:2]):
        if waited < after:
            break
        may_go = [s for s in left if s == skill] if skill else [s for s in left if not s.required]
        if may_go:
            left.remove(may_go[-1])
            dropped.append(may_go[-1].name)
    return tuple(left), tuple(dropped)


def _preferred(course: Course, lead: Lead, pool: Pool, rosters: Mapping[str, Roster]) -> int | None:
    member = rosters[pool.market].by_key(course.preferred) if course.preferred and pool.market in rosters else None
    return None if member is None or member.id in lead.tried else member.id


# --- to another pool


def spills(verdict: Verdict) -> bool:
    """Whether the lead goes to another pool: nobody of its own has room, and no less will be asked for (row C9)."""
    plan = verdict.plan
    overflows = plan.pool.overflow.then is Then.POOL and not plan.slot and not plan.relaxes
    return verdict.reason in NOBODY and overflows


def spill(verdicts: Sequence[Verdict], pools: Mapping[str, Pool], rosters: Mapping[str, Roster]) -> Sorted:
    """These leads as they are asked for in the pools that theirs name."""
    found = Sorted()
    for verdict in verdicts:
        plan = verdict.plan
        pool = pools[plan.pool.overflow.target]
        _ask(found, plan.lead, pool, plan.ruling and _spilled(plan.ruling, plan.lead, plan.pool, pool, rosters))
    return found


def spilling(one: Asked, policy: Policy) -> list[Asked]:
    """The lead as it is asked for in its pool, and in those it goes on to while nobody has room."""
    pools, chain = {pool.name: pool for pool in policy.pools}, [one]
    while _goes_on(last := chain[-1]) and len(chain) <= len(pools):
        pool = pools[last.pool.overflow.target]
        chain.append(Asked(one.lead, pool, last.ruling and _spilled(last.ruling, one.lead, last.pool, pool, {})))
    return chain


def _goes_on(asked: Asked) -> bool:
    return asked.pool.overflow.then is Then.POOL and not (asked.ruling and asked.ruling.relaxes)


def _spilled(ruling: Ruling, lead: Lead, left: Pool, pool: Pool, rosters: Mapping[str, Roster]) -> Ruling:
    step: Step = ("overflowed", {"from": left.name, "to": pool.name})
    begun = replace(ruling, steps=())
    made = _relaxed(begun, lead, pool, rosters)
    return replace(made, steps=(*ruling.steps, step))


# --- to somebody, or to nobody for now


def _give(found: Sorted, lead: Lead, policy: Policy, made: Ruling, rosters: Mapping[str, Roster]) -> None:
    """To the member that the rule names; where there is none, or it let the lead go before, a person looks."""
    key = made.course.target
    member = next((m for roster in rosters.values() if (m := roster.by_key(key)) is not None), None)
    wrong = None
    if member is None:
        wrong = "unknown"
    elif not member.active:
        wrong = "inactive"
    elif member.id in lead.tried - lead.taken_back:
        wrong = "asked before"
    if member is None or wrong is not None:
        step: Step = ("not given", {"rule": made.course.rule, "owner": key, "because": wrong})
        found.asides.append(_aside(lead, replace(made, steps=(*made.steps, step)), None, Reason.RULED))
        return
    pool = policy.pool_for(lead.country)
    if pool is None or pool.market != member.market:
        pool = next((p for p in policy.pools if p.market == member.market), pool)
    giving = policy.giving
    found.gifts.append(Gift(lead, member, _away(lead, member), pool, giving.accept, giving.beyond_capacity, made))


def _away(lead: Lead, member: Member) -> float:
    place = lead.place
    return min((metres(place, one) for one in member.places), default=0.0) if place is not None else 0.0


_ASIDE: Mapping[Way, tuple[LeadState, Reason, str]] = {
    Way.HOLD: (LeadState.WAITING, Reason.HELD, "held"),
    Way.WAIT: (LeadState.WAITING, Reason.MISSING_FACTS, ""),
    Way.QUARANTINE: (LeadState.REVIEW, Reason.QUARANTINED, "quarantined"),
    Way.REVIEW: (LeadState.REVIEW, Reason.RULED, "sent to a person"),
    Way.OWNER: (LeadState.REVIEW, Reason.RULED, ""),
    Way.IGNORE: (LeadState.WITHDRAWN, Reason.NOT_OURS, "left alone"),
}


def _aside(lead: Lead, made: Ruling, until: datetime | None, reason: Reason | None = None) -> Aside:
    course = made.course
    state, usual, what = _ASIDE[course.way]
    steps: Iterable[Step] = made.steps
    if what:
        steps = (
            *steps,
            (what, {"rule": course.rule, **({"target": course.target} if course.target else {}), **set_by(course)}),
        )
    return Aside(
        lead,
        state,
        reason or usual,
        rule=course.rule,
        target=course.target,
        next_try_at=until,
        rank=made.rank,
        ruled=made.ruled,
        steps=tuple(steps),
    )
