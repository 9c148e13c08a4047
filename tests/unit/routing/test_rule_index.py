"""The index finds every rule that matches: the course is the one that asking each rule in turn would give."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing import conditions as cel
from routing import rule_index
from routing.areas import Areas
from routing.conditions import Condition
from routing.course import Course, Way
from routing.look import Look, Surroundings
from routing.policy import Pool, Rings
from routing.rule_index import RuleIndex
from routing.rules import Rule, Rulebook, Then
from routing.tables import KeyPart, Table
from routing.vocabulary import STANDARD, Kind

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POOL = Pool("installers", "main", frozenset(), Rings("mi", (5.0,)))
SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0), (0.0, 0.0)]
TABLE = Table(
    "territory",
    (KeyPart("lead.country"),),
    {"owner": Kind.TEXT, "rank": Kind.WHOLE},
    {("us",): ("joe", 1), ("de",): ("", 2)},
)
AROUND = Surroundings.of(
    {**STANDARD, "lead.score": Kind.NUMBER, "lead.tags": Kind.LIST, "lead.day": Kind.DATE},
    {"territory": TABLE},
    Areas.of({"west": [SQUARE], "east": [[(x + 2, y) for x, y in SQUARE]]}),
)
WORDS = ["", "a", "ab", "abc", "b", "ba", "US", "us", "DE"]
TEXTS = ["lead.country", "lead.city", "lead.postal_code", "territory.owner"]
NUMBERS = ["lead.score", "lead.priority", "territory.rank", "lead.attempt"]

words, texts, numbers = st.sampled_from(WORDS), st.sampled_from(TEXTS), st.sampled_from(NUMBERS)
some_numbers = st.sampled_from([-1, 0, 1, 2, 3, 1.5, 2.0, -0.5])
signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
days = st.sampled_from(["2026-11-21", "2026-11-22", "2026-11-23"])


def quoted(text: str) -> str:
    return f'"{text}"'


wholes = st.sampled_from(["lead.priority", "lead.attempt", "-1", "0", "1", "2", "3"])
halves = st.sampled_from(["lead.score", "lead.latitude", "-0.5", "0.0", "1.0", "2.5"])
of_one = st.builds(
    "{}{}".format, st.sampled_from([" == ", ".startsWith", ".endsWith", ".contains"]), words.map('("{}")'.format)
)
patterns = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "^", "(?i)", "(?i)^"]),
    st.sampled_from(["a", "b", "[ab]", "(ab|b)", "(?:a|[ab]b)", ".", "U", "\\\\w"]),
    st.sampled_from(["", "?", "*", "+", "{2}", "{1,2}", "{2,}", "b", "s$", "c?", "a|b", "|^abc"]),
    st.sampled_from(["", "$"]),
).map(lambda pattern: f'matches("{pattern}")')
of_an_entry = st.one_of(
    st.builds("t{}".format, of_one),
    st.builds("t.{}".format, patterns),
    st.builds("t in [{}, {}]".format, words.map(quoted), words.map(quoted)),
    st.builds("t {} {}".format, st.sampled_from(["!=", "<", ">=", "=="]), words.map(quoted)),
    st.builds("t == {}".format, texts),
    st.builds("{}.startsWith(t)".format, texts),
    st.builds("size(t) {} {}".format, signs, st.integers(0, 3)),
    st.sampled_from(["lead.hot", "lead.score > 1.0", "has(lead.city)"]),
)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Conditions put together of others."""
    return st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    )


of_each = st.recursive(
    of_an_entry,
    combined,
    max_leaves=3,
)
lists = st.one_of(
    st.just("lead.tags"),
    st.builds("[{}, {}]".format, words.map(quoted), words.map(quoted)),
    st.builds("[{}, {}]".format, texts, texts),
)
simple = st.one_of(
    st.builds("{}.{}(t, {})".format, lists, st.sampled_from(["exists", "all", "exists_one"]), of_each),
    st.builds("size(lead.tags.filter(t, {})) {} {}".format, of_each, signs, st.integers(-1, 2)),
    st.builds("{}.{}".format, texts, patterns),
    st.builds("(lead.hot ? {} : {}) == {}".format, texts, texts, words.map(quoted)),
    st.builds("({0} > {1} ? {0} : {1}) {2} {3}".format, halves, halves, signs, halves),
    st.builds("{} + (lead.hot ? {} : {}) {} {}".format, halves, halves, halves, signs, halves),
    st.builds("{} {} {}".format, texts, st.sampled_from(["==", "!=", "<", ">="]), words.map(quoted)),
    st.builds("{1} == {0}".format, texts, words.map(quoted)),
    st.builds("{}.{}({})".format, texts, st.sampled_from(["startsWith", "endsWith", "contains"]), words.map(quoted)),
    st.builds("{} in [{}, {}]".format, texts, words.map(quoted), words.map(quoted)),
    st.builds("{} {} {}".format, numbers, signs, some_numbers),
    st.builds("{} {} {}".format, some_numbers, signs, numbers),
    st.builds("{} in [{}, {}]".format, numbers, st.integers(-1, 3), st.integers(-1, 3)),
    st.builds('"{}" in lead.tags'.format, words),
    st.builds('lead.day {} date("{}")'.format, signs, days),
    st.builds('now {} timestamp("{}T12:00:00Z")'.format, signs, days),
    st.builds("{} == {}".format, texts, texts),
    st.builds("has({})".format, st.one_of(texts, numbers)),
    st.sampled_from(
        ["lead.hot", "lead.hot == false", "area.west", "area.east", "true", "false", "lead.tags.size() > 1"]
    ),
    st.builds("lead.city.{}".format, st.sampled_from(['matches("^a")', "size() > 1", 'contains("")'])),
    st.sampled_from(["lead.age_hours > 1.0", 'now - lead.received_at > duration("1h")', "lead.city == lead.region"]),
    st.builds("lead.tags == [{}, {}]".format, words.map(quoted), words.map(quoted)),
    st.builds("lead.tags.{}(t, t{})".format, st.sampled_from(["exists", "all"]), of_one),
    st.builds("{} * {} {} {}".format, halves, halves, signs, halves),
    st.builds("{} % {} {} {}".format, wholes, wholes, signs, wholes),
    st.builds("{} / {} {} {} - {}".format, wholes, wholes, signs, wholes, wholes),
    st.builds("{} {} {} + {}".format, halves, signs, halves, halves),
)
conditions = st.recursive(
    simple,
    combined,
    max_leaves=4,  # no more lists than a condition may have
)
#: Some facts are missing, and some are nothing of their kind.
values: Mapping[str, st.SearchStrategy[object]] = {
    "lead.country": words,
    "lead.city": words,
    "lead.postal_code": words,
    "lead.score": st.one_of(some_numbers, st.sampled_from(["2", "x", float("nan")])),
    "lead.priority": st.integers(-1, 3),
    "lead.attempt": st.one_of(st.integers(-1, 3), st.just("two")),
    "lead.tags": st.one_of(st.lists(words, max_size=3), st.just("a;b")),
    "lead.day": days,
    "lead.hot": st.booleans(),
    "lead.received_at": st.just(datetime(2026, 11, 22, 10, tzinfo=UTC)),
    "lead.latitude": st.sampled_from([0, 1.0, 2.0, 3]),
    "lead.longitude": st.sampled_from([0, 1.0, 2.0, 3, 4.0, 9]),
}
facts = st.fixed_dictionaries({}, optional=values)
thens = st.one_of(
    st.just(Then(Way.POOL, "installers")),
    st.just(Then(Way.POOL, "installers", goes_on=True)),
    st.builds(lambda n: Then(priority=n), st.integers(0, 9)),
    st.just(Then(best_first=True, goes_on=False)),
    st.builds(lambda name: Then(Way.HOLD, name), words),
)


@cache
def compiled(source: str) -> Condition:
    return cel.compile(source, AROUND.vocabulary, where="here")


def book(rules: list[tuple[str, Then]]) -> Rulebook:
    made = [Rule(f"rule{at}", compiled(source), then) for at, (source, then) in enumerate(rules)]
    return Rulebook(made, Then(Way.POOL, "installers"), AROUND, [POOL])


class OneByOne(Rulebook):
    """The same rules without an index."""

    def _matching(self, look: Look):  # type: ignore[no-untyped-def] # noqa: ANN202 - as its parent's
        return (rule for rule in self.rules if rule.when is None or look.holds(rule.when))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(conditions, thens), max_size=40), st.lists(facts, min_size=1, max_size=5))
def test_with_the_index_every_lead_takes_the_course_it_takes_without(
    rules: list[tuple[str, Then]], leads: list[dict[str, object]]
) -> None:
    quick = book(rules)
    slow = OneByOne(quick.rules, quick.default, AROUND, [POOL])
    for lead in leads:
        assert quick.course(lead, NOW) == slow.course(lead, NOW)


def all_that_match(book: Rulebook, lead: Mapping[str, object]) -> tuple[str, ...]:
    course = book.course(lead, NOW)
    return course.passed if course else ()


@pytest.mark.parametrize(
    ("needs", "lead"),
    [
        (
            st.builds(
                lambda least, low, most, high: f"lead.score {least} {low} && lead.score {most} {low + high}",
                st.sampled_from([">", ">="]),
                st.integers(0, 9),
                st.sampled_from(["<", "<="]),
                st.integers(-1, 2),
            ),
            st.builds(lambda score: {"lead.score": score}, st.integers(-1, 12)),
        ),
        (st.builds('lead.city.startsWith("{}")'.format, words), st.builds(lambda w: {"lead.city": w}, words)),
        (st.builds('lead.city.endsWith("{}")'.format, words), st.builds(lambda w: {"lead.city": w}, words)),
        (st.builds('lead.city.contains("{}")'.format, words), st.builds(lambda w: {"lead.city": w}, words)),
        (st.builds('lead.city in ["{}", "{}"]'.format, words, words), st.builds(lambda w: {"lead.city": w}, words)),
        (st.builds('"{}" in lead.tags'.format, words), st.builds(lambda w: {"lead.tags": w}, st.lists(words))),
        (
            st.sampled_from(["area.west", "area.east", "!area.east", "!has(area.east)", "!area.west"]),
            st.builds(
                lambda x: {"lead.latitude": 1, "lead.longitude": x} if x < 9 else {}, st.sampled_from([1, 2, 3, 4, 9])
            ),
        ),
        (
            st.builds("lead.score {} {} && lead.attempt {} {}".format, signs, some_numbers, signs, some_numbers),
            st.builds(lambda s, a: {"lead.score": s, "lead.attempt": a}, some_numbers, st.integers(-1, 3)),
        ),
    ],
    ids=["ranges", "begins", "ends", "contains", "one of", "list", "area", "between"],
)
def test_every_rule_that_matches_is_found(
    needs: st.SearchStrategy[str], lead: st.SearchStrategy[dict[str, object]]
) -> None:
    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(needs, min_size=8, max_size=30), st.lists(lead, min_size=3, max_size=6))
    def found(sources: list[str], leads: list[dict[str, object]]) -> None:
        quick = book([(source, Then(priority=1)) for source in sources])
        slow = OneByOne(quick.rules, quick.default, AROUND, [POOL])
        for one in leads:
            assert all_that_match(quick, one) == all_that_match(slow, one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule_index, "FEW", 0)  # so that few rules are sorted like many
        found()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conditions, facts)
def test_a_condition_that_holds_fulfils_one_of_its_alternatives(source: str, lead: dict[str, object]) -> None:
    condition = compiled(source)
    look = Look(AROUND, lead, NOW)
    if look.holds(condition):
        index = RuleIndex(
            {0: condition.alternatives, **{n: compiled(f"lead.score > {n}").alternatives for n in range(1, 9)}}
        )
        assert 0 in set(index.candidates(look))


@pytest.mark.parametrize(
    "written",
    [
        'lead.country == "US" && lead.postal_code.startsWith("{i:05}")',
        'lead.postal_code.startsWith("01") && lead.city == "x{i}"',
        "lead.score >= {i}.5 && lead.score < {i}.75",
        'lead.score > {i}1000 && lead.country == "US"',
        'lead.postal_code >= "9{i:03}" && lead.postal_code < "9{i:03}5"',
        'lead.postal_code > "9{i:03}"',
        'lead.country == "US" && lead.region in ["r{i}", "q{i}"]',
        'lead.country == "US" && (lead.city == "x{i}" || lead.region == "y{i}")',
        'lead.source != "web" && lead.city != "x{i}"',
        '!(lead.source in ["web", "x{i}"])',
        '!(lead.source == "web" || lead.city == "x{i}")',
        'lead.city.matches("^x{i}.*y$")',
        'lead.city.matches("x{i}[a-z]+y")',
        'lead.city.matches("^x{i}|y{i}$|z{i}")',
        'lead.postal_code.matches("^9[0-3]{i:03}$")',
        'lead.city.matches("(?i)X{i}X")',
        'lead.city.contains("x{i}x")',
        'lead.city.endsWith("@x{i}.com")',
        "size(lead.city) == {i} + 100",
        "lead.city.size() > {i}00",
        "lead.score * 2.0 > {i}000.0",
        "lead.score * {i}.5 < 0.0",
        "size(lead.city) * 2 > {i}00 + lead.attempt",
        "lead.attempt % {i}7 == {i}6",
        "lead.score > lead.latitude + {i}000.0",
        '"tag{i}" in lead.tags',
        'lead.tags == ["roof", "tag{i}"]',
        'lead.tags.exists(t, t.startsWith("tag{i}"))',
        'lead.tags.exists(t, t == "x{i}" || t.endsWith("y{i}") && t.startsWith("z"))',
        'lead.tags.exists(t, t.matches("(?i)^X{i}"))',
        'lead.tags.exists(t, t == lead.source && t != "x{i}")',
        'lead.tags.exists_one(t, t.startsWith("tag{i}"))',
        'lead.tags.filter(t, t.contains("x{i}")).size() > 0',
        'lead.tags.all(t, t in ["x{i}", "y{i}"])',
        'lead.tags.all(t, t.startsWith("x{i}"))',
        '!lead.tags.all(t, t != "x{i}")',
        '!lead.tags.exists(t, t != "x{i}")',
        '["x{i}", "y{i}"].exists(p, lead.city.contains(p))',
        '["x{i}", "y{i}"].all(p, p in lead.tags)',
        'lead.postal_code.matches("^[0-9]{{i}}0[0-9]{3,4}$")',
        '(lead.score > 10.0 ? lead.city : lead.region) == "x{i}"',
        "lead.score + (lead.hot ? 10.0 : 0.0) > {i}00.0 + 100.0",
        "lead.score * {i}.0 - lead.latitude * {i}.5 > {i}00.0 + 1000.0",
        "!has(lead.city) && lead.score > {i}.0",
        'now >= timestamp("2027-01-01T00:00:00Z") + duration("{i}h")',
        'now - lead.received_at > duration("{i}00h")',
        'now.getHours("America/New_York") == 3 && lead.score < {i}.0',
        'lead.country == "US" ? lead.city == "x{i}" : lead.region == "y{i}"',
        'lead.city == lead.region && lead.source != "x{i}"',
        'lead.country + "-" + lead.region == "US-x{i}"',
        'territory.owner == "o{i}"',
    ],
)
def test_M7_of_many_rules_few_are_asked(written: str) -> None:
    sources = [
        written.replace("{i:03}", f"{i:03}").replace("{i:05}", f"{i:05}").replace("{i}", f"{i}") for i in range(90)
    ]
    rules = {n: compiled(source).alternatives for n, source in enumerate(sources)}
    lead = {
        "lead.country": "US", "lead.postal_code": "01234", "lead.city": "somewhere", "lead.region": "CA",
        "lead.score": 20.0, "lead.hot": True, "lead.source": "web", "lead.attempt": 2, "lead.latitude": 2.0,
        "lead.tags": ["battery"],
        "lead.received_at": datetime(2026, 11, 22, 10, tzinfo=UTC),
    }  # fmt: skip
    asked = set(RuleIndex(rules, known=AROUND.made).candidates(Look(AROUND, lead, NOW)))
    assert len(asked) <= 6
    assert all(n in asked for n, source in enumerate(sources) if Look(AROUND, lead, NOW).holds(compiled(source)))


def test_what_nothing_sorts_is_looked_at_no_farther_than_to_the_first_that_is_asked() -> None:
    rules = {n: compiled(f'lead.city != "x{n}"').alternatives for n in range(50)}
    looks: list[str] = []

    class Counting(Look):
        def value(self, name: str) -> object:
            looks.append(name)
            return super().value(name)

    found = RuleIndex(rules).candidates(Counting(AROUND, {"lead.city": "somewhere"}, NOW))
    assert next(found) == 0
    assert len(looks) < 5
    assert list(found) == list(range(1, 50))


def test_rules_with_the_same_condition_are_all_heard_in_their_order() -> None:
    course: Course | None = book(
        [("lead.hot", Then(priority=1)), ('lead.city == "a"', Then(priority=2)), ("lead.hot", Then(Way.HOLD, "basket"))]
    ).course({"lead.hot": True, "lead.city": "a"}, NOW)
    assert course is not None
    assert (course.target, course.priority, course.passed) == ("basket", 1, ("rule0", "rule1"))
