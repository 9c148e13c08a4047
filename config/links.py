"""One-tap links: the right to answer one offer, as one person, until one moment, once; signed under FAIRTURN_SECRET."""

import base64
import binascii
import hmac
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal
from uuid import UUID

from config.vault import Vault

Action = Literal["answer", "accept", "reject"]

PURPOSE = "one-tap link"
_ACTIONS: tuple[Action, ...] = ("answer", "accept", "reject")
#: Version, action, offer, person, deadline in seconds since 1970; then the signature.
_FORM = struct.Struct(">BB16s16sQ")
_VERSION, _TAG_BYTES = 1, 16


@dataclass(frozen=True, slots=True)
class Link:
    """What a link allows."""

    offer: UUID
    person: UUID
    action: Action
    until: datetime


class Links:
    """Signs links, and reads those that are whole."""

    def __init__(self, vault: Vault, face: str) -> None:
        self._vault = vault
        self._face = face

    def url(self, link: Link) -> str:
        """The address of the page that this link opens."""
        return f"{self._face}/a/{self.token(link)}"

    def token(self, link: Link) -> str:
        """The link as 78 letters."""
        head = _FORM.pack(
            _VERSION, _ACTIONS.index(link.action), link.offer.bytes, link.person.bytes, int(link.until.timestamp())
        )
        return _text(head + self._tag(head))

    def read(self, token: str) -> Link | None:
        """What the link allows; None unless each letter is as we wrote it. Its time and its use are not looked at."""
        raw = _bytes(token)
        if raw is None or len(raw) != _FORM.size + _TAG_BYTES:
            return None
        head, tag = raw[: _FORM.size], raw[_FORM.size :]
        if not hmac.compare_digest(tag, self._tag(head)) or _text(raw) != token:
            return None
        version, action, offer, person, until = _FORM.unpack(head)
        if version != _VERSION:
            return None
        return Link(UUID(bytes=offer), UUID(bytes=person), _ACTIONS[action], datetime.fromtimestamp(until, UTC))

    def _tag(self, head: bytes) -> bytes:
        return self._vault.sign(PURPOSE, head.hex())[:_TAG_BYTES]


def mark(token: str) -> bytes:
    """By what a used link is remembered."""
    return sha256(token.encode()).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(token: str) -> bytes | None:
    if len(token) > 200:
        return None
    try:
        return base64.b64decode(f"{token}{'=' * (-len(token) % 4)}", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
