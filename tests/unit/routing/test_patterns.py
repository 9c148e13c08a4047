"""What a pattern is said to need, every text that it matches has."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import conditions
from routing.errors import BadInput
from routing.patterns import Needs, needs
from routing.vocabulary import STANDARD, Vocabulary

WORDS = Vocabulary(STANDARD)
pieces = st.sampled_from(
    ["a", "b", "ab", "1", "k", r"\d", r"\.", ".", ".*", "a?", "b*", "b+", "a{2}", "b{1,2}", "a{0}", "[ab]", "[a-c]+",
     "[^a]", "[k-]", r"\b", "(a|b1)", "(?:ab|)", "(a.)?", "((b))", "+?", "?", "|", "^", "$", "-", r"\$", "(?i)",
     "[[:alpha:]]", "b{2,}", "(ab|b){2}", "(a[bc]|b)?"]
)  # fmt: skip
patterns = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "(?i)"]),
    st.sampled_from(["", "^"]),
    st.lists(pieces, max_size=5).map("".join),
    st.sampled_from(["", "$"]),
)
texts = st.text(st.sampled_from("abcAB1k-.$K"), max_size=6)


@settings(max_examples=300, deadline=None)
@given(patterns, st.lists(texts, min_size=1, max_size=8))
def test_a_text_that_matches_has_what_its_pattern_needs(pattern: str, some: list[str]) -> None:
    try:
        condition = conditions.compile(f"lead.city.matches({written(pattern)})", WORDS, where="here")
    except BadInput:
        return
    found = needs(pattern)
    for text in some:
        if condition.holds({"lead.city": text}):
            assert not found or any(has(text, one) for one in found)


def has(text: str, needed: Needs) -> bool:
    held = text.casefold() if needed.folded else text
    return (
        needed.within in held
        and (not needed.begins or held.startswith(tuple(needed.begins)))
        and (not needed.ends or held.endswith(tuple(needed.ends)))
        and needed.least <= len(text) <= (len(text) if needed.most is None else needed.most)
    )


def written(pattern: str) -> str:
    return '"' + pattern.replace("\\", "\\\\") + '"'


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        ("^x12.*y$", Needs(frozenset({"x12"}), frozenset({"y"}), "x12", least=4)),
        ("^9[01]00$", Needs(frozenset({"9000", "9100"}), frozenset({"9000", "9100"}), "00", least=4, most=4)),
        (r"@shop12\.com$", Needs(frozenset(), frozenset({"@shop12.com"}), "@shop12.com", least=11)),
        ("(?i)Solar", Needs(within="solar", folded=True, least=5)),
        ("^(123|124)", Needs(frozenset({"123", "124"}), least=3)),
        (r"^\d{3,4}(-[a-z]{2})?$", Needs(least=3, most=7)),
        ("[a-z]{12}", Needs(least=12)),
    ],
)
def test_what_is_plain_in_a_pattern_is_needed(pattern: str, needed: Needs) -> None:
    assert needs(pattern) == (needed,)


def test_each_alternative_of_a_pattern_has_needs_of_its_own() -> None:
    assert needs("^a1|b2$") == (
        Needs(frozenset({"a1"}), within="a1", least=2),
        Needs(ends=frozenset({"b2"}), within="b2", least=2),
    )


@pytest.mark.parametrize("pattern", ["x?y*", "a|.", "", "(?s)a", "[[:alpha:]]", "é"])
def test_nothing_is_said_of_a_pattern_that_is_not_plain(pattern: str) -> None:
    assert needs(pattern) == ()
