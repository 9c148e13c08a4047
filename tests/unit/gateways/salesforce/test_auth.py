import threading
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateways.salesforce.auth import ClientCredentials, JwtBearer, Session, TokenProvider
from gateways.salesforce.errors import OrgClosed
from routing.errors import BadInput, TryLater
from tests.fakes.http_org import ORG, USER, Answer, HttpOrg, answering


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def org() -> Iterator[HttpOrg]:
    with answering(HttpOrg()) as server:
        yield server


def provider(org: HttpOrg, clock: Clock | None = None) -> TokenProvider:
    return TokenProvider(org.url, ClientCredentials("id", "s3cret"), clock=clock or Clock())


def test_a_login_tells_whose_token_it_is(org: HttpOrg) -> None:
    assert provider(org).token() == Session("t1", org.url, ORG, USER)
    assert org.asked[0].form == {"grant_type": "client_credentials", "client_id": "id", "client_secret": "s3cret"}


def test_a_token_is_kept(org: HttpOrg) -> None:
    tokens = provider(org)
    assert tokens.token() is tokens.token()
    assert org.logins == 1


def test_many_threads_with_one_stale_token_log_in_once(org: HttpOrg) -> None:
    tokens = provider(org)
    stale = tokens.token().access_token
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(tokens.refresh(stale).access_token)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["t2"] * 16
    assert org.logins == 2


def test_whose_token_it_is_can_be_asked_for(org: HttpOrg) -> None:
    org.token_answer = Answer(body={"access_token": "t", "instance_url": org.url})
    org.answer = lambda asked: Answer(body={"organization_id": ORG[:15], "user_id": USER[:15]})
    assert provider(org).token() == Session("t", org.url, ORG, USER)
    assert org.asked[1].path == "/services/oauth2/userinfo"
    assert org.asked[1].headers["authorization"] == "Bearer t"


def test_a_refused_login_is_final_and_not_repeated_for_a_while(org: HttpOrg) -> None:
    org.token_answer = Answer(400, {"error": "invalid_grant", "error_description": "user hasn't approved"})
    clock = Clock()
    tokens = provider(org, clock)
    for _ in range(5):
        with pytest.raises(OrgClosed, match="invalid_grant user hasn't approved"):
            tokens.token()
    assert org.logins == 1
    clock.now += 61
    with pytest.raises(OrgClosed):
        tokens.token()
    assert org.logins == 2
    clock.now += 61  # the pause has doubled
    with pytest.raises(OrgClosed):
        tokens.token()
    assert org.logins == 2
    clock.now += 60
    org.token_answer = None
    assert tokens.token().access_token == "t3"


def test_tokens_that_die_at_once_do_not_become_a_storm_of_logins(org: HttpOrg) -> None:
    clock = Clock()
    tokens = provider(org, clock)
    stale = tokens.token().access_token
    for _ in range(5):
        stale = tokens.refresh(stale).access_token
    with pytest.raises(TryLater) as caught:
        tokens.refresh(stale)
    assert caught.value.facts["pause_s"] == 60.0
    assert org.logins == 6
    clock.now += 60
    assert tokens.refresh(stale).access_token == "t7"


@pytest.mark.parametrize("answer", [Answer(503, "<html>"), Answer(429, {}), Answer(200, "<html>"), Answer(200, {})])
def test_an_unwell_login_is_tried_later(org: HttpOrg, answer: Answer) -> None:
    org.token_answer = answer
    with pytest.raises(TryLater):
        provider(org).token()


def test_nobody_at_the_address_is_tried_later() -> None:
    with pytest.raises(TryLater, match=r"127\.0\.0\.1:9 does not answer"):
        TokenProvider("http://127.0.0.1:9", ClientCredentials("a", "b")).token()


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(OrgClosed, match="Check SALESFORCE_LOGIN_URL"):
        TokenProvider("example", ClientCredentials("a", "b")).token()


def test_secrets_do_not_show() -> None:
    shown = repr((ClientCredentials("id", "s3cret"), JwtBearer("id", "u", "k3y"), Session("t0ken", "u", "o", "u")))
    assert not any(secret in shown for secret in ("s3cret", "k3y", "t0ken"))


def test_the_jwt_flow_sends_a_signed_assertion(org: HttpOrg, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = tmp_path / "server.key"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    flow = JwtBearer.from_file("app", "robot@example.com", pem, "https://test.salesforce.com")
    TokenProvider(org.url, flow).token()
    form = org.asked[0].form
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(
        form["assertion"], key.public_key(), algorithms=["RS256"], audience="https://test.salesforce.com"
    )
    assert (claims["iss"], claims["sub"]) == ("app", "robot@example.com")
    assert isinstance(claims["exp"], int)


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="SALESFORCE_PRIVATE_KEY_FILE"):
        JwtBearer.from_file("app", "u", tmp_path / "none.pem", "a")
    with pytest.raises(BadInput, match="SALESFORCE_PRIVATE_KEY_FILE"):
        JwtBearer("app", "u", "not a key").form()


def test_an_authority_that_is_not_there_yet_is_waited_for_and_named(tmp_path: Path) -> None:
    tokens = TokenProvider("https://127.0.0.1:9", ClientCredentials("id", "s3cret"), ca_file=tmp_path / "ca.pem")
    with pytest.raises(TryLater, match=r"^SALESFORCE_CA_FILE: .*ca\.pem cannot be read\. Name the PEM file"):
        tokens.token()
