"""Every screen for everybody: five languages, both units, small phones, light and dark, keyboard, screen reader."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from routing.access import Role
from tests.browser.conftest import Phone, Town

pytestmark = pytest.mark.long

RULES: Any = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
TITLES = {"en": "Offers", "de": "Angebote", "fr": "Offres", "es": "Ofertas", "pl": "Oferty"}


def faults(phone: Phone) -> str:
    """What axe finds on the screen as it is, and whether it is wider than the phone."""
    found = Axe().run(phone.page, options=RULES)
    report = found.generate_report() if found.violations_count else ""
    return report + ("wider than the phone" if phone.page.evaluate(WIDER) else "")


@pytest.mark.parametrize("light", ["light", "dark"])
def test_B8_no_screen_breaks_a_rule_of_wcag_2_1_aa(town: Town, light: str) -> None:
    found: dict[str, str] = {}
    stranger = town.phone(color_scheme=light, reduced_motion="reduce")
    stranger.sees_title("Log in")
    found["log in"] = faults(stranger)
    stranger.page.get_by_label("E-mail").fill("nobody@example.org")
    stranger.tap("Send code")
    stranger.sees_title("Enter the code")
    found["code"] = faults(stranger)
    stranger.page.get_by_label("Code").fill("1234 5678")
    stranger.tap("Log in")
    stranger.sees("That is not right.")
    found["wrong code"] = faults(stranger)

    link = town.person(town.installer(), role=Role.PARTNER_ADMIN)
    phone = town.phone(link, color_scheme=light, reduced_motion="reduce")
    found["no offers"] = faults(phone)
    town.lead("lead-1")
    town.lead("lead-2")
    phone.sees("Solar roof, 8 kW")
    found["offers"] = faults(phone)
    phone.tap("Reject")
    phone.sees("Why do you reject it?")
    found["reasons"] = faults(phone)
    phone.tap("Cancel")
    phone.page.get_by_role("link", name="Solar roof, 8 kW").first.click()
    phone.sees("Details")
    found["offer"] = faults(phone)
    phone.tap("Accept")
    phone.sees("Your customer")
    found["accepted"] = faults(phone)
    for tab, title in (("Jobs", "Your jobs"), ("Standing", "Your standing"), ("Team", "Team"), ("Profile", "Profile")):
        phone.go(tab)
        phone.sees_title(title)
        found[tab] = faults(phone)
    assert {screen: fault for screen, fault in found.items() if fault} == {}


def test_B8_five_languages_and_both_units(town: Town) -> None:
    phone = town.phone(town.person(town.installer(lat=40.1), units="km"), locale="pl-PL")
    town.lead()
    for language, title in TITLES.items():
        phone.open("#/profile")
        phone.page.locator("#language").select_option(language)
        expect(phone.page.locator(f"html[lang={language}]")).to_be_attached()
        phone.open("#/offers")
        phone.sees_title(title)
        phone.sees("11 km")
        assert not phone.page.evaluate(WIDER), language
    phone.open("#/profile")
    phone.page.locator("#language").select_option("en")
    phone.page.locator("#units").select_option("mi")
    phone.sees("Distances")
    phone.open("#/offers")
    phone.sees("6.9 mi")


def test_B8_before_the_login_the_page_speaks_the_phones_language(town: Town) -> None:
    town.phone(locale="de-AT").sees_title("Anmelden")


def test_B8_everything_can_be_done_by_keyboard(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    lead = town.lead()
    phone.sees("Solar roof, 8 kW")
    keys = phone.page.keyboard

    def tab_to(name: str) -> None:
        for _ in range(20):
            keys.press("Tab")
            if phone.page.evaluate("document.activeElement.textContent") == name:
                return
        pytest.fail(f"no way to {name} by Tab")

    tab_to("Skip to content")
    keys.press("Enter")
    tab_to("Reject")
    keys.press("Enter")
    expect(phone.page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(phone.page.get_by_role("dialog")).to_have_count(0)
    assert phone.page.evaluate("document.activeElement.textContent") == "Reject"
    keys.press("Shift+Tab")
    keys.press("Enter")
    phone.sees("Your customer")
    assert town.api.house.state(lead)[0] == "accepted"


def test_B8_a_new_offer_and_the_way_about_are_told_to_screen_readers(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    town.lead()
    expect(phone.page.get_by_role("status")).to_contain_text("New offer: Solar roof, 8 kW")
    expect(phone.page.get_by_role("button", name="Accept")).to_have_accessible_description("Solar roof, 8 kW")
    phone.go("Jobs")
    expect(phone.page.get_by_role("heading", level=1)).to_be_focused()
    expect(phone.page.get_by_role("link", name="Jobs")).to_have_attribute("aria-current", "page")
    assert phone.page.title() == "Your jobs - Fairturn"
