import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from storage.postgres.recordset import to_json
from storage.postgres.values import clean, read_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.just("\\u0000 \ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.fixed_dictionaries({"body": st.dictionaries(st.text(), values, max_size=4), "id": st.text()})))
def test_whatever_the_rows_hold_postgres_can_hold_the_json(rows: list[dict[str, Any]]) -> None:
    text = to_json(rows)
    read = json.loads(text)
    assert read == json.loads(json.dumps(clean(rows)))
    assert "\x00" not in str(read)
    text.encode()


def test_a_number_that_is_none_keeps_its_name() -> None:
    [row] = json.loads(to_json([{"body": {"lat": math.nan, "deep": {"lon": -math.inf}}}]))
    assert row == {"body": {"lat": "nan", "deep": {"lon": "-inf"}}}


@given(values)
def test_json_is_read_exactly_however_long_its_numbers(value: Any) -> None:
    text = json.dumps(clean(value))
    assert read_json(text.encode()) == json.loads(text)
