"""What may be called when somebody else names the address: public hosts over TLS. All else is refused, also by doubt.

A name is resolved once, by the same call that connects, and every one of its addresses must be public: so a name that
changes its mind between a check and a use (DNS rebinding) finds no such moment. Addresses that are translated into
others on their way (NAT64, 6to4, IPv4 in IPv6) are refused whole, whatever they would become.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import quote, urlsplit

import httpcore
import idna

from routing.errors import BadInput, Refused

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

LONGEST_URL = 2000
#: Names that mean a place inside, wherever they lead (RFC 6761, 6762, 8375, 9476; cloud metadata is in `internal`).
INSIDE = ("localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa", "onion", "invalid", "test")
_REFUSED_V4 = tuple(ip_network(n) for n in ("192.88.99.0/24", "198.18.0.0/15", "192.0.0.0/24"))
#: Of IPv6 only global unicast, and of that neither tunnels nor documentation.
_UNICAST = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(IPv6Network(n) for n in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NUMBER = re.compile(r"(0x[0-9a-f]*|\d+)", re.IGNORECASE)
_FIX = "Give the address of a host on the public internet, such as https://app.example.com/fairturn."


class AddressRefused(Refused):
    """The address may not be called."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address in its one normal form; the host in ASCII."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The address whole."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme] == self.port
        return f"{self.scheme}://{host}{'' if usual else f':{self.port}'}{self.path}"


def target(url: str, *, loopback: bool = False) -> Target:
    """Read an address that somebody gave us. Raises BadInput for what can never be called.

    `loopback` lets in this machine as well, by http and on any port: for tests and demonstrations.
    """
    if len(url) > LONGEST_URL or not url.isprintable() or any(sign in url for sign in " \\\t"):
        raise _bad("it is too long, or has blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        given, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise _bad("it is no URL") from exc
    if "@" in parts.netloc or parts.fragment:
        raise _bad("it holds a user name, a password or a fragment")
    host = _host(given, loopback=loopback)
    here = loopback and is_loopback(host)
    if parts.scheme != "https" and not (here and parts.scheme == "http"):
        raise _bad("it does not begin with https://")
    if port not in {None, 443} and not here:
        raise _bad("it names a port other than 443")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    return Target(parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme], path + query)


def is_loopback(host: str) -> bool:
    """Whether the host, as written, is this machine."""
    address = _address(host)
    return address.is_loopback if address else host == "localhost"


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet, as it stands and not after any translation."""
    address = _address(text)
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not any(address in net for net in _REFUSED_V4)
    if isinstance(address, IPv6Address):
        return address in _UNICAST and address.is_global and not any(address in net for net in _REFUSED_V6)
    return False


def permitted(host: str, addresses: Iterable[str], *, loopback: bool = False) -> list[str]:
    """The addresses of a host, when every one of them may be called. Raises AddressRefused."""
    found = list(dict.fromkeys(addresses))
    allowed = [a for a in found if is_public(a) or (loopback and is_loopback(host) and is_loopback(a))]
    if not found or len(allowed) < len(found):
        raise AddressRefused("the host has an address that is not public" if found else "the host has no address")
    return found


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a host, by the system's resolver. Raises AddressRefused when that knows none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise AddressRefused("the host's name cannot be resolved") from exc
    return [str(info[4][0]) for info in found]


class Pinned(httpcore.AsyncNetworkBackend):
    """Connects to what was looked at, and to nothing else; TLS still asks for the host by its name."""

    def __init__(
        self, resolve: Resolve = resolve, *, loopback: bool = False, inner: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._resolve = resolve
        self._loopback = loopback
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore asks; tries the host's addresses in their order."""
        async with asyncio.timeout(timeout):
            addresses = permitted(host, await self._resolve(host, port), loopback=self._loopback)
        last: Exception | None = None
        for address in addresses[:3]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                last = exc
        raise last or httpcore.ConnectError("no address")

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Never: a socket of this machine is no place outside."""
        raise AddressRefused("a local socket")


def _host(given: str, *, loopback: bool) -> str:
    """The host in ASCII. Raises BadInput for numbers in disguise, local names, and addresses that are not public."""
    address = _address(given)
    if address is None:
        given = _ascii(given)
        address = _address(given)
    if loopback and is_loopback(given):
        return given
    if address is not None:
        if not is_public(given):
            raise _bad("its address is not public")
        return str(address)
    labels = given.split(".")
    if len(labels) < 2:
        raise _bad("its host has no domain")
    if _NUMBER.fullmatch(labels[-1]):
        raise _bad("its host is a number in disguise")
    if any(given == name or given.endswith(f".{name}") for name in INSIDE):
        raise _bad("its host is a local one")
    return given


def _ascii(host: str) -> str:
    bare = host.removesuffix(".").lower()
    if bare.isascii() and re.fullmatch(r"[a-z0-9_.-]{1,253}", bare) and "xn--" not in bare:
        return bare
    try:
        return idna.encode(bare, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as exc:
        raise _bad("its host is no name") from exc


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _bad(why: str) -> BadInput:
    return BadInput(why, field="url", fix=_FIX)
