"""Conditions: what holds of which facts, and what is refused when they are written."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

import pytest

from routing import conditions
from routing.errors import BadInput
from routing.vocabulary import OF_MEMBERS, STANDARD, Kind, Vocabulary

WORDS = Vocabulary.of(
    STANDARD,
    OF_MEMBERS,
    {
        "lead.score": Kind.NUMBER,
        "lead.size": Kind.WHOLE,
        "lead.tags": Kind.LIST,
        "lead.day": Kind.DATE,
        "member.languages": Kind.LIST,
        "member.nabcep_until": Kind.DATE,
    },
)
LEAD: Mapping[str, object] = {
    "lead.country": "US",
    "lead.city": "Boston",
    "lead.score": 5,
    "lead.size": 3,
    "lead.tags": ["roof", "battery"],
    "lead.day": date(2026, 11, 22),
    "lead.hot": True,
    "member.languages": "en;es",
    "member.nabcep_until": "2026-11-23",
    "now": datetime(2026, 11, 22, 15, tzinfo=UTC),
}


def holds(source: str, facts: Mapping[str, object] = LEAD) -> bool:
    return conditions.compile(source, WORDS, where="here").holds(facts)


@pytest.mark.parametrize(
    "source",
    [
        'lead.country == "US" && lead.score > 3',
        "lead.score == 5 && lead.score in [1, 5] && lead.size <= 3.5 && 3 == lead.size",
        '"roof" in lead.tags && !("pool" in lead.tags) && lead.tags.size() == 2',
        'lead.tags.exists(tag, tag.startsWith("bat"))',
        'lead.city.matches("^Bos.*n$") && lead.city.contains("ost")',
        'lead.day == date("2026-11-22") && now > lead.day && now - lead.day < duration("16h")',
        'now.getHours("America/New_York") == 10 && now.getDayOfWeek() == 0',
        '"es" in member.languages && member.nabcep_until > now',
        'lead.hot && lead.country in ["US", "CA"] && lead.country != "CA"',
        "lead.hot ? lead.score > 1 : false",
        "has(lead.score) && !has(lead.region) && !has( lead . postal_code )",
        '// a remark with has(nothing)\nlead.city != "has(lead.city)"',
    ],
)
def test_it_holds(source: str) -> None:
    assert holds(source)


@pytest.mark.parametrize(
    "source",
    [
        'lead.region == "MA"',
        'lead.region != "MA"',
        '!(lead.region == "MA")',
        'lead.region.startsWith("M") || lead.score > 9',
        "lead.priority > 3 || lead.priority <= 3",
        "lead.score / 0.0 < 0.0 || 1 / 0 == lead.size",
    ],
)
def test_what_hangs_on_a_missing_fact_does_not_hold(source: str) -> None:
    assert not holds(source)


def test_a_missing_fact_does_not_matter_where_the_rest_decides() -> None:
    assert holds('lead.region == "MA" || lead.hot')
    assert not holds('lead.region == "MA" && lead.hot')


@pytest.mark.parametrize(
    ("name", "raw"),
    [("lead.score", "five"), ("lead.score", float("nan")), ("lead.score", True), ("lead.size", 2.5), ("lead.hot", 1)],
)
def test_a_fact_that_is_not_of_its_kind_counts_as_missing(name: str, raw: object) -> None:
    assert not holds(f"has({name})", {**LEAD, name: raw})


def test_facts_are_read_from_text_as_csv_and_salesforce_write_them() -> None:
    facts = {
        "lead.score": " 5.5 ",
        "lead.size": "3",
        "lead.hot": "TRUE",
        "lead.tags": "a; b",
        "lead.day": "2026-03-01T10:00",
    }
    assert holds('lead.score == 5.5 && lead.size == 3 && lead.hot && "b" in lead.tags', facts)
    assert holds('lead.day == date("2026-03-01")', facts)


@pytest.mark.parametrize(
    ("source", "place", "word"),
    [
        ('lead.country == "US" &&\n  lead.scor > 1', "line 2 column 3", "lead.score"),
        ("lead.country > 3", "line 1 column 14", "text and whole number"),
        ('lead.score == "5"', "line 1 column 12", "number and text"),
        ("3 in lead.tags", "line 1 column 3", "whole number and list"),
        ("lead.score", "line 1 column 5", "number, not to yes or no"),
        ("has(lead.scor)", "line 1 column 5", "lead.score"),
        ("lead.country ==", "line 1 column 16", "ends too early"),
        ("   ", "line 1 column 4", "says nothing"),
        ("lead.país == 'x'", "line 1 column 8", "'í' cannot stand here"),
        ("lead.tags.exists(t, t + lead.city == '')", "line 1 column 23", "once for each entry"),
        ("lead.tags.all(t, lead.city.matches('a'))", "line 1 column 35", "once for each entry"),
        ("lead.score + 1 > 2", "line 1 column 12", r"\.0"),
        ('open("/etc/passwd")', "line 1 column 5", "nothing is called open"),
        ("dyn(lead.score).anything()", "line 1 column 25", "nothing is called anything"),
        ('lead.city.matches("(a")', "line 1 column 18", "missing"),
        ("lead.city.matches(lead.country)", "line 1 column 18", "in quotes"),
        ('lead.day > date("2026-02-30")', "line 1 column 16", "2026-03-01"),
        ('now.getHours("Mars/Base") == 1', "line 1 column 13", "America/New_York"),
        ('now > timestamp("tomorrow")', "line 1 column 16", "2026-03-01T08:00:00Z"),
    ],
)
def test_M1_an_unknown_name_or_a_wrong_type_is_refused_with_its_position(source: str, place: str, word: str) -> None:
    with pytest.raises(BadInput, match=word) as refused:
        conditions.compile(source, WORDS, where="rules[0].when")
    assert refused.value.field == f"rules[0].when, {place} of it"
    assert refused.value.fix


@pytest.mark.parametrize(
    "source",
    [
        "(" * 2000 + "true" + ")" * 1990,
        "(" * 200 + "true" + ")" * 200,
        "[" * 60 + "]" * 60 + " == []",
        " && ".join(["lead.hot"] * 1000),
        "lead.tags.exists(a, lead.tags.exists(b, a == b))",
        " || ".join(f'lead.tags.exists(t, t == "{n}")' for n in range(5)),
        "lead.tags.map(a, lead.tags.map(b, a + b)).size() > 0",
        'lead.city.matches("(a{1000}){1000}")',
        'lead.city == "\0"',
        'lead.city == "\u202e"',
        "",
        "\ud800",
    ],
)
def test_M1_what_is_huge_or_could_take_long_is_refused(source: str) -> None:
    with pytest.raises(BadInput):
        conditions.compile(source, WORDS, where="rules[0].when")


def test_M1_a_regular_expression_of_death_takes_no_longer_than_another() -> None:
    condition = conditions.compile('lead.city.matches("^(a+)+$")', WORDS, where="here")
    assert not condition.holds({"lead.city": "a" * 50_000 + "b"})


@pytest.mark.parametrize("kind", list(Kind))
def test_M1_facts_that_no_kind_can_hold_are_as_good_as_missing(kind: Kind) -> None:
    words = Vocabulary({"lead.odd": kind})
    condition = conditions.compile("has(lead.odd)", words, where="here")
    odd: list[object] = ["1e999", "\ud800", ["a", "\ud800"], {"a": 1}, b"x", float("nan"), "٣"]
    odd += ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", 10**400, -(10**400), 10**5000]
    found = {repr(value)[:20] for value in odd[:-3] if condition.holds({"lead.odd": value})}
    allowed = {
        Kind.TEXT: {"'1e999'", "'٣'", *map(repr, (odd[7], odd[8]))},
        Kind.LIST: {"'1e999'", "'٣'", *map(repr, (odd[7], odd[8]))},
        Kind.DATE: {repr(odd[7]), repr(odd[8])},
    }
    assert found == {word[:20] for word in allowed.get(kind, set())}
    assert not any(condition.holds({"lead.odd": value}) for value in odd[-3:])


def test_a_condition_says_which_facts_it_reads() -> None:
    condition = conditions.compile("has(lead.score) && lead.tags.exists(t, t == lead.city)", WORDS, where="here")
    assert condition.names == ("lead.city", "lead.score", "lead.tags")
    assert condition.tested == ("lead.score",)


def test_the_same_words_over_the_same_names_are_compiled_once_while_they_are_held() -> None:
    held = conditions.compile("lead.score > 3", WORDS, where="here")
    assert conditions.compile("lead.score > 3", Vocabulary(dict(WORDS.kinds)), where="there") is held
    whole = Vocabulary({**WORDS.kinds, "lead.score": Kind.WHOLE})
    other = conditions.compile("lead.score > 3", whole, where="here")
    assert other is not held
    assert not other.holds({"lead.score": 3.5})
    assert held.holds({"lead.score": 3.5})
