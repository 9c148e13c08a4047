"""Checks of the rules: which of them get no lead, which two want the same one, what is looked up that is not there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from routing.course import Course, Way
from routing.finding import Finding, error, listed, note, warning
from routing.policy import Policy
from routing.rules import From, Rule, Rulebook, Then
from routing.tables import Table
from routing.witness import Example, Found, NearMiss, Reach, Witnesses

#: Of more rules than this, two are only compared where a lead was found that both match.
ALL_PAIRS = 120
#: Findings of one kind, before the rest is only counted; overlaps, which often are meant so.
MOST_TOLD, MOST_OVERLAPS = 50, 10
#: Ways that take a lead out before it is anybody's.
_FILTERS = frozenset({Way.IGNORE, Way.QUARANTINE, Way.WAIT})
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
    yield from _capped("contradictory_overlap", _overlaps(found, searched), MOST_OVERLAPS)
    yield from _default(book, searched)
    yield from _pools_left_out(policy, book, found)
    yield from _dead_rows(book, searched)


def _capped(code: str, found: Iterator[Finding], most: int = MOST_TOLD) -> Iterator[Finding]:
    told = 0
    for one in found:
        told += 1
        if told <= most:
            yield one
    if told > most:
        yield note(f"more_{code}", ("rules",), f"{told - most} more of this kind", "Mend those above first.")


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
    """One finding of each rule that shares leads with others before it, which send them elsewhere."""
    book = searched.book
    for late, before in _before(found, searched).items():
        overlapping = [(early, example) for early in before if (example := searched.overlap(early, late)) is not None]
        if not overlapping:
            continue
        early, example = overlapping[0]
        first, second = book.rules[early], book.rules[late]
        names = [book.rules[at].name for at, _ in overlapping]
        others = f"; so do{'es' * (len(names) == 2)} {listed(names[1:])}" if names[1:] else ""
        yield warning(
            "contradictory_overlap",
            ("rules", late),
            f"{first.name} and {second.name} both match this lead; it goes {said(first.then)}, "
            f"as {first.name} is the first, and not {said(second.then)}{others}",
            f"Say in one of them what tells the two apart, or leave it so if {first.name} is meant to win.",
            example.lead,
        )


def _before(found: list[Found], searched: Witnesses) -> dict[int, list[int]]:
    """Of each rule the earlier ones to compare it with: of a few rules all, of many those that met it on a lead.

    What takes leads out ahead, as a filter of test addresses does, is no contradiction to what comes after it.
    """
    thens = [rule.then for rule in searched.book.rules]
    destinations = [destination(then) for then in thens]
    at = {rule.name: place for place, rule in enumerate(searched.book.rules)}
    everyone = len(found) <= ALL_PAIRS
    pairs: dict[int, list[int]] = {}
    for late, one in enumerate(found):
        if one.reach is not Reach.REACHED or destinations[late] is None:
            continue
        pairs[late] = [
            early
            for early in (range(late) if everyone else sorted(at[name] for name in one.by[:MOST_TOLD]))
            if early < late
            and thens[early].way not in _FILTERS
            and destinations[early] not in (None, destinations[late])
            and found[early].reach is Reach.REACHED
        ]
    return pairs


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
