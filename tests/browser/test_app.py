"""The whole of an offer's life on a phone."""

import json

import pytest
from playwright.sync_api import expect

from routing.access import Role
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


@pytest.mark.long
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


def test_O8_of_two_members_asked_at_once_the_slower_one_is_told(town: Town) -> None:
    town.api.house.publish(answers={"fan_out": 2})
    first, second, third = (
        town.phone(town.person(town.installer(key, lat=lat)))
        for key, lat in (("acme", 40.0), ("best", 40.01), ("core", 40.4))
    )
    lead = town.lead()
    for phone in (first, second):
        phone.sees("Solar roof, 8 kW")
    second.offline()
    second.tap("Accept")
    first.tap("Accept")
    first.sees("Your customer")
    second.online()
    second.sees("Too late: somebody else was faster. Solar roof, 8 kW")
    third.sees("Nothing waits for your answer")
    assert town.api.house.state(lead)[0] == "accepted"
    assert "Zoe" not in second.page.content() + kept(second, "offers")


@pytest.mark.long
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


@pytest.mark.long
def test_an_offer_that_expires_leaves_the_list_and_says_why(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    lead = town.lead()
    phone.sees("Solar roof, 8 kW")
    town.api.house.overdue(lead)
    town.api.house.tick()
    phone.sees("Time is up: Solar roof, 8 kW.")
    phone.sees("Nothing waits for your answer")


@pytest.mark.long
def test_a_phone_whose_clock_is_wrong_counts_down_rightly(town: Town) -> None:
    phone = town.phone()
    phone.page.clock.install(time="2020-01-01T00:00:00Z")
    phone.page.clock.resume()
    phone.open(f"#login={town.person(town.installer())}")
    town.lead()
    phone.sees("3 hr 59 min left")


@pytest.mark.long
def test_without_a_stream_offers_come_by_asking(town: Town) -> None:
    link = town.person(town.installer())
    phone = town.phone()
    phone.page.route("**/api/v1/events", lambda route: route.abort())
    phone.open(f"#login={link}")
    expect(phone.page.locator(".connection.polling")).to_be_visible()
    town.lead()
    phone.sees("Solar roof, 8 kW")


@pytest.mark.long
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


def test_presence_is_one_switch_at_the_top(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    switch = phone.page.get_by_role("switch", name="Taking leads")
    expect(switch).to_be_checked()
    switch.click()
    phone.sees("You are away: no new offers come.")
    expect(switch).not_to_be_checked()
    lead = town.lead()
    assert town.api.house.state(lead)[0] == "waiting"


def test_B9_one_sees_how_one_stands(town: Town) -> None:
    phone = town.phone(town.person(town.installer()))
    town.lead()
    phone.go("Standing")
    phone.sees_title("Your standing")
    phone.sees("1 of 5")
    phone.sees("Not shown: few take part.")
    phone.sees("Last 30 days")


def test_B7_an_admin_lets_a_colleague_in_and_gives_her_a_job(town: Town) -> None:
    phone = town.phone(town.person(town.installer(), role=Role.PARTNER_ADMIN))
    lead = town.lead()
    phone.go("Team")
    phone.page.get_by_label("Name").fill("Ben Ode")
    phone.page.get_by_label("E-mail").fill("ben@acme.example.org")
    phone.tap("Add a person")
    phone.sees("Ben Ode was added.")
    phone.go("Offers")
    phone.tap("Accept")
    phone.sees("Your customer")
    phone.page.get_by_label("Who works on it").select_option(label="Ben Ode")
    phone.sees("Assigned.")
    query = "SELECT p.name FROM offers o JOIN people p ON p.id = o.assignee_id WHERE o.lead_id = :lead"
    assert [row.name for row in town.api.house.rows(query, lead=lead)] == ["Ben Ode"]


def test_a_message_of_ours_is_shown_while_the_page_is_closed(town: Town) -> None:
    phone = town.phone(town.person(town.installer()), permissions=["notifications"])
    phone.keeps_itself()
    told = {"what": "offer.created", "offer_id": "01936f7e-4a00-7c3e-8a55-2f0d5f0c9b11", "title": "New lead in Troy"}
    debugger = phone.context.new_cdp_session(phone.page)
    workers: list[str] = []
    debugger.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda e: workers.extend(r["registrationId"] for r in e["registrations"]),
    )
    debugger.send("ServiceWorker.enable")
    phone.page.wait_for_function("navigator.serviceWorker.controller !== null")
    push = {"origin": phone.base, "registrationId": workers[0], "data": json.dumps(told | {"body": "Solar roof"})}
    debugger.send("ServiceWorker.deliverPushMessage", push)
    shown = phone.page.evaluate(
        """async () => {
            const worker = await navigator.serviceWorker.ready;
            for (let n = 0; n < 200; n++) {
                const [one] = await worker.getNotifications();
                if (one) return [one.title, one.body, one.data.offer_id];
                await new Promise((done) => setTimeout(done, 50));
            }
        }"""
    )
    assert shown == ["New lead in Troy", "Solar roof", told["offer_id"]]
