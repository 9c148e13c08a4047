"""Access tokens: JSON Web Tokens by RFC 9068, signed with Ed25519, alive for ten minutes at most."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from config.vault import Vault
from storage.postgres.signing_keys import KnownKey, SealedKey, SigningKeys

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
LIVES_S = 600
#: Clocks of two machines may differ by so much.
LEEWAY_S = 30
PURPOSE = "signing key"
#: How old the known keys may be; an unknown key's name makes us look again, but not more often than that.
READ_AGAIN_S = 300.0
LOOK_AGAIN_S = 5.0
_CLAIMS = ["iss", "aud", "exp", "iat", "sub", "jti", "client_id", "scope", "ver"]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token of ours says; `version` is that of the account when it was issued."""

    subject: str  # person:ID or client:ID
    client_id: str
    scopes: frozenset[str]
    version: int
    member_id: int | None
    expires_at: int  # seconds since 1970
    id: str


class Signer:
    """Issues and verifies our own access tokens."""

    def __init__(
        self,
        keys: SigningKeys,
        vault: Vault,
        *,
        issuer: str,
        audience: str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self._keys, self._vault = keys, vault
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.Lock()
        self._known: dict[str, KnownKey] = {}
        self._read_at = float("-inf")

    def issue(
        self,
        subject: str,
        *,
        client_id: str,
        scopes: frozenset[str],
        version: int,
        member_id: int | None = None,
        lives_s: int = LIVES_S,
    ) -> str:
        """A token for this account, for ten minutes at most."""
        key = self._signing_key()
        now = int(self._clock())
        payload = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": now,
            "exp": now + min(lives_s, LIVES_S),
            "sub": subject,
            "jti": secrets.token_urlsafe(16),
            "client_id": client_id,
            "scope": " ".join(sorted(scopes)),
            "ver": version,
            **({"member": member_id} if member_id is not None else {}),
        }
        private = Ed25519PrivateKey.from_private_bytes(self._vault.open(PURPOSE, key.sealed, about=key.id))
        return jwt.encode(payload, private, ALGORITHM, headers={"kid": key.id, "typ": TYPE})

    def verify(self, token: str) -> Claims | None:
        """What the token says, if it is one of ours, whole and alive; None otherwise, whatever is wrong with it.

        The key says which algorithm it is for; what the token says of that counts for nothing.
        """
        try:
            header = jwt.get_unverified_header(token)
            key = self._verifying_key(header.get("kid"))
            if key is None or str(header.get("typ", "")).lower() != TYPE:
                return None
            payload = jwt.decode(
                token,
                _public(key.public),
                algorithms=[ALGORITHM],
                audience=self.audience,
                issuer=self.issuer,
                options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False},
            )
            return self._alive(payload)
        except (jwt.PyJWTError, ValueError, TypeError):
            return None

    def published(self) -> dict[str, Any]:
        """The public halves, as a JSON Web Key Set."""
        self._read(older_than_s=READ_AGAIN_S)
        return {"keys": [dict(known.key.public) for known in self._known.values()]}

    def rotate(self, *, actor: str) -> str:
        """Make a new key; tokens signed with the old one stay good until they end."""
        made = self._keys.rotate(self._make, actor=actor)
        self._read(older_than_s=0)
        return made

    def _alive(self, payload: Mapping[str, Any]) -> Claims | None:
        now, until, since = self._clock(), int(payload["exp"]), int(payload["iat"])
        if until + LEEWAY_S <= now or since - LEEWAY_S > now or until - since > LIVES_S:
            return None
        member = payload.get("member")
        return Claims(
            subject=str(payload["sub"]),
            client_id=str(payload["client_id"]),
            scopes=frozenset(str(payload["scope"]).split()),
            version=int(payload["ver"]),
            member_id=int(member) if member is not None else None,
            expires_at=until,
            id=str(payload["jti"]),
        )

    def _signing_key(self) -> SealedKey:
        self._read(older_than_s=READ_AGAIN_S)
        found = [known.key for known in self._known.values() if known.signs]
        return found[0] if found else next(iter(self._known.values())).key

    def _verifying_key(self, key_id: object) -> SealedKey | None:
        self._read(older_than_s=READ_AGAIN_S)
        if key_id not in self._known:
            self._read(older_than_s=LOOK_AGAIN_S)
        known = self._known.get(key_id) if isinstance(key_id, str) else None
        return known.key if known else None

    def _read(self, *, older_than_s: float) -> None:
        with self._lock:
            if self._monotonic() - self._read_at >= older_than_s:
                self._known = {known.key.id: known for known in self._keys.alive(self._make)}
                self._read_at = self._monotonic()

    def _make(self) -> SealedKey:
        private = Ed25519PrivateKey.generate()
        found = secrets.token_urlsafe(8)
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        public = jwt.algorithms.OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
        public |= {"kid": found, "use": "sig", "alg": ALGORITHM}
        return SealedKey(found, ALGORITHM, self._vault.seal(PURPOSE, raw, about=found), public)


def _public(key: Mapping[str, Any]) -> Ed25519PublicKey:
    found = jwt.algorithms.OKPAlgorithm.from_jwk(dict(key))
    if not isinstance(found, Ed25519PublicKey):
        raise TypeError("the ledger keeps Ed25519 keys only")
    return found
