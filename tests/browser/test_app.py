"""The whole of an offer's life on a phone."""

import json

from playwright.sync_api import expect

from tests.browser.conftest import CUSTOMER, Phone, Town


def kept(phone: Phone, store: str) -> str:
    """Everything a store of the phone's database holds, as text."""
    found: str = phone.page.evaluate(
        """(store) => new Promise((done) => {
            const opened = indexedDB.open("fairturn");
            opened.onsuccess = () => {
                const asked = opened.result.transaction(store).objectStore(store).getAll();
                asked.onsuccess = () => (opened.result.close(), done(JSON.stringify(asked.result)));
            };
        })""",
        store,
    )
    return found


def test_B1_B2_an_offer_comes_by_itself_is_accepted_and_shows_whose_it_is(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    phone.sees_title("Offers")
    phone.sees("Nothing waits for your answer")
    phone.page.evaluate("globalThis.sameAsBefore = true")
    lead = town.lead()
    phone.sees("Solar roof, 8 kW")
    phone.sees("left")
    shown = phone.page.content() + kept(phone, "offers")
    assert [value for value in CUSTOMER.values() if value in shown] == []
    phone.tap("Accept")
    phone.sees("Your customer")
    phone.sees("Zoe Quill")
    assert phone.page.get_by_role("link", name="Call +1 518 555 0100").get_attribute("href") == "tel:+15185550100"
    assert phone.page.get_by_role("link", name="Write to").get_attribute("href") == "mailto:zoe.quill@example.org"
    assert "12%20River%20Street" in str(phone.page.get_by_role("link", name="map").get_attribute("href"))
    assert phone.page.evaluate("globalThis.sameAsBefore")
    assert town.api.house.state(lead)[0] == "accepted"
    phone.tap("Completed")
    phone.sees("Completed: Solar roof, 8 kW.")
    assert town.api.house.state(lead)[0] == "done"


def test_a_rejection_is_one_tap_on_a_reason(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    lead = town.lead()
    phone.tap("Reject")
    expect(phone.page.get_by_role("dialog", name="Why do you reject it?")).to_be_visible()
    phone.tap("Too far")
    phone.sees("Rejected: Solar roof, 8 kW.")
    rows = town.api.house.rows("SELECT state, reason FROM offers WHERE lead_id = :lead", lead=lead)
    assert [tuple(row) for row in rows] == [("rejected", "too_far")]
    phone.sees("Nothing waits for your answer")


def test_B5_a_second_phone_loses_the_race_and_says_so(town: Town) -> None:
    member = town.installer()
    first, second = town.phone(town.person(member, "Ana")), town.phone(town.person(member, "Ben"))
    town.lead()
    for phone in (first, second):
        phone.sees("Solar roof, 8 kW")
    second.offline()
    first.tap("Accept")
    first.sees("Your customer")
    second.tap("Reject")
    second.tap("No capacity")
    second.sees("Saved: Reject.")
    second.online()
    second.sees("Too late: it was answered before (Accepted). Solar roof, 8 kW")


def test_who_only_watches_learns_that_a_colleague_was_faster(town: Town) -> None:
    member = town.installer()
    first, second = town.phone(town.person(member, "Ana")), town.phone(town.person(member, "Ben"))
    town.lead()
    second.sees("Solar roof, 8 kW")
    first.tap("Accept")
    second.sees("A colleague accepted: Solar roof, 8 kW.")


def test_B5_without_a_network_the_page_opens_and_an_answer_is_sent_once_afterwards(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    lead = town.lead()
    phone.sees("Solar roof, 8 kW")
    phone.keeps_itself()
    phone.offline()
    phone.page.reload()
    phone.sees("You are offline: this is what was last known.")
    phone.tap("Accept")
    phone.sees("Saved: Accept.")
    phone.page.reload()
    phone.sees("Saved: Accept.")
    assert town.api.house.state(lead)[0] == "offered"
    phone.online()
    phone.sees("Your customer")
    assert town.api.house.story(lead).count("accepted") == 1
    assert json.loads(kept(phone, "answers")) == []


def test_B5_an_answer_that_comes_too_late_says_when_it_expired(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    lead = town.lead()
    phone.sees("Solar roof, 8 kW")
    phone.offline()
    phone.tap("Accept")
    town.api.house.overdue(lead)
    phone.online()
    phone.sees("Too late: it expired at")


def test_an_offer_that_expires_leaves_the_list_and_says_why(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    lead = town.lead()
    phone.sees("Solar roof, 8 kW")
    town.api.house.overdue(lead)
    town.api.house.tick()
    phone.sees("Time is up: Solar roof, 8 kW.")
    phone.sees("Nothing waits for your answer")


def test_a_phone_whose_clock_is_wrong_counts_down_rightly(town: Town) -> None:
    phone = town.phone()
    phone.page.clock.install(time="2020-01-01T00:00:00Z")
    phone.page.clock.resume()
    phone.open(f"#login={town.person(town.installer())}")
    town.lead()
    phone.sees("3 hr 59 min left")


def test_without_a_stream_offers_come_by_asking(town: Town) -> None:
    link = town.person(town.installer())
    phone = town.phone()
    phone.page.route("**/api/v1/events", lambda route: route.abort())
    phone.open(f"#login={link}")
    expect(phone.page.locator(".connection.polling")).to_be_visible()
    town.lead()
    phone.sees("Solar roof, 8 kW")


def test_a_login_outlives_a_reload_and_logging_out_leaves_nothing_on_the_phone(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    lead = town.lead()
    phone.tap("Accept")
    phone.sees("Zoe Quill")
    phone.page.reload()
    phone.sees("Zoe Quill")
    assert "login=" not in phone.page.url
    phone.go("Profile")
    phone.tap("Log out")
    phone.sees_title("Log in")
    left = kept(phone, "offers") + kept(phone, "kept") + kept(phone, "answers")
    assert "Zoe" not in left
    assert json.loads(left.partition("]")[2].partition("]")[0] + "]") == ["en"]
    assert town.api.house.state(lead)[0] == "accepted"


def test_what_a_customer_typed_is_text_and_never_markup(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    nasty = "<img src=x onerror=alert(1)>"
    town.lead(attributes={"product": nasty}, city="<b>Troy</b>", name=nasty, phone="javascript:alert(1)")
    phone.sees(nasty)
    phone.tap("Accept")
    phone.sees("Your customer")
    assert phone.page.locator("main img, main b").count() == 0
    assert phone.page.get_by_role("link", name="Call").get_attribute("href") == "tel:1"
