import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.salesforce import bitmaps


def written(places: set[int]) -> str:
    """A bitmap as Salesforce writes it: whole bytes, upper case."""
    digits = f"{sum(1 << n for n in places):X}"
    return "0x" + digits.zfill(len(digits) + len(digits) % 2)


@pytest.mark.parametrize(
    ("bitmap", "places"),
    [
        ("0x400800", {11, 22}),
        ("0x650004E0", {5, 6, 7, 10, 24, 26, 29, 30}),
        ("0x0180", {7, 8}),
        ("0x01", {0}),
        ("0x100000000000800000", {23, 68}),
    ],
)
def test_a_bitmap_names_the_places_salesforce_means(bitmap: str, places: set[int]) -> None:
    assert bitmaps.places(bitmap) == places
    assert written(places) == bitmap


def test_a_compound_is_marked_by_its_parts() -> None:
    assert bitmaps.read(["0x800000", "6-0x01"]) == bitmaps.Marked(frozenset({23}), {6: frozenset({0})})


def test_a_change_of_a_compound_alone_has_no_top_level() -> None:
    assert bitmaps.read(["6-0x0180"]) == bitmaps.Marked(frozenset(), {6: frozenset({7, 8})})


def test_no_bitmap_marks_nothing() -> None:
    assert bitmaps.read([]) == bitmaps.Marked()


@pytest.mark.parametrize("bitmap", ["", "0x", "zz", "6-", "x-0x01"])
def test_what_is_no_bitmap_is_refused(bitmap: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        bitmaps.read([bitmap])


@settings(deadline=None)
@given(st.sets(st.integers(0, 300)), st.dictionaries(st.integers(0, 300), st.sets(st.integers(0, 30), min_size=1)))
def test_every_set_of_places_survives_the_wire(top: set[int], parts: dict[int, set[int]]) -> None:
    wire = ([written(top)] if top else []) + [f"{place}-{written(inner)}" for place, inner in parts.items()]
    marked = bitmaps.read(wire)
    assert marked.fields == top
    assert marked.parts == parts
