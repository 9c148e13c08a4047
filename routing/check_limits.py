"""Checks of limits: those that never bind, those that leave nobody a lead, and leads too heavy for anybody."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import permutations

from routing.check_people import People, capacity
from routing.check_pools import lead_of
from routing.finding import Finding, Way, listed, note, warning
from routing.limiting import bound_of
from routing.limits import KEPT, Bound, Check, Limit, Per, checks_of, used
from routing.policy import Policy, Pool
from routing.witness import Example

#: Calendar windows that lie whole within another; a week may lie in two months.
_WITHIN = frozenset(
    {(Per.HOUR, Per.DAY), (Per.HOUR, Per.WEEK), (Per.HOUR, Per.MONTH), (Per.DAY, Per.WEEK), (Per.DAY, Per.MONTH)}
)


def limits(policy: Policy, known: People | None, examples: Mapping[int, Example], now: datetime) -> Iterator[Finding]:
    """What is to be said about the limits of a policy; `examples`: a lead of each rule, by its place."""
    for way, group in _groups(policy):
        yield from _never_binding(group, way)
        yield from _nothing(group, way)
    if known is not None:
        yield from _used_up(policy, known, now)
        yield from _shares(policy, known)
        yield from _too_heavy(policy, known, examples)


def _groups(policy: Policy) -> Iterator[tuple[Way, Sequence[Limit]]]:
    """Limits that hold side by side, with their place."""
    yield ("limits",), policy.limits
    for at, pool in enumerate(policy.pools):
        yield ("pools", at, "limits"), pool.limits
    for at, tier in enumerate(policy.tiers.values()):
        yield ("tiers", at, "limits"), tier.limits


def _never_binding(group: Sequence[Limit], way: Way) -> Iterator[Finding]:
    for shorter, longer in permutations(group, 2):
        alike = shorter.of is longer.of and shorter.kept == longer.kept and not shorter.percent and not longer.percent
        if alike and _within(shorter, longer) and shorter.most >= longer.most:
            yield warning(
                "limit_never_binds",
                (*way, group.index(shorter)),
                f"{shorter.most} in a {shorter.words} are never reached: {longer.name} allows {longer.most} in a "
                f"{longer.words}",
                f"Write less than {longer.most} for {shorter.name}, or take it out.",
                {"given in one " + shorter.words: longer.most, "stopped by": longer.name},
            )


def _within(shorter: Limit, longer: Limit) -> bool:
    if isinstance(shorter.per, timedelta) and isinstance(longer.per, timedelta):
        return shorter.per < longer.per
    return (shorter.per, longer.per) in _WITHIN


def _nothing(group: Sequence[Limit], way: Way) -> Iterator[Finding]:
    for at, limit in enumerate(group):
        if limit.most == 0:
            yield warning(
                "limit_of_nothing",
                (*way, at),
                f"{limit.name} allows nothing: nobody that it is for gets a lead",
                "Write a number above 0, or pause those who are to get none.",
                {"given in one " + limit.words: 0},
            )


def _used_up(policy: Policy, known: People, now: datetime) -> Iterator[Finding]:
    """Limits of which more is used by now, in the windows of now, than they allow."""
    if not policy.is_limited:
        return
    over: dict[tuple[Way, str], dict[str, tuple[int, int, str]]] = {}
    for at, pool in enumerate(policy.pools):
        uses = known.used.get(pool.market)
        for member in known.active(pool.market) if uses else ():
            bound = bound_of(policy, member.id, member.tier, member.attributes)
            for one in checks_of(bound, policy.limits, pool.name, pool.limits, now):
                have = used(uses or {}, one.counter, one.bucket, one.buckets)
                if one.limit and not one.percent and have > one.most:
                    way = _place_of(one, pool, at, bound)
                    over.setdefault((way, one.limit), {}).setdefault(one.counter, (have, one.most, member.key))
    for (way, limit), found in over.items():
        have, most, key = max(found.values(), key=lambda one: one[0] - one[1])
        yield warning(
            "limit_below_held",
            way,
            f"{limit} allows {most}, and {have} are used by now: by {listed([_whose(*one) for one in found.items()])}",
            "Nothing is taken back: nothing new comes there until the window has moved on.",
            {"member.key": key, "limit": limit, "used": have, "most": most},
        )


def _place_of(one: Check, pool: Pool, at: int, bound: Bound) -> Way:
    """Where a limit stands in the document."""
    if one.counter.removeprefix(KEPT).startswith(f"{pool.name}/"):
        return ("pools", at, "limits")
    return ("tiers",) if one.limit in {limit.name for limit in bound.tier} else ("limits",)


def _whose(counter: str, worst: tuple[int, int, str]) -> str:
    """Whom a counter counts: a member by its key, a network by its name, or the pool."""
    _, _, whose = counter.rpartition("/")
    return worst[2] if whose.startswith("m") else f"the network {whose[1:]}" if whose.startswith("n") else "the pool"


def _shares(policy: Policy, known: People) -> Iterator[Finding]:
    for place, pool in enumerate(policy.pools):
        members = len(known.active(pool.market))
        for at, limit in enumerate(pool.limits):
            if not limit.percent or not members or limit.percent * members > 100:
                continue
            tell = warning if limit.percent * members < 100 else note
            yield tell(
                "share_too_small",
                ("pools", place, "limits", at),
                f"{members} members with {limit.percent} % each come to {limit.percent * members} %: leads wait "
                "once all have their share",
                f"Write a share above {100 // members} %, or let more members take part.",
                lead_of(pool, policy) | {"members": members},
            )


def _too_heavy(policy: Policy, known: People, examples: Mapping[int, Example]) -> Iterator[Finding]:
    for at, example in sorted(examples.items()):
        course = example.course
        if course is None or course.pool is None or course.units == 1:
            continue
        members = known.active(course.pool.market)
        most = max((capacity(member, policy) for member in members), default=0)
        if members and course.units > most:
            yield warning(
                "lead_too_heavy",
                ("rules", at, "then", "units") if at >= 0 else ("default", "units"),
                f"such a lead weighs {course.units} units, and no member of {course.pool.market} may hold more than "
                f"{most}",
                f"Write units: {most} or less, or give somebody more capacity.",
                example.lead,
            )
