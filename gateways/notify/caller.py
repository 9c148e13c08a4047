"""One HTTP call to an address that somebody else named: short, without redirects, and deaf to what it is told."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore

from gateways.notify.guard import AddressRefused, Pinned, Resolve, resolve, target
from routing.errors import BadInput

CONNECT_S, TOTAL_S = 5.0, 15.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call: a status, or in one word why there is none."""

    status: int = 0
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether the other side has taken it."""
        return 200 <= self.status < 300


class Caller:
    """Posts to the outside.

    Settings of proxies in the environment do not count: the connection goes where it was looked at. The body of an
    answer is not read, so it can neither fill memory nor unpack itself.
    """

    def __init__(
        self,
        *,
        loopback: bool = False,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        connect_s: float = CONNECT_S,
        total_s: float = TOTAL_S,
        backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._loopback = loopback
        self._backend = Pinned(resolve, loopback=loopback, inner=backend)
        self._tls = tls or httpcore.default_ssl_context()
        self._timeouts = {"connect": connect_s, "read": total_s, "write": connect_s, "pool": connect_s}
        self._total_s = total_s

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Post once; whatever is the other side's fault is told in the reply, and nothing of it is raised."""
        try:
            there = target(url, loopback=self._loopback)
            async with asyncio.timeout(self._total_s):
                return Reply(status=await self._post(there.url, headers, body))
        except BadInput:
            return Reply(why="address refused: it is not one that may be called")
        except AddressRefused as exc:
            return Reply(why=f"address refused: {exc}")
        except (TimeoutError, httpcore.TimeoutException):
            return Reply(why=f"no answer within {self._total_s:g} s")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as exc:
            return Reply(why=f"no connection: {type(exc).__name__}")

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._tls, network_backend=self._backend, max_connections=1, max_keepalive_connections=0
        )
        asked = {"Accept-Encoding": "identity", "Connection": "close", **headers}
        async with (
            pool,
            pool.stream(
                "POST", url, headers=list(asked.items()), content=body, extensions={"timeout": self._timeouts}
            ) as response,
        ):
            return response.status
