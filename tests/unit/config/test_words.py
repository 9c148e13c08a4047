"""Five languages: every text in each, by its own rules for numbers, distances and times."""

import re
from datetime import UTC, datetime

import pytest
from babel import Locale

from config.words import LANGUAGES, known, preferred, words
from routing.policy import REJECT_REASONS

NAMES = re.compile(r"\{(\w+)[|}]")
FORMS = re.compile(r"\|(\w+): ")
ENGLISH = words("en").texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_B8_each_language_says_everything(language: str) -> None:
    texts = words(language).texts
    assert texts.keys() == ENGLISH.keys()
    assert all(text.strip() for text in texts.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_B8_each_text_keeps_its_facts(language: str) -> None:
    texts = words(language).texts
    for key, english in ENGLISH.items():
        assert set(NAMES.findall(texts[key])) == set(NAMES.findall(english)), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_B8_numbers_are_said_in_every_form_that_the_language_has(language: str) -> None:
    wanted = set(Locale(language).plural_form.tags) | {"other"}
    for key, text in words(language).texts.items():
        if forms := set(FORMS.findall(text)):
            assert wanted <= forms, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_can_be_said(language: str) -> None:
    said = words(language)
    facts = {"minutes": 5} | {name: f"<{name}>" for text in ENGLISH.values() for name in NAMES.findall(text)}
    for key in said.texts:
        for minutes in (1, 2, 5, 22):
            text = said.say(key, **(facts | {"minutes": minutes}))
            assert "{" not in text, key
            assert "|" not in text, key


def test_B8_polish_counts_as_poles_do() -> None:
    said = words("pl")
    texts = {n: said.say("login.text", code="1", link="x", minutes=n).split("przez ")[1] for n in (1, 2, 5, 22)}
    assert [text.split(".")[0] for text in texts.values()] == ["1 minutę", "2 minuty", "5 minut", "22 minuty"]


def test_B8_distances_are_said_in_miles_or_kilometres() -> None:
    assert words("en").distance(20_000, "mi") == "12 mi"
    assert words("en").distance(3_000, "mi") == "1.9 mi"
    assert words("de").distance(3_250, "km") == "3,2 km"
    assert words("pl").distance(20_000, "km") == "20 km"


def test_B8_times_are_said_by_the_clock_of_the_person() -> None:
    at = datetime(2026, 11, 22, 13, 5, tzinfo=UTC)
    assert "14:05" in words("de").moment(at, "Europe/Berlin")
    assert "08:05" in words("en").moment(at, "America/New_York")
    assert "13:05" in words("fr").moment(at, "Nowhere/Such")


def test_what_somebody_typed_into_a_lead_is_never_read_as_a_form() -> None:
    text = words("en").say("taken.text", product="{area} {x|one: a|other: b}", area="Town")
    assert text.startswith("{area} {x|one: a|other: b} in Town")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("ja, pl;q=0.5", "pl"),
        ("en;q=0.1, fr", "fr"),
        ("", "en"),
        ("ja", "en"),
        ("es;q=nonsense, de;q=0.2", "de"),
        ("*", "en"),
        (",,,;q=;", "en"),
    ],
)
def test_a_browser_is_answered_in_the_first_language_we_know(asked: str, found: str) -> None:
    assert preferred(asked) == found


def test_a_language_nobody_knows_is_english() -> None:
    assert [known(name) for name in ("de_AT", "PL", "xx", "")] == ["de", "pl", "en", "en"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_reasons_are_said_in_words_and_those_of_a_policy_as_they_stand(language: str) -> None:
    said = words(language)
    assert all(f"reason.{name}" in said.texts for name in REJECT_REASONS)
    assert said.reason("roof_too_steep") == "Roof too steep"
