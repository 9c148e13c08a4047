import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from config import wiring
from tests.integration.ops.conftest import until
from tests.integration.web.conftest import NOBODY, Api, Partner
from web.api.partner import feed, stream

Event = dict[str, Any]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens every few seconds happens at once."""
    monkeypatch.setattr(stream, "CHECK_S", 0.2)
    monkeypatch.setattr(feed, "POLL_S", 0.1)


class Ear:
    """One connection to the stream; `heard` grows while it is open."""

    def __init__(self, partner: Partner, last: int | None = None, params: Mapping[str, Any] | None = None) -> None:
        headers = {"Authorization": f"Bearer {partner.token}"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        self.client = httpx.Client(base_url=partner.api.client.base_url, timeout=60, verify=NOBODY)
        request = self.client.build_request("GET", "/api/v1/events", headers=headers, params=dict(params or {}))
        self.response = self.client.send(request, stream=True)
        self.lines: Iterator[str] = self.response.iter_lines() if self.response.is_success else iter(())
        self.heard: list[Event] = []

    def hear(self) -> Event | None:
        """The next event, or None at the end; comments are passed over."""
        one: Event = {}
        for line in self.lines:
            name, _, value = line.partition(": ")
            if name:
                one[name] = value
            elif "event" in one:
                self.heard.append(one | {"id": int(one["id"]), "data": json.loads(one["data"])})
                return self.heard[-1]
            elif not line:
                one = {}
        return None

    def close(self) -> None:
        self.response.close()
        self.client.close()


@contextmanager
def ear(partner: Partner, last: int | None = None, **params: Any) -> Iterator[Ear]:
    made = Ear(partner, last, params)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def meanwhile(do: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_B2_a_new_offer_reaches_a_connected_app_with_ids_and_states_only(api: Api) -> None:
    acme = api.partner("acme")
    with ear(acme) as line:
        ready = line.hear()
        assert ready is not None
        assert (ready["event"], ready["id"]) == ("ready", 0)
        offer = api.offered(email="zoe.marker@example.org", city="Markertown")
        told = line.hear()
    assert told is not None
    assert (told["event"], told["id"]) == ("offer.created", 1)
    assert told["data"].keys() == {"number", "offer_id", "kind", "state", "version", "expires_at", "at"}
    assert (told["data"]["offer_id"], told["data"]["state"], told["data"]["kind"]) == (offer, "offered", "turn")
    assert "marker" not in json.dumps(told).lower()


def test_B2_a_line_that_breaks_again_and_again_misses_nothing_and_tells_nothing_twice(api: Api) -> None:
    acme, wanted = api.partner("acme", capacity=1000), 60
    dice = random.Random(2)

    def offers_come() -> None:
        for n in range(wanted // 2):
            acme.post(f"/offers/{api.offered(f'lead-{n}')}/accept")

    heard: list[Event] = []
    with meanwhile(offers_come):
        while len(heard) < wanted:
            with ear(acme, heard[-1]["id"] if heard else 0) as line:
                line.hear()
                for _ in range(dice.randint(1, 9)):
                    if len(heard) < wanted and (told := line.hear()):
                        heard.append(told)
    assert [told["id"] for told in heard] == list(range(1, wanted + 1))
    assert {told["event"] for told in heard} == {"offer.created", "offer.accepted"}


def test_what_was_missed_is_told_in_order_and_then_what_comes(api: Api) -> None:
    acme = api.partner("acme")
    first = api.offered("lead-1")
    acme.post(f"/offers/{first}/accept")
    with ear(acme, since=0) as line:
        heard = [line.hear(), line.hear(), line.hear()]
        second = api.offered("lead-2")
        heard.append(line.hear())
    assert [(told["event"], told["id"]) for told in heard if told] == [
        ("ready", 0),
        ("offer.created", 1),
        ("offer.accepted", 2),
        ("offer.created", 3),
    ]
    assert [told["data"].get("offer_id") for told in heard[1:] if told] == [first, first, second]


def test_the_stream_of_another_member_tells_nothing_of_this_one(api: Api) -> None:
    acme, rival = api.partner("acme"), api.partner("rival", lat=44.0)
    with ear(rival) as line:
        line.hear()
        mine = api.offered("lead-1")
        theirs = api.offered("lead-2", lat=44.0)
        told = line.hear()
    assert told is not None
    assert told["data"]["offer_id"] == theirs != mine
    assert acme.get(f"/offers/{mine}").status_code == 200


def test_a_number_that_is_yet_to_come_begins_now(api: Api) -> None:
    acme = api.partner("acme")
    api.offered("lead-1")
    with ear(acme, 10**15) as line:
        ready = line.hear()
        assert ready is not None
        assert ready["id"] == 1


def test_the_stream_ends_when_its_key_does(api: Api) -> None:
    acme = api.partner("acme")
    with ear(acme) as line:
        line.hear()
        wiring.api_keys().revoke(acme.token.split("_")[1], actor="test")
        assert line.hear() is None
    assert acme.get("/events").status_code == 401


def test_a_caller_has_so_many_streams_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_STREAMS", 2)
    acme = api.partner("acme")
    with ear(acme) as first:
        first.hear()
        with ear(acme) as second:
            second.hear()
            with ear(acme) as third:
                assert third.response.status_code == 429
                assert third.response.headers["retry-after"] == "15"

    def lets_in_again() -> bool:
        with ear(acme) as line:
            return line.response.is_success

    until(lets_in_again)


def test_a_line_with_nothing_to_tell_shows_that_it_is_alive(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.1)
    with ear(api.partner("acme")) as line:
        assert line.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert line.response.headers["cache-control"] == "no-store"
        comments = (text for text in line.lines if text.startswith(":"))
        assert [next(comments), next(comments)] == [": still here"] * 2
