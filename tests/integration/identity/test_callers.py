"""Tokens, keys and the operator's word at the door."""

from routing.access import Role
from tests.integration.identity.conftest import OPERATOR, Town, Web, bearer


def test_a_person_with_a_token_is_let_in_for_its_own_member(town: Town, web: Web) -> None:
    person = town.person("ann@sunny.example")
    told = web.get("/offers", headers=bearer(town.token(person)))
    assert told.status_code == 200, told.text
    assert told.json() == {"kind": "person", "member": town.sunny, "role": "partner", "id": str(person)}


def test_a_token_gives_no_more_than_the_role_whatever_scopes_it_names(town: Town, web: Web) -> None:
    ann, boss = town.person("ann@sunny.example"), town.person("boss@sunny.example", role=Role.PARTNER_ADMIN)
    assert web.get("/team", headers=bearer(town.token(ann))).status_code == 403
    assert web.get("/team", headers=bearer(town.token(boss))).status_code == 200
    assert web.get("/team", headers=bearer(town.token(boss, "offers:read"))).status_code == 403


def test_an_api_key_opens_what_it_is_for_and_nothing_else(town: Town, web: Web) -> None:
    key = town.key("offers:read")
    assert web.get("/offers", headers=bearer(key)).json()["kind"] == "key"
    assert web.get("/team", headers=bearer(key)).status_code == 403
    assert web.get("/offers", headers=bearer(key[:-1] + ("a" if key[-1] != "a" else "b"))).status_code == 401


def test_a_program_of_the_network_names_the_member_it_acts_for(town: Town, web: Web) -> None:
    key = town.key("network", "offers:read", member=None)
    assert web.get("/offers", headers=bearer(key, **{"Fairturn-Member": "solar"})).json()["member"] == town.solar
    for named in ({}, {"Fairturn-Member": "nobody"}, {"Fairturn-Member": ""}):
        told = web.get("/offers", headers=bearer(key, **named))
        assert (told.status_code, told.json()["field"]) == (422, "Fairturn-Member")
    without = town.key("offers:read", member=None, name="other")
    assert web.get("/offers", headers=bearer(without, **{"Fairturn-Member": "solar"})).status_code == 403


def test_a_key_of_one_member_cannot_name_another(town: Town, web: Web) -> None:
    key = town.key("network", "offers:read")
    assert web.get("/offers", headers=bearer(key, **{"Fairturn-Member": "solar"})).json()["member"] == town.sunny


def test_the_operators_token_opens_the_house_but_speaks_for_no_member(web: Web) -> None:
    assert web.get("/stats", headers=bearer(OPERATOR)).json()["kind"] == "operator"
    assert web.get("/offers", headers=bearer(OPERATOR, **{"Fairturn-Member": "sunny"})).status_code == 403


OPEN_NOTHING = ("", "x", "ft_", "ft_0_", "ft_00_" + "a" * 43, "eyJ.eyJ.x", "ft_\u00e9_x", "a.b.c")


def test_all_that_opens_nothing_is_answered_alike(town: Town, web: Web) -> None:
    ours = town.key("offers:read")
    headers = [{"Authorization": f"Bearer {wrong}".encode()} for wrong in (*OPEN_NOTHING, ours[:-2] + "__")]
    answers = [web.get("/offers", headers=given) for given in ({}, *headers)]
    for told in answers:
        assert told.status_code == 401
        assert told.json() | {"request_id": ""} == answers[0].json() | {"request_id": ""}
        assert told.headers["www-authenticate"].startswith("Bearer")


def test_who_is_shut_out_is_shut_out_within_five_seconds(town: Town, web: Web) -> None:
    person = town.person("ann@sunny.example")
    headers = bearer(town.token(person))
    assert web.get("/offers", headers=headers).status_code == 200
    town.people.set_active(person, active=False, actor="test")
    town.clock.now += 5.0
    assert web.get("/offers", headers=headers).status_code == 401
    town.people.set_active(person, active=True, actor="test")
    town.clock.now += 5.0
    assert web.get("/offers", headers=headers).status_code == 401, "the old token stays dead"
    assert web.get("/offers", headers=bearer(town.token(person))).status_code == 200


def test_a_revoked_key_is_dead_within_five_seconds(town: Town, web: Web) -> None:
    key = town.key("offers:read")
    assert web.get("/offers", headers=bearer(key)).status_code == 200
    assert town.keys.revoke(key.split("_")[1], actor="test")
    town.clock.now += 5.0
    assert web.get("/offers", headers=bearer(key)).status_code == 401
