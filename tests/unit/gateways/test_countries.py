"""Countries are recognised as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.countries import alpha2, codes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *[(text, "US") for text in ("US", "usa", "U.S.", "U.S.A.", "United States", " united  states of america ")],
        *[(text, "GB") for text in ("UK", "GBR", "Great Britain", "England")],
        *[(text, "DE") for text in ("de", "DEU", "Germany", "Deutschland")],
        *[(text, "CI") for text in ("Ivory Coast", "Côte d'Ivoire", "Cote d\N{RIGHT SINGLE QUOTATION MARK}Ivoire")],
        *[(text, "KR") for text in ("Korea, Republic of", "South Korea")],
        *[(text, "NL") for text in ("Netherlands", "The Netherlands", "Nederland")],
        *[(text, "TT") for text in ("Trinidad & Tobago", "Trinidad and Tobago")],
        ("Österreich", "AT"),
        ("Türkiye", "TR"),
        ("The Bahamas", "BS"),
        ("Réunion", "RE"),
        ("NO", "NO"),
        ("NA", "NA"),
    ],
)
def test_names_codes_and_common_variants_lead_to_the_code(text: str, code: str) -> None:
    assert alpha2(text) == code


@pytest.mark.parametrize("text", ["", " ", "Elbonia", "XX", "1", "\ud800", "U", "x" * 1_000_000])
def test_what_is_no_country_is_none(text: str) -> None:
    assert alpha2(text) is None


def test_every_code_leads_to_itself() -> None:
    assert all(alpha2(code) == code for code in codes())
    assert len(codes()) >= 249


@given(st.text())
def test_any_text_is_answered_with_a_known_code_or_none(text: str) -> None:
    assert alpha2(text) in codes() | {None}
