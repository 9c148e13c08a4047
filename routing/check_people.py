"""Checks of a policy against the roster it is for: who there is, what they have, what they hold."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from routing.check_pools import Lead, lead_of
from routing.course import Skill, Way
from routing.distance import metres_many
from routing.finding import Finding, listed, note, warning
from routing.fit import meets
from routing.limits import Uses
from routing.member import Member, Roster
from routing.policy import METRES, Policy, Pool
from routing.rules import From
from routing.witness import Example

#: Places that rings are tried around.
MOST_PLACES = 200
#: The part of a market that a first ring may hold before it is no ring any more, from so many members on.
MOST_OF_MARKET, MEMBERS = 0.8, 10


@dataclass(frozen=True)
class People:
    """The rosters by market, how many leads each member holds, and what is used of each market's limits."""

    rosters: Mapping[str, Roster]
    held: Mapping[int, int] = field(default_factory=dict)
    used: Mapping[str, Uses] = field(default_factory=dict)
    _active: dict[str, list[Member]] = field(default_factory=dict, init=False)

    def active(self, market: str) -> list[Member]:
        """The members of a market who take part, with what is known of them."""
        if market not in self._active:
            roster = self.rosters.get(market)
            self._active[market] = [m for m in roster if m.active] if roster is not None else []
        return self._active[market]

    def everyone(self) -> Iterator[Member]:
        """All members of all markets."""
        for roster in self.rosters.values():
            yield from roster

    def keys(self) -> frozenset[str]:
        """The keys of all members."""
        return frozenset(key for roster in self.rosters.values() for key in roster.columns.key)


def people(policy: Policy, known: People, examples: Mapping[int, Example]) -> Iterator[Finding]:
    """What is to be said about a policy and those it is for; `examples`: a lead of each rule, by its place."""
    for at, pool in enumerate(policy.pools):
        members, lead = known.active(pool.market), lead_of(pool, policy)
        if members:
            yield from _too_few(pool, at, members, lead)
            yield from _ladder(pool, at, members, lead)
            yield from _rings(pool, at, members, lead)
        yield from _empty(pool, at, members, policy)
    yield from _tiers(policy, known)
    yield from _held(policy, known)
    yield from _skills(known, examples)
    yield from _named(policy, known, examples)


def _empty(pool: Pool, at: int, members: Sequence[Member], policy: Policy) -> Iterator[Finding]:
    lead = lead_of(pool, policy)
    if not members:
        yield warning(
            "empty_pool",
            ("pools", at),
            f"no active member is in the market {pool.market}: every lead of {pool.name} waits",
            f"Import members of {pool.market}, or name the market that they are in.",
            lead,
        )
        return
    if all(capacity(member, policy) == 0 for member in members):
        yield warning(
            "empty_pool",
            ("pools", at),
            f"none of the {len(members)} members of {pool.market} may hold a lead: every lead of {pool.name} waits",
            "Give their tiers a capacity above 0.",
            lead,
        )
    countries = {member.country for member in members if member.country}
    if pool.countries and countries and not countries & pool.countries:
        yield warning(
            "nobody_in_reach",
            ("pools", at, "countries"),
            f"no active member of {pool.market} is in {listed(sorted(pool.countries))}; they are in "
            f"{listed(sorted(countries))}",
            "Import members there, or serve these countries from another pool.",
            lead,
        )


def capacity(member: Member, policy: Policy) -> int:
    """How many leads a member may hold at once."""
    return policy.tier(member.tier).capacity if member.capacity is None else member.capacity


def _too_few(pool: Pool, at: int, members: Sequence[Member], lead: Lead) -> Iterator[Finding]:
    asked = [rung.tiers for rung in pool.answering.ladder]
    tiers = frozenset().union(*asked) if asked and all(asked) else None
    count = sum(tiers is None or member.tier in tiers for member in members)
    attempts = pool.reassignments + 1
    if attempts > count > 0:
        yield warning(
            "attempts_beyond_members",
            ("pools", at, "reassignments"),
            f"a lead may be offered {attempts} times, and {pool.name} has {count} members to offer it to",
            f"Write reassignments: {max(count - 1, 0)}, or let more members take part.",
            lead | {"lead.attempt": count + 1, "lead.moves": count},
        )
    if pool.answering.fan_out > count > 0:
        yield warning(
            "fan_out_beyond_members",
            ("pools", at, "answers", "fan_out"),
            f"{pool.answering.fan_out} members are asked at once, and {pool.name} has {count}",
            f"Write fan_out: {count} or less.",
            lead,
        )


def _ladder(pool: Pool, at: int, members: Sequence[Member], lead: Lead) -> Iterator[Finding]:
    tiers = {member.tier for member in members}
    for number, rung in enumerate(pool.answering.ladder):
        if rung.tiers and not rung.tiers & tiers:
            yield warning(
                "rung_with_nobody",
                ("pools", at, "answers", "ladder", number),
                f"attempt {number + 1} asks {listed(sorted(rung.tiers))}, and no active member of {pool.market} is "
                "of that tier",
                "Ask a tier that somebody is in, or take the rung out.",
                lead | {"lead.moves": number},
            )


def _rings(pool: Pool, at: int, members: Sequence[Member], lead: Lead) -> Iterator[Finding]:
    """Whether even where the fewest members are near, the first ring holds nearly all of them."""
    places = [(member.id, place) for member in members for place in member.places[:1]]
    if len(places) < MEMBERS:
        return
    lats = np.array([place.lat for _, place in places])
    lons = np.array([place.lon for _, place in places])
    radius = pool.rings.radii[0] * METRES[pool.rings.unit]
    step = max(1, len(places) // MOST_PLACES)
    fewest, where = len(places), places[0][1]
    for _, place in places[::step]:
        near = int(np.count_nonzero(metres_many(place.lat, place.lon, lats, lons) <= radius))
        if near <= fewest:
            fewest, where = near, place
    if fewest > MOST_OF_MARKET * len(places):
        yield warning(
            "first_ring_too_wide",
            ("pools", at, "rings"),
            f"within {pool.rings.radii[0]:g} {pool.rings.unit} of any member are at least {fewest} of {len(places)}: "
            "the other rings make no difference, and near members have the turns of far ones",
            "Begin with a smaller ring, or take the others out.",
            lead | {"lead.latitude": where.lat, "lead.longitude": where.lon},
        )


def _tiers(policy: Policy, known: People) -> Iterator[Finding]:
    count = Counter(member.tier for member in known.everyone())
    for at, name in enumerate(policy.tiers):
        if not count[name]:
            yield note(
                "tier_with_nobody",
                ("tiers", at),
                f"no member is of the tier {name}",
                "Check how the tier is written in the roster, or take it out.",
                {"member.tier": name},
            )
    for name in sorted(count):
        if name not in policy.tiers and policy.tiers:
            example = next(member.key for member in known.everyone() if member.tier == name)
            yield note(
                "tier_not_named",
                ("tiers",),
                f"{count[name]} members are of the tier {name or '(none)'}, which is not named: default_tier holds for "
                "them",
                "Name it under tiers, or leave it so.",
                {"member.tier": name, "member.key": example},
            )


def _held(policy: Policy, known: People) -> Iterator[Finding]:
    over = [m for m in known.everyone() if known.held.get(m.id, 0) > capacity(m, policy)]
    if over:
        worst = max(over, key=lambda m: known.held[m.id] - capacity(m, policy))
        yield warning(
            "limit_below_held",
            ("tiers",),
            f"{len(over)} members hold more leads than they may by this policy: {listed([m.key for m in over])}",
            "Nothing is taken from them: they get no new lead until they hold fewer.",
            {
                "member.key": worst.key,
                "member.open": known.held[worst.id],
                "member.capacity": capacity(worst, policy),
            },
        )


def _skills(known: People, examples: Mapping[int, Example]) -> Iterator[Finding]:
    """Sets of skills that a rule asks of members, and that nobody of the pool has."""
    told: set[tuple[object, ...]] = set()
    for at, example in sorted(examples.items()):
        course = example.course
        pool = course.pool if course else None
        if course is None or pool is None or not course.skills:
            continue
        key = (pool.name, course.skills)
        members = known.active(pool.market)
        if key in told or not members or _anybody(course.skills, members):
            continue
        told.add(key)
        relaxes = any(step.drop for step in pool.relax)
        lasting = [s for s in course.skills if s.drop_after is None and (s.required or not relaxes)]
        for_good = not _anybody(lasting, members)
        yield warning(
            "skills_nobody_has",
            ("rules", at, "then", "skills") if at >= 0 else ("default", "skills"),
            f"no active member of {pool.market} has {_asked(course.skills)}"
            + (": such a lead waits for good" if for_good else ": such a lead waits until less is asked for"),
            "Check how it is written in the roster, or ask for less.",
            example.lead,
        )


def _anybody(skills: Sequence[Skill], members: Sequence[Member]) -> bool:
    return any(all(meets(m.attributes.get(skill.name), skill.wanted) for skill in skills) for m in members)


def _asked(skills: Sequence[Skill]) -> str:
    return " and ".join(f"{skill.name} {skill.wanted}" for skill in skills)


def _named(policy: Policy, known: People, examples: Mapping[int, Example]) -> Iterator[Finding]:
    """Members that rules and tables name, and the roster does not."""
    book = policy.rulebook
    if book is None:
        return
    keys = known.keys()
    for at, rule in enumerate(book.rules):
        asked = {"owner": rule.then.target if rule.then.way is Way.OWNER else "", "preferred": rule.then.preferred}
        for word, key in asked.items():
            way = ("rules", at, "then", word)
            if isinstance(key, From):
                yield from _named_in(policy, key, keys, way)
            elif key and key not in keys:
                yield warning(
                    "unknown_member",
                    way,
                    f"{rule.name} names the member {key}, who is not in the roster",
                    "Write the member's key as it was imported.",
                    examples[at].lead if at in examples else None,
                )


def _named_in(policy: Policy, said: From, keys: frozenset[str], way: tuple[str | int, ...]) -> Iterator[Finding]:
    head, _, column = said.name.partition(".")
    table = policy.rulebook.around.tables.get(head) if policy.rulebook else None
    if table is None:
        return
    at = list(table.columns).index(column)
    unknown = {str(row[at]): key for key, row in table.rows.items() if row[at] and str(row[at]) not in keys}
    if unknown:
        first = min(unknown)
        yield warning(
            "unknown_member",
            way,
            f"the table {head} names {listed(sorted(unknown))} under {column}, who are not in the roster",
            "Write the members' keys as they were imported.",
            dict(zip((part.fact for part in table.key), unknown[first], strict=True)),
        )
