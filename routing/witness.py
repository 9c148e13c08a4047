"""Leads that show what a rulebook does: a rule gets one, an earlier rule takes one away, two rules want one.

Or the proof that there is none. Each is found by a search through the values at which conditions change
(routing/space.py) and then given to the real rulebook; what it says is what is told. A rule that takes the lead away
before it gets to the one in question is added to what must not hold, and the search goes on, until the rule is reached
or nothing is left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Any

from routing.course import Course, Way
from routing.formula import MISSING, OPEN, YES, Formula, formula, said, truth
from routing.look import AREA, Look
from routing.rules import From, Rule, Rulebook
from routing.space import STANDARD_DOMAINS, Budget, Domain, Search
from routing.tables import Table

#: Looks at one rule, before it is left open whether a lead reaches it; and leads given to the rulebook.
LOOKS, TRIES = 20_000, 200
#: Looks at one rule of very many.
FEWEST = 300
#: What it costs to ask the rulebook of a lead, in looks.
_A_TRY = 50
#: Rows of a table, and areas, that are tried as what a lead may be.
MOST_PINS = 100
_DEFAULT = -1
#: What the rulebook works out by itself.
_CLOCK = frozenset({"now", "lead.age_hours"})
#: Places that are in no area, most likely.
_FAR_OUT = ((-60.0, -140.0), (60.0, 179.0))


class Reach(StrEnum):
    """Whether a lead gets to a rule."""

    REACHED = "reached"
    SHADOWED = "shadowed"  # proven: every lead that it matches is taken by rules before it
    NEVER = "never"  # proven: it matches no lead
    OPEN = "open"  # none was found, and none was ruled out


@dataclass(frozen=True, slots=True)
class Example:
    """One lead, and what the rulebook says of it."""

    facts: Mapping[str, Any]
    course: Course | None
    shown: frozenset[str] = frozenset()  # the facts that matter; the others are as usual

    @property
    def lead(self) -> dict[str, Any]:
        """The facts that matter, as they are written in a document."""
        return {name: written(value) for name, value in sorted(self.facts.items()) if name in self.shown}


def written(value: Any) -> Any:
    """A fact's value as JSON holds it."""
    return value.isoformat() if isinstance(value, datetime) else value


@dataclass(frozen=True, slots=True)
class Found:
    """What a search for a lead of one rule came to."""

    reach: Reach
    example: Example | None = None  # that reaches it; else, of a shadowed one, that it would match
    by: tuple[str, ...] = ()  # the rules that take its leads
    tries: int = 0


@dataclass(frozen=True, slots=True)
class NearMiss:
    """How a rule comes to match nothing."""

    example: Example
    misses: str  # the part of its condition that this lead does not meet
    met: bool  # whether it meets another part; else the one it misses is impossible by itself
    limited: tuple[str, ...]  # facts of that part which have known values only


@dataclass
class Witnesses:
    """Searches one rulebook; `looks` bounds the work of all searches together."""

    book: Rulebook
    countries: frozenset[str] = frozenset()  # that leads may be in; empty: not known
    home: str = "US"  # where a lead is unless a rule asks
    now: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)
    looks: int = 3_000_000  # some ten seconds of a processor
    _formulas: dict[int, Formula] = field(default_factory=dict, init=False)
    _found: dict[int, Found] = field(default_factory=dict, init=False)
    _rows: dict[tuple[str, ...], list[dict[str, Any]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.budget = Budget(self.looks)
        # Of thousands of rules each has its share, so that the last ones are looked at as well.
        self._each = min(LOOKS, max(FEWEST, self.looks // max(1, len(self.book.rules))))
        self._at = {rule.name: place for place, rule in enumerate(self.book.rules)}
        around = self.book.around
        derived = [name for name in around.vocabulary.kinds if name.partition(".")[0] in {*around.tables, "area"}]
        self._kinds = {name: kind for name, kind in around.vocabulary.kinds.items() if name not in derived}
        country = Domain(self.countries or None, always=True, usual=self.home)
        moment = Domain(always=True, usual=self.now)
        self._domains = {**STANDARD_DOMAINS, "now": moment, "lead.received_at": moment, "lead.country": country}
        self._usual = {name: one.usual for name, one in self._domains.items() if one.always and name not in _CLOCK}

    def reach(self, place: int) -> Found:
        """Whether any lead gets to the rule at this place, shown by one where there is one."""
        if place not in self._found:
            self._found[place] = self._searched(place)
        return self._found[place]

    def _searched(self, place: int) -> Found:
        first = self._reach(place, {})
        if first.reach is not Reach.OPEN:
            return first
        tries = first.tries
        for pin in islice(self._pins([self.formula(place)]), MOST_PINS):
            found = self._reach(place, pin)
            tries += found.tries
            if found.reach is Reach.REACHED:
                return replace(found, tries=tries)
        return replace(first, tries=tries)

    def default(self) -> Found:
        """Whether any lead is left to the default."""
        return self.reach(_DEFAULT)

    def near_miss(self, place: int) -> "NearMiss | None":
        """Of a rule that matches no lead: a lead that meets what it asks up to a point, and what it does not meet."""
        met: list[Formula] = []
        example = self.example({})
        for part in self.formula(place).parts:
            lead = next(self._leads([*met, part], []), None)
            if lead is None:
                names = [fact for fact in sorted(part.facts) if self.known(fact) is not None]
                return NearMiss(example, said(part.node) if part.node else "", bool(met), tuple(names))
            met, example = [*met, part], self._example(lead)
        return None

    def overlap(self, early: int, late: int) -> Example | None:
        """A lead that both rules match, the earlier decides, and each would have others without the other.

        None when there is none, or when one of the two is a special case of the other: that is how exceptions are
        written.
        """
        both, one, other = [self.formula(early), self.formula(late)], self.formula(early), self.formula(late)
        example = self._first(both, [], lambda look: self._holds(early, look) and self._holds(late, look), early)
        if example is None:
            return None
        if not self._first([one], [other], lambda look: not self._holds(late, look) and self._holds(early, look)):
            return None
        if not self._first([other], [one], lambda look: not self._holds(early, look) and self._holds(late, look)):
            return None
        return example

    def ask(self, facts: Mapping[str, Any]) -> Course | None:
        """What the rulebook says of these facts; `now` among them is the clock."""
        given = dict(facts)
        now = given.pop("now", self.now)
        return self.book.course(given, now)

    def known(self, fact: str) -> frozenset[Any] | None:
        """The only values that leads have of this fact; None when they may have others."""
        return self._domains.get(fact, Domain()).values

    def formula(self, place: int) -> Formula:
        """The condition of a rule as the search sees it; the default's is always true."""
        found = self._formulas.get(place)
        if found is None:
            when = None if place == _DEFAULT else self.book.rules[place].when
            found = self._formulas[place] = truth(True) if when is None else formula(when.tree)
        return found

    def _reach(self, place: int, pin: Mapping[str, Any]) -> Found:
        blockers: dict[int, Formula] = {}
        taken: Example | None = None
        tries, budget = 0, Budget(min(self._each, self.budget.left))
        start = budget.left
        while True:
            search = Search(
                [self.formula(place)], list(blockers.values()), self._kinds, self._domains, budget, dict(pin)
            )
            further, found_any = False, False
            for lead in search.leads():
                found_any, tries = True, tries + 1
                example = self._example(lead)
                blocker = self._blocker(place, example)
                if blocker is None:
                    self._spent(start - budget.left)
                    return Found(Reach.REACHED, example, self._names(blockers), tries)
                if blocker != place and blocker not in blockers:
                    taken = taken or (example if self._matches(place, example) else None)
                    blockers[blocker], further = self._blocking(blocker), True
                    break
                if tries >= TRIES:
                    break
            if further:
                continue
            self._spent(start - budget.left)
            if found_any or not search.exhausted or pin:
                return Found(Reach.OPEN, taken, self._names(blockers), tries)
            reach = Reach.SHADOWED if blockers else Reach.NEVER
            return Found(reach, taken, self._names(blockers), tries)

    def _spent(self, looks: int) -> None:
        self.budget.left -= looks

    def _names(self, blockers: Mapping[int, Formula]) -> tuple[str, ...]:
        return tuple(self.book.rules[place].name for place in sorted(blockers))

    def _blocker(self, place: int, example: Example) -> int | None:
        """The rule that takes this lead before it gets to `place`; None: it gets there. Itself: it does not match."""
        course = example.course
        if place == _DEFAULT:
            reached = course is None or course.rule == "default"
            return None if reached else self._at[course.rule] if course else place
        heard = set() if course is None else {course.rule, *course.passed}
        if self.book.rules[place].name in heard:
            return None
        before = [self._at[name] for name in heard if name in self._at and self._at[name] < place]
        stops = [at for at in before if stops_here(self.book.rules[at])]
        return min(stops) if stops else place

    def _blocking(self, place: int) -> Formula:
        """What must not hold, so that this rule takes no lead away; one that may find nothing may let it go."""
        rule, one = self.book.rules[place], self.formula(place)
        if not may_find_nothing(rule):
            return one
        test = one.test
        return replace(one, test=lambda settled: OPEN if test(settled) == YES else test(settled))

    def _matches(self, place: int, example: Example) -> bool:
        return place == _DEFAULT or self._holds(place, self._look(example.facts))

    def _holds(self, place: int, look: Look) -> bool:
        when = self.book.rules[place].when
        return when is None or look.holds(when)

    def _look(self, facts: Mapping[str, Any]) -> Look:
        given = dict(facts)
        now = given.pop("now", self.now)
        return Look(self.book.around, given, now)

    def _first(
        self, wanted: Sequence[Formula], unwanted: Sequence[Formula], fits: Any, decider: int | None = None
    ) -> Example | None:
        """The first lead found of which the real conditions say the same, and which `decider`, if any, decides."""
        for lead in islice(self._leads(wanted, unwanted), TRIES):
            example = self._example(lead)
            if not fits(self._look(example.facts)):
                continue
            if decider is None or (example.course and example.course.rule == self.book.rules[decider].name):
                return example
        return None

    def _leads(self, wanted: Sequence[Formula], unwanted: Sequence[Formula]) -> Iterator[dict[str, Any]]:
        for pin in [{}, *islice(self._pins(wanted), 10)]:
            budget = Budget(min(self._each, self.budget.left))
            start = budget.left
            yield from islice(Search(wanted, unwanted, self._kinds, self._domains, budget, pin).leads(), TRIES)
            self._spent(start - budget.left)

    def _example(self, lead: Mapping[str, Any]) -> Example:
        return self.example({name: value for name, value in lead.items() if value is not MISSING})

    def example(self, given: Mapping[str, Any]) -> Example:
        """A lead with these facts, and the others that every lead has as usual."""
        self.budget.left -= _A_TRY
        facts = {**self._usual, **given}
        return Example(facts, self.ask(facts), frozenset({*given, "lead.country"}))

    def _pins(self, wanted: Sequence[Formula]) -> Iterator[dict[str, Any]]:
        """Facts that lead to rows of the tables, and into the areas, that these conditions ask about."""
        names = sorted(frozenset().union(*(one.facts for one in wanted)))
        constants = frozenset().union(*(values for one in wanted for values in one.cuts.values()))
        for name, table in self.book.around.tables.items():
            columns = tuple(n.partition(".")[2] for n in names if n.startswith(f"{name}."))
            if columns:
                rows = self._rows_of(table, columns)
                yield from sorted(rows, key=lambda row: not constants.intersection(map(str, row.values())))
        asked = [name.removeprefix(AREA) for name in names if name.startswith(AREA)]
        if self.book.around.areas is not None and asked:
            for lat, lon in _FAR_OUT:
                yield {"lead.latitude": lat, "lead.longitude": lon}
            for name in asked:
                place = self.book.around.areas.some_place(name)
                if place is not None:
                    yield {"lead.latitude": place[0], "lead.longitude": place[1]}

    def _rows_of(self, table: Table, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """The facts that lead to one row of each combination of values in these columns."""
        key = (table.name, *columns)
        if key not in self._rows:
            places = [list(table.columns).index(column) for column in columns]
            seen: dict[tuple[object, ...], tuple[str, ...]] = {}
            for row_key, row in table.rows.items():
                seen.setdefault(tuple(row[at] for at in places), row_key)
                if len(seen) >= MOST_PINS:
                    break
            self._rows[key] = [pin for found in seen.values() if (pin := self._facts_of(table, found))]
        return self._rows[key]

    def _facts_of(self, table: Table, key: tuple[str, ...]) -> dict[str, Any]:
        """Facts that have this key; {} when no lead can have it."""
        facts: dict[str, Any] = {}
        for part, text in zip(table.key, key, strict=True):
            known = self._domains.get(part.fact, Domain()).values
            raw = next((v for v in known if str(v).casefold() == text), None) if known else text
            value = self.book.around.vocabulary.read({part.fact: raw}, (part.fact,)).get(part.fact)
            if value is None:
                return {}
            facts[part.fact] = value
        return facts


def stops_here(rule: Rule) -> bool:
    """Whether no rule after this one is asked, when it matches."""
    then = rule.then
    return not (then.way is None if then.goes_on is None else then.goes_on)


def may_find_nothing(rule: Rule) -> bool:
    """Whether it lets a lead pass that it matches, as its look-up has no answer."""
    needs = rule.then.way in (Way.POOL, Way.OWNER, Way.HOLD)
    return needs and (rule.then.by_country or isinstance(rule.then.target, From))
