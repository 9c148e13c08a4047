"""One spelling for one address."""

from hypothesis import given
from hypothesis import strategies as st

from gateways.geocoding.address import LONGEST_QUERY, digest, normalise, query
from routing.lead import Address

ADDRESSES = st.builds(Address, st.text(), st.text(), st.text(), st.text(), st.text())


def test_addresses_that_differ_in_case_accents_and_signs_are_the_same() -> None:
    one = Address("12, Main St.", "Zürich", "", "8001", "Switzerland")
    other = Address(" 12 main  st", "ZURICH", "", "8001", "ch")
    assert normalise(one) == normalise(other) == "12 main st|zurich||8001|CH"
    assert digest(one) == digest(other)


def test_the_parts_of_an_address_are_not_mixed_up() -> None:
    assert digest(Address(street="Albany", country="US")) != digest(Address(city="Albany", country="US"))


def test_the_question_is_one_line() -> None:
    address = Address("12 Main St", "Albany", "NY", "12207", "US")
    assert query(address) == "12 Main St, Albany, NY 12207, US"
    assert query(Address(city="Perth", country="AU")) == "Perth, AU"


@given(ADDRESSES)
def test_any_address_has_a_digest_and_a_question_that_a_wire_can_carry(address: Address) -> None:
    assert len(digest(address)) == 32
    assert "\n" not in query(address)
    assert len(query(address)) <= LONGEST_QUERY
    query(address).encode()
