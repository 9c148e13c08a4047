"""Tables: the row for a lead, whatever the case, and the longest beginning that fits."""

from hypothesis import given
from hypothesis import strategies as st

from routing.tables import KeyPart, Table, key_text
from routing.vocabulary import Kind

BY_PREFIX = Table(
    "t",
    (KeyPart("lead.country"), KeyPart("lead.postal_code", beginning=True)),
    {"pool": Kind.TEXT, "rank": Kind.WHOLE},
    {("us", ""): ("all", None), ("us", "9"): ("west", 1), ("us", "941"): ("bay", 2), ("gb", "sw1"): ("london", 3)},
)


def test_the_longest_beginning_that_fits_counts() -> None:
    codes = ["94110", "90210", "10001", "9", ""]
    found = [BY_PREFIX.row({"lead.country": "US", "lead.postal_code": code}).get("pool") for code in codes]
    assert found == ["bay", "west", "all", "west", "all"]


def test_case_and_blanks_do_not_matter_and_empty_cells_are_missing() -> None:
    assert BY_PREFIX.row({"lead.country": " gB", "lead.postal_code": "Sw1A 1AA "}) == {"pool": "london", "rank": 3}
    assert BY_PREFIX.row({"lead.country": "US", "lead.postal_code": "1"}) == {"pool": "all"}


def test_a_letter_and_its_accent_are_the_same_as_one_letter_or_as_two() -> None:
    key = (KeyPart("lead.city"),)
    table = Table("t", key, {"n": Kind.WHOLE}, {(key_text("Zu\u0308rich"),): (1,)})
    assert table.row({"lead.city": "Z\u00fcrich"}) == table.row({"lead.city": "Zu\u0308rich"}) == {"n": 1}


def test_there_is_no_row_without_the_facts_of_its_key() -> None:
    assert BY_PREFIX.row({"lead.country": "US"}) == {}
    assert BY_PREFIX.row({"lead.country": "DE", "lead.postal_code": "10115"}) == {}


@given(st.dictionaries(st.text("01", max_size=4), st.integers(), max_size=12), st.text("01", max_size=6))
def test_the_row_is_the_one_that_looking_at_each_would_find(rows: dict[str, int], code: str) -> None:
    key = (KeyPart("lead.postal_code", beginning=True),)
    table = Table("t", key, {"n": Kind.WHOLE}, {(prefix,): (n,) for prefix, n in rows.items()})
    fitting = [prefix for prefix in rows if code.startswith(prefix)]
    expected = {"n": rows[max(fitting, key=len)]} if fitting else {}
    assert table.row({"lead.postal_code": code}) == expected
