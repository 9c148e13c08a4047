"""Versions of the policy by the API: what managers do, and what they hear when it is not to be."""

from typing import Any

import pytest
from httpx import Response

from config import policy as policy_file
from config import wiring
from routing.access import Role, Scope
from storage.postgres.clients import APP
from tests.integration.routing.house import document
from tests.integration.web.conftest import Api


class Manager:
    """One of our own people, logged in."""

    def __init__(self, api: Api, name: str, role: Role = Role.MANAGER, manages: tuple[str, ...] = ()) -> None:
        self.api = api
        address = f"{name.lower()}@example.com"
        person = wiring.people().add(name=name, email=address, role=role, member=None, actor="test", manages=manages)
        known = wiring.people().get(person)
        assert known is not None
        self.token = wiring.signer().issue(
            f"person:{person}",
            client_id=APP,
            scopes=frozenset(map(str, Scope)),
            version=known.version,
            member_id=None,
        )

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        headers |= {"Authorization": f"Bearer {self.token}"}
        return self.api.client.request(method, f"/api/v1/policy{path}", json=body, headers=headers)

    def draft(self, **pool: Any) -> dict[str, Any]:
        source = "# why not\n" + policy_file.dump(document(**pool))
        made: dict[str, Any] = self.ask("POST", "/versions", {"source": source, "note": "try"}).json()
        return made


@pytest.fixture
def ann(api: Api) -> Manager:
    api.partner("near")
    return Manager(api, "Ann")


def test_M10_a_manager_drafts_compares_publishes_and_rolls_back(ann: Manager) -> None:
    draft = ann.draft(reassignments=1)
    assert (draft["state"], draft["base"], draft["author"], draft["names"]) == ("draft", 1, "Ann", ["Ann"])
    whole = ann.ask("GET", f"/versions/{draft['version']}")
    assert whole.json()["source"].startswith("# why not\n")
    [changed] = ann.ask("GET", f"/versions/{draft['version']}/diff").json()["differences"]
    assert changed["told"] == "~ pools[installers].reassignments: 3 -> 1"
    published = ann.ask("POST", f"/versions/{draft['version']}/publish", {}, **{"If-Match": whole.headers["etag"]})
    assert (published.status_code, published.json()["state"], published.json()["replaced"]) == (200, "published", 1)
    back = ann.ask("POST", "/versions/1/rollback", {"note": "no"}).json()
    assert (back["version"], back["restores"], back["note"]) == (draft["version"] + 1, 1, "no")


def test_E3_the_history_tells_who_when_what_and_which_decisions_used_it(api: Api, ann: Manager) -> None:
    api.offered("first")
    draft = ann.draft(reassignments=1)
    ann.ask("POST", f"/versions/{draft['version']}/publish", {})
    api.offered("second")
    api.offered("third")
    told = ann.ask("GET", "/versions").json()
    newest, first = told["versions"]
    assert (newest["author"], newest["published_by"], newest["decisions"]) == ("Ann", "Ann", 2)
    assert (newest["changes"][0]["path"], first["decisions"]) == ("pools[installers].reassignments", 1)
    assert newest["published_at"] == first["retired_at"]
    assert ann.ask("GET", "/versions?limit=1").json()["before"] == newest["version"]


def test_what_others_changed_meanwhile_is_told_and_nothing_happens(ann: Manager) -> None:
    one, other = ann.draft(reassignments=1), ann.draft(reassignments=2)
    edited = ann.ask("PUT", f"/versions/{one['version']}", {"document": document(reassignments=4)})
    assert edited.headers["etag"] == '"2"'
    late = ann.ask("PUT", f"/versions/{one['version']}", {"document": document()}, **{"If-Match": '"1"'})
    assert (late.status_code, late.json()["type"]) == (412, "urn:fairturn:problem:version-changed")
    assert ann.ask("POST", f"/versions/{one['version']}/publish", {}).status_code == 200
    overtaken = ann.ask("POST", f"/versions/{other['version']}/publish")
    assert (overtaken.status_code, overtaken.json()["type"]) == (409, "urn:fairturn:problem:overtaken")
    assert f"now version {one['version']}" in overtaken.json()["detail"]
    wish = {"replacing": one["version"]}
    assert ann.ask("POST", f"/versions/{other['version']}/publish", wish).json()["replaced"] == one["version"]


def test_a_policy_that_is_not_sound_is_refused_with_line_and_column(ann: Manager) -> None:
    source = policy_file.dump(document()).replace("installers", "Has Spaces")
    wrong = ann.ask("POST", "/versions", {"source": source}).json()
    assert (wrong["status"], wrong["field"]) == (422, "pools[0].name (source line 2, column 3)")
    for body in ({}, {"source": "a", "document": {}}, {"source": "- 1"}, {"document": {"pools": 1}}):
        assert ann.ask("POST", "/versions", body).status_code == 422
    headers = {"Authorization": f"Bearer {ann.token}", "Content-Type": "application/json"}
    for raw in (source.encode(), '{"source": "é"}'.encode("latin-1"), b"\xff\xfe"):
        unread = ann.api.client.post("/api/v1/policy/versions", content=raw, headers=headers).json()
        assert (unread["status"], unread["field"], unread["fix"]) == (422, "body", "Send JSON in UTF-8.")
    assert ann.ask("GET", "/versions/99").json()["type"] == "urn:fairturn:problem:unknown-version"
    assert ann.ask("POST", "/versions", {"document": document(), "base": 99}).status_code == 404


def test_Z6_two_managers_publish_a_sensitive_policy(api: Api, ann: Manager) -> None:
    bob = Manager(api, "Bob")
    wish = {"document": document(reassignments=1) | {"sensitive": True}}
    version = ann.ask("POST", "/versions", wish).json()["version"]
    refused = ann.ask("POST", f"/versions/{version}/publish", {})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:fairturn:problem:needs-approval")
    assert ann.ask("POST", f"/versions/{version}/approve").status_code == 409
    assert bob.ask("POST", f"/versions/{version}/approve").json()["names"] == ["Ann", "Bob"]
    assert ann.ask("POST", f"/versions/{version}/publish", {}).json()["names"] == ["Ann", "Bob"]


def test_a_version_is_scheduled_and_cancelled_once_for_each_key(ann: Manager) -> None:
    version = ann.draft(reassignments=1)["version"]
    wish = {"at": "2040-01-01T08:00:00+01:00"}
    planned = [ann.ask("POST", f"/versions/{version}/schedule", wish, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert planned[0].json() == planned[1].json()
    assert (planned[0].json()["state"], planned[0].json()["publish_at"]) == ("scheduled", "2040-01-01T07:00:00Z")
    assert planned[1].headers["etag"] == '"1"'
    stale = {"If-Match": '"2"'}
    for late in ("cancel", "rollback"):
        assert ann.ask("POST", f"/versions/{version}/{late}", **stale).status_code == 412
    assert ann.ask("POST", f"/versions/{version}/cancel").json()["state"] == "draft"
    assert ann.ask("POST", f"/versions/{version}/retire").json()["state"] == "retired"
    for at in ("2040-01-01T08:00:00", "2020-01-01T08:00:00Z", 2208988800, "9999-12-31T23:59:59-14:00"):
        assert ann.ask("POST", f"/versions/{version}/schedule", {"at": at}).status_code == 422, at


def test_the_schema_is_there_for_editors_and_the_rest_for_managers_alone(api: Api) -> None:
    schema = api.client.get("/api/v1/policy/schema.json").json()
    assert schema["properties"]["pools"]
    assert api.client.get("/api/v1/policy/versions").status_code == 401
    assert Manager(api, "Olga", Role.OPERATOR).ask("GET", "/versions").status_code == 403


def test_M12_a_units_manager_leaves_drafts_and_plans_of_other_units_alone(api: Api, ann: Manager) -> None:
    two = document() | {
        "pools": [*document()["pools"], document()["pools"][0] | {"name": "north", "countries": ["CA"]}]
    }
    first = ann.ask("POST", "/versions", {"document": two}).json()["version"]
    assert ann.ask("POST", f"/versions/{first}/publish").status_code == 200
    uma = Manager(api, "Uma", manages=("north",))

    def change(pool: int) -> dict[str, Any]:
        pools = [dict(one) for one in two["pools"]]
        pools[pool]["reassignments"] = 1
        return {"document": two | {"pools": pools}}

    drafted, planned = (ann.ask("POST", "/versions", change(0)).json()["version"] for _ in range(2))
    assert ann.ask("POST", f"/versions/{planned}/schedule", {"at": "2040-01-01T08:00:00Z"}).status_code == 200
    for path in (f"{drafted}/retire", f"{planned}/retire", f"{planned}/cancel", f"{drafted}/publish", "1/rollback"):
        assert uma.ask("POST", f"/versions/{path}").json()["type"] == "urn:fairturn:problem:not-yours", path
    assert uma.ask("PUT", f"/versions/{drafted}", change(1)).status_code == 403
    assert [ann.ask("GET", f"/versions/{one}").json()["state"] for one in (drafted, planned)] == ["draft", "scheduled"]
    slip, own = (uma.ask("POST", "/versions", change(pool)).json()["version"] for pool in (0, 1))
    assert uma.ask("POST", f"/versions/{slip}/retire").status_code == 200
    assert uma.ask("POST", f"/versions/{own}/publish").json()["state"] == "published"


def test_a_check_tells_findings_with_their_lines_and_keeps_nothing(ann: Manager) -> None:
    taken = document() | {
        "rules": [
            {"name": name, "when": f"lead.priority > {n}", "then": {"pool": "installers"}}
            for n, name in enumerate("ab")
        ],
        "default": {"pool": "installers"},
    }
    found = ann.ask("POST", "/check", {"source": "\ufeff" + policy_file.dump(taken)}).json()["findings"]
    [unreachable] = [one for one in found if one["code"] == "unreachable_rule"]
    assert (unreachable["severity"], unreachable["path"]) == ("warning", "rules[1]")
    assert unreachable["line"] > 1
    assert unreachable["witness"]
    assert ann.ask("POST", "/check", {"document": {"pools": 1}}).json()["field"] == "pools"
    for text in ("pools: &p [*p]", "pools: !!python/object/apply:os.system [ls]", "a: b: c"):
        assert ann.ask("POST", "/check", {"source": text}).json()["field"] == "source line 1"
    assert len(ann.ask("GET", "/versions").json()["versions"]) == 1
