"""One-tap links: they work once, for one offer, before its deadline, without a login, and only when a form is sent."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from config.links import Action, Link, Links
from config.vault import Vault
from tests.integration.delivery.post import Post
from web import links
from web.door import Door


class Browser:
    """Asks the page, as somebody who follows a link."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self._ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self._ask("POST", path, **more)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                return await http.request(method, path, **more)

        return asyncio.run(once())


@pytest.fixture
def browser(post: Post) -> Browser:
    app = FastAPI()
    page = links.Page(
        links=lambda: post.links,
        used=lambda: post.used,
        desk=lambda: post.desk,
        opened=lambda link, member: post.deliveries.opened(link.offer, member=member, person=link.person),
        answering=lambda pool: post._answering()[pool],
        style="/style.css",
        now=time.time,
    )
    app.include_router(links.routes(page))
    app.add_middleware(Door)
    return Browser(app)


@pytest.fixture
def member(post: Post) -> int:
    return post.house.member("near")


@pytest.fixture
def anna(post: Post, member: int) -> UUID:
    return post.person(member, language="de", units="km")


def token(post: Post, offer: UUID, person: UUID, action: Action = "answer", hours: float = 4) -> str:
    return post.links.token(Link(offer, person, action, datetime.now(UTC) + timedelta(hours=hours)))


def state(post: Post, offer: UUID) -> str:
    found: str = post.house.value("SELECT state FROM offers WHERE id = :offer", offer=offer)
    return found


def test_B6_an_offer_is_accepted_from_a_link_without_a_login(post: Post, browser: Browser, anna: UUID) -> None:
    offer = post.offer()
    path = f"/a/{token(post, offer, anna)}"
    page = browser.get(path)
    assert page.status_code == 200
    assert '<html lang="de">' in page.text
    assert "Roof in 19000 Springfield, 0 km entfernt" in page.text
    assert "Zu weit entfernt" in page.text
    assert state(post, offer) == "offered"  # looking at it answers nothing
    done = browser.post(path, data={"answer": "accept"})
    assert (done.status_code, state(post, offer)) == (200, "accepted")
    row = post.house.rows("SELECT actor, person_id FROM offers WHERE id = :offer", offer=offer)[0]
    assert (row.actor, row.person_id) == ("link", anna)


def test_B6_an_offer_is_rejected_with_a_reason_from_a_link(post: Post, browser: Browser, anna: UUID) -> None:
    offer = post.offer()
    path = f"/a/{token(post, offer, anna)}"
    without = browser.post(path, data={"answer": "reject"})
    assert (without.status_code, state(post, offer)) == (422, "offered")
    assert "Bitte wählen Sie einen Grund." in without.text
    assert browser.post(path, data={"answer": "reject", "reason": "<script>"}).status_code == 422
    assert browser.post(path, data={"answer": "reject", "reason": "too_far"}).status_code == 200
    assert state(post, offer) == "rejected"


def test_B6_a_link_works_once(post: Post, browser: Browser, anna: UUID) -> None:
    offer = post.offer()
    path = f"/a/{token(post, offer, anna)}"
    browser.post(path, data={"answer": "accept"})
    for again in (browser.get(path), browser.post(path, data={"answer": "reject", "reason": "too_far"})):
        assert again.status_code == 404
    assert state(post, offer) == "accepted"


def test_B6_a_link_is_for_its_own_offer_and_person_and_time_and_every_bad_one_gets_the_same_answer(
    post: Post, browser: Browser, anna: UUID
) -> None:
    offer, good = post.offer(), ""
    good = token(post, offer, anna)
    stranger = post.person(post.house.member("far", 44.0), "ben")
    gone = post.person(post.house.value("SELECT id FROM members WHERE key = 'near'"), "carl")
    post.people.set_active(gone, active=False, actor="test")
    forger = Links(Vault("another-secret-of-tests-with-32-chars"), "x")
    until = datetime.now(UTC) + timedelta(hours=1)
    bad = {
        "altered": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "another action": good[:1] + ("B" if good[1] != "B" else "C") + good[2:],
        "cut": good[:-4],
        "longer": good + "AAAA",
        "padded": good + "==",
        "huge": "A" * 5000,
        "none of the alphabet": "a.b!" * 20,
        "signed by another": forger.token(Link(offer, anna, "answer", until)),
        "too late": token(post, offer, anna, hours=-0.01),
        "another's person": token(post, offer, stranger),
        "a person shut out": token(post, offer, gone),
        "nobody": token(post, offer, uuid4()),
        "no such offer": token(post, uuid4(), anna),
    }
    answers = {
        name: [
            (r.status_code, r.content)
            for r in (browser.get(f"/a/{t}"), browser.post(f"/a/{t}", data={"answer": "accept"}))
        ]
        for name, t in bad.items()
    }
    assert {one for both in answers.values() for one in both} == {answers["cut"][0]}
    assert answers["cut"][0][0] == 404
    assert state(post, offer) == "offered"
    assert browser.get(f"/a/{good}").status_code == 200


def test_B6_a_link_for_one_answer_gives_no_other(post: Post, browser: Browser, anna: UUID) -> None:
    offer = post.offer()
    path = f"/a/{token(post, offer, anna, 'reject')}"
    assert "Annehmen" not in browser.get(path).text
    browser.post(path, data={"answer": "accept"})
    assert state(post, offer) == "offered"
    browser.post(path, data={"answer": "reject", "reason": "other"})
    assert state(post, offer) == "rejected"


def test_B6_after_its_deadline_an_offer_cannot_be_had_by_a_link(post: Post, browser: Browser, anna: UUID) -> None:
    offer = post.offer()
    path = f"/a/{token(post, offer, anna)}"
    post.house.overdue()
    late = browser.post(path, data={"answer": "accept"})
    assert (late.status_code, state(post, offer)) == (409, "offered")
    assert "abgelaufen" in late.text


def test_a_link_to_an_answered_offer_says_what_became_of_it(
    post: Post, browser: Browser, anna: UUID, member: int
) -> None:
    offer = post.offer()
    post.desk.reject(offer, "too_far", member=member)
    page = browser.get(f"/a/{token(post, offer, anna)}")
    assert page.status_code == 200
    assert "schon beantwortet" in page.text
    assert "<form" not in page.text


def test_what_may_be_seen_before_acceptance_is_all_that_the_page_shows(
    post: Post, browser: Browser, anna: UUID
) -> None:
    post.house.lead("00Q9", 40.0, -75.0, name="MARK-name", email="mark@example.com", city="<b>Springfield</b>")
    post.house.work()
    offer = post.house.value("SELECT id FROM offers")
    path = f"/a/{token(post, offer, anna)}"
    texts = [browser.get(path).text, browser.post(path, data={"answer": "accept"}).text]
    assert all("MARK" not in text.upper() for text in texts)
    assert "&lt;b&gt;Springfield&lt;/b&gt;" in texts[0]


def test_a_person_who_looks_at_the_page_has_opened_the_offer_and_a_scanner_has_not(
    post: Post, browser: Browser, anna: UUID
) -> None:
    offer = post.offer()
    post.house.run(
        "INSERT INTO deliveries (member_id, number, what, offer_id, channel, target, person_id, until)"
        " SELECT member_id, 1, 'offer.created', id, 'email', :anna, :anna, expires_at FROM offers",
        anna=anna,
    )
    path = f"/a/{token(post, offer, anna)}"
    opened = "SELECT opened_at IS NOT NULL FROM deliveries"
    browser.get(path)
    assert not post.house.value(opened)
    browser.get(path, headers={"Sec-Fetch-Mode": "navigate"})
    assert post.house.value(opened)


def test_the_page_lets_nothing_in_and_nothing_out(post: Post, browser: Browser, anna: UUID) -> None:
    page = browser.get(f"/a/{token(post, post.offer(), anna)}")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text


@pytest.mark.parametrize(
    "sent",
    [
        {"content": b"answer=accept", "headers": {"content-type": "text/plain"}},
        {"content": b'{"answer": "accept"}', "headers": {"content-type": "application/json"}},
        {"content": b"answer=accept&" + b"x" * 5000, "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"\xff\xfe", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"&a" * 50, "headers": {"content-type": "application/x-www-form-urlencoded"}},
    ],
)
def test_what_is_no_form_of_ours_answers_nothing(
    post: Post, browser: Browser, anna: UUID, sent: dict[str, Any]
) -> None:
    offer = post.offer()
    answer = browser.post(f"/a/{token(post, offer, anna)}", **sent)
    assert (answer.status_code, state(post, offer)) == (200, "offered")
