from hypothesis import given
from hypothesis import strategies as st

from sandbox.bitmaps import bitmap, field_set


def test_the_check_vectors_of_real_events() -> None:
    assert field_set([23], {6: [0]}) == ["0x800000", "6-0x01"]
    assert field_set([11, 22], {}) == ["0x400800"]
    assert field_set([5, 6, 7, 10, 24, 26, 29, 30], {}) == ["0x650004E0"]
    assert field_set([23, 68], {}) == ["0x100000000000800000"]


def test_a_change_inside_a_compound_alone_has_no_top_level() -> None:
    assert field_set([], {6: [7, 8]}) == ["6-0x0180"]


def test_nothing_changed_is_an_empty_array() -> None:
    assert field_set([], {}) == []


@given(st.sets(st.integers(min_value=0, max_value=200), min_size=1))
def test_every_bitmap_is_whole_upper_case_bytes_and_says_what_it_was_told(positions: set[int]) -> None:
    text = bitmap(positions)
    digits = text.removeprefix("0x")
    assert len(digits) % 2 == 0
    assert digits == digits.upper()
    bits = int(digits, 16)
    assert {n for n in range(bits.bit_length()) if bits >> n & 1} == positions
