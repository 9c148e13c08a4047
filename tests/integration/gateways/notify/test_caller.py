"""Calls to servers of other people, on real sockets."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Sequence

import pytest

from gateways.notify.caller import Caller, Reply
from tests.fakes.receiver import Receiver, drips, floods, hangs, says


async def here(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def post(url: str, total_s: float = 15.0, **more: object) -> Reply:
    caller = Caller(loopback=True, total_s=total_s, **more)  # type: ignore[arg-type]  # a test's own shorthand
    return asyncio.run(caller.post(url, {"X-Kind": "test"}, b'{"a": 1}'))


def test_what_is_posted_arrives_whole_and_under_its_own_name() -> None:
    with Receiver() as receiver:
        assert post(receiver.url("/hook?a=b")) == Reply(status=200)
        (call,) = receiver.calls
    assert (call.path, call.body) == ("/hook?a=b", b'{"a": 1}')
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert call.headers["x-kind"] == "test"


def test_Z4_a_redirect_is_not_followed() -> None:
    with Receiver() as inside, Receiver(says(302, "Location: http://127.0.0.1:1/latest/meta-data/")) as receiver:
        receiver.answer = says(302, f"Location: {inside.url('/latest/meta-data/')}")
        assert post(receiver.url()) == Reply(status=302)
        assert not Reply(status=302).ok
        assert len(receiver.calls) == 1
        assert inside.calls == []


def test_Z4_who_never_answers_is_left_after_the_time_agreed() -> None:
    with Receiver(hangs) as receiver:
        assert post(receiver.url(), 0.5) == Reply(why="no answer within 0.5 s")


def test_Z4_who_drips_an_answer_is_left_after_the_time_agreed() -> None:
    with Receiver(drips) as receiver:
        assert post(receiver.url(), 1.0) == Reply(why="no answer within 1 s")


def test_Z4_a_flood_behind_the_answer_is_not_read() -> None:
    with Receiver(floods) as receiver:
        tracemalloc.start()
        reply = post(receiver.url())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert reply == Reply(status=200)
    assert peak < 4_000_000


def test_Z4_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with Receiver(says(200, "Content-Encoding: gzip", body=bomb)) as receiver:
        tracemalloc.start()
        reply = post(receiver.url())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert receiver.calls[0].headers["accept-encoding"] == "identity"
    assert reply == Reply(status=200)
    assert peak < 4_000_000


def test_Z4_proxies_of_the_environment_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(receiver.url()) == Reply(status=200)
        assert (len(receiver.calls), proxy.calls) == (1, [])


def test_Z4_this_machine_is_not_called_unless_it_may_be() -> None:
    with Receiver() as receiver:
        strict = asyncio.run(Caller().post(receiver.url(), {}, b""))
        by_name = asyncio.run(Caller(resolve=here).post("https://app.example.com/", {}, b""))
        assert receiver.calls == []
    assert strict.why.startswith("address refused")
    assert by_name.why == "address refused: the host has an address that is not public"


def test_nobody_at_the_address_is_an_answer_too() -> None:
    with Receiver() as receiver:
        url = receiver.url()
    assert post(url).why.startswith("no connection")


def test_an_answer_that_is_no_http_is_an_answer_too() -> None:
    async def noise(writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.com ESMTP\r\n")
        await writer.drain()

    with Receiver(noise) as receiver:
        assert post(receiver.url()).why.startswith("no connection")
