from hypothesis import given
from hypothesis import strategies as st

from sandbox import ids


def test_the_suffix_is_salesforces_own() -> None:
    assert ids.full("001A0000006Vm9r") == "001A0000006Vm9rIAC"


def test_an_id_survives_a_reader_that_shouts_its_suffix_down() -> None:
    assert ids.full("001A0000006Vm9riac") == "001A0000006Vm9rIAC"


def test_a_wrong_checksum_is_no_id() -> None:
    assert ids.full("001A0000006Vm9rIAB") is None


def test_words_are_no_ids() -> None:
    assert [ids.full(each) for each in ("", "00Q*", "hello", "00Q000000000001 ", "ä" * 15)] == [None] * 5


@given(st.integers(min_value=0, max_value=62**8 - 1))
def test_a_minted_id_is_whole_and_its_short_form_says_the_same(number: int) -> None:
    minted = ids.mint("00Q", number)
    assert minted.startswith("00Q")
    assert ids.full(minted) == ids.full(minted[:15]) == minted


@given(st.sets(st.integers(min_value=0, max_value=10**9), max_size=50))
def test_no_two_numbers_share_an_id(numbers: set[int]) -> None:
    assert len({ids.mint("00Q", number).lower() for number in numbers}) == len(numbers)
