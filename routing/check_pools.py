"""Checks of pools and tiers by themselves: rings, hours, deadlines, ladders, rotations, weights, names."""

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from routing.admission import Then as Overflowing
from routing.finding import Finding, Way, error, listed, note, warning
from routing.hours import deadline
from routing.policy import Hours, Mode, Policy, Pool, PoorPlace, Rings, Scope, Tier, Tiers

#: One ring this many times as wide as the one before: what lies between is searched all at once.
WIDE_STEP = 5.0
#: A deadline that falls this much later is no deadline.
LATE = timedelta(days=14)
_YEAR = timedelta(days=366)
_HOUR = timedelta(hours=1)
#: Of a lead, what tells who somebody is.
PRIVATE = frozenset({"name", "first_name", "last_name", "phone", "mobile", "email", "street", "latitude", "longitude"})

#: What is said of a lead.
Lead = dict[str, object]


def pools(policy: Policy, countries: frozenset[str], now: datetime) -> Iterator[Finding]:
    """What is to be said about the pools and tiers of a policy, whoever is in them."""
    for at, pool in enumerate(policy.pools):
        way: Way = ("pools", at)
        lead = lead_of(pool, policy)
        yield from _rings(pool, way, lead)
        yield from _ladder(pool, way, lead)
        yield from _times(pool, way, lead, now)
        yield from _answers(pool, policy, way, lead)
        yield from _weights(pool, policy, way)
    yield from _countries(policy, countries)
    yield from _rotations(policy)
    yield from _overflows(policy)
    yield from _tiers(policy)
    yield from _names(policy)


def _rings(pool: Pool, way: Way, lead: Lead) -> Iterator[Finding]:
    for rings, where in [(pool.rings, (*way, "rings")), *((r, (*way, "rings_by_country")) for r in _others(pool))]:
        for near, far in pairwise(rings.radii):
            if far > WIDE_STEP * near:
                yield note(
                    "gap_in_rings",
                    where,
                    f"after {near:g} {rings.unit} the search goes on at {far:g} {rings.unit}: a member at its edge has "
                    f"the same turn as one {near:g} {rings.unit} away",
                    f"Put a ring between them, such as {round((near * far) ** 0.5):g}.",
                    lead | {"nearest member": f"{near * 1.01:g} {rings.unit}"},
                )
        if len(rings.radii) == 1 and PoorPlace.WIDER_RING in pool.poor_places.values():
            precision = next(p for p, what in pool.poor_places.items() if what is PoorPlace.WIDER_RING)
            yield warning(
                "no_wider_ring",
                (*way, "poor_places", str(precision)),
                "wider_ring searches from the second ring on, and there is one only",
                "Add a ring, or write centroid or review.",
                lead | {"lead.precision": str(precision)},
            )


def _others(pool: Pool) -> list[Rings]:
    return list(dict.fromkeys(pool.rings_by_country.values()))


def _ladder(pool: Pool, way: Way, lead: Lead) -> Iterator[Finding]:
    most = max(len(rings.radii) for rings in (pool.rings, *pool.rings_by_country.values()))
    ladder = pool.answering.ladder
    for number, rung in enumerate(ladder):
        where = (*way, "answers", "ladder", number)
        if rung.rings is not None and rung.rings > most:
            yield warning(
                "ring_beyond_last",
                where,
                f"attempt {number + 1} looks at {rung.rings} rings, and there are {most}",
                f"Write rings: {most}, or add rings.",
                lead | {"lead.moves": number},
            )
    if len(ladder) > pool.reassignments + 1:
        yield note(
            "rungs_beyond_attempts",
            (*way, "answers", "ladder"),
            f"the ladder has {len(ladder)} rungs and a lead {pool.reassignments + 1} attempts: the last rungs are only "
            "reached where nobody is found before",
            "Allow more reassignments, or shorten the ladder.",
            lead | {"lead.moves": pool.reassignments},
        )


def _times(pool: Pool, way: Way, lead: Lead, now: datetime) -> Iterator[Finding]:
    answering = pool.answering
    if answering.hours is not None:
        yield from _hours(answering.within, answering.hours, (*way, "answers", "hours"), now)
    if answering.hot_within is not None and answering.hot_within > answering.within:
        yield warning(
            "hot_is_slower",
            (*way, "answers", "hot_within"),
            f"a hot lead may be answered in {answering.hot_within}, any other in {answering.within}",
            "Give hot leads less time than others.",
            lead | {"lead.hot": True},
        )
    work = answering.work_within
    if work is not None and work > answering.return_within:
        yield warning(
            "return_ends_first",
            (*way, "answers", "return_within"),
            f"a member may work on a lead for {work}, and give it back for {answering.return_within} only",
            "Let both end together, or the return later.",
            lead
            | {
                "accepted": now.isoformat(),
                "given back until": (now + answering.return_within).isoformat(),
                "worked on until": (now + work).isoformat(),
            },
        )


def _hours(length: timedelta, hours: Hours, way: Way, now: datetime) -> Iterator[Finding]:
    """Whether offers end in a while: from each hour of the next fourteen days, once a year at the least."""
    start = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    worst, due = start, start
    for hour in range(0, 14 * 24, 3):
        at = start + hour * _HOUR
        try:
            end = deadline(at, length, hours)
        except OverflowError:
            end = datetime.max.replace(tzinfo=UTC)
        if end - at > due - worst:
            worst, due = at, end
    witness = {"offered": worst.isoformat(), "ends": due.isoformat()}
    if due - worst > _YEAR:
        yield error(
            "hours_never_open",
            way,
            "an offer does not end within a year: the holidays leave too little working time",
            "Take out holidays, or add working time.",
            witness,
        )
    elif due - worst > LATE:
        yield warning(
            "slow_deadline",
            way,
            f"an offer of {worst:%Y-%m-%d %H:%M} UTC ends after {(due - worst).days} days, as only working time counts",
            "Add working time, or give less time to answer.",
            witness,
        )


def _answers(pool: Pool, policy: Policy, way: Way, lead: Lead) -> Iterator[Finding]:
    answering = pool.answering
    if answering.rejects_a_day == 0:
        yield warning(
            "no_rejections",
            (*way, "answers", "rejects_a_day"),
            "nobody may reject a lead: each has to wait until its time is over",
            "Leave rejects_a_day out, or write a number above 0.",
            lead | {"answer": "reject"},
        )
    told = sorted(PRIVATE.intersection(answering.shown))
    if told:
        yield warning(
            "private_before_accepting",
            (*way, "answers", "shown"),
            f"{listed(told)} can be seen by every member that is asked, also by those who do not accept",
            "Leave out what tells who somebody is: it is shown once the lead is accepted.",
            lead | {"shown": told},
        )
    if pool.tiers is Tiers.RANKED and not policy.tiers:
        yield note(
            "ranked_without_tiers",
            (*way, "tiers"),
            "the best tier goes first, and no tier is named: all are alike",
            "Name the tiers, the best first, or write tiers: blended.",
        )


def _weights(pool: Pool, policy: Policy, way: Way) -> Iterator[Finding]:
    weights = {tier.weight for tier in (*policy.tiers.values(), policy.default_tier)}
    if pool.mode is not Mode.FAIR and len(weights) > 1 and pool.tiers is Tiers.BLENDED:
        heavy = max((*policy.tiers.values(), policy.default_tier), key=lambda tier: tier.weight)
        yield warning(
            "weights_ignored",
            (*way, "mode"),
            f"mode {pool.mode} takes no account of weights, and {heavy.name or 'the default tier'} has "
            f"{heavy.weight / 1000:g}",
            "Write mode: fair, or tiers: ranked if the better tier is to go first.",
            {"member.tier": heavy.name},
        )
    ramp = pool.turns.ramp
    falling = next(((a, b) for a, b in pairwise(ramp) if b.percent < a.percent), None)
    if falling:
        yield warning(
            "falling_ramp",
            (*way, "turns", "ramp"),
            f"a member gets {falling[0].percent} % up to day {falling[0].days} and then only {falling[1].percent} %",
            "Let the percentages rise with the days.",
            {"member.joined days ago": falling[0].days + 1},
        )


def _countries(policy: Policy, countries: frozenset[str]) -> Iterator[Finding]:
    book = policy.rulebook
    if book is None:
        for at, pool in enumerate(policy.pools):
            dead = sorted(c for c in pool.rings_by_country if policy.pool_for(c) is not pool)
            if dead:
                yield warning(
                    "rings_of_another_pool",
                    ("pools", at, "rings_by_country"),
                    f"{pool.name} has rings for {listed(dead)}, and never gets a lead from there",
                    "Take them out, or add the country to the pool.",
                    {"lead.country": dead[0]},
                )
    unserved = sorted(c for c in countries if policy.pool_for(c) is None)
    if unserved and (book is None or book.default.by_country):
        yield note(
            "country_without_pool",
            ("pools",),
            f"no pool takes leads from {listed(unserved)}: a person looks at them",
            "Leave out the countries of one pool, and it takes those of no other.",
            {"lead.country": unserved[0]},
        )


def _rotations(policy: Policy) -> Iterator[Finding]:
    shared: dict[tuple[str, str], list[int]] = {}
    for at, pool in enumerate(policy.pools):
        if pool.scope is Scope.SHARED:
            shared.setdefault((pool.market, pool.rotation), []).append(at)
    for (_, rotation), places in shared.items():
        pool = policy.pools[places[0]]
        if len(places) == 1:
            yield warning(
                "shared_with_nobody",
                ("pools", places[0], "rotation"),
                f"no other pool of the market {pool.market} shares the rotation {rotation}",
                "Name it in another pool of this market as well, or write scope: pool.",
                lead_of(pool, policy),
            )
        other = next((policy.pools[at] for at in places if policy.pools[at].mode is not pool.mode), None)
        if other is not None:
            yield warning(
                "shared_in_two_modes",
                ("pools", places[0], "rotation"),
                f"{pool.name} and {other.name} share the rotation {rotation} in the modes {pool.mode} and {other.mode}",
                "Write the same mode in both.",
                lead_of(other, policy),
            )


def _overflows(policy: Policy) -> Iterator[Finding]:
    """Pools that send what is too much for them round in a circle, or to one of which there is none."""
    after = {p.name: p.overflow.target for p in policy.pools if p.overflow.then is Overflowing.POOL}
    for at, pool in enumerate(policy.pools):
        seen, name = [pool.name], after.get(pool.name)
        while name is not None and name not in seen:
            seen.append(name)
            name = after.get(name)
        if name == pool.name and name == min(seen):
            yield warning(
                "overflow_in_a_circle",
                ("pools", at, "overflow"),
                f"what is too much for {' goes to '.join([*seen, name])}: it comes back to where nobody has room",
                "Let the last of them wait, or ask a person.",
                lead_of(pool, policy),
            )


def _tiers(policy: Policy) -> Iterator[Finding]:
    named: Sequence[tuple[Way, Tier]] = [
        *((("tiers", at), tier) for at, tier in enumerate(policy.tiers.values())),
        (("default_tier",), policy.default_tier),
    ]
    for way, tier in named:
        if tier.capacity == 0:
            yield warning(
                "no_capacity",
                (*way, "capacity"),
                f"members of {tier.name or 'any other tier'} hold no lead at once: they get none",
                "Give a capacity above 0.",
                {"member.tier": tier.name},
            )
    for (_, better), (way, worse) in pairwise(named[:-1]):
        if worse.weight > better.weight:
            yield note(
                "worse_tier_weighs_more",
                (*way, "weight"),
                f"{worse.name} stands below {better.name} and gets more turns",
                "Put the better tier first, or change the weights.",
                {"member.tier": worse.name},
            )


def _names(policy: Policy) -> Iterator[Finding]:
    """Names that look like others: letters of two scripts in a word, or the same but for how they are written."""
    seen: dict[str, str] = {}
    rules = policy.rulebook.rules if policy.rulebook else ()
    named: list[tuple[Way, str]] = [
        *((("pools", at, "name"), pool.name) for at, pool in enumerate(policy.pools)),
        *((("tiers", at, "name"), name) for at, name in enumerate(policy.tiers)),
        *((("rules", at, "name"), rule.name) for at, rule in enumerate(rules)),
    ]
    for way, name in named:
        key = f"{way[0]} {unicodedata.normalize('NFKC', name).casefold()}"
        mixed = [word for word in name.split() if len(scripts(word)) > 1]
        if mixed or (key in seen and not (name + seen[key]).isascii()):
            yield warning(
                "looks_like_another",
                way,
                f"{name!r} mixes letters of {' and '.join(sorted(scripts(mixed[0])))}"
                if mixed
                else f"{name!r} is written like {seen[key]!r}",
                "Write it with letters of one script.",
                {"as it is written": ascii(name)},
            )
        seen[key] = name


def scripts(word: str) -> set[str]:
    """The scripts of the letters of a word, by the first word of their Unicode names."""
    return {unicodedata.name(letter, "?").split()[0] for letter in word if letter.isalpha()}


def lead_of(pool: Pool, policy: Policy) -> Lead:
    """A lead of a country that this pool serves."""
    tried = (*sorted(pool.countries), "US", "CA", "GB", "DE", "FR", "AU", "NZ")
    return next(({"lead.country": country} for country in tried if policy.pool_for(country) is pool), {})
