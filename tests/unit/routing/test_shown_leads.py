"""Every lead that a finding shows, given to the real rules, does what the finding says (rows M11 and N10)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from config import policy_text
from config.policy import parse
from config.policy_checking import findings
from gateways.countries import codes
from routing.course import Course
from routing.finding import Finding
from routing.policy import Policy
from routing.rules import Rule
from routing.witness import Witnesses
from tests.unit.routing.test_policy_check import HEAD, people

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ATTRIBUTES = "attributes:\n  lead: {score: number, product: text, tags: list, rooms: whole, wanted_on: date}\n"
POOLS = """pools:
  - {name: north, market: main, countries: [US, CA], rings: {unit: mi, radii: [5, 15]}}
  - {name: south, market: main, countries: [AU], rings: {unit: km, radii: [10, 20]}}
  - {name: empty, market: nowhere, countries: [NZ], rings: {unit: km, radii: [10, 20]}}
"""
ATOMS = st.sampled_from(
    [
        "lead.score > 80.0",
        "lead.score > 90.0",
        "lead.score <= 85.0",
        'lead.product == "roof"',
        'lead.product.startsWith("ro")',
        'lead.product in ["roof", "heat"]',
        '"es" in lead.tags',
        "lead.rooms >= 4",
        "lead.rooms < 4",
        'lead.country == "US"',
        'lead.country in ["US", "AU"]',
        'lead.country == "UK"',
        "lead.hot",
        'lead.precision == "city"',
        'lead.wanted_on < date("2026-03-01")',
        "has(lead.score)",
        "true",
    ]
)
CONDITIONS = st.one_of(
    ATOMS,
    st.tuples(ATOMS, ATOMS).map(" && ".join),
    st.tuples(ATOMS, ATOMS).map(" || ".join),
    ATOMS.map(lambda text: f"!({text})"),
)
THENS = st.sampled_from(
    [
        "{pool: north}",
        "{pool: south}",
        "{pool: empty}",
        "{review: odd}",
        "{hold: later}",
        "{quarantine: spam}",
        "{ignore: true}",
        "{pool: {by: country}}",
        "{priority: 5}",
        "{owner: m9}",
        "{pool: north, units: 9}",
        "{pool: north, skills: [{name: languages, wanted: es}]}",
    ]
)
MEMBERS = people({}, {"tier": "silver"}, {"attributes": {"languages": ["en"]}})


def written(rules: list[tuple[str, str]]) -> str:
    """A policy of these rules, named r0, r1 ..."""
    head = HEAD[HEAD.index("tiers:") :]
    told = "".join(f"  - {{name: r{at}, when: '{when}', then: {then}}}\n" for at, (when, then) in enumerate(rules))
    return f"{ATTRIBUTES}  member: {{languages: list}}\n{head}{POOLS}default: {{pool: north}}\nrules:\n{told}"


class Told:
    """A policy, and what the rules that decide live say of a lead as a finding writes it."""

    def __init__(self, policy: Policy) -> None:
        assert policy.rulebook is not None
        self.book = policy.rulebook
        self.policy = policy
        self.searched = Witnesses(self.book, codes(), home="US", now=NOW)

    def facts(self, lead: Mapping[str, Any]) -> dict[str, Any]:
        raw = {name: value for name, value in lead.items() if name.startswith("lead.")}
        return dict(self.searched.example(self.book.around.vocabulary.read(raw, list(raw))).facts)

    def course(self, lead: Mapping[str, Any]) -> Course | None:
        return self.searched.ask(self.facts(lead))

    def holds(self, rule: Rule, lead: Mapping[str, Any]) -> bool:
        return rule.when is None or rule.when.holds(self.facts(lead))

    def heard(self, lead: Mapping[str, Any]) -> set[str]:
        course = self.course(lead)
        return set() if course is None else {course.rule, *course.passed}


def shows(told: Told, one: Finding) -> bool:
    """Whether the lead of a finding does what the finding says."""
    at = one.way[1] if one.way[:1] == ("rules",) and len(one.way) > 1 else None
    rule = told.book.rules[int(at)] if at is not None else None
    course = told.course(one.witness)
    match one.code:
        case "unreachable_rule":
            return rule is not None and told.holds(rule, one.witness) and rule.name not in told.heard(one.witness)
        case "impossible_rule":
            return rule is not None and not told.holds(rule, one.witness)
        case "contradictory_overlap":
            first = one.message.split()[0]
            both = rule is not None and told.holds(rule, one.witness)
            return both and course is not None and course.rule == first and rule is not None and first != rule.name
        case "dead_default":
            return course is None or course.rule != "default"
        case "pool_without_rule":
            pool = told.policy.pools[int(one.way[1])]
            return course is None or course.pool is not pool
        case "empty_pool":
            pool = told.policy.pools[int(one.way[1])]
            return not one.witness or told.policy.pool_for(str(one.witness["lead.country"])) is pool
        case "skills_nobody_has":
            return course is not None and bool(course.skills) and course.pool is not None
        case "lead_too_heavy":
            return course is not None and course.units > 4
        case "unknown_member":
            return not one.witness or (course is not None and course.target == "m9")
        case _:
            return True


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CONDITIONS, THENS), min_size=1, max_size=5))
def test_M11_each_lead_that_is_shown_does_before_the_real_rules_what_is_said_of_it(
    rules: list[tuple[str, str]],
) -> None:
    document = policy_text.read(written(rules), "p.yaml")
    policy = parse(document, 0)
    told = Told(policy)
    for one in findings(document, MEMBERS, policy=policy, now=NOW):
        assert shows(told, one), one
