"""What must be kept secret but read again: sealed under FAIRTURN_SECRET, a key of its own for each purpose."""

import hmac
import os
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from routing.errors import BadInput, GiveUp

LEAST = 32  # characters
_NONCE = 12


class SealedOtherwise(GiveUp):
    """It was sealed under another FAIRTURN_SECRET, or changed since: set the old one, or make it anew."""


class Vault:
    """Seals and opens with AES-256-GCM, and signs with HMAC-SHA-256. The keys never leave it, nor are they shown."""

    def __init__(self, secret: str) -> None:
        if len(secret) < LEAST:
            raise BadInput(
                "it is too short to keep a secret" if secret else "it is not set",
                field="FAIRTURN_SECRET",
                fix=f"Give at least {LEAST} random characters: `openssl rand -base64 36`.",
            )
        self._secret = secret.encode()

    def seal(self, purpose: str, plain: bytes, *, about: str = "") -> bytes:
        """Ciphertext that opens for the same purpose and the same `about` only, such as the row's id."""
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plain, about.encode())

    def open(self, purpose: str, sealed: bytes, *, about: str = "") -> bytes:
        """What was sealed. Raises SealedOtherwise."""
        try:
            return AESGCM(self._key(purpose)).decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())
        except (InvalidTag, ValueError) as exc:
            raise SealedOtherwise(purpose=purpose) from exc

    def sign(self, purpose: str, text: str) -> bytes:
        """A tag that nobody else can make, 32 bytes; compare with hmac.compare_digest."""
        return hmac.digest(self._key(purpose), text.encode(), sha256)

    def _key(self, purpose: str) -> bytes:
        # HKDF by RFC 5869: the purpose keeps the keys apart.
        return HKDF(SHA256(), 32, salt=None, info=f"fairturn:{purpose}".encode()).derive(self._secret)
