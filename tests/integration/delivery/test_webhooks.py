"""Webhooks, from an offer to the partner's own server."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from config.vault import Vault
from gateways.notify import webhook
from storage.postgres.deliveries import Deliveries
from storage.postgres.endpoints import SameEndpoint, TooManyEndpoints, UnknownEndpoint
from tests.fakes.receiver import Receiver, hangs, says
from tests.integration.delivery.post import Post, verified


def test_Z4_an_offer_reaches_the_partners_server_and_verifies_with_the_reference_library(post: Post) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        _, secret = post.hook(member, receiver.url())
        offer = post.offer()
        post.work()
        (call,) = receiver.calls
    told = verified(secret, call)
    assert told["type"] == "offer.created"
    assert told["data"]["offer_id"] == str(offer)
    assert told["data"]["number"] == 1
    assert (told["data"]["state"], told["data"]["version"]) == ("offered", 1)
    assert told["data"]["area"] == {"country": "US", "postal_code": "19000", "city": "Springfield"}
    assert abs(datetime.fromisoformat(told["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert post.states() == [("webhook", "sent", None)]
    assert post.ends == [("webhook", "sent")]
    (step,) = post.told()
    assert (step["notice"], step["channel"], step["state"]) == ("offer.created", "webhook", "sent")


def test_Z4_retries_share_one_id_and_carry_a_fresh_time(post: Post) -> None:
    member = post.house.member("near")
    with Receiver(says(503)) as receiver:
        _, secret = post.hook(member, receiver.url())
        post.offer()
        post.work()
        assert post.states() == [("webhook", "pending", "it answered 503")]
        post.work()
        assert len(receiver.calls) == 1  # not before its time
        post.later(seconds=10)
        receiver.answer = says(204, body=b"")
        post.work()
        first, second = receiver.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"])
    assert verified(secret, second)["data"] == verified(secret, first)["data"]
    assert post.states() == [("webhook", "sent", None)]


@pytest.mark.parametrize("altered", ["body", "id", "time", "secret"])
def test_Z4_what_was_altered_on_its_way_fails_verification(post: Post, altered: str) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        _, secret = post.hook(member, receiver.url())
        post.offer()
        post.work()
        (call,) = receiver.calls
    headers, body = dict(call.headers), call.body
    if altered == "body":
        body = body.replace(b"offered", b"0ffered")
    elif altered == "id":
        headers["webhook-id"] += "x"
    elif altered == "time":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
    else:
        secret = webhook.new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_Z4_a_call_that_is_five_minutes_old_fails_verification() -> None:
    secret, body = webhook.new_secret(), b"{}"
    for age, good in ((290, True), (310, False), (-310, False)):
        headers = webhook.headers([secret], "msg_1", datetime.now(UTC) - timedelta(seconds=age), body)
        if good:
            assert Webhook(secret).verify(body, headers) == {}
        else:
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(body, headers)


def test_Z4_a_receiver_that_remembers_ids_knows_a_replay_and_a_new_notice_has_another_id(post: Post) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        post.hook(member, receiver.url())
        offer = post.offer()
        post.work()
        post.desk.accept(offer, member=member)
        post.work()
        calls = receiver.calls
    ids = [call.headers["webhook-id"] for call in calls]
    assert len(ids) == len(set(ids)) == 2


def test_two_secrets_sign_while_a_receiver_changes_over(post: Post) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        endpoint, old = post.hook(member, receiver.url())
        new = webhook.new_secret()
        post.endpoints.change_secret(member, endpoint.id, new, actor="test")
        offer = post.offer()
        post.work()
        (call,) = receiver.calls
        assert verified(old, call) == verified(new, call)
        post.house.run("UPDATE endpoints SET old_until = clock_timestamp() - interval '1 second'")
        post.desk.accept(offer, member=member)
        post.work()
    assert verified(new, receiver.calls[1])["type"] == "offer.accepted"
    with pytest.raises(WebhookVerificationError):
        verified(old, receiver.calls[1])


def test_an_endpoint_that_says_it_is_gone_is_disabled_and_called_no_more(post: Post) -> None:
    member = post.house.member("near")
    with Receiver(says(410)) as receiver:
        endpoint, _ = post.hook(member, receiver.url())
        offer = post.offer()
        post.work()
        assert post.endpoints.get(member, endpoint.id).state == "disabled"
        post.desk.accept(offer, member=member)
        post.work()
        assert len(receiver.calls) == 1
        receiver.answer = says(200)
        post.endpoints.enable(member, endpoint.id, actor="test")
        post.desk.complete(offer, member=member)
        post.work()
        assert len(receiver.calls) == 2
    assert post.states()[0] == ("webhook", "failed", "it answered 410")


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 429, 500])
def test_any_answer_but_a_good_one_is_tried_again(post: Post, status: int) -> None:
    member = post.house.member("near")
    with Receiver(says(status, "Location: http://127.0.0.1:1/")) as receiver:
        post.hook(member, receiver.url())
        post.offer()
        post.work()
        assert len(receiver.calls) == 1
    assert post.states() == [("webhook", "pending", f"it answered {status}")]


def test_retries_end_with_the_deadline_of_the_offer(post: Post) -> None:
    member = post.house.member("near")
    with Receiver(says(500)) as receiver:
        post.hook(member, receiver.url())
        post.offer()
        post.house.run("UPDATE offers SET expires_at = clock_timestamp() + interval '4 seconds'")
        post.work()
        assert post.states() == [("webhook", "expired", "it answered 500")]
        post.later(days=1)
        post.work()
        assert len(receiver.calls) == 1
    assert post.told()[0]["state"] == "expired"


def test_what_was_to_be_told_while_nobody_worked_is_not_told_after_its_deadline(post: Post) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        post.hook(member, receiver.url())
        post.offer()
        post.house.overdue()
        post.work()
        assert receiver.calls == []
    assert post.states() == [("webhook", "expired", "its deadline is past")]


def test_an_endpoint_that_fails_for_days_is_disabled(post: Post) -> None:
    member = post.house.member("near")
    with Receiver(says(500)) as receiver:
        endpoint, _ = post.hook(member, receiver.url())
        post.offer()
        post.work()
        post.house.run("UPDATE endpoints SET failing_since = failing_since - interval '6 days'")
        post.later(seconds=10)
        post.work()
    found = post.endpoints.get(member, endpoint.id)
    assert (found.state, found.why, found.failures) == ("disabled", "it has failed for 5 days", 2)


def test_one_success_forgives_the_failures_before_it(post: Post) -> None:
    member = post.house.member("near")
    with Receiver(says(500)) as receiver:
        endpoint, _ = post.hook(member, receiver.url())
        post.offer()
        post.work()
        assert post.endpoints.get(member, endpoint.id).failures == 1
        receiver.answer = says(200)
        post.later(seconds=10)
        post.work()
    assert post.endpoints.get(member, endpoint.id).failures == 0


def test_no_more_than_two_calls_are_under_way_to_one_endpoint_whoever_makes_them(post: Post) -> None:
    member = post.house.member("near", capacity=20)
    with Receiver(hangs) as receiver:
        post.hook(member, receiver.url())
        for n in range(6):
            post.offer(f"00Q{n}")
        other = post.another()
        for courier in (post.courier, other):
            courier.work()
        receiver.wait_for(2)
        assert len(receiver.calls) == 2
        other.close()


def test_a_call_whose_process_died_is_made_again_under_the_same_id(post: Post) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        post.hook(member, receiver.url())
        post.offer()
        post.deliveries.fan()
        (lost,) = post.deliveries.claim(10, 10)  # and no word of it any more
        post.work()
        assert receiver.calls == []
        post.later(minutes=1)
        post.work()
        (call,) = receiver.calls
    assert lost.attempts == 1
    assert call.headers["webhook-id"].endswith("_1")
    assert post.states() == [("webhook", "sent", None)]


def test_what_is_told_holds_no_contact_data_even_after_acceptance(post: Post) -> None:
    member = post.house.member("near")
    marked = {
        "name": "MARK-name",
        "email": "mark-mail@example.com",
        "phone": "+1 555 0100 999",
        "street": "MARK-street",
    }
    with Receiver() as receiver:
        post.hook(member, receiver.url())
        post.house.lead("00Q9", 40.0, -75.0, **marked)
        post.house.work()
        offer = post.house.value("SELECT id FROM offers")
        post.desk.accept(offer, member=member)
        post.work()
        bodies = b"".join(call.body for call in receiver.calls).lower()
    assert len(receiver.calls) == 2
    assert not [text for text in marked.values() if text.lower().encode() in bodies]


def test_one_deliverys_secret_that_cannot_be_opened_holds_up_no_other(post: Post) -> None:
    member = post.house.member("near")
    with Receiver() as receiver:
        broken, _ = post.hook(member, receiver.url("/broken"))
        post.hook(member, receiver.url("/whole"))
        post.house.run("UPDATE endpoints SET sealed = 'nonsense' WHERE id = :id", id=broken.id)
        post.offer()
        post.work()
        assert [call.path for call in receiver.calls] == ["/whole"]
    assert sorted(post.states()) == [("webhook", "failed", "SealedOtherwise"), ("webhook", "sent", None)]


def test_nothing_of_an_endpoints_secret_can_be_read_in_the_ledger(post: Post) -> None:
    member = post.house.member("near")
    _, secret = post.hook(member, "https://app.example.com/hook")
    (row,) = post.house.rows("SELECT sealed FROM endpoints")
    assert secret.removeprefix("whsec_").encode() not in bytes(row.sealed)
    other = Deliveries(post.house.engine, Vault("another-secret-of-tests-with-32-chars"))
    assert other.claim(10, 10) == []


def test_a_member_knows_its_own_endpoints_only_and_has_five_at_most(post: Post) -> None:
    mine, theirs = post.house.member("mine"), post.house.member("theirs")
    made = [post.hook(mine, f"https://app.example.com/{n}")[0] for n in range(5)]
    with pytest.raises(TooManyEndpoints):
        post.hook(mine, "https://app.example.com/6")
    with pytest.raises(SameEndpoint):
        post.hook(mine, "https://app.example.com/0")
    assert post.endpoints.of(theirs) == []
    with pytest.raises(UnknownEndpoint):
        post.endpoints.get(theirs, made[0].id)
    with pytest.raises(UnknownEndpoint):
        post.endpoints.enable(theirs, made[0].id, actor="x")
    with pytest.raises(UnknownEndpoint):
        post.endpoints.change_secret(theirs, made[0].id, webhook.new_secret(), actor="x")
    post.endpoints.remove(theirs, made[0].id, actor="x")
    assert len(post.endpoints.of(mine)) == 5
    post.endpoints.remove(mine, made[0].id, actor="x")
    post.endpoints.remove(mine, made[0].id, actor="x")
    assert len(post.endpoints.of(mine)) == 4
