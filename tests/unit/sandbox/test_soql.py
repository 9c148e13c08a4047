import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.soql import Compare, Condition, Joined, MalformedQuery, Moment, Not, Order, Query, Span, parse

WORDS = st.sampled_from(["Name", "Owner.Name", "Fairturn_Partner__r.Fairturn_Partner_Key__c", "IsDeleted", "x"])
PATHS = WORDS.map(lambda word: tuple(word.split(".")))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    st.integers(min_value=-(10**9), max_value=10**9).map(float),
    st.just(Moment("2026-01-01T00:00:00Z")),
    st.just(Moment("2026-01-01")),
    st.just(Span("TODAY")),
    st.just(Span("LAST_N_DAYS", 7)),
)
COMPARISONS = st.one_of(
    st.builds(Compare, PATHS, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), VALUES),
    st.builds(Compare, PATHS, st.sampled_from(["IN", "NOT IN"]), st.lists(VALUES, min_size=1, max_size=3).map(tuple)),
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        inner.map(Not),
        st.builds(Joined, st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def _value(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, Moment):
        return value.text
    if isinstance(value, Span):
        return f"{value.name}:{value.days}" if value.days else value.name
    return "null" if value is None else str(value)


def _condition(condition: Condition) -> str:
    if isinstance(condition, Not):
        return f"NOT ({_condition(condition.part)})"
    if isinstance(condition, Joined):
        return f" {condition.op} ".join(f"({_condition(part)})" for part in condition.parts)
    listed = condition.value
    value = f"({', '.join(map(_value, listed))})" if isinstance(listed, tuple) else _value(listed)
    return f"{'.'.join(condition.path)} {condition.op} {value}"


@given(CONDITIONS)
def test_a_condition_written_out_reads_back_as_itself(condition: Condition) -> None:
    text = f"SELECT Id FROM Lead WHERE {_condition(condition)}"  # noqa: S608 - SOQL for our own parser
    assert parse(text).where == condition


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_refused_by_name(text: str) -> None:
    try:
        parse(text)
    except MalformedQuery:
        return


def test_a_whole_query_has_all_its_parts() -> None:
    text = "select Id, l.Owner.Name from Lead l where Name like 'a%' order by Name desc nulls last, Id limit 5 offset 2"
    assert parse(text) == Query(
        columns=(("Id",), ("l", "Owner", "Name")),
        object="Lead",
        alias="l",
        where=Compare(("Name",), "LIKE", "a%"),
        order=(
            Order(("Name",), descending=True, nulls_first=False),
            Order(("Id",), descending=False, nulls_first=True),
        ),
        limit=5,
        offset=2,
    )


def test_a_count_asks_for_no_columns() -> None:
    assert parse("SELECT COUNT() FROM Lead").columns == ()


def test_quotes_inside_a_text_are_escaped() -> None:
    assert parse(r"SELECT Id FROM Lead WHERE Name = 'O\'Brien \\ co'").where == Compare(("Name",), "=", "O'Brien \\ co")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT",
        "SELECT Id",
        "SELECT Id FROM Lead WHERE",
        "SELECT Id FROM Lead WHERE Name",
        "SELECT Id FROM Lead WHERE Name = ",
        "SELECT Id FROM Lead WHERE Name = foo",
        "SELECT Id FROM Lead WHERE (Name = 'a'",
        "SELECT Id FROM Lead WHERE a = 1 AND b = 2 OR c = 3",
        "SELECT Id FROM Lead WHERE Id IN ()",
        "SELECT Id FROM Lead LIMIT -1",
        "SELECT Id FROM Lead; DROP",
        "SELECT Id FROM Lead WHERE Name = 'open",
        "SELECT Id FROM Lead GROUP BY Name",
    ],
)
def test_what_is_no_soql_is_refused(text: str) -> None:
    with pytest.raises(MalformedQuery):
        parse(text)
