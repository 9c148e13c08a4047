"""An outside issuer's tokens, from a real one on this machine that serves its keys over HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.gatekeeper import Gatekeeper
from gateways.oidc import IssuerUnreachable, OutsideIssuer
from tests.integration.identity.conftest import Clock, Town
from tests.integration.identity.test_tokens import by_hand

AUDIENCE = "https://leads.example.com/api/v1"
NOW = 4_000_000_000


@dataclass
class Issuer:
    """Serves its metadata and its keys; counts how often it is asked."""

    server: ThreadingHTTPServer
    keys: list[dict[str, Any]] = field(default_factory=list)
    named: str = ""
    asked: int = 0
    rsa: Any = field(default_factory=lambda: generate_rsa(65537, 2048))
    ec: Any = field(default_factory=lambda: generate_private_key(SECP256R1()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def publish(self) -> None:
        rsa = jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
        ec = jwt.algorithms.ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True)
        self.keys = [rsa | {"kid": "rsa", "use": "sig", "alg": "RS256"}, ec | {"kid": "ec"}]

    def token(self, *, kid: str = "rsa", typ: str = "at+jwt", **claims: Any) -> str:
        key, algorithm = (self.rsa, "RS256") if kid == "rsa" else (self.ec, "ES256")
        return jwt.encode(self.payload(**claims), key, algorithm, headers={"kid": kid, "typ": typ})

    def payload(self, **claims: Any) -> dict[str, Any]:
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "u-1", "exp": NOW, "email": "Ann@Sunny.example"}
        return said | {"email_verified": True} | claims


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            about = {"issuer": found.named or found.url, "jwks_uri": f"{found.url}/keys"}
            body = json.dumps({"keys": found.keys} if self.path == "/keys" else about).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    found = Issuer(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    found.publish()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def outside(issuer: Issuer, clock: Clock) -> OutsideIssuer:
    return OutsideIssuer(issuer.url, AUDIENCE, monotonic=clock)


def test_its_people_are_ours_by_their_verified_address_and_then_by_its_name_for_them(
    town: Town, issuer: Issuer, outside: OutsideIssuer
) -> None:
    keeper = Gatekeeper(
        people=town.people,
        clients=town.clients,
        keys=town.keys,
        members=town.members,
        signer=town.signer,
        outside=outside.verify,
        clock=town.clock,
    )
    person = town.person("ann@sunny.example")
    for token in (
        issuer.token(),
        issuer.token(kid="ec"),
        issuer.token(email="new@sunny.example"),
        issuer.token(email=None),
    ):
        principal = keeper.who(token)
        assert principal is not None
        assert (principal.person_id, principal.member_id, principal.role) == (person, town.sunny, "partner")
    assert keeper.who(issuer.token(sub="u-2")) is None, "the address is bound to the first"
    town.person("bob@sunny.example")
    assert keeper.who(issuer.token(sub="u-3", email="bob@sunny.example", email_verified=False)) is None
    assert keeper.who(issuer.token(sub="u-3", email="bob@sunny.example", email_verified="true")) is None
    town.people.set_active(person, active=False, actor="test")
    town.clock.now += 5
    assert keeper.who(issuer.token()) is None


REFUSED: dict[str, Callable[[Issuer], str]] = {
    "another audience": lambda i: i.token(aud="account"),
    "no audience": lambda i: jwt.encode(
        {n: v for n, v in i.payload().items() if n != "aud"}, i.rsa, "RS256", headers={"kid": "rsa"}
    ),
    "expired": lambda i: i.token(exp=1_000_000_000),
    "an ID token by its nonce": lambda i: i.token(nonce="x"),
    "an ID token by its hash": lambda i: i.token(at_hash="x"),
    "an ID token by its own word": lambda i: i.token(typ="JWT", token_use="id"),
    "another type": lambda i: i.token(typ="logout+jwt"),
    "no algorithm": lambda i: by_hand({"alg": "none", "kid": "rsa"}, i.payload(), lambda _: b""),
    "the public key as a shared secret": lambda i: by_hand(
        {"alg": "HS256", "kid": "rsa"},
        i.payload(),
        lambda text: digest(
            i.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), text, sha256
        ),
    ),
    "one key under the other's name": lambda i: jwt.encode(i.payload(), i.ec, "ES256", headers={"kid": "rsa"}),
    "a shared secret among the keys": lambda i: by_hand(
        {"alg": "HS256", "kid": "oct"}, i.payload(), lambda text: digest(b"k" * 32, text, sha256)
    ),
    "another issuer": lambda i: i.token(iss="https://elsewhere.example"),
    "no token": lambda i: "a.b.c",
}


def test_what_is_no_good_access_token_of_it_opens_nothing(issuer: Issuer, outside: OutsideIssuer) -> None:
    issuer.keys.append({"kty": "oct", "kid": "oct", "k": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"})
    assert outside.verify(issuer.token()) is not None
    assert {how for how, token in REFUSED.items() if outside.verify(token(issuer)) is not None} == set()


def test_its_keys_are_asked_for_seldom(issuer: Issuer, outside: OutsideIssuer, clock: Clock) -> None:
    for _ in range(5):
        assert outside.verify(issuer.token()) is not None
    junk = jwt.encode(issuer.payload(), issuer.rsa, "RS256", headers={"kid": "unknown"})
    for _ in range(5):
        assert outside.verify(junk) is None
    assert issuer.asked == 2, "once for its metadata, once for its keys"
    clock.now += 30
    assert outside.verify(junk) is None
    assert issuer.asked == 4


def test_a_new_key_of_it_is_found(issuer: Issuer, outside: OutsideIssuer, clock: Clock) -> None:
    assert outside.verify(issuer.token()) is not None
    issuer.keys[0]["kid"] = "next"
    token = jwt.encode(issuer.payload(), issuer.rsa, "RS256", headers={"kid": "next"})
    assert outside.verify(token) is None
    clock.now += 30
    assert outside.verify(token) is not None


def test_while_it_is_away_known_keys_count_and_unknown_ones_are_to_come_again(
    issuer: Issuer, outside: OutsideIssuer, clock: Clock
) -> None:
    assert outside.verify(issuer.token()) is not None
    issuer.named = "https://somebody.else"
    clock.now += 600
    assert outside.verify(issuer.token()) is not None
    clock.now += 30
    with pytest.raises(IssuerUnreachable):
        outside.verify(jwt.encode(issuer.payload(), issuer.rsa, "RS256", headers={"kid": "unknown"}))


def test_a_stranger_that_calls_itself_the_issuer_is_not_believed(issuer: Issuer, outside: OutsideIssuer) -> None:
    issuer.named = "https://somebody.else"
    with pytest.raises(IssuerUnreachable):
        outside.verify(issuer.token())
