"""Checks of the rules: which of them get no lead, which two want the same one, what is looked up that is not there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from routing.course import Course, Way
from routing.finding import Finding, error, listed, note, warning
from routing.policy import Policy
from routing.rules import From, Rule, Rulebook, Then
from routing.tables import Table
from routing.witness import Example, Found, NearMiss, Reach, Witnesses

#: Of more rules than this, two are only compared where a lead was found that both match.
ALL_PAIRS = 120
#: Findings of one kind, before the rest is only counted.
MOST_TOLD = 50
_REWRITE = {
    "lead.country": "Write countries as ISO 3166 codes, such as GB.",
    "lead.precision": "It is exact, street, postal, city, region or country.",
}
_CHANGE = "Change the condition, or take the rule out."


def rules(policy: Policy, searched: Witnesses) -> Iterator[Finding]:
    """What is to be said about the rules of a policy."""
    book = searched.book
    found = [searched.reach(at) for at in range(len(book.rules))]
    yield from _capped("unreached", (one for at, each in enumerate(found) for one in _reach(at, each, searched)))
    yield from _capped("contradictory_overlap", _overlaps(found, searched))
    yield from _default(book, searched)
    yield from _pools_left_out(policy, book, found)
    yield from _dead_rows(book, searched)


def _capped(code: str, found: Iterator[Finding]) -> Iterator[Finding]:
    told = 0
    for one in found:
        told += 1
        if told <= MOST_TOLD:
            yield one
    if told > MOST_TOLD:
        yield note(f"more_{code}", ("rules",), f"{told - MOST_TOLD} more of this kind", "Mend those above first.")


def _reach(at: int, found: Found, searched: Witnesses) -> Iterator[Finding]:
    name, way = searched.book.rules[at].name, ("rules", at)
    if found.reach is Reach.SHADOWED:
        takes = found.example.course.rule if found.example and found.example.course else found.by[0]
        yield warning(
            "unreachable_rule",
            way,
            f"{name} gets no lead: all that it matches are taken by {listed(found.by)}, such as this one by {takes}",
            f"Move {name} above {takes}, narrow {takes}, or take {name} out.",
            found.example.lead if found.example else None,
        )
    elif found.reach is Reach.NEVER:
        near = searched.near_miss(at)
        yield warning(
            "impossible_rule",
            (*way, "when"),
            f"{name} matches no lead there can be{_because(near)}",
            next((_REWRITE[fact] for fact in near.limited if fact in _REWRITE), _CHANGE) if near else _CHANGE,
            near.example.lead if near else None,
        )
    elif found.reach is Reach.OPEN:
        yield note(
            "unproven_rule",
            way,
            f"no lead that {name} decides was found in {found.tries} tries; it may get some all the same",
            "Write an example for it, which every check tries.",
            found.example.lead if found.example else None,
        )


def _because(near: NearMiss | None) -> str:
    if near is None:
        return ""
    return f": {near.misses} is never so together with the rest" if near.met else f": none has {near.misses}"


def _overlaps(found: list[Found], searched: Witnesses) -> Iterator[Finding]:
    book = searched.book
    destinations = [destination(rule.then) for rule in book.rules]
    for early, late in _pairs(found, searched):
        if None in (destinations[early], destinations[late]) or destinations[early] == destinations[late]:
            continue
        if Reach.REACHED not in (found[late].reach, found[early].reach):
            continue
        example = searched.overlap(early, late)
        if example is None:
            continue
        first, second = book.rules[early], book.rules[late]
        yield warning(
            "contradictory_overlap",
            ("rules", late),
            f"{first.name} and {second.name} both match this lead; it goes {said(first.then)}, "
            f"as {first.name} is the first, and not {said(second.then)}",
            f"Say in one of them what tells the two apart, or leave it so if {first.name} is meant to win.",
            example.lead,
        )


def _pairs(found: list[Found], searched: Witnesses) -> Iterator[tuple[int, int]]:
    """The pairs of rules to compare, earlier first: all of a few, of many those that met on a lead."""
    if len(found) <= ALL_PAIRS:
        yield from combinations(range(len(found)), 2)
        return
    at = {rule.name: place for place, rule in enumerate(searched.book.rules)}
    for late, one in enumerate(found):
        for name in one.by[:MOST_TOLD]:
            if at[name] < late:
                yield at[name], late


def destination(then: Then) -> tuple[object, ...] | None:
    """Where a rule sends its leads; None when it sends them nowhere."""
    return None if then.way is None else (then.way, then.target, then.by_country)


def said(then: Then) -> str:
    """Where a rule sends its leads, in words."""
    target = f"what {then.target.name} says" if isinstance(then.target, From) else then.target
    if then.way is Way.POOL:
        return "to the pool of its country" if then.by_country else f"to the pool {target}"
    words = {Way.OWNER: "to the owner", Way.HOLD: "into the basket"}
    return f"{words.get(then.way, 'to')} {target or then.way}" if then.way in words else f"to {then.way}"


def _default(book: Rulebook, searched: Witnesses) -> Iterator[Finding]:
    found = searched.default()
    if found.reach is Reach.SHADOWED and book.rules:
        yield note(
            "dead_default",
            ("default",),
            f"no lead is left to the default: {listed(found.by)} take all, such as this one",
            "Nothing needs to be done if that is meant: the default stays for rules to come.",
            found.example.lead if found.example else None,
        )


def _pools_left_out(policy: Policy, book: Rulebook, found: list[Found]) -> Iterator[Finding]:
    live = [rule.then for rule, one in zip(book.rules, found, strict=True) if one.reach in (Reach.REACHED, Reach.OPEN)]
    named = _named_pools([*live, book.default], policy, book)
    named |= {pool.overflow.target for pool in policy.pools if str(pool.overflow.then) == "pool"}
    for at, pool in enumerate(policy.pools):
        if named and pool.name not in named:
            yield warning(
                "pool_without_rule",
                ("pools", at),
                f"no rule sends a lead to the pool {pool.name}, and neither does the default",
                "Send some there, such as then: {pool: " + pool.name + "}, or take the pool out.",
                {"lead.country": min(pool.countries)} if pool.countries else None,
            )


def _named_pools(thens: list[Then], policy: Policy, book: Rulebook) -> set[str]:
    """The pools that some rule may send leads to; empty when they are named by a fact, so that it may be any."""
    named: set[str] = set()
    for then in thens:
        if then.by_country:
            return {pool.name for pool in policy.pools}
        if then.way is not Way.POOL:
            continue
        if isinstance(then.target, str):
            named.add(then.target)
        elif (cell := _column(book, then.target)) is None:
            return set()
        else:
            named |= {str(row[cell[1]]) for row in cell[0].rows.values() if row[cell[1]]}
    return named or {""}


def _column(book: Rulebook, said: From) -> tuple[Table, int] | None:
    head, _, column = said.name.partition(".")
    table = book.around.tables.get(head)
    return None if table is None else (table, list(table.columns).index(column))


def _dead_rows(book: Rulebook, searched: Witnesses) -> Iterator[Finding]:
    """Rows of tables whose key no lead can have: a country that is written otherwise, mostly."""
    for name, table in book.around.tables.items():
        for at, part in enumerate(table.key):
            known = searched.known(part.fact)
            if known is None or part.first is not None or part.beginning:
                continue
            there = {str(value).casefold() for value in known}
            dead = sorted({key[at] for key in table.rows if key[at] not in there})
            if dead:
                yield warning(
                    "dead_rows",
                    ("tables", name),
                    f"no lead has {part.fact} {listed([repr(one) for one in dead], 5)}, as rows of {name} have",
                    _REWRITE.get(part.fact, "Mend them, or take them out."),
                    {part.fact: dead[0]},
                )


@dataclass(frozen=True, slots=True)
class Expected:
    """What somebody expects of a lead."""

    match: bool | None = None
    said: Mapping[str, Any] | None = None  # pool, owner, hold, way, priority


@dataclass(frozen=True, slots=True)
class Stored:
    """An example as it is stored with a rule."""

    rule: int
    number: int
    facts: Mapping[str, Any]
    expected: Expected


def examples(stored: list[Stored], searched: Witnesses) -> Iterator[Finding]:
    """An error for each stored example that comes out otherwise."""
    for one in stored:
        rule, example = searched.book.rules[one.rule], searched.example(one.facts)
        trouble = _trouble(rule, one.expected, example)
        if trouble:
            yield error(
                "failing_example",
                ("rules", one.rule, "examples", one.number),
                f"the example of {rule.name} fails: {trouble}",
                "Mend the rules, or the example if it is wrong.",
                example.lead,
            )


def _trouble(rule: Rule, expected: Expected, example: Example) -> str | None:
    course = example.course
    heard = () if course is None else (course.rule, *course.passed)
    by = course.rule if course else "no rule, as no pool serves its country"
    if expected.match is True and rule.name not in heard:
        return f"{by} decides on it"
    if expected.match is False and rule.name in heard:
        return "the rule matches it"
    for name, wanted in (expected.said or {}).items():
        have = _heard(name, course)
        if have != wanted:
            return f"{name} is {have!r} by {by}, and {wanted!r} is expected"
    return None


def _heard(name: str, course: Course | None) -> Any:
    if course is None:
        return None
    if name == "way":
        return str(course.way)
    if name == "pool":
        return course.pool.name if course.pool else None
    if name in ("owner", "hold"):
        return course.target if str(course.way) == name else None
    return getattr(course, name)
