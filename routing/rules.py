"""The rules of a policy: what they say about a lead, in order; the first that matches and says a thing is heard on it.

A rule that says where a lead goes ends the search, unless it goes on; one that only sets things (a priority, a skill)
lets the search go on, unless it does not. What no rule decided, the default does.
"""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from routing.atoms import ALWAYS
from routing.conditions import Condition
from routing.course import Course, Skill, Way
from routing.look import Look, Surroundings
from routing.policy import Pool
from routing.rule_index import RuleIndex

MICRO = 1_000_000
MOST_UNITS, MOST_TURN, MOST_PRIORITY = 1000, 100 * MICRO, 1_000_000


@dataclass(frozen=True, slots=True)
class From:
    """A value that is looked up for each lead: a fact, or a cell of a table such as `territory.pool`."""

    name: str


Text = str | From
Amount = float | From


@dataclass(frozen=True, slots=True)
class Wanted:
    """A skill as a rule asks for it."""

    name: str
    wanted: str | float | bool | From
    drop_after: timedelta | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Then:
    """What a rule says; None and empty things are left to the rules after it."""

    way: Way | None = None
    target: Text = ""  # a pool, an owner's key, a basket or a reason, by the way
    by_country: bool = False  # the pool that names the lead's country
    wait_for: tuple[str, ...] = ()
    wait_up_to: timedelta | None = None
    priority: Amount | None = None
    hot: bool | From | None = None
    skills: tuple[Wanted, ...] = ()
    preferred: Text = ""
    preferred_for: timedelta | None = None
    best_first: bool | None = None
    units: Amount | None = None
    turn: Amount | None = None  # turns, not micro-turns
    goes_on: bool | None = None  # None: it does when it does not say where the lead goes


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule; without a condition it matches every lead."""

    name: str
    when: Condition | None
    then: Then


class Rulebook:
    """The rules of one policy version, asked for every lead; built once, never changed."""

    def __init__(self, rules: Sequence[Rule], default: Then, around: Surroundings, pools: Sequence[Pool]) -> None:
        self.rules, self.default, self.around = tuple(rules), default, around
        self._alike = _alike(self.rules)
        firsts = {same[0]: self.rules[same[0]].when for same in self._alike.values()}
        self._index = RuleIndex(
            {at: when.alternatives if when else ALWAYS for at, when in firsts.items()}, known=around.made
        )
        self._pools = {pool.name: pool for pool in pools}
        self._of_country = {country: pool for pool in pools for country in pool.countries}
        self._else = next((pool for pool in pools if not pool.countries), None)
        asked = {name for rule in self.rules for name in _asked(rule)} | _of_then(default)
        self.reads = tuple(sorted({fact for name in asked for fact in around.reads(name)}))

    def course(self, facts: Mapping[str, object], now: datetime, *, without: Container[str] = ()) -> Course | None:
        """What the rules say about a lead with these facts at this moment; None when no pool serves its country.

        The rules named in `without` are passed over: the lead was released from them, or has waited as they say.
        """
        look, heard = Look(self.around, facts, now), _Heard()
        for rule in self._matching(look):
            if rule.name not in without and not self._hear(rule.name, rule.then, look, heard):
                break
        if heard.way is None:
            self._hear("default", self.default, look, heard)
        return self._made(heard, facts, now)

    def _matching(self, look: Look) -> Iterator[Rule]:
        """Every rule whose condition holds, in order; of those with the same condition, the first is asked for all."""
        ahead, held = self._index.candidates(look), list[int]()
        at, last = next(ahead, None), None
        while at is not None or held:
            if at is None or (held and held[-1] < at):
                yield self.rules[held.pop()]
                continue
            rule = self.rules[at]
            if at != last and (rule.when is None or look.holds(rule.when)):
                held = sorted([*held, *self._alike[_words(rule)]], reverse=True)
            at, last = next(ahead, None), at

    def pool_of(self, country: str) -> Pool | None:
        """The pool that names this country, else the one that takes every country, else None."""
        return self._of_country.get(country, self._else)

    def _hear(self, name: str, then: Then, look: Look, heard: "_Heard") -> bool:
        """Take what a rule says; whether those after it are asked. One whose look-up finds nothing is passed over."""
        pool, target = self._destination(then, look)
        if then.way is not None and pool is None and not target and then.way in _NEEDS_A_TARGET:
            return True
        if then.way is not None and heard.way is None:
            heard.way, heard.rule, heard.pool, heard.target = then.way, name, pool, target
            heard.wait_for, heard.wait_up_to = then.wait_for, then.wait_up_to
        elif name != "default":
            heard.passed.append(name)
        heard.set(name, then, look)
        return then.way is None if then.goes_on is None else then.goes_on

    def _destination(self, then: Then, look: Look) -> tuple[Pool | None, str]:
        if then.by_country:
            return self.pool_of(str(look.value("lead.country") or "")), ""
        target = look.value(then.target.name) if isinstance(then.target, From) else then.target
        text = target.strip() if isinstance(target, str) else ""
        return (self._pools.get(text), "") if then.way is Way.POOL else (None, text)

    def _made(self, heard: "_Heard", facts: Mapping[str, object], now: datetime) -> Course | None:
        if heard.way is None:
            return None
        return Course(
            way=heard.way,
            rule=heard.rule,
            pool=heard.pool,
            target=heard.target,
            wait_for=heard.wait_for,
            wait_up_to=heard.wait_up_to,
            priority=heard.whole("priority", -MOST_PRIORITY, MOST_PRIORITY),
            hot=heard.settings.get("hot"),
            skills=tuple(heard.skills.values()),
            preferred=heard.settings.get("preferred", ""),
            preferred_for=heard.settings.get("preferred_for"),
            best_first=heard.settings.get("best_first", False),
            units=heard.whole("units", 1, MOST_UNITS) or 1,
            turn=heard.whole("turn", 1, MOST_TURN, MICRO) or MICRO,
            passed=tuple(heard.passed),
            set_by=tuple(heard.set_by.items()),
            used=self._used(facts, now),
        )

    def _used(self, facts: Mapping[str, object], now: datetime) -> Mapping[str, object]:
        """Every fact that the rules could ask, as it can be written down; the same rules say the same of these."""
        held = {**{name: facts[name] for name in self.reads if name in facts}, "now": now}
        return {n: v.isoformat() if isinstance(v, date) else v for n, v in held.items() if n in self.reads}


def _words(rule: Rule) -> str:
    return rule.when.source if rule.when else ""


def _alike(rules: Sequence[Rule]) -> Mapping[str, Sequence[int]]:
    """The numbers of the rules that have the same condition, ascending."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for at, rule in enumerate(rules):
        found[_words(rule)].append(at)
    return found


class _Heard:
    """What was heard so far on one lead: the first word on each thing holds."""

    def __init__(self) -> None:
        self.way: Way | None = None
        self.rule = self.target = ""
        self.pool: Pool | None = None
        self.wait_for: tuple[str, ...] = ()
        self.wait_up_to: timedelta | None = None
        self.passed: list[str] = []
        self.skills: dict[str, Skill] = {}
        self.settings: dict[str, Any] = {}
        self.set_by: dict[str, dict[str, object]] = {}  # what each rule said that holds, as it can be written down

    def set(self, rule: str, then: Then, look: Look) -> None:
        new: dict[str, object] = {}
        for wanted in then.skills:
            value = _found(wanted.wanted, look)
            if wanted.name not in self.skills and isinstance(value, str | float | int) and value != "":
                self.skills[wanted.name] = Skill(wanted.name, value, wanted.drop_after, wanted.required)
                new[f"skill {wanted.name}"] = value
        for name in _SETTINGS:
            value = _found(getattr(then, name), look)
            if name not in self.settings and value not in (None, ""):
                self.settings[name] = new[name] = value
        if "preferred" in self.settings and "preferred_for" not in self.settings and then.preferred_for:
            self.settings["preferred_for"] = then.preferred_for
        if new:
            self.set_by[rule] = new

    def whole(self, name: str, least: int, most: int, scale: int = 1) -> int | None:
        """The setting as a whole number of `scale`ths; None when there is none or it is out of bounds."""
        value = self.settings.get(name)
        scaled = float("inf") if value is None else float(value) * scale
        return round(scaled) if abs(scaled) < 2 * most and least <= round(scaled) <= most else None


_SETTINGS = ("priority", "hot", "preferred", "best_first", "units", "turn")
_NEEDS_A_TARGET = frozenset({Way.POOL, Way.OWNER, Way.HOLD})


def _found(said: object, look: Look) -> object:
    return look.value(said.name) if isinstance(said, From) else said


def _asked(rule: Rule) -> set[str]:
    return set(rule.when.names if rule.when else ()) | _of_then(rule.then)


def _of_then(then: Then) -> set[str]:
    """The names whose values a rule's words are."""
    said = [
        then.target,
        then.priority,
        then.hot,
        then.preferred,
        then.units,
        then.turn,
        *(s.wanted for s in then.skills),
    ]
    return {part.name for part in said if isinstance(part, From)} | ({"lead.country"} if then.by_country else set())
