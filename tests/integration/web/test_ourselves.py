"""Oneself, one's team, one's standing."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from config import desk, wiring
from routing.access import SCOPES, Role
from storage.postgres.clients import APP
from tests.integration.routing.house import document
from tests.integration.web.conftest import Api, Partner


def person(api: Api, of: Partner, name: str, role: Role = Role.PARTNER) -> tuple[UUID, Partner]:
    """One of a member's people, logged in."""
    people = wiring.people()
    made = people.add(name=name, email=f"{name}@{of.key}.example", role=role, member=of.id, actor="test")
    return made, Partner(api, of.id, of.key, logged_in(made))


def logged_in(made: UUID) -> str:
    known = wiring.people().get(made)
    assert known is not None
    scopes = frozenset(map(str, SCOPES[known.role]))
    return wiring.signer().issue(
        f"person:{made}", client_id=APP, scopes=scopes, version=known.version, member_id=known.member_id
    )


def test_a_program_sees_its_member_and_a_person_itself_as_well(api: Api) -> None:
    acme = api.partner("acme")
    zoe, phone = person(api, acme, "zoe")
    program = acme.get("/me").json()
    assert (program["kind"], program["person"], program["member"]["key"]) == ("key", None, "acme")
    seen = phone.get("/me").json()
    assert (seen["kind"], seen["person"]["id"], seen["person"]["role"]) == ("person", str(zoe), "partner")
    assert seen["member"] == program["member"]


def test_a_person_changes_what_is_its_own_and_the_rest_stays(api: Api) -> None:
    _, phone = person(api, api.partner("acme"), "zoe")
    quiet = {"begin": "20:00", "end": "07:30"}
    wanted = {
        "language": "es",
        "units": "km",
        "time_zone": "Europe/Madrid",
        "quiet": quiet,
        "channels": ["sms", "email"],
    }
    changed = phone.ask("PATCH", "/me", json=wanted)
    assert changed.status_code == 200
    assert changed.json()["person"].items() >= wanted.items()
    again = phone.ask("PATCH", "/me", json={"phone": "+34 600", "quiet": None}).json()["person"]
    assert (again["language"], again["phone"], again["quiet"], again["name"]) == ("es", "+34 600", None, "zoe")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"language": "xx"}, "body.language"),
        ({"time_zone": "Mars/Olympus"}, "body.time_zone"),
        ({"role": "partner_admin"}, "body.role"),
        ({"quiet": {"begin": "25:00", "end": "07:00"}}, "body.quiet.begin"),
        ({"channels": ["fax"]}, "body.channels.0"),
    ],
)
def test_what_cannot_be_is_named_and_changes_nothing(api: Api, wrong: dict[str, Any], field: str) -> None:
    _, phone = person(api, api.partner("acme"), "zoe")
    before = phone.get("/me").json()
    answer = phone.ask("PATCH", "/me", json=wrong | {"present": False})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert phone.get("/me").json() == before


def test_a_program_has_no_language(api: Api) -> None:
    answer = api.partner("acme").ask("PATCH", "/me", json={"language": "es"})
    assert (answer.status_code, answer.json()["field"]) == (422, "body.language")


def test_off_duty_no_lead_comes_and_back_on_duty_the_waiting_ones_do(api: Api) -> None:
    acme = api.partner("acme")
    assert acme.ask("PATCH", "/me", json={"present": False}).json()["member"]["present"] is False
    lead = api.house.lead("lead-1")
    api.house.work()
    assert api.house.state(lead)[0] == "waiting"
    assert acme.ask("PATCH", "/me", json={"present": True}).json()["member"]["present"] is True
    api.house.dispatcher.fill("main", [acme.id])
    assert api.house.holder(lead) == acme.id
    changes = api.house.rows("SELECT action FROM audit WHERE action LIKE 'member.%' ORDER BY id")
    assert [row.action for row in changes] == ["member.away", "member.present"]


def test_going_off_duty_twice_is_one_change_and_an_import_leaves_it_so(api: Api) -> None:
    acme = api.partner("acme")
    acme.ask("PATCH", "/me", json={"present": False})
    before = wiring.members().versions()
    acme.ask("PATCH", "/me", json={"present": False})
    assert wiring.members().versions() == before
    api.house.member("acme", tier="gold")
    assert acme.get("/me").json()["member"].items() >= {"present": False, "tier": "gold"}.items()


def test_an_admin_lets_people_in_and_out(api: Api) -> None:
    acme = api.partner("acme")
    _, ann = person(api, acme, "ann", Role.PARTNER_ADMIN)
    added = ann.post("/me/team", json={"name": "Bo", "email": "Bo@Acme.example", "language": "de"})
    assert (added.status_code, added.json()["role"], added.json()["email"]) == (201, "partner", "bo@acme.example")
    bo = added.json()["id"]
    phone = Partner(api, acme.id, "acme", logged_in(UUID(bo)))
    assert phone.get("/offers").status_code == 200
    assert phone.get("/me/team").status_code == 403
    out = ann.ask("PATCH", f"/me/team/{bo}", json={"active": False})
    assert out.json()["active"] is False
    _forgotten()
    assert phone.get("/offers").status_code == 401
    assert [one["name"] for one in ann.get("/me/team").json()["people"]] == ["ann", "Bo"]


def _forgotten() -> None:
    """As after five seconds."""
    wiring.gatekeeper.cache_clear()


def test_somebody_is_always_left_who_manages_the_team(api: Api) -> None:
    acme = api.partner("acme")
    ann_id, ann = person(api, acme, "ann", Role.PARTNER_ADMIN)
    for change in ({"active": False}, {"role": "partner"}):
        answer = ann.ask("PATCH", f"/me/team/{ann_id}", json=change)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:fairturn:problem:not-yourself")
        by_program = acme.ask("PATCH", f"/me/team/{ann_id}", json=change)
        assert (by_program.status_code, by_program.json()["type"]) == (409, "urn:fairturn:problem:last-admin")
    assert ann.get("/me").json()["person"]["role"] == "partner_admin"


def test_people_of_another_company_cannot_be_seen_changed_or_taken(api: Api) -> None:
    acme, rival = api.partner("acme"), api.partner("rival", lat=44.0)
    theirs, _ = person(api, rival, "rex")
    for answer in (
        acme.ask("PATCH", f"/me/team/{theirs}", json={"active": False}),
        acme.ask("PATCH", f"/me/team/{uuid4()}", json={"active": False}),
    ):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "Nobody of your people has this id."
    taken = acme.post("/me/team", json={"name": "Rex", "email": "rex@rival.example"})
    assert taken.status_code == 409
    assert acme.get("/me/team").json()["people"] == []


def test_B7_an_admin_gives_a_lead_to_one_of_its_people_and_the_network_sees_no_difference(api: Api) -> None:
    acme, rival = api.partner("acme"), api.partner("rival", lat=44.0)
    _, ann = person(api, acme, "ann", Role.PARTNER_ADMIN)
    bo, phone = person(api, acme, "bo")
    rex, _ = person(api, rival, "rex")
    offer = api.offered()
    acme.post(f"/offers/{offer}/accept")
    before = network(api)
    given = ann.post(f"/offers/{offer}/assign", json={"person_id": str(bo)})
    assert (given.status_code, given.json()["assignee_id"]) == (200, str(bo))
    assert given.json()["version"] == 3
    assert network(api) == before
    assert phone.get(f"/offers/{offer}").json()["assignee_id"] == str(bo)
    for wrong in (rex, uuid4()):
        answer = ann.post(f"/offers/{offer}/assign", json={"person_id": str(wrong)})
        assert (answer.status_code, answer.json()["field"]) == (422, "body.person_id")
    assert phone.post(f"/offers/{offer}/assign", json={"person_id": None}).status_code == 403
    assert ann.post(f"/offers/{offer}/assign", json={"person_id": None}).json()["assignee_id"] is None
    assert [step for step in api.house.story(api.house.id_of("lead-1")) if step == "assigned"] == ["assigned"] * 2


def network(api: Api) -> list[Any]:
    """What the network knows: places held, decisions, accounts, the lead's state."""
    counts = "SELECT id, open FROM members ORDER BY id"
    standings = api.house.turnstile.standings("main", "installers")
    return [api.house.rows(counts), api.house.value("SELECT count(*) FROM decisions"), standings]


def test_O15_what_is_left_of_the_limits_is_shown(api: Api) -> None:
    api.house.publish(answers={"rejects_a_day": 2})
    acme = api.partner("acme", capacity=50)
    for n in range(2):
        left = acme.get("/me/standing").json()["limits"][0]["rejects_left"]
        assert left == 2 - n
        acme.post(f"/offers/{api.offered(f'lead-{n}')}/reject", json={"reason": "other"})
    over = acme.post(f"/offers/{api.offered('lead-9')}/reject", json={"reason": "other"})
    assert (over.status_code, over.json()["type"]) == (409, "urn:fairturn:problem:reject-limit-reached")
    assert acme.get("/me/standing").json()["limits"][0]["rejects_left"] == 0


def test_B9_a_member_sees_its_place_its_limits_its_record_and_why_leads_went_elsewhere(api: Api) -> None:
    acme = api.partner("acme", capacity=3)
    for n in range(6):
        api.partner(f"rival-{n}", lat=40.01 + n / 1000, capacity=50)
    for n in range(60):
        api.house.lead(f"lead-{n}")
    api.house.work(200)
    mine = acme.get("/offers").json()["offers"]
    assert len(mine) == 3
    acme.post(f"/offers/{mine[0]['id']}/accept")
    acme.post(f"/offers/{mine[1]['id']}/reject", json={"reason": "other"})
    api.house.overdue(api.house.value("SELECT lead_id FROM offers WHERE id = :id", id=mine[2]["id"]))
    api.house.tick()
    seen = acme.get("/me/standing").json()
    assert (seen["offered"], seen["accepted"], seen["rejected"], seen["expired"]) == (3, 1, 1, 1)
    assert (seen["acceptance_percent"], seen["open"], seen["capacity"]) == (33, 1, 3)
    assert [(one["pool"], one["of_about"]) for one in seen["turns"]] == [("installers", 5)]
    assert 1 <= seen["turns"][0]["place"] <= 7
    assert {one["why"] for one in seen["missed"]} == {"full", "turn"}
    assert all(one["about"] % 5 == 0 and one["about"] >= 5 for one in seen["missed"])


def test_B9_who_was_off_duty_or_beaten_by_a_nearer_one_is_told_so(api: Api) -> None:
    acme, far = api.partner("acme", capacity=50), api.partner("far", lat=40.15, capacity=50)
    for n in range(6):
        api.house.lead(f"near-{n}")
    api.house.work(200)
    acme.ask("PATCH", "/me", json={"present": False})
    for n in range(7):
        api.house.lead(f"later-{n}")
    api.house.work(200)
    missed = {(one["why"], one["about"]) for one in acme.get("/me/standing").json()["missed"]}
    assert missed == {("away", 5)}
    nearer = far.get("/me/standing").json()
    assert {(one["why"], one["about"]) for one in nearer["missed"]} == {("nearer", 5)}
    assert nearer["turns"] == [{"pool": "installers", "place": None, "of_about": None}]


def _every_gate() -> dict[str, Any]:
    """A policy by which a member is passed over for each of its reasons, and a rival comes before it."""
    pool = {
        "limits": [{"of": "member", "most": 9, "per": "day"}, {"of": "member", "share": 60, "per": "day"}],
        "conditions": [{"name": "large", "when": "lead.kw < 50.0 || member.commercial >= 5.0"}],
    }
    spanish = [{"name": "languages", "wanted": "es"}]
    rules = [
        {"name": "friends", "when": "lead.kw > 90.0", "then": {"preferred": "rival-1", "preferred_for": "1h"}},
        {"name": "spanish", "when": 'lead.language == "es"', "then": {"priority": 5, "skills": spanish}},
        {"name": "best", "when": "lead.kw > 70.0", "then": {"priority": 9, "best_first": True, "units": 2}},
    ]
    attributes = {"lead": {"language": "text", "kw": "number"}, "member": {"languages": "list", "commercial": "number"}}
    return document(**pool) | {"rules": rules, "attributes": attributes, "default": {"pool": "installers"}}


def test_E7_a_thousand_questions_are_answered_the_same_whoever_the_rivals_are(api: Api) -> None:
    """Two houses that differ in rivals' names, places, skills, tiers and load alone give the same answers."""
    api.house.publish_document(_every_gate())
    acme = api.partner("acme", capacity=50, attributes={"languages": ["en"], "commercial": 1})
    skilled = {"languages": ["es"], "commercial": 9}
    rivals = [
        api.partner(f"rival-{n}", lat=40.01 + n / 1000, capacity=50, attributes=skilled, tier="gold" if n % 2 else "")
        for n in range(6)
    ]
    api.house.run("UPDATE members SET name = 'Marker ' || id WHERE id <> :me", me=acme.id)
    for n in range(40):
        kw, language = (5.0, 60.0, 80.0, 95.0)[n % 4], "es" if n % 5 == 0 else "en"
        api.house.lead(f"lead-{n}", attributes={"kw": kw, "language": language})
    api.house.work(200)
    wiring.seals().seal()
    offers = acme.get("/offers").json()["offers"]
    paths = ("/me/standing", "/me", "/offers", "/offers?since=0", "/open-leads")
    once = ("/me/proof", f"/offers/{offers[0]['id']}")

    def ask_all(times: int) -> set[str]:
        desk.standings.cache_clear()
        asked = (*once, *(path for _ in range(times) for path in paths))
        return {json.dumps(timeless(acme.get(path).json())) for path in asked}

    first = ask_all(100)
    missed = {one["why"] for one in acme.get("/me/standing").json()["missed"]}
    assert {"condition", "skill"} <= missed
    api.house.run("UPDATE members SET name = 'Other ' || id, open = 0, tier = '' WHERE id <> :me", me=acme.id)
    api.house.run("UPDATE members SET attributes = '{}', capacity = 7, weight = 3 WHERE id <> :me", me=acme.id)
    api.house.run("UPDATE places SET lat = lat + 0.03, lon = lon + 0.01 WHERE member_id <> :me", me=acme.id)
    assert ask_all(100) == first
    everything = " ".join(first)
    assert "Marker" not in everything
    assert not any(rival.key in everything for rival in rivals)
    theirs = api.house.rows("SELECT id FROM offers WHERE member_id <> :me", me=acme.id)
    assert theirs
    assert not any(str(row.id) in everything for row in theirs)
    api.house.run(
        "UPDATE members SET open = (SELECT coalesce(sum(units), 0) FROM offers "
        "WHERE member_id = members.id AND ended_at IS NULL)"
    )


def timeless(value: Any) -> Any:
    """Without what a clock changes."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k != "seconds_left"}
    return [timeless(one) for one in value] if isinstance(value, list) else value
