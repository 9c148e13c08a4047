"""Phones: Chromium without a window, on the page as the web process serves it, over a house of real servers."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from config import wiring
from routing.access import Role
from tests.integration.web.conftest import Api, api

__all__ = ["api"]

#: Set by .ci/run: then a missing browser is a failure, not a reason to leave the tests out.
NEEDED = "NEEDS_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: So long we wait for what must come; on two slow cores that is not about speed.
PATIENCE_MS = 20_000
SMALL: Any = {"width": 320, "height": 640}

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get(NEEDED):
            pytest.fail("There is no Chromium here: apt-get install chromium")
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@dataclass
class Phone:
    """One person's phone: a browser profile of its own, with the page open in it."""

    context: BrowserContext
    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message: ConsoleMessage) -> None:
        """A refusal by the page's own rules is told here; that a request failed may be what a test is about."""
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def open(self, view: str = "") -> None:
        self.page.goto(f"{self.base}/app/{view}")

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()

    def sees_title(self, text: str) -> None:
        expect(self.page.get_by_role("heading", level=1, name=text, exact=True)).to_be_visible()

    def tap(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def go(self, tab: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=tab).click()

    def is_live(self) -> None:
        expect(self.page.locator(".connection.live")).to_be_visible()

    def keeps_itself(self) -> None:
        """Wait until the page would open without a network."""
        self.page.evaluate("navigator.serviceWorker.ready.then(() => true)")

    def offline(self) -> None:
        self.context.set_offline(offline=True)
        expect(self.page.locator(".connection.offline")).to_be_visible()

    def online(self) -> None:
        self.context.set_offline(offline=False)


@dataclass
class Town:
    """The house, and the people whose phones these are."""

    api: Api
    browser: Browser
    phones: list[Phone] = field(default_factory=list)

    def installer(self, key: str = "acme", **over: Any) -> str:
        """A member with a place near the leads of these tests; its key."""
        self.api.house.member(key, **over)
        return key

    def lead(self, record: str = "lead-1", **facts: Any) -> int:
        """A new lead, offered to whose turn it is."""
        whole = {"attributes": {"product": "Solar roof", "size": "8 kW"}, "city": "Troy", "state": "NY", **CUSTOMER}
        lead = self.api.house.lead(record, **whole | facts)
        self.api.house.work()
        return lead

    def person(self, member: str, name: str = "Ana", role: Role = Role.PARTNER, **over: Any) -> str:
        """A person of that member; the token of a link that lets her in."""
        email = f"{name.lower()}@{member}.example.org"
        wiring.people().add(name=name, email=email, role=role, member=member, actor="test", **over)
        giver = wiring.tokens_for()
        person = wiring.people().by_email(email)
        assert giver is not None
        assert person is not None
        return giver.link_for(person)

    def phone(self, link: str = "", **options: Any) -> Phone:
        """A phone, with somebody logged in on it if a link is given."""
        base = str(self.api.client.base_url).rstrip("/")
        context = self.browser.new_context(**{"viewport": SMALL, "locale": "en-US", **options})
        phone = Phone(context, context.new_page(), base)
        self.phones.append(phone)
        phone.open(f"#login={link}" if link else "")
        if link:
            phone.is_live()
        return phone


CUSTOMER = {
    "name": "Zoe Quill",
    "email": "zoe.quill@example.org",
    "phone": "+1 518 555 0100",
    "street": "12 River Street",
}


@pytest.fixture
def town(api: Api, browser: Browser) -> Iterator[Town]:
    """When the test is over no phone may have complained."""
    town = Town(api, browser)
    yield town
    said = [complaint for phone in town.phones for complaint in phone.complaints]
    for phone in town.phones:
        phone.context.close()
    assert said == []
