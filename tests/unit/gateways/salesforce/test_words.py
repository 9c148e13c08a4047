from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.salesforce import words


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("00QgK0000000001", "00QgK0000000001UAA"),
        ("005gK0000000002", "005gK0000000002QAA"),
        ("00QgK0000000042", "00QgK0000000042UAA"),
        ("000000000000000", "000000000000000AAA"),
        ("AAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAA555"),
    ],
)
def test_a_short_id_gets_its_check_characters(short: str, long: str) -> None:
    assert words.long_id(short) == long


@pytest.mark.parametrize("text", ["", "00Q*", "00QgK0000000001UAA", "not an id at all"])
def test_anything_but_a_short_id_comes_back_as_it_is(text: str) -> None:
    assert words.long_id(text) == text


@settings(deadline=None)
@given(st.text())
def test_a_clean_text_has_neither_nul_nor_lone_surrogates(text: str) -> None:
    clean = words.clean_text(text + "\0\ud800\udfff")
    assert "\0" not in clean
    clean.encode("utf-8")


def test_cleaning_reaches_everything_inside() -> None:
    dirty = {"a\0": ["b\0", {"c": "\ud800"}], "n": float("nan"), "i": float("inf"), "f": 1.5, "t": True, "x": None}
    assert words.clean(dirty) == {"a": ["b", {"c": "\ufffd"}], "n": None, "i": None, "f": 1.5, "t": True, "x": None}


def test_times_are_written_as_rest_and_soql_write_them() -> None:
    at = datetime(2026, 11, 22, 3, 18, 3, 42_000, tzinfo=UTC)
    assert words.rest_time(int(at.timestamp() * 1000)) == "2026-11-22T03:18:03.042+0000"
    assert words.rest_date(1_795_000_000_123) == "2026-11-18"
    assert words.rest_clock(3_723_004) == "01:02:03.004Z"
    assert words.soql_time(at) == "2026-11-22T03:18:03.042Z"
    west = at.replace(microsecond=0).astimezone(timezone(timedelta(hours=-5)))
    assert words.soql_time(west) == "2026-11-22T03:18:03Z"


def test_a_time_before_the_epoch_is_a_time() -> None:
    assert words.rest_time(-1) == "1969-12-31T23:59:59.999+0000"


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_rest_times_read_back(at: datetime) -> None:
    milliseconds = round(at.timestamp() * 1000)
    assert round(words.instant(words.rest_time(milliseconds)).timestamp() * 1000) == milliseconds
