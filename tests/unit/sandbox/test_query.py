from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ApiError
from sandbox.query import Reader
from sandbox.soql import parse
from tests.unit.sandbox.orgs import a_lead, an_org, work_of

ORG = an_org()
PARTNER = work_of(ORG).insert(ORG.types["Account"], {"Name": "Acme Solar"})
NAMES = ["Ada", "bert", "Cid", None, "ada"]
for number, name in enumerate(NAMES):
    a_lead(ORG, FirstName=name, Fairturn_Priority__c=number, Fairturn_Partner__c=PARTNER if number < 2 else None)


def found(where: str) -> list[Any]:
    reader = Reader(ORG, parse(f"SELECT FirstName FROM Lead {where}"))  # noqa: S608 - SOQL for our own parser
    return [record.get("FirstName") for record in reader.records()]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("WHERE FirstName = 'ADA'", ["Ada", "ada"]),
        ("WHERE FirstName != 'ada'", ["bert", "Cid", None]),
        ("WHERE FirstName = null", [None]),
        ("WHERE FirstName IN ('bert', null)", ["bert", None]),
        ("WHERE FirstName NOT IN ('ada', 'bert')", ["Cid", None]),
        ("WHERE FirstName LIKE '_d%'", ["Ada", "ada"]),
        ("WHERE FirstName < 'c'", ["Ada", "bert", "ada"]),
        ("WHERE NOT FirstName LIKE 'a%'", ["bert", "Cid", None]),
        ("WHERE Fairturn_Priority__c >= 1 AND (FirstName = 'ada' OR FirstName = null)", [None, "ada"]),
        ("WHERE IsConverted = TRUE", []),
        ("WHERE CreatedDate = TODAY AND CreatedDate >= LAST_N_DAYS:2", NAMES),
        ("WHERE CreatedDate < TODAY", []),
        ("WHERE Fairturn_Partner__r.Name = 'acme solar'", ["Ada", "bert"]),
        (f"WHERE Fairturn_Partner__c = '{PARTNER[:15]}'", ["Ada", "bert"]),
        ("ORDER BY FirstName, Fairturn_Priority__c", [None, "Ada", "ada", "bert", "Cid"]),
        ("ORDER BY FirstName DESC, Fairturn_Priority__c DESC", ["Cid", "bert", "ada", "Ada", None]),
        ("ORDER BY FirstName NULLS LAST LIMIT 2 OFFSET 2", ["bert", "Cid"]),
        ("WHERE SystemModstamp > 2020-01-01T00:00:00.000+00:00 LIMIT 1", ["Ada"]),
    ],
)
def test_a_query_finds_what_it_asks_for(where: str, expected: list[Any]) -> None:
    assert found(where) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT Nope FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Nope.Name FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE CreatedDate > '2026-01-01'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE FirstName = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE FirstName < null", "MALFORMED_QUERY"),
        ("SELECT Id FROM Lead OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_by_its_code(text: str, code: str) -> None:
    with pytest.raises(ApiError) as refusal:
        Reader(ORG, parse(text))
    assert refusal.value.code == code


def test_lookups_are_nested_and_empty_ones_null() -> None:
    reader = Reader(ORG, parse("SELECT Id, Owner.Name, Fairturn_Partner__r.Name FROM Lead"))
    rows = [reader.shown(record, "64.0") for record in reader.records()]
    assert rows[0]["Fairturn_Partner__r"]["Name"] == "Acme Solar"
    assert rows[4]["Fairturn_Partner__r"] is None
    assert {row["Owner"]["attributes"]["type"] for row in rows} == {"User"}


def test_ids_are_put_in_order_and_compared_with_their_case() -> None:
    org = an_org()
    ids = [a_lead(org) for _ in range(100)]
    last = ""
    walked = []
    while True:
        where = f"WHERE Id > '{last}'" if last else ""
        text = f"SELECT Id FROM Lead {where} ORDER BY Id LIMIT 7"  # noqa: S608 - SOQL for our own parser
        page = Reader(org, parse(text)).records()
        if not page:
            break
        walked += [record["Id"] for record in page]
        last = walked[-1]
    assert walked == sorted(ids)


@given(st.integers(min_value=0, max_value=6), st.integers(min_value=0, max_value=6))
def test_pages_by_offset_put_together_are_the_whole(offset: int, limit: int) -> None:
    whole = found("ORDER BY Fairturn_Priority__c")
    assert found(f"ORDER BY Fairturn_Priority__c LIMIT {limit} OFFSET {offset}") == whole[offset : offset + limit]
