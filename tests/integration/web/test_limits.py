import asyncio
from typing import Any

import pytest

from config import desk
from storage.redis.buckets import Allowance
from tests.integration.web import conftest
from tests.integration.web.conftest import Api
from tests.integration.web.test_stream import ear
from web import limits
from web.api.partner import stream
from web.api.partner.feed import Feed
from web.api.partner.stream import Listener, Stream


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve requests at once, and then one in five seconds."""
    monkeypatch.setattr(conftest, "PLENTY", "12")


@pytest.mark.usefixtures("scarce")
@pytest.mark.parametrize("away", [False, True], ids=["redis", "redis is away"])
def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_let_in(
    api: Api, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    if away:
        monkeypatch.setattr("storage.redis.buckets.rate", lambda _name: "no key of this user")
        api.house.turnstile._redis.set("no key of this user", "no number")
    acme, rival = api.partner("acme"), api.partner("rival")
    answers = [acme.get("/me") for _ in range(13)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 3
    assert answers[0].headers["ratelimit-policy"] == '"default";q=10;w=50'
    assert answers[0].headers["ratelimit"].startswith('"default";r=9;t=')
    refused = answers[-1]
    assert refused.json()["type"] == "urn:fairturn:problem:too-many-requests"
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
    assert rival.get("/me").status_code == 200


def test_who_guesses_tokens_is_slowed_down_and_good_tokens_from_there_are_not(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Allowance(per_s=0.01, burst=3)
    monkeypatch.setattr(limits.Limits.__init__, "__kwdefaults__", {"guesses": few})
    with conftest.served() as url:
        wrong = {"Authorization": "Bearer ft_0123_wrong"}
        answers = [api.client.get(f"{url}/api/v1/me", headers=wrong) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        assert answers[-1].headers["content-type"] == "application/problem+json"
        good = {"Authorization": f"Bearer {api.partner('acme').token}"}
        assert api.client.get(f"{url}/api/v1/me", headers=good).status_code == 200


def test_a_stream_that_nobody_reads_is_let_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SLOW_S", 0.05)
    acme = api.partner("acme")
    api.offered()
    sent: list[Any] = []

    async def stuck(message: Any) -> None:
        sent.append(message["type"])
        if len(sent) > 1:
            await asyncio.Event().wait()

    async def silent() -> Any:
        await asyncio.Event().wait()

    async def connect() -> None:
        feed = Feed(lambda members: desk.partner().heads(members))
        one = Stream(feed, desk.partner(), Listener(acme.id, "key:1", lambda: None), 0)
        await asyncio.wait_for(one({"type": "http"}, silent, stuck), 10)
        feed.check("key:1")

    asyncio.run(connect())
    assert sent == ["http.response.start", "http.response.body"]
    with ear(acme) as line:
        assert line.response.is_success
