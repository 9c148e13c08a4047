"""A person logs in with a code or a link, and stays logged in by tokens that are used once each."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import sqlalchemy as sa

from routing.access import Role
from storage.postgres.clients import APP
from tests.integration.identity.conftest import Letterbox, Town, Web, bearer

EMAIL = "ann@sunny.example"


def begin(door: Web, email: str = EMAIL) -> str:
    told = door.post("/api/v1/login", json={"email": email})
    assert told.status_code == 202, told.text
    return str(told.json()["login"])


def verify(door: Web, **proof: str) -> httpx.Response:
    return door.post("/api/v1/login/verify", json=proof)


def log_in(door: Web, letters: Letterbox) -> dict[str, Any]:
    login = begin(door)
    told = verify(door, login=login, code=letters.came[-1][2].code)
    assert told.status_code == 200, told.text
    found: dict[str, Any] = told.json()
    return found


def renew(door: Web, token: str, **more: str) -> httpx.Response:
    return door.post(
        "/oauth/token", data={"grant_type": "refresh_token", "refresh_token": token, "client_id": APP, **more}
    )


def test_a_person_logs_in_with_the_code_that_came_by_mail(town: Town, door: Web, letters: Letterbox) -> None:
    person = town.person(EMAIL)
    login = begin(door, " Ann@Sunny.Example ")
    ((kind, to, letter),) = letters.came
    assert (kind, to) == ("login", person)
    assert len(letter.code) == 8
    told = verify(door, login=login, code=f"{letter.code[:4]} {letter.code[4:]}")
    assert told.status_code == 200, told.text
    assert told.json()["token_type"] == "Bearer"
    assert told.json()["expires_in"] <= 600
    assert told.json()["scope"] == "events:read me:read me:write offers:answer offers:read"
    assert told.headers["cache-control"] == "no-store"
    assert door.get("/offers", headers=bearer(told.json()["access_token"])).json()["id"] == str(person)


def test_a_link_logs_in_once(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    begin(door)
    link = letters.came[0][2].link
    assert verify(door, link=link).status_code == 200
    assert verify(door, link=link).status_code == 401


def test_a_code_and_its_link_are_good_for_one_login_together(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    login = begin(door)
    letter = letters.came[0][2]
    assert verify(door, login=login, code=letter.code).status_code == 200
    assert verify(door, login=login, code=letter.code).status_code == 401
    assert verify(door, link=letter.link).status_code == 401


def test_whether_an_address_is_known_is_told_to_nobody(town: Town, door: Web, letters: Letterbox) -> None:
    town.people.set_active(town.person("gone@sunny.example"), active=False, actor="test")
    town.person(EMAIL)
    told = [door.post("/api/v1/login", json={"email": e}) for e in (EMAIL, "nobody@x.example", "gone@sunny.example")]
    assert {(t.status_code, t.json()["expires_in"], tuple(t.json()), t.headers["content-length"]) for t in told} == {
        (202, 600, ("login", "expires_in"), told[0].headers["content-length"])
    }
    assert len(letters.came) == 1
    refused = [verify(door, login=t.json()["login"], code="00000000").json() for t in told[1:]]
    assert refused[0] | {"request_id": ""} == refused[1] | {"request_id": ""}


def test_five_wrong_codes_end_a_login_and_no_other_one(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    attacked, other = begin(door), begin(door)
    codes = [letter.code for _, _, letter in letters.came]
    wrong = next(f"{n:08}" for n in range(3) if f"{n:08}" not in codes)
    assert [verify(door, login=attacked, code=wrong).status_code for _ in range(5)] == [401] * 5
    assert verify(door, login=attacked, code=codes[0]).status_code == 401
    assert verify(door, login=other, code=codes[0]).status_code == 401, "a code belongs to its own login"
    assert verify(door, login=other, code=codes[1]).status_code == 200


def test_guesses_at_the_same_moment_are_counted_each(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    login = begin(door)
    with ThreadPoolExecutor(8) as pool:
        tries = list(pool.map(lambda n: verify(door, login=login, code=f"x{n}").status_code, range(8)))
    assert set(tries) == {401}
    with town.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT tries FROM login_codes")) == 5


def test_a_code_ends_after_ten_minutes(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    login = begin(door)
    with town.engine.begin() as connection:
        connection.execute(sa.text("UPDATE login_codes SET expires_at = clock_timestamp()"))
    assert verify(door, login=login, code=letters.came[0][2].code).status_code == 401
    assert verify(door, link=letters.came[0][2].link).status_code == 401


def test_a_mailbox_is_not_filled_with_codes(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    for _ in range(10):
        begin(door)
    assert len(letters.came) == 6


def test_a_code_sent_to_someone_who_was_shut_out_since_opens_nothing(town: Town, door: Web, letters: Letterbox) -> None:
    person = town.person(EMAIL)
    login = begin(door)
    town.people.set_active(person, active=False, actor="test")
    assert verify(door, login=login, code=letters.came[0][2].code).status_code == 401


def test_half_a_proof_is_bad_input(door: Web) -> None:
    for proof in ({}, {"code": "12345678"}, {"login": "x", "code": "1"}, {"link": "a", "code": "1"}, {"link": 1}):
        told = door.post("/api/v1/login/verify", json=proof)
        assert told.status_code == 422, proof


def test_each_refresh_token_gives_the_next_one(town: Town, door: Web, letters: Letterbox) -> None:
    person = town.person(EMAIL)
    first = log_in(door, letters)
    second = renew(door, first["refresh_token"]).json()
    third = renew(door, second["refresh_token"])
    assert third.status_code == 200
    assert len({first["refresh_token"], second["refresh_token"], third.json()["refresh_token"]}) == 3
    assert door.get("/offers", headers=bearer(third.json()["access_token"])).json()["id"] == str(person)


def test_a_refresh_token_that_comes_twice_ends_its_login_and_no_other(
    town: Town, door: Web, letters: Letterbox
) -> None:
    town.person(EMAIL)
    stolen, elsewhere = log_in(door, letters), log_in(door, letters)
    following = renew(door, stolen["refresh_token"]).json()
    replayed = renew(door, stolen["refresh_token"])
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")
    assert renew(door, following["refresh_token"]).status_code == 400, "its successor is dead as well"
    assert renew(door, elsewhere["refresh_token"]).status_code == 200
    with town.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM audit WHERE action = 'session.reused'")) == 1


def test_of_two_that_come_at_once_with_one_token_both_lose(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    token = log_in(door, letters)["refresh_token"]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: renew(door, token), range(2)))
    won = [told.json()["refresh_token"] for told in answers if told.status_code == 200]
    assert len(won) == 1
    assert renew(door, won[0]).status_code == 400


def test_whoever_is_shut_out_cannot_renew(town: Town, door: Web, letters: Letterbox) -> None:
    person = town.person(EMAIL)
    token = log_in(door, letters)["refresh_token"]
    town.people.set_active(person, active=False, actor="test")
    town.people.set_active(person, active=True, actor="test")
    assert renew(door, token).status_code == 400


def test_logging_out_ends_the_login_and_tells_nothing_of_unknown_tokens(
    town: Town, door: Web, letters: Letterbox
) -> None:
    town.person(EMAIL)
    token = log_in(door, letters)["refresh_token"]
    for given in ("fr_unknown", token, token):
        assert door.post("/oauth/revoke", data={"token": given, "client_id": APP}).status_code == 200
    assert renew(door, token).status_code == 400


def test_a_refresh_token_is_of_its_own_client(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    other, _ = town.clients.add("Other", member=None, scopes=["offers:read"], public=True, actor="test")
    token = log_in(door, letters)["refresh_token"]
    assert renew(door, token, client_id=other).status_code == 400
    assert renew(door, token).status_code == 200


def test_a_role_taken_away_counts_from_the_next_token_on(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL, role=Role.PARTNER_ADMIN)
    token = log_in(door, letters)
    assert "team:manage" in token["scope"].split()
    assert renew(door, token["refresh_token"], scope="offers:read").json()["scope"] == "offers:read"
