"""Programs, devices, and what is published about tokens."""

import re
from base64 import b64encode
from typing import Any

import httpx
import jwt
import sqlalchemy as sa

from storage.postgres.clients import APP
from tests.integration.identity.conftest import ISSUER, Letterbox, Town, Web, bearer

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EMAIL = "ann@sunny.example"


def ask(door: Web, *, basic: tuple[str, str] | None = None, **fields: str) -> httpx.Response:
    headers = {"Authorization": f"Basic {b64encode(':'.join(basic).encode()).decode()}"} if basic else {}
    return door.post("/oauth/token", data=fields, headers=headers)


def test_a_program_with_a_secret_gets_a_token_either_way(town: Town, door: Web) -> None:
    found, secret = town.clients.add("Till", member="sunny", scopes=["offers:read", "me:read"], actor="test")
    for told in (
        ask(door, grant_type="client_credentials", basic=(found, secret)),
        ask(door, grant_type="client_credentials", client_id=found, client_secret=secret),
    ):
        assert told.status_code == 200, told.text
        assert "refresh_token" not in told.json()
        seen = door.get("/offers", headers=bearer(told.json()["access_token"])).json()
        assert seen == {"kind": "client", "member": town.sunny, "role": "program", "id": found}


def test_a_token_may_be_asked_for_less_but_not_for_more(town: Town, door: Web) -> None:
    found, secret = town.clients.add("Till", member="sunny", scopes=["offers:read", "me:read"], actor="test")
    less = ask(door, grant_type="client_credentials", scope="me:read", basic=(found, secret))
    assert less.json()["scope"] == "me:read"
    assert door.get("/offers", headers=bearer(less.json()["access_token"])).status_code == 403
    more = ask(door, grant_type="client_credentials", scope="me:read team:manage", basic=(found, secret))
    assert (more.status_code, more.json()["error"]) == (400, "invalid_scope")


def test_wrong_clients_are_answered_alike(town: Town, door: Web) -> None:
    found, _ = town.clients.add("Till", member="sunny", scopes=["offers:read"], actor="test")
    gone, its = town.clients.add("Gone", member="sunny", scopes=["offers:read"], actor="test")
    town.clients.set_active(gone, active=False, actor="test")
    answers = [
        ask(door, grant_type="client_credentials", basic=wrong)
        for wrong in ((found, "x"), ("nobody", "x"), (gone, its), (found, ""), (APP, "x"))
    ]
    assert {(told.status_code, told.text) for told in answers} == {(401, answers[0].text)}
    assert answers[0].json()["error"] == "invalid_client"
    assert ask(door, grant_type="client_credentials", client_id=found).status_code == 401


CANNOT: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "unsupported_grant_type"),
    ({"grant_type": "password", "username": "a", "password": "b"}, "unsupported_grant_type"),
    ({"grant_type": "client_credentials"}, "unauthorized_client"),
    ({"grant_type": "refresh_token"}, "invalid_request"),
    ({"grant_type": "refresh_token", "refresh_token": "fr_x"}, "invalid_grant"),
    ({"grant_type": DEVICE, "device_code": "x"}, "expired_token"),
)
FORM = {"content-type": "application/x-www-form-urlencoded"}
NO_FORMS: tuple[dict[str, Any], ...] = (
    {"content": b"a=1&a=2", "headers": FORM},
    {"content": b"a=%ff", "headers": FORM},
    {"content": b"a=%00", "headers": FORM},
    {"content": b"&".join(b"a%d=1" % n for n in range(99)), "headers": FORM},
    {"json": {"grant_type": "client_credentials"}},
    {"content": b""},
)


def test_an_app_without_a_secret_is_told_what_it_cannot_have(door: Web) -> None:
    for fields, error in CANNOT:
        told = door.post("/oauth/token", data={"client_id": APP, **fields})
        assert (told.status_code, told.json()["error"]) == (400, error)


def test_what_is_no_form_is_refused(door: Web) -> None:
    for sent in NO_FORMS:
        told = door.post("/oauth/token", **sent)
        assert (told.status_code, told.json()["error"]) == (400, "invalid_request")


def test_a_form_too_long_is_refused(door: Web) -> None:
    assert ask(door, client_id="x" * 9000).status_code == 413


def test_a_client_that_is_shut_out_is_out_within_five_seconds(town: Town, door: Web) -> None:
    found, secret = town.clients.add("Till", member="sunny", scopes=["offers:read"], actor="test")
    token = ask(door, grant_type="client_credentials", basic=(found, secret)).json()["access_token"]
    assert door.get("/offers", headers=bearer(token)).status_code == 200
    town.clients.set_active(found, active=False, actor="test")
    town.clock.now += 5.0
    assert door.get("/offers", headers=bearer(token)).status_code == 401


def begin(door: Web) -> dict[str, Any]:
    told = door.post("/oauth/device_authorization", data={"client_id": APP})
    assert told.status_code == 200, told.text
    found: dict[str, Any] = told.json()
    return found


def poll(door: Web, town: Town, device: dict[str, Any]) -> httpx.Response:
    """Ask as a device that has waited long enough."""
    with town.engine.begin() as connection:
        connection.execute(sa.text("UPDATE device_codes SET polled_at = polled_at - interval '1 minute'"))
    return ask(door, grant_type=DEVICE, device_code=device["device_code"], client_id=APP)


def answer_page(door: Web, letters: Letterbox, user_code: str, decision: str) -> httpx.Response:
    second = door.post("/oauth/device", data={"user_code": user_code, "email": EMAIL})
    login = re.search(r'name="login" value="([\w-]+)"', second.text)
    assert login, second.text
    fields = {"user_code": user_code, "login": login[1], "code": letters.came[-1][2].code, "decision": decision}
    return door.post("/oauth/device", data=fields)


def test_a_person_lets_a_device_in(town: Town, door: Web, letters: Letterbox) -> None:
    person = town.person(EMAIL)
    device = begin(door)
    assert device["verification_uri"] == f"{ISSUER}/oauth/device"
    assert poll(door, town, device).json()["error"] == "authorization_pending"
    shown = door.get(f"/oauth/device?user_code={device['user_code']}")
    assert device["user_code"] in shown.text
    assert "form-action 'self'" in shown.headers["content-security-policy"]
    done = answer_page(door, letters, device["user_code"].lower().replace("-", " "), "allow")
    assert "let in" in done.text
    told = poll(door, town, device)
    assert told.status_code == 200, told.text
    assert door.get("/offers", headers=bearer(told.json()["access_token"])).json()["id"] == str(person)
    assert poll(door, town, device).json()["error"] == "expired_token", "a device hears yes once"


def test_a_person_sends_a_device_away(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    device = begin(door)
    assert "sent away" in answer_page(door, letters, device["user_code"], "deny").text
    assert poll(door, town, device).json()["error"] == "access_denied"


def test_an_impatient_device_is_slowed_down(town: Town, door: Web) -> None:
    device = begin(door)
    fields = {"grant_type": DEVICE, "device_code": device["device_code"], "client_id": APP}
    assert ask(door, **fields).json()["error"] == "authorization_pending"
    assert ask(door, **fields).json()["error"] == "slow_down"
    with town.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT interval_s FROM device_codes")) == 10


def test_a_device_code_ends_and_belongs_to_its_client(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    other, _ = town.clients.add("Other", member=None, scopes=["offers:read"], public=True, actor="test")
    device = begin(door)
    wrong = ask(door, grant_type=DEVICE, device_code=device["device_code"], client_id=other)
    assert wrong.json()["error"] == "expired_token"
    with town.engine.begin() as connection:
        connection.execute(sa.text("UPDATE device_codes SET expires_at = clock_timestamp()"))
    assert poll(door, town, device).json()["error"] == "expired_token"
    assert door.post("/oauth/device", data={"user_code": device["user_code"], "email": EMAIL}).status_code == 400


def test_the_page_lets_nothing_in_without_the_right_code(town: Town, door: Web, letters: Letterbox) -> None:
    town.person(EMAIL)
    device = begin(door)
    for wrong in ({"login": "x", "code": "1"}, {"code": "00000000"}, {"login": "0" * 32, "code": ""}):
        told = door.post("/oauth/device", data={"user_code": device["user_code"], "decision": "allow", **wrong})
        assert told.status_code == 400
    assert poll(door, town, device).json()["error"] == "authorization_pending"


def test_the_page_repeats_nothing_that_could_be_a_script(door: Web) -> None:
    told = door.get("/oauth/device", params={"user_code": '"><script>x()'})
    assert "<script>" not in told.text


def test_what_is_published_leads_to_tokens_that_anyone_can_verify(town: Town, door: Web) -> None:
    metadata = door.get("/.well-known/oauth-authorization-server").json()
    assert metadata["issuer"] == ISSUER
    keys = door.get(metadata["jwks_uri"].removeprefix(ISSUER)).json()["keys"]
    assert all("d" not in key and key["kty"] == "OKP" for key in keys)
    token = town.token(town.person(EMAIL))
    verified = jwt.decode(
        token,
        jwt.PyJWKSet.from_dict({"keys": keys})[jwt.get_unverified_header(token)["kid"]],
        algorithms=["EdDSA"],
        audience=f"{ISSUER}/api/v1",
        issuer=metadata["issuer"],
        options={"verify_exp": False, "verify_iat": False},
    )
    assert verified["member"] == town.sunny


def test_an_address_that_asks_too_often_has_to_wait(door: Web) -> None:
    answers = [ask(door, client_id="nobody").status_code for _ in range(80)]
    assert answers[0] == 401
    assert answers[-1] == 429
