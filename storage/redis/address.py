"""Where a Redis or Valkey is: one server, a primary that sentinels watch, or a cluster."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

#: host:port pairs, comma between; an IPv6 address stands in brackets.
_HOSTS = r"(\[[0-9A-Fa-f:]+\]|[^\s:/@,\[\]]+):\d{1,5}"
_PLACE = rf"([^@/\s]*@)?{_HOSTS}(,{_HOSTS})*"
SERVER = r"(rediss?|unix)://.+"
SENTINEL = rf"sentinel://{_PLACE}(/\d*)?\?(\S+&)?master=[^&\s]+(&\S+)?"
CLUSTER = rf"rediss?\+cluster://{_PLACE}/?"

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Address:
    """A URL of ours, taken apart. `hosts` is empty for a single server, whose URL says everything."""

    url: str = field(repr=False)
    kind: str  # "server", "sentinel" or "cluster"
    hosts: tuple[Host, ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    master: str = ""  # what the sentinels call the primary
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> "Address":
        """The address a URL names; whether it is well formed is the settings' question."""
        parts = urlsplit(url)
        kind = {"sentinel": "sentinel", "redis+cluster": "cluster", "rediss+cluster": "cluster"}.get(parts.scheme)
        if kind is None:
            return cls(url, "server")
        login, _, hosts = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        said = parse_qs(parts.query)
        return cls(
            url,
            kind,
            tuple(_host(one) for one in hosts.split(",")),
            unquote(username) or None,
            unquote(password) or None,
            int(parts.path.strip("/") or 0),
            said.get("master", [""])[0],
            said.get("sentinel_password", [None])[0],
            parts.scheme == "rediss+cluster",
        )

    def for_celery(self) -> tuple[str, dict[str, Any]]:
        """The broker URL and the transport options in the words of kombu."""
        if self.kind != "sentinel":
            return self.url, {}
        login = urlsplit(self.url).netloc.rpartition("@")[0]
        at = f"{login}@" if login else ""
        each = [f"sentinel://{at}{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.hosts]
        url = ";".join(f"{one}/{self.database}" for one in each)
        return url, {"master_name": self.master, "sentinel_kwargs": self.sentinel_login()}

    def sentinel_login(self) -> dict[str, str]:
        """How one logs in at the sentinels, which is not how one logs in at the server they watch."""
        return {"password": self.sentinel_password} if self.sentinel_password else {}


def _host(text: str) -> Host:
    name, _, port = text.rpartition(":")
    return re.sub(r"^\[|\]$", "", name), int(port)
