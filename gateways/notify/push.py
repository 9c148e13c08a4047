"""Web push: RFC 8030 with its encryption (RFC 8291) and its way of saying who we are (VAPID, RFC 8292)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import http_ece
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateways.notify.guard import target
from routing.errors import BadInput

#: RFC 8291 bids push services to take so much; what we say is far shorter.
LARGEST = 3000
#: How long one proof of who we are may be used; RFC 8292 allows a day.
PROOF_LIVES = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser is reached, and the keys only it can read with."""

    endpoint: str
    p256dh: bytes
    auth: bytes

    @classmethod
    def read(cls, told: Mapping[str, object], *, loopback: bool = False) -> "Subscription":
        """Of what a browser's PushManager says as JSON. Raises BadInput naming the field."""
        keys = told.get("keys")
        endpoint = target(str(told.get("endpoint", "")), loopback=loopback).url
        keys = keys if isinstance(keys, Mapping) else {}
        p256dh, auth = _bytes(keys.get("p256dh"), "keys.p256dh"), _bytes(keys.get("auth"), "keys.auth")
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh)
        except ValueError as exc:
            raise _unusable("keys.p256dh") from exc
        if len(auth) != 16:
            raise _unusable("keys.auth")
        return cls(endpoint, p256dh, auth)

    def as_told(self) -> dict[str, object]:
        """As a browser says it."""
        return {"endpoint": self.endpoint, "keys": {"p256dh": _text(self.p256dh), "auth": _text(self.auth)}}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who we are to push services."""

    key: ec.EllipticCurvePrivateKey
    contact: str  # a mailto: or https: address at which somebody answers for us

    @classmethod
    def load(cls, pem: bytes, contact: str) -> "Sender":
        """Of a key as it was kept."""
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise BadInput("it is no key of an elliptic curve", field="push_keys", fix="Delete the row; one is made.")
        return cls(key, contact)

    @property
    def public(self) -> str:
        """The applicationServerKey that a page subscribes with."""
        form = serialization.PublicFormat.UncompressedPoint
        return _text(self.key.public_key().public_bytes(serialization.Encoding.X962, form))

    def headers(
        self, there: Subscription, now: datetime, *, lives_s: float, urgent: bool, topic: str
    ) -> dict[str, str]:
        """The head of a push; `topic`: a later one takes the place of one that was not delivered yet."""
        parts = urlsplit(there.endpoint)
        claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": now + PROOF_LIVES, "sub": self.contact}
        return {
            "Authorization": f"vapid t={jwt.encode(claims, self.key, algorithm='ES256')}, k={self.public}",
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(max(0, int(lives_s))),
            "Urgency": "high" if urgent else "normal",
            "Topic": topic,
        }


def new_key() -> bytes:
    """A key to be known by, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, plain)


def sealed(text: bytes, there: Subscription) -> bytes:
    """The text as only that browser can read it."""
    if len(text) > LARGEST:
        raise BadInput(f"longer than {LARGEST} bytes", field="push", fix="Shorten the words in config/locales.")
    once = ec.generate_private_key(ec.SECP256R1())
    body: bytes = http_ece.encrypt(text, private_key=once, dh=there.p256dh, auth_secret=there.auth, version="aes128gcm")
    return body


def raw(text: str) -> bytes:
    """The bytes of a key as browsers write it."""
    return base64.urlsafe_b64decode(f"{text}===")


def _bytes(given: object, field: str) -> bytes:
    try:
        return raw(given if isinstance(given, str) else "")
    except (binascii.Error, ValueError) as exc:
        raise _unusable(field) from exc


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unusable(field: str) -> BadInput:
    return BadInput("it is not what a browser gives", field=field, fix="Send PushSubscription.toJSON() as it is.")
