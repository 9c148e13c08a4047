"""The wire to Salesforce's REST: connections that are kept, and limits that requests does not set by itself."""

import time
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from gateways.salesforce.auth import TIMEOUTS
from gateways.salesforce.errors import first_error, json_of
from routing.errors import TryLater

#: Bytes of one answer; 2,000 records with long texts stay far below.
LARGEST = 32 * 1024 * 1024
_PIECE = 256 * 1024


def open_session(
    client_name: str, ca_file: Path | None, *, timeouts: tuple[float, float] = TIMEOUTS, largest: int = LARGEST
) -> requests.Session:
    """A session whose answers come whole, in time and of a sane size, or not at all (TryLater).

    `timeouts`: seconds to connect, and until the whole answer is there.
    """
    session = requests.Session()
    # On the session and not on a call: simple-salesforce forgets headers of calls when it repeats them.
    session.headers["Sforce-Call-Options"] = f"client={client_name}"
    session.hooks["response"].append(_mind_retry_after)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(ca_file, timeouts, largest))
    return session


class _Adapter(HTTPAdapter):
    """Gives every request our certificate authority, a time limit and a limit of its answer's size."""

    def __init__(self, ca_file: Path | None, timeouts: tuple[float, float], largest: int) -> None:
        super().__init__()
        self._verify = str(ca_file) if ca_file else None
        self._timeouts = timeouts
        self._largest = largest

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # the same keywords, passed on
        kwargs["timeout"] = kwargs.get("timeout") or self._timeouts
        kwargs["stream"] = True
        if self._verify:
            kwargs["verify"] = self._verify
        until = time.monotonic() + self._timeouts[1]
        response = super().send(request, **kwargs)
        response._content = self._read(response, until)  # noqa: SLF001 - no other way to hand over a body read with care
        response.encoding = response.encoding or "utf-8"  # guessing takes minutes with a long text
        return response

    def _read(self, response: requests.Response, until: float) -> bytes:
        """The whole body. `Response.content` would read without end from one who sends a byte at a time."""
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := response.raw.read1(_PIECE, decode_content=True):
                pieces.append(piece)
                size += len(piece)
                self._mind(size, until)
        except urllib3.exceptions.HTTPError as exc:
            response.close()
            raise requests.exceptions.ConnectionError(exc, request=response.request) from exc
        except TryLater:
            response.close()
            raise
        return b"".join(pieces)

    def _mind(self, size: int, until: float) -> None:
        if size > self._largest:
            raise TryLater("Salesforce answers more than we can take", bytes=size)
        if time.monotonic() > until:
            raise TryLater("Salesforce answers too slowly", bytes=size)


def _mind_retry_after(response: requests.Response, **_kwargs: Any) -> None:
    """simple-salesforce's exceptions lose the headers, so a wish to be left alone is heard here."""
    wish = response.headers.get("Retry-After", "")
    if response.status_code in {429, 503} and wish.isdigit():
        code, _ = first_error(json_of(response))
        raise TryLater("Salesforce asks for a pause", pause_s=float(wish), status=response.status_code, code=code)
