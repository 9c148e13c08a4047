"""People told by push, SMS and mail: the real encryption, a real mail server, and the order they wish."""

from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from email.policy import default as email_policy
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography.hazmat.primitives.asymmetric import ec

from config.words import LANGUAGES
from gateways.notify.messenger import templates
from gateways.notify.push import Subscription
from routing.delivery import Channel
from routing.errors import BadInput
from routing.offer import Actor, Notice
from storage.postgres.engine import transaction
from storage.postgres.notices import tell_members
from tests.fakes.receiver import Receiver, says
from tests.integration.delivery.post import FACE, Browser, Maker, Post, proof
from tests.integration.routing.house import House
from workers.embedded_servers import free_port

#: A plugin of Apprise, which loads all it has, asks for it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class Letters:
    """A mail server's box."""

    def __init__(self) -> None:
        self.came: list[tuple[list[str], Message]] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            self.came.append((list(envelope.rcpt_tos), message_from_bytes(content, policy=email_policy)))
        return self.answer

    def text(self, number: int = -1) -> str:
        message: Any = self.came[number][1]
        return str(message.get_body(("plain",)).get_content())


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def mail(letters: Letters) -> Iterator[str]:
    """A template for mail to a server that is really there."""
    server = Controller(letters, hostname="127.0.0.1", port=free_port())
    server.start()
    yield f"mailto://127.0.0.1:{server.port}?from=fairturn@example.com&to={{to}}"
    server.stop()


@pytest.fixture
def gateway() -> Iterator[Receiver]:
    """An SMS service with an HTTP interface."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def full(make: Maker, mail: str, gateway: Receiver) -> Post:
    """Every channel is set."""
    return make(templates={"email": mail, "sms": f"form://127.0.0.1:{gateway.port}/sms?:to={{to}}"})


def test_B3_an_offer_is_pushed_to_a_browser_that_alone_can_read_it(post: Post) -> None:
    member = post.house.member("near")
    anna = post.person(member, language="de", units="km")
    with Receiver(says(201)) as service:
        browser = Browser(service.url("/push/anna"))
        post.devices.add(member, anna, browser.subscription.as_told())
        offer = post.offer()
        post.work()
        (call,) = service.calls
    told = browser.read(call)
    assert (told["what"], told["offer_id"]) == ("offer.created", str(offer))
    assert told["title"] == "Neue Anfrage in 19000 Springfield"
    assert told["body"].startswith("Roof in 19000 Springfield, 0 km entfernt. Bitte antworten Sie bis ")
    assert b"Springfield" not in call.body
    assert call.headers["content-encoding"] == "aes128gcm"
    assert call.headers["urgency"] == "high"
    assert 14_000 < int(call.headers["ttl"]) <= 14_400  # no longer than the offer is open
    assert post.states() == [("push", "sent", None)]


def test_a_push_service_learns_who_we_are_and_always_the_same(post: Post) -> None:
    member = post.house.member("near")
    anna = post.person(member)
    with Receiver(says(201)) as service:
        post.devices.add(member, anna, Browser(service.url()).subscription.as_told())
        offer = post.offer()
        post.work()
        post.desk.rescind(offer, None, then="hold", actor=Actor.MANAGER)
        post.work()
        proofs = [proof(call) for call in service.calls]
    (_, first), (_, second) = proofs
    assert first == second
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), first)
    for token, _ in proofs:
        claims = jwt.decode(token, key, ["ES256"], audience=service.url("").rstrip("/"))
        assert claims["sub"] == "mailto:post@example.com"


@pytest.mark.parametrize("status", [404, 410])
def test_B3_a_device_that_is_gone_is_forgotten_and_the_next_channel_takes_over_at_once(
    full: Post, letters: Letters, status: int
) -> None:
    member = full.house.member("near")
    anna = full.person(member)
    with Receiver(says(status)) as service:
        full.devices.add(member, anna, Browser(service.url()).subscription.as_told())
        full.offer()
        full.work()
        full.work()
    assert full.devices.of(member, anna) == []
    assert full.states() == [("push", "failed", f"it answered {status}"), ("email", "sent", None)]
    assert len(letters.came) == 1


def test_B3_an_unopened_push_falls_back_to_sms_and_then_to_mail_each_after_a_while(
    full: Post, letters: Letters, gateway: Receiver
) -> None:
    member = full.house.member("near")
    anna = full.person(member, phone="+15550100999")
    with Receiver(says(201)) as service:
        full.devices.add(member, anna, Browser(service.url()).subscription.as_told())
        full.offer()
        full.work()
        assert (len(service.calls), len(gateway.calls), len(letters.came)) == (1, 0, 0)
        full.later(minutes=5)
        full.work()
        assert (len(service.calls), len(gateway.calls), len(letters.came)) == (1, 1, 0)
        full.later(minutes=5)
        full.work()
        assert (len(service.calls), len(gateway.calls), len(letters.came)) == (1, 1, 1)
    sms = parse_qs(gateway.calls[0].body.decode())
    assert sms["to"] == ["+15550100999"]
    assert sms["message"][0].startswith("New lead in 19000 Springfield. Roof in 19000 Springfield, 0 mi away.")
    (to, message) = letters.came[0]
    assert to == ["anna@example.com"]
    assert message["subject"] == "New lead in 19000 Springfield"
    assert f"Answer with one tap: {FACE}/a/" in letters.text()
    told = [(step["channel"], step["state"]) for step in full.told()]
    assert told == [("push", "sent"), ("sms", "sent"), ("email", "sent")]


def test_B3_what_was_opened_in_time_does_not_fall_back(full: Post, letters: Letters, gateway: Receiver) -> None:
    member = full.house.member("near")
    anna, ben = full.person(member, phone="+15550100999"), full.person(member, "ben")
    with Receiver(says(201)) as service:
        full.devices.add(member, anna, Browser(service.url()).subscription.as_told())
        offer = full.offer()
        full.work()
        full.deliveries.opened(offer, member=member, person=anna)
        full.later(minutes=11)
        full.work()
    assert gateway.calls == []
    assert [to for to, _ in letters.came] == [["ben@example.com"]]
    mine = full.house.rows(
        "SELECT channel, state, why FROM deliveries WHERE person_id = :anna ORDER BY step", anna=anna
    )
    assert [tuple(row) for row in mine] == [
        ("push", "sent", None),
        ("sms", "skipped", "it was opened"),
        ("email", "skipped", "it was opened"),
    ]
    assert ben


def test_B3_nobody_is_called_for_what_was_answered_meanwhile(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    anna = full.person(member)
    with Receiver(says(201)) as service:
        full.devices.add(member, anna, Browser(service.url()).subscription.as_told())
        offer = full.offer()
        full.work()
        full.desk.accept(offer, member=member)
        full.later(minutes=6)
        full.work()
        assert len(service.calls) == 1
    assert letters.came == []
    assert full.states("email") == [("email", "skipped", "it was answered")]


def test_B3_quiet_hours_of_a_person_are_kept(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    full.person(member)
    full.house.run(
        "UPDATE people SET time_zone = 'UTC', quiet_from = (clock_timestamp() - interval '1 hour')::time,"
        " quiet_to = (clock_timestamp() + interval '1 hour')::time"
    )
    full.offer()
    full.work()
    assert letters.came == []
    assert full.states() == [("email", "pending", None)]
    full.later(hours=1)
    full.work()
    assert len(letters.came) == 1


def test_B3_quiet_hours_that_outlast_the_offer_can_be_seen_on_the_timeline(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    full.person(member)
    full.house.run(
        "UPDATE people SET time_zone = 'UTC', quiet_from = (clock_timestamp() - interval '1 hour')::time,"
        " quiet_to = (clock_timestamp() + interval '10 hours')::time"
    )
    full.offer()
    full.work()
    assert letters.came == []
    (step,) = full.told()
    assert (step["state"], step["why"]) == ("skipped", "quiet hours last until its deadline")


def test_B3_a_person_is_told_by_the_channels_it_wishes(full: Post, letters: Letters, gateway: Receiver) -> None:
    member = full.house.member("near")
    anna = full.person(member, phone="+15550100999")
    full.devices.wish(anna, [Channel.EMAIL])
    assert full.devices.wishes(anna) == (Channel.EMAIL,)
    full.offer()
    full.work()
    full.later(minutes=30)
    full.work()
    assert (len(letters.came), gateway.calls) == (1, [])


def test_mail_that_is_not_taken_is_tried_again_and_then_given_up(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    full.person(member)
    letters.answer = "451 try again later"
    full.offer()
    full.work()
    assert full.states() == [("email", "pending", "the email service did not take it")]
    letters.answer = "250 OK"
    full.later(minutes=1)
    full.work()
    assert full.states() == [("email", "sent", None)]
    assert full.errors == []


def test_who_may_not_come_in_any_more_is_told_nothing(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    anna = full.person(member)
    full.offer()
    full.deliveries.fan()
    full.people.set_active(anna, active=False, actor="test")
    full.work()
    assert letters.came == []
    assert full.states() == [("email", "skipped", "the person has no access any more")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_B8_mail_comes_in_the_language_and_the_units_of_the_person(full: Post, letters: Letters, language: str) -> None:
    member = full.house.member("near", lat=40.1)
    full.person(member, language=language, units="km" if language != "en" else "mi")
    full.offer()
    full.work()
    first = {
        "en": "Roof in 19000 Springfield, 6.9 mi away.",
        "de": "Roof in 19000 Springfield, 11 km entfernt.",
        "fr": "Roof, 19000 Springfield, à 11",
        "es": "Roof, 19000 Springfield, a 11 km.",
        "pl": "Roof, 19000 Springfield, odległość 11 km.",
    }
    assert letters.text().replace("\xa0", " ").startswith(first[language])


def test_a_login_code_comes_by_mail_and_is_kept_nowhere_in_plain_sight(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    anna = full.person(member, language="pl")
    full.deliveries.post_letter(
        anna, "login", {"code": "48151623", "link": f"{FACE}/app/#login=MARK-link"}, lives_s=600
    )
    (row,) = full.house.rows("SELECT sealed::text AS sealed FROM deliveries")
    assert "48151623" not in row.sealed
    full.work()
    (to, message) = letters.came[0]
    assert to == ["anna@example.com"]
    assert message["subject"] == "Kod logowania Fairturn to 48151623"
    assert "MARK-link" in letters.text()
    assert "10 minut" in letters.text()
    assert full.house.rows("SELECT sealed FROM deliveries")[0].sealed is None


def test_a_letter_that_waited_too_long_is_not_sent(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    anna = full.person(member)
    full.deliveries.post_letter(anna, "login", {"code": "48151623", "link": "x"}, lives_s=0)
    full.work()
    assert letters.came == []
    assert full.states() == [("email", "expired", "its deadline is past")]


def test_a_device_belongs_to_who_used_it_last_and_ten_are_enough(post: Post) -> None:
    member = post.house.member("near")
    anna, ben = post.person(member), post.person(member, "ben")
    same = Browser("https://push.example.com/1").subscription.as_told()
    first = post.devices.add(member, anna, same, label="phone")
    again = post.devices.add(member, ben, same)
    assert first.id == again.id
    assert post.devices.of(member, anna) == []
    for n in range(12):
        post.devices.add(member, anna, Browser(f"https://push.example.com/a{n}").subscription.as_told())
    assert len(post.devices.of(member, anna)) == 10
    post.devices.remove(member, anna, again.id)  # not hers any more
    assert len(post.devices.of(member, ben)) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpoint": "http://push.example.com/1"}, "url"),
        ({"endpoint": "https://10.0.0.1/1"}, "url"),
        ({"keys": {"p256dh": "AAAA", "auth": "MDEyMzQ1Njc4OWFiY2RlZg"}}, "keys.p256dh"),
        ({"keys": {}}, "keys.p256dh"),
        ({"keys": "x"}, "keys.p256dh"),
        ({}, ""),
    ],
)
def test_a_subscription_that_no_browser_gives_is_refused(change: dict[str, Any], field: str) -> None:
    told = Browser("https://push.example.com/1").subscription.as_told() | change
    if not field:
        assert Subscription.read(told).as_told() == told
        return
    with pytest.raises(BadInput) as error:
        Subscription.read(told)
    assert error.value.field == field


def test_a_reminder_of_an_opened_offer_is_told_all_the_same(full: Post, letters: Letters) -> None:
    member = full.house.member("near")
    anna = full.person(member)
    offer = full.offer()
    full.work()
    full.deliveries.opened(offer, member=member, person=anna)
    lead = full.house.value("SELECT lead_id FROM offers WHERE id = :offer", offer=offer)
    remind(full.house, member, offer, lead)
    full.work()
    assert len(letters.came) == 2
    assert "minutes are left to answer" in letters.text()


def remind(house: House, member: int, offer: Any, lead: int) -> None:
    with transaction(house.engine) as connection:
        tell_members(connection, [(member, offer, lead, Notice.REMINDER)])


@pytest.mark.parametrize("pairs", [("mail=mailto://x?to={to}",), ("email=mailto://x",), ("email",), ("email={to}",)])
def test_an_address_template_that_leads_to_nobody_is_refused(pairs: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as error:
        templates(pairs)
    assert error.value.field == "FAIRTURN_NOTIFY_URLS"


@pytest.mark.parametrize(("odd", "comes"), [("a&to=b", True), ("a@evil.example,b", False), ("a@evil.example;b", False)])
def test_a_persons_address_cannot_have_mail_brought_to_others(
    full: Post, letters: Letters, odd: str, *, comes: bool
) -> None:
    member = full.house.member("near")
    full.person(member, odd)
    full.offer()
    full.work()
    assert [to for to, _ in letters.came] == ([[f"{odd}@example.com"]] if comes else [])
