"""Addresses that somebody else names: what may never be called, in whatever disguise it comes."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore
import pytest

from gateways.notify.guard import AddressRefused, Pinned, is_public, permitted, target
from routing.errors import BadInput

#: Refused as they are written, before any name is looked up.
WRITTEN = {
    "plain http": "http://app.example.com/hook",
    "another port": "https://app.example.com:8443/hook",
    "the database": "https://app.example.com:5432/",
    "a user name": "https://user@app.example.com/",
    "a password": "https://user:secret@app.example.com/",
    "a host behind a user name": "https://app.example.com@127.0.0.1/",
    "a backslash": "https://app.example.com\\@127.0.0.1/",
    "a fragment": "https://app.example.com/#@127.0.0.1",
    "another scheme": "file:///etc/passwd",
    "gopher": "gopher://app.example.com/",
    "this machine": "https://127.0.0.1/",
    "this machine by name": "https://localhost/",
    "this machine with a dot": "https://localhost./",
    "a name below localhost": "https://a.localhost/",
    "short for this machine": "https://127.1/",
    "this machine as one number": "https://2130706433/",
    "this machine as a hexadecimal number": "https://0x7f000001/",
    "this machine in octal": "https://0177.0.0.1/",
    "this machine in wide letters": "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "this machine percent-encoded": "https://%31%32%37.0.0.1/",
    "any address": "https://0.0.0.0/",
    "this machine in IPv6": "https://[::1]/",
    "any address in IPv6": "https://[::]/",
    "IPv4 in IPv6": "https://[::ffff:127.0.0.1]/",
    "IPv4 in IPv6 in hexadecimal": "https://[::ffff:7f00:1]/",
    "IPv4 behind NAT64": "https://[64:ff9b::7f00:1]/",
    "IPv4 behind 6to4": "https://[2002:7f00:1::]/",
    "a link-local address with a zone": "https://[fe80::1%25eth0]/",
    "unique local": "https://[fd00:ec2::254]/",
    "metadata of clouds": "https://169.254.169.254/latest/meta-data/",
    "metadata by name": "https://metadata.google.internal/",
    "a private network": "https://10.0.0.8/",
    "another private network": "https://192.168.1.1/",
    "shared by a carrier": "https://100.64.0.1/",
    "to many": "https://224.0.0.1/",
    "a name of this network": "https://printer.local/",
    "a name without a domain": "https://redis/",
    "a blank": "https://app.example.com /",
    "a line break": "https://app.example.com/\r\nHost: 127.0.0.1",
    "no host": "https:///hook",
    "nothing": "",
    "too long": "https://app.example.com/" + "a" * 2000,
}


@pytest.mark.parametrize("url", WRITTEN.values(), ids=WRITTEN.keys())
def test_Z4_a_hostile_address_is_refused_as_it_is_written(url: str) -> None:
    with pytest.raises(BadInput) as error:
        target(url)
    assert error.value.field == "url"
    assert error.value.fix


#: What a harmless name may resolve to, and is refused then.
RESOLVED = {
    "this machine": ["127.0.0.1"],
    "a public address and this machine": ["93.184.216.34", "127.0.0.1"],
    "a public address and a private one": ["2606:2800:220:1:248:1893:25c8:1946", "fd00::1"],
    "metadata": ["169.254.169.254"],
    "IPv4 in IPv6": ["::ffff:10.0.0.1"],
    "public IPv4 in IPv6": ["::ffff:93.184.216.34"],
    "NAT64": ["64:ff9b::a9fe:a9fe"],
    "NAT64 of a network's own": ["64:ff9b:1::1"],
    "6to4": ["2002:a9fe:a9fe::1"],
    "Teredo": ["2001:0:53aa:64c:0:0:0:1"],
    "IPv4-compatible": ["::7f00:1"],
    "site-local": ["fec0::1"],
    "link-local with a zone": ["fe80::1%eth0"],
    "many at once": ["ff02::1"],
    "many at once in IPv4": ["239.1.1.1"],
    "a broadcast": ["255.255.255.255"],
    "a carrier's": ["100.127.0.9"],
    "for documents only": ["2001:db8::1"],
    "for tests of networks": ["198.18.0.1"],
    "the old relay of 6to4": ["192.88.99.1"],
    "nothing": [],
    "no address": ["app.example.com"],
}


@pytest.mark.parametrize("addresses", RESOLVED.values(), ids=RESOLVED.keys())
def test_Z4_a_name_is_refused_when_any_of_its_addresses_is_not_public(addresses: list[str]) -> None:
    with pytest.raises(AddressRefused):
        permitted("app.example.com", addresses)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_may_be_called(address: str) -> None:
    assert is_public(address)
    assert permitted("app.example.com", [address, address]) == [address]


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("https://app.example.com", "https://app.example.com/"),
        ("HTTPS://App.Example.COM./Hook?a=b", "https://app.example.com/Hook?a=b"),
        ("https://app.example.com:443/x", "https://app.example.com/x"),
        ("https://bücher.example/é", "https://xn--bcher-kva.example/%C3%A9"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://[2606:2800:220:1:248:1893:25c8:1946]/x", "https://[2606:2800:220:1:248:1893:25c8:1946]/x"),
        ("https://my_app.example.com/x", "https://my_app.example.com/x"),
    ],
)
def test_an_address_has_one_normal_form(given: str, normal: str) -> None:
    assert target(given).url == normal


def test_this_machine_may_be_called_only_where_the_setting_lets_it() -> None:
    assert target("http://127.0.0.1:8080/x", loopback=True).url == "http://127.0.0.1:8080/x"
    assert target("http://localhost:8080/x", loopback=True).url == "http://localhost:8080/x"
    assert permitted("localhost", ["127.0.0.1", "::1"], loopback=True) == ["127.0.0.1", "::1"]
    for still in ("http://app.example.com/", "https://10.0.0.1/", "https://app.example.com:8443/"):
        with pytest.raises(BadInput):
            target(still, loopback=True)
    with pytest.raises(AddressRefused):  # a name of the world outside never leads inside
        permitted("app.example.com", ["127.0.0.1"], loopback=True)


class Recorder(httpcore.AsyncNetworkBackend):
    """Connects to nothing, and remembers where to."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def connect_tcp(self, host: str, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        raise httpcore.ConnectError("nobody there")


class Flipping:
    """A name server that says something else each time it is asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        return self.answers.pop(0)


def connect(backend: Pinned) -> None:
    asyncio.run(backend.connect_tcp("app.example.com", 443, 1.0))


def test_Z4_a_name_that_changes_its_mind_is_asked_once_and_connected_where_it_was_looked_at() -> None:
    names, wire = Flipping(["93.184.216.34"], ["127.0.0.1"]), Recorder()
    with pytest.raises(httpcore.ConnectError):
        connect(Pinned(names, inner=wire))
    assert wire.asked == ["93.184.216.34"]
    assert names.answers == [["127.0.0.1"]]  # never asked for it


def test_Z4_nothing_is_connected_to_when_the_name_leads_inside() -> None:
    wire = Recorder()
    with pytest.raises(AddressRefused):
        connect(Pinned(Flipping(["93.184.216.34", "10.0.0.1"]), inner=wire))
    assert wire.asked == []


def test_Z4_a_name_that_cannot_be_resolved_is_refused_and_not_tried_otherwise() -> None:
    wire = Recorder()
    with pytest.raises(AddressRefused):
        asyncio.run(Pinned(inner=wire).connect_tcp("nobody.invalid", 443, 5.0))
    assert wire.asked == []


def test_a_host_with_several_addresses_is_tried_at_each() -> None:
    wire = Recorder()
    with pytest.raises(httpcore.ConnectError):
        connect(Pinned(Flipping(["93.184.216.34", "8.8.8.8"]), inner=wire))
    assert wire.asked == ["93.184.216.34", "8.8.8.8"]


def test_there_are_no_fewer_vectors_than_were_promised() -> None:
    vectors: Iterable[object] = [*WRITTEN, *RESOLVED]
    assert len(list(vectors)) >= 30
