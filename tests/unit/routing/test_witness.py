"""Leads that show what rules do are found where there are any, and nothing is called impossible that is not (N10)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import conditions
from routing.areas import Areas
from routing.course import Way
from routing.formula import ERROR, MISSING, NO, OPEN, YES, formula, plain, said
from routing.look import Surroundings
from routing.policy import Pool, Rings
from routing.rules import From, Rule, Rulebook, Then
from routing.tables import KeyPart, Table
from routing.vocabulary import STANDARD, Kind
from routing.witness import Reach, Witnesses, stops_here

OWN = {
    **STANDARD,
    "lead.score": Kind.NUMBER,
    "lead.product": Kind.TEXT,
    "lead.languages": Kind.LIST,
    "lead.wanted_on": Kind.DATE,
    "lead.commercial": Kind.FLAG,
    "lead.rooms": Kind.WHOLE,
}
POOLS = [Pool(name, "main", frozenset(), Rings("mi", (5.0, 15.0))) for name in ("north", "south", "east")]
COUNTRIES = frozenset({"US", "GB", "DE", "FR", "CA"})
TERRITORY = Table(
    "territory",
    (KeyPart("lead.country"), KeyPart("lead.postal_code", first=3)),
    {"pool": Kind.TEXT, "owner": Kind.TEXT},
    {("us", "941"): ("north", None), ("us", "100"): ("south", "kim"), ("de", "101"): ("east", "kim")},
)
SQUARE = Areas.of({"bay": [[(-123.0, 37.0), (-121.0, 37.0), (-121.0, 38.0), (-123.0, 38.0), (-123.0, 37.0)]]})
AROUND = Surroundings.of(OWN, {"territory": TERRITORY}, SQUARE)


def book(*rules: str | tuple[str, Any], default: str = "north") -> Rulebook:
    """Rules named a, b, c ... by their conditions; each to a pool of its own, or as said."""
    made = []
    for at, rule in enumerate(rules):
        when, then = rule if isinstance(rule, tuple) else (rule, Then(Way.POOL, POOLS[at % 3].name))
        name = "abcdefghij"[at]
        made.append(Rule(name, conditions.compile(when, AROUND.vocabulary, where=name) if when else None, then))
    return Rulebook(made, Then(Way.POOL, default), AROUND, POOLS)


def witnesses(*rules: str | tuple[str, Any]) -> Witnesses:
    return Witnesses(book(*rules), COUNTRIES)


@pytest.mark.parametrize(
    ("rules", "by"),
    [
        (["lead.score > 5.0", "lead.score > 10.0"], ("a",)),
        (["lead.score > 5", "lead.score >= 6"], ("a",)),
        (["lead.rooms > 5", "lead.rooms >= 6"], ("a",)),
        (["lead.rooms < 3", "lead.rooms > 2", "lead.rooms == 7"], ("b",)),
        (["lead.rooms < 3", "lead.rooms > 2", "has(lead.rooms)"], ("a", "b")),
        (["lead.rooms < 3", "lead.rooms > 3", "lead.rooms != 3 && lead.score > 1.0"], ("a", "b")),
        (['lead.postal_code.startsWith("94")', 'lead.postal_code.startsWith("9410")'], ("a",)),
        (['lead.postal_code >= "9" && lead.postal_code < "95"', 'lead.postal_code.startsWith("94")'], ("a",)),
        (['lead.country in ["US", "CA"]', 'lead.country == "CA" && lead.score > 1.0'], ("a",)),
        (['lead.country != "US"', 'lead.country == "US"', "has(lead.country)"], ("a", "b")),
        (['"es" in lead.languages', '"es" in lead.languages && "en" in lead.languages'], ("a",)),
        (["lead.commercial", "!lead.commercial", "has(lead.commercial)"], ("a", "b")),
        (["has(lead.score)", "lead.score == 4.0"], ("a",)),
        (["true", "lead.score == 4.0"], ("a",)),
        (["lead.score > 1.0 || !has(lead.score) || lead.score < 2.0", "lead.commercial"], ("a",)),
        (['lead.wanted_on > date("2026-03-01")', 'lead.wanted_on == date("2026-03-02")'], ("a",)),
        (['lead.precision in ["exact", "street"]', 'has(lead.precision) && lead.precision < "f"'], None),
        (['lead.precision != "city"', 'has(lead.precision) && lead.precision != "city"'], ("a",)),
        (["lead.product.matches('^x') || lead.score > 1.0", "lead.score > 2.0"], ("a",)),
        (['territory.owner == "kim" || lead.score > 1.0', "lead.score > 2.0"], ("a",)),
    ],
)
def test_M11_a_rule_that_earlier_ones_leave_nothing_to_is_proven_to_be_unreachable(
    rules: list[str], by: tuple[str, ...] | None
) -> None:
    found = witnesses(*rules).reach(len(rules) - 1)
    if by is None:
        assert found.reach is Reach.REACHED
        return
    assert (found.reach, found.by) == (Reach.SHADOWED, by)
    # The lead that is told of matches the rule, and another gets it.
    assert found.example is not None
    assert found.example.course is not None
    assert found.example.course.rule in by
    last = book(*rules).rules[-1].when
    assert last is not None
    assert last.holds(found.example.facts)


@pytest.mark.parametrize(
    "rules",
    [
        ["lead.score > 10.0", "lead.score > 5.0"],
        ["lead.rooms < 3", "lead.rooms > 3", "has(lead.rooms)"],
        ['lead.country == "US"', "lead.score > 5.0"],
        ["lead.score > 5.0", "lead.score < 6.0 || lead.commercial"],
        ["lead.score <= 5.0", "lead.score >= 5.0000001", "has(lead.score)"],
        ['lead.postal_code.startsWith("94")', 'lead.postal_code > "94"'],
        ['lead.product == "roof"', 'lead.product.startsWith("roof")'],
        ["lead.age_hours > 24.0 && lead.attempt > 1"],
        ['lead.product.matches("^(?i)solar[0-9]{2}$")'],
        ['lead.product.contains("heat pump") && lead.product.endsWith("!")'],
        ["size(lead.product) > 12"],
        ['lead.languages.exists(l, l.startsWith("e"))'],
        ["lead.score * 2.0 > 10.0"],
        ['territory.owner == "kim"', 'territory.pool == "east" || lead.score > 3.0'],
        ["area.bay"],
        ["!area.bay"],
        ['lead.received_at > timestamp("2026-05-01T00:00:00Z")', 'now > timestamp("2026-06-01T00:00:00Z")'],
        ['lead.wanted_on > date("2026-03-01")', 'lead.wanted_on == date("2026-03-01")'],
    ],
)
def test_N10_a_rule_that_gets_leads_is_shown_with_one_that_it_decides(rules: list[str]) -> None:
    found = witnesses(*rules).reach(len(rules) - 1)
    assert found.reach is Reach.REACHED
    assert found.example is not None
    assert found.example.course is not None
    assert found.example.course.rule == "abcdefghij"[len(rules) - 1]


@pytest.mark.parametrize(
    ("rule", "misses"),
    [
        ("lead.score > 5.0 && lead.score < 4.0", "lead.score < 4.0"),
        ("lead.rooms > 5 && lead.rooms < 6", "lead.rooms < 6"),
        ('lead.country == "UK"', 'lead.country == "UK"'),
        ('lead.precision == "rooftop"', 'lead.precision == "rooftop"'),
        ("lead.attempt == 0", "lead.attempt == 0"),
        ("lead.latitude > 90.0", "lead.latitude > 90.0"),
        ('lead.product == "roof" && lead.product.startsWith("solar")', 'lead.product.startsWith("solar")'),
        ("!has(lead.score) && lead.score > 1.0", "lead.score > 1.0"),
        ("lead.commercial && !lead.commercial", "!lead.commercial"),
        ("false", "false"),
    ],
)
def test_M11_a_rule_that_no_lead_can_match_is_told_with_the_part_that_contradicts(rule: str, misses: str) -> None:
    searched = witnesses("lead.hot", rule)
    assert searched.reach(1).reach is Reach.NEVER
    near = searched.near_miss(1)
    assert near is not None
    assert near.misses == misses


def test_N10_what_was_not_found_and_not_ruled_out_is_left_open() -> None:
    assert witnesses('lead.product.matches("^(ab|cd)(ef|gh)z$")').reach(0).reach is Reach.OPEN


@pytest.mark.parametrize(
    ("rules", "disagree"),
    [
        (["lead.score > 5.0", "lead.commercial"], True),
        (['lead.product == "roof"', 'lead.country == "US"'], True),
        (["lead.score > 5.0", "lead.score > 1.0"], False),  # an exception to what comes after it
        (["lead.score > 5.0", "lead.score < 5.0"], False),
        (["lead.score > 1.0", "lead.score < 5.0"], True),
        (["lead.score > 5.0", "lead.score > 7.0"], False),  # unreachable, which is told of by itself
    ],
)
def test_M11_two_rules_disagree_where_each_would_have_leads_of_its_own(rules: list[str], disagree: bool) -> None:
    example = witnesses(*rules).overlap(0, 1)
    assert (example is not None) is disagree
    if example is not None:
        assert example.course is not None
        assert example.course.rule == "a"


def test_a_rule_whose_look_up_may_find_nothing_hides_no_other() -> None:
    lookup = ("has(lead.country)", Then(Way.POOL, From("territory.pool")))
    assert witnesses(lookup, "has(lead.country) && lead.score > 1.0").reach(1).reach is Reach.REACHED


def test_a_rule_that_only_sets_things_hides_no_other() -> None:
    assert witnesses(("true", Then(priority=3)), "lead.score > 1.0").reach(1).reach is Reach.REACHED


def test_M11_a_default_that_no_lead_is_left_to_is_proven_so() -> None:
    assert witnesses("lead.rooms > 2", ("", Then(Way.REVIEW, "rest"))).default().reach is Reach.SHADOWED
    assert witnesses("lead.rooms > 2", "lead.rooms < 3").default().reach is Reach.REACHED


def test_a_simple_pattern_has_a_text_that_fits() -> None:
    assert [plain(p) for p in ("^94[0-9]{3}$", r"\d{2}-x", "(?i)solar.*", "a|b")] == ["94000", "00-x", "solara", "a"]


def test_a_condition_is_said_as_it_might_be_written() -> None:
    for text in (
        'lead.score > 5.0 && (lead.country == "US" || !lead.hot)',
        'lead.postal_code.startsWith("9") && "es" in lead.languages',
        'lead.wanted_on < date("2026-03-01") && has(lead.product) && lead.country in ["US", "CA"]',
    ):
        when = conditions.compile(text, AROUND.vocabulary, where="x")
        again = conditions.compile(said(when.tree), AROUND.vocabulary, where="x")
        assert [node.name for node in again.tree.walk()] == [node.name for node in when.tree.walk()]


WRITTEN = [
    "lead.score > 1.0",
    "lead.score <= 1.0",
    "lead.score == 1.0",
    "lead.score != 2.5",
    "lead.rooms < 3",
    "lead.rooms >= 2",
    "3 > lead.rooms",
    "lead.rooms > 1.5",
    "has(lead.score)",
    "has(lead.rooms)",
    "lead.commercial",
    'lead.product.startsWith("so")',
    'lead.product == "solar"',
    'lead.product != "sol"',
    'lead.product < "sn"',
    'lead.product in ["solar", "so"]',
    '"es" in lead.languages',
    'lead.country == "US"',
    'lead.wanted_on > date("2026-03-01")',
    "area.bay",
    'territory.owner == "kim"',
    "true",
]
ATOMS = st.sampled_from(WRITTEN)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: f"({p[0]}) && ({p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}) || ({p[1]})"),
        inner.map(lambda c: f"!({c})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]}) ? ({p[1]}) : ({p[2]})"),
    ),
    max_leaves=5,
)
LEADS = st.fixed_dictionaries(
    {"lead.country": st.sampled_from(sorted(COUNTRIES))},
    optional={
        "lead.score": st.sampled_from([0.0, 1.0, 1.5, 2.5, 3.0]),
        "lead.rooms": st.integers(0, 4),
        "lead.commercial": st.booleans(),
        "lead.product": st.sampled_from(["", "s", "sn", "so", "sol", "solar", "solarx", "z"]),
        "lead.languages": st.sampled_from([[], ["es"], ["en", "es"], ["en"]]),
        "lead.wanted_on": st.sampled_from([datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2)]),
        "lead.postal_code": st.sampled_from(["94110", "10001", "10115"]),
        "lead.latitude": st.sampled_from([37.5, 40.0]),
        "lead.longitude": st.sampled_from([-122.0, 10.0]),
    },
)


#: A value on each side of what is written, and on it.
SIDES: dict[str, list[Any]] = {
    "lead.score": [0.0, 1.0, 1.5, 2.5, 3.0],
    "lead.rooms": [0, 1, 2, 3, 4],
    "lead.commercial": [True, False],
    "lead.product": ["", "s", "sn", "so", "sol", "solar", "solarx", "z"],
    "lead.languages": [[], ["es"], ["en", "es"], ["en"]],
    "lead.wanted_on": [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2)],
}


@pytest.mark.parametrize("text", WRITTEN)
def test_the_search_sees_each_comparison_as_the_engine_does_on_both_sides_of_it(text: str) -> None:
    for name, values in SIDES.items():
        for value in values:
            agrees(text, {"lead.country": "US", name: value})
            agrees(f"!({text})", {"lead.country": "US", name: value})
    agrees(text, {"lead.country": "US"})


@settings(max_examples=150, deadline=None)
@given(CONDITIONS, LEADS)
def test_the_search_sees_a_condition_as_the_engine_does(text: str, lead: dict[str, Any]) -> None:
    agrees(text, lead)


def agrees(text: str, lead: dict[str, Any]) -> None:
    """Hold the search's view of a condition to the engine's, for one lead."""
    when = conditions.compile(text, AROUND.vocabulary, where="x")
    searched = Witnesses(Rulebook([Rule("a", when, Then(Way.REVIEW, "x"))], Then(Way.REVIEW, "y"), AROUND, POOLS))
    course = searched.ask(lead)
    assert course is not None
    settled = dict.fromkeys(OWN) | lead
    answer = formula(when.tree).test({n: MISSING if v is None else v for n, v in settled.items()})
    assert answer is OPEN or (answer == YES) is (course.rule == "a")
    assert answer in (YES, NO, ERROR, OPEN)


@settings(max_examples=60, deadline=None)
@given(st.lists(CONDITIONS, min_size=1, max_size=4), st.lists(LEADS, min_size=1, max_size=20))
def test_M11_nothing_is_called_unreachable_that_a_lead_gets_to(texts: list[str], leads: list[dict[str, Any]]) -> None:
    rules = book(*texts)
    searched = Witnesses(rules, COUNTRIES)
    for at, rule in enumerate(rules.rules):
        found = searched.reach(at)
        reached = [lead for lead in leads if (course := searched.ask(lead)) and rule.name == course.rule]
        if found.reach in (Reach.SHADOWED, Reach.NEVER):
            assert reached == []
        if found.reach is Reach.REACHED:
            assert found.example is not None
            assert found.example.course is not None
            assert rule.name == found.example.course.rule
        assert stops_here(rule)
