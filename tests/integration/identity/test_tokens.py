"""Tokens that were altered, stretched, made by others or kept too long."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from hmac import digest
from typing import Any
from uuid import uuid4

import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.signing import PURPOSE
from config.vault import SealedOtherwise, Vault
from storage.postgres.signing_keys import SigningKeys
from tests.integration.identity.conftest import ISSUER, SECRET, Town, Web, bearer

Forged = Callable[[dict[str, Any], dict[str, Any], Ed25519PrivateKey], str]


def signed(header: dict[str, Any], payload: dict[str, Any], key: Any, algorithm: str = "EdDSA") -> str:
    return jwt.encode(payload, key, algorithm, headers=header | {"alg": algorithm})


def by_hand(header: dict[str, Any], payload: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    text = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload))
    return b".".join([text, urlsafe_b64encode(sign(text)).rstrip(b"=")]).decode()


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


#: Whose public half no ledger of ours holds.
OWN: Ed25519PrivateKey = Ed25519PrivateKey.generate()

FORGERIES: dict[str, Forged] = {
    "no algorithm": lambda h, p, k: by_hand(h | {"alg": "none"}, p, lambda _: b""),
    "no algorithm, in capitals": lambda h, p, k: by_hand(h | {"alg": "NONE"}, p, lambda _: b""),
    "our public key as a shared secret": lambda h, p, k: by_hand(
        h | {"alg": "HS256"}, p, lambda text: digest(public_pem(k), text, sha256)
    ),
    "its raw bytes as a shared secret": lambda h, p, k: by_hand(
        h | {"alg": "HS256"}, p, lambda text: digest(public_raw(k), text, sha256)
    ),
    "another key": lambda h, p, k: signed(h, p, Ed25519PrivateKey.generate()),
    "another kind of key": lambda h, p, k: signed(h, p, generate_private_key(SECP256R1()), "ES256"),
    "a key brought along": lambda h, p, k: signed(
        h | {"jwk": jwt.algorithms.OKPAlgorithm.to_jwk(OWN.public_key(), as_dict=True)}, p, OWN
    ),
    "a key from elsewhere": lambda h, p, k: signed(h | {"jku": "http://127.0.0.1:1/keys.json"}, p, OWN),
    "a key's name that is a path": lambda h, p, k: signed(h | {"kid": "../../etc/passwd"}, p, k),
    "a key's name that is SQL": lambda h, p, k: signed(h | {"kid": "x' OR '1'='1"}, p, k),
    "a key's name that is unknown": lambda h, p, k: signed(h | {"kid": "another"}, p, k),
    "an ID token": lambda h, p, k: signed(h | {"typ": "JWT"}, p, k),
    "no type": lambda h, p, k: signed(h | {"typ": None}, p, k),
    "another audience": lambda h, p, k: signed(h, p | {"aud": "https://other.example.com"}, k),
    "no audience": lambda h, p, k: signed(h, {n: v for n, v in p.items() if n != "aud"}, k),
    "another issuer": lambda h, p, k: signed(h, p | {"iss": "https://other.example.com"}, k),
    "no end": lambda h, p, k: signed(h, {n: v for n, v in p.items() if n != "exp"}, k),
    "an end far away": lambda h, p, k: signed(h, p | {"exp": p["exp"] + 3600}, k),
    "an end that is no number": lambda h, p, k: signed(h, p | {"exp": "never"}, k),
    "made in the future": lambda h, p, k: signed(h, p | {"iat": p["iat"] + 60, "exp": p["exp"] + 60}, k),
    "an older version": lambda h, p, k: signed(h, p | {"ver": 0}, k),
    "nobody": lambda h, p, k: signed(h, p | {"sub": f"person:{uuid4()}"}, k),
    "no id at all": lambda h, p, k: signed(h, p | {"sub": "person:x"}, k),
    "the operator by name": lambda h, p, k: signed(h, p | {"sub": "operator:operator"}, k),
    "a client by a person's id": lambda h, p, k: signed(h, p | {"sub": p["sub"].replace("person", "client")}, k),
}


def our_key(town: Town) -> Ed25519PrivateKey:
    (known,) = SigningKeys(town.engine).alive(lambda: pytest.fail("it was made before"))
    raw = Vault(SECRET).open(PURPOSE, known.key.sealed, about=known.key.id)
    return Ed25519PrivateKey.from_private_bytes(raw)


def test_a_forged_token_opens_nothing(town: Town, web: Web) -> None:
    good = town.token(town.person("ann@sunny.example"))
    header, payload = jwt.get_unverified_header(good), jwt.decode(good, options={"verify_signature": False})
    key = our_key(town)
    by_us = web.get("/offers", headers=bearer(signed(header, payload, key)))
    assert by_us.status_code == 200, "the way of forging is right"
    forged = {how: forge(header, payload, key) for how, forge in FORGERIES.items()}
    let_in = {how for how, token in forged.items() if web.get("/offers", headers=bearer(token)).status_code != 401}
    assert let_in == set()


def test_one_bit_changed_anywhere_opens_nothing(town: Town, web: Web) -> None:
    good = town.token(town.person("ann@sunny.example"))
    for part in range(3):
        pieces = good.split(".")
        raw = bytearray(urlsafe_b64decode(pieces[part] + "=="))
        raw[len(raw) // 2] ^= 1
        pieces[part] = urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
        assert web.get("/offers", headers=bearer(".".join(pieces))).status_code == 401


def test_a_token_lives_ten_minutes_and_as_much_longer_as_clocks_differ(town: Town, web: Web) -> None:
    token, made_at = town.token(town.person("ann@sunny.example")), town.clock.now
    seen = {}
    for after_s in (0, 600, 629, 630, 86_400):
        town.clock.now = made_at + after_s
        seen[after_s] = web.get("/offers", headers=bearer(token)).status_code
    assert seen == {0: 200, 600: 200, 629: 200, 630: 401, 86_400: 401}


def test_no_token_is_issued_for_longer_than_ten_minutes(town: Town) -> None:
    token = town.signer.issue("person:x", client_id="x", scopes=frozenset(), version=1, lives_s=86_400)
    payload = jwt.decode(token, options={"verify_signature": False})
    assert payload["exp"] - payload["iat"] == 600


def test_what_a_token_says_is_what_the_standard_asks_for(town: Town) -> None:
    token = town.token(town.person("ann@sunny.example"), "offers:read")
    header, payload = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    assert (header["typ"], header["alg"]) == ("at+jwt", "EdDSA")
    assert (payload["iss"], payload["aud"], payload["scope"]) == (ISSUER, f"{ISSUER}/api/v1", "offers:read")
    assert {"sub", "jti", "client_id", "iat", "exp"} <= set(payload)
    assert "ann" not in json.dumps(payload), "no personal data"


def test_every_process_signs_with_the_same_key(town: Town) -> None:
    other = town.a_signer()
    token = town.token(town.person("ann@sunny.example"))
    assert other.verify(token) is not None
    assert other.published() == town.signer.published()


def test_after_a_rotation_old_and_new_tokens_are_good_and_a_token_of_before_ends_by_itself(town: Town) -> None:
    person = town.person("ann@sunny.example")
    before, elsewhere = town.token(person), town.a_signer()
    assert elsewhere.verify(before) is not None
    new = town.signer.rotate(actor="test")
    assert {key["kid"] for key in town.signer.published()["keys"]} == {new, jwt.get_unverified_header(before)["kid"]}
    assert jwt.get_unverified_header(town.token(person))["kid"] != new, "others may not have read it yet"
    assert town.signer.verify(before) is not None


def test_a_new_key_signs_once_everyone_had_time_to_read_it(town: Town) -> None:
    person = town.person("ann@sunny.example")
    town.token(person)
    elsewhere = town.a_signer()
    elsewhere.published()
    new = town.signer.rotate(actor="test")
    with town.engine.begin() as connection:
        connection.execute(sa.text("UPDATE signing_keys SET signs_from = signs_from - interval '10 minutes'"))
    town.clock.now += 300
    token = town.token(person)
    assert jwt.get_unverified_header(token)["kid"] == new
    assert elsewhere.verify(token) is not None


def test_another_secret_opens_no_key_and_says_so(town: Town) -> None:
    town.token(town.person("ann@sunny.example"))
    stranger = town.a_signer(secret="another-secret-0123456789-0123456789")
    with pytest.raises(SealedOtherwise):
        stranger.issue("person:x", client_id="x", scopes=frozenset(), version=1)


def test_a_public_key_of_ours_is_one(town: Town) -> None:
    (key,) = town.signer.published()["keys"]
    assert isinstance(jwt.algorithms.OKPAlgorithm.from_jwk(key), Ed25519PublicKey)
