from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from routing.access import OF_A_MEMBER, Scope
from storage.postgres.partner import VIEWED
from tests.integration.web.conftest import Api, Partner

MARKERS = {
    "first_name": "Zoemarker",
    "last_name": "Quillmarker",
    "company": "Companymarker",
    "email": "zoe.marker@example.org",
    "phone": "+1 555 0100 marker",
    "street": "7 Streetmarker Road",
}
FACTS: dict[str, Any] = {"attributes": {"product": "solar", "size": "8 kW", "secret_note": "notemarker"}}


def marked(text: str) -> bool:
    return "marker" in text.lower()


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def looks(api: Api) -> list[dict[str, Any]]:
    """What the timeline says of looks at contact data."""
    return [row.detail for row in api.house.rows("SELECT detail FROM timeline WHERE what = :what", what=VIEWED)]


def test_an_offer_shows_what_the_policy_shows_and_nothing_else(api: Api) -> None:
    acme = api.partner("acme", lat=40.05)
    offer = api.offered(**MARKERS, **FACTS, region="PA")
    answer = acme.get(f"/offers/{offer}")
    assert answer.status_code == 200
    seen = answer.json()
    assert seen["lead"] == {
        "city": "Town",
        "region": None,
        "postal_code": "19000",
        "country": "US",
        "attributes": {"product": "solar", "size": "8 kW"},
    }
    assert (seen["state"], seen["kind"], seen["attempt"], seen["version"]) == ("offered", "turn", 1, 1)
    assert seen["distance_miles"] == pytest.approx(3.45, abs=0.06)
    assert 4 * 3600 - 60 < seen["seconds_left"] <= 4 * 3600
    assert "too_far" in seen["choices"]["reject_reasons"]
    assert seen["contact"] is None


def test_O10_no_answer_holds_contact_data_before_acceptance_and_then_the_acceptors_alone(api: Api) -> None:
    acme, rival = api.partner("acme"), api.partner("rival", lat=40.6)
    offer = api.offered(**MARKERS, **FACTS)
    before = [acme.get(path) for path in (f"/offers/{offer}", "/offers", "/offers?since=0", "/offers?state=offered")]
    accepted = acme.post(f"/offers/{offer}/accept")
    assert accepted.status_code == 200
    assert not any(marked(answer.text) for answer in (*before, accepted, acme.get("/offers")))
    seen = acme.get(f"/offers/{offer}").json()
    assert seen["contact"]["email"] == MARKERS["email"]
    assert (seen["contact"]["lat"], seen["contact"]["lon"]) == (40.0, -75.0)
    hidden = rival.get(f"/offers/{offer}")
    assert (hidden.status_code, marked(hidden.text)) == (404, False)


def test_O10_the_policy_says_which_fields_are_shown(api: Api) -> None:
    api.house.publish(answers={"shown": ["country", "roof"]})
    acme = api.partner("acme")
    offer = api.offered(attributes={"roof": "flat", "product": "solar"})
    seen = acme.get(f"/offers/{offer}").json()["lead"]
    blank = {"city": None, "region": None, "postal_code": None}
    assert seen == {**blank, "country": "US", "attributes": {"roof": "flat"}}


def test_O10_each_look_at_contact_data_is_written_down_once_a_minute(api: Api) -> None:
    acme = api.partner("acme")
    offer = api.offered(**MARKERS)
    acme.get(f"/offers/{offer}")
    acme.post(f"/offers/{offer}/accept")
    assert looks(api) == []
    for _ in range(3):
        acme.get(f"/offers/{offer}")
    (look,) = looks(api)
    assert (look["offer"], look["member"]) == (offer, acme.id)
    assert look["by"]
    api.house.run("ALTER TABLE timeline DISABLE TRIGGER USER")
    api.house.run("UPDATE timeline SET at = at - interval '61 seconds' WHERE what = :what", what=VIEWED)
    acme.get(f"/offers/{offer}")
    assert len(looks(api)) == 2


@pytest.mark.parametrize("end", ["rejected", "withdrawn", "returned", "lost"])
def test_O10_contact_data_go_when_the_lead_does(api: Api, end: str) -> None:
    acme = api.partner("acme")
    offer = api.offered(**MARKERS)
    if end == "rejected":
        assert acme.post(f"/offers/{offer}/reject", json={"reason": "other"}).status_code == 200
    else:
        acme.post(f"/offers/{offer}/accept")
        how: dict[str, Callable[[], Any]] = {
            "withdrawn": lambda: api.house.journey.intake(api.house.store([api.house.change("lead-1", "DELETE")])),
            "returned": lambda: acme.post(f"/offers/{offer}/return", json={"reason": "unreachable"}),
            "lost": lambda: acme.post(f"/offers/{offer}/lose", json={"reason": "no_contact"}),
        }
        how[end]()
    seen = acme.get(f"/offers/{offer}")
    assert (seen.json()["state"], seen.json()["contact"], marked(seen.text)) == (end, None, False)


def test_B5_the_same_answer_five_times_has_one_effect(api: Api) -> None:
    acme = api.partner("acme")
    offer, header = api.offered(), key()
    answers = [acme.post(f"/offers/{offer}/accept", headers=header) for _ in range(3)]
    answers += [acme.post(f"/offers/{offer}/accept") for _ in range(2)]
    assert {(a.status_code, a.json()["state"], a.json()["version"]) for a in answers} == {(200, "accepted", 2)}
    assert [a.headers.get("idempotency-replayed") for a in answers] == [None, "true", "true", None, None]
    assert api.house.value("SELECT count(*) FROM timeline WHERE what = 'accepted'") == 1


def test_B5_a_late_accept_says_when_the_offer_expired(api: Api) -> None:
    acme = api.partner("acme")
    offer = api.offered()
    api.house.overdue()
    expired = acme.get(f"/offers/{offer}").json()["expires_at"]
    late = acme.post(f"/offers/{offer}/accept", headers=key())
    assert (late.status_code, late.json()["type"]) == (409, "urn:fairturn:problem:offer-expired")
    assert expired[:10] in late.json()["detail"]
    api.house.tick()
    later = acme.post(f"/offers/{offer}/accept")
    assert (later.status_code, later.json()["type"]) == (409, "urn:fairturn:problem:offer-expired")


def test_another_request_under_one_key_is_refused_and_changes_nothing(api: Api) -> None:
    acme = api.partner("acme")
    offer, header = api.offered(), key()
    path = f"/offers/{offer}/reject"
    assert acme.post(path, json={"reason": "too_far"}, headers=header).status_code == 200
    for answer in (
        acme.post(path, json={"reason": "other"}, headers=header),
        acme.post(f"/offers/{offer}/accept", headers=header),
        acme.post(path, json={"reason": "too_far"}, headers=header | {"If-Match": '"1"'}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairturn:problem:idempotency-key-reused")
    assert acme.get(f"/offers/{offer}").json()["reason"] == "too_far"


def test_a_refusal_is_repeated_under_its_key_and_a_mended_request_may_take_it_again(api: Api) -> None:
    acme = api.partner("acme")
    offer, header, bad = api.offered(), key(), key()
    wrong = acme.post(f"/offers/{offer}/reject", json={"reason": "mood"}, headers=bad)
    assert (wrong.status_code, wrong.json()["field"]) == (422, "reason")
    refused = acme.post(f"/offers/{offer}/complete", headers=header)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:fairturn:problem:wrong-state")
    acme.post(f"/offers/{offer}/accept")
    again = acme.post(f"/offers/{offer}/complete", headers=header)
    assert again.json() == refused.json()
    assert again.headers["content-type"] == "application/problem+json"
    mended = acme.post(f"/offers/{offer}/complete", headers=bad)
    assert (mended.status_code, mended.json()["state"]) == (200, "completed")


def test_a_key_in_use_is_refused_until_its_request_is_answered_or_has_died(api: Api) -> None:
    acme = api.partner("acme")
    offer, header = api.offered(), key()
    acme.post(f"/offers/{offer}/accept", headers=header)
    api.house.run("UPDATE replays SET status = NULL, body = NULL")
    busy = acme.post(f"/offers/{offer}/accept", headers=header)
    assert (busy.status_code, busy.json()["type"]) == (409, "urn:fairturn:problem:idempotency-key-in-use")
    api.house.run("UPDATE replays SET at = at - interval '31 seconds'")
    assert acme.post(f"/offers/{offer}/accept", headers=header).status_code == 200


def test_a_key_is_forgotten_after_a_day_and_is_its_callers_own(api: Api) -> None:
    acme, rival = api.partner("acme"), api.partner("rival", lat=40.01)
    offer, header = api.offered(), key()
    holder, other = (acme, rival) if acme.get(f"/offers/{offer}").status_code == 200 else (rival, acme)
    assert other.post(f"/offers/{offer}/accept", headers=header).status_code == 404
    assert holder.post(f"/offers/{offer}/accept", headers=header).status_code == 200
    api.house.run("UPDATE replays SET at = at - interval '25 hours'")
    assert holder.post(f"/offers/{offer}/complete", headers=header).json()["state"] == "completed"
    assert api.house.value("SELECT count(*) FROM replays") == 1


def test_what_is_kept_under_a_key_holds_no_personal_data(api: Api) -> None:
    acme = api.partner("acme")
    offer = api.offered(**MARKERS, **FACTS)
    for verb in ("accept", "progress", "complete"):
        acme.post(f"/offers/{offer}/{verb}", headers=key())
    assert not marked(str(api.house.rows("SELECT * FROM replays")))


def test_an_answer_to_a_version_that_is_not_any_more_changes_nothing(api: Api) -> None:
    acme = api.partner("acme")
    offer = api.offered()
    tag = acme.get(f"/offers/{offer}").headers["etag"]
    stale = acme.post(f"/offers/{offer}/accept", headers={"If-Match": '"9"'})
    assert (stale.status_code, stale.json()["type"]) == (412, "urn:fairturn:problem:offer-changed")
    assert acme.post(f"/offers/{offer}/accept", headers={"If-Match": tag}).status_code == 200
    assert acme.post(f"/offers/{offer}/complete", headers={"If-Match": "*"}).status_code == 200
    assert acme.post(f"/offers/{offer}/complete", headers={"If-Match": "W/7"}).status_code == 422


def test_an_unchanged_offer_is_not_sent_again(api: Api) -> None:
    acme = api.partner("acme")
    offer = api.offered()
    tag = acme.get(f"/offers/{offer}").headers["etag"]
    same = acme.get(f"/offers/{offer}", headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    acme.post(f"/offers/{offer}/accept")
    assert acme.get(f"/offers/{offer}", headers={"If-None-Match": tag}).status_code == 200


def test_pages_are_newest_first_without_gap_or_double_while_offers_come(api: Api) -> None:
    acme = api.partner("acme", capacity=50)
    made = [api.offered(f"lead-{n}") for n in range(7)]
    first = acme.get("/offers?limit=3")
    late = api.offered("lead-late")
    seen = [offer["id"] for offer in first.json()["offers"]]
    path = first.json()["next"]
    assert first.headers["link"] == f'<{path}>; rel="next"'
    while path:
        page = acme.get(path.removeprefix("/api/v1")).json()
        seen += [offer["id"] for offer in page["offers"]]
        path = page["next"]
    assert seen == made[::-1]
    assert late not in seen


def test_changes_since_a_number_come_in_order_once_each_as_they_stand(api: Api) -> None:
    acme = api.partner("acme", capacity=50)
    made = [api.offered(f"lead-{n}") for n in range(5)]
    since = acme.get("/offers").json()["since"]
    assert acme.get(f"/offers?since={since}").json() == {"offers": [], "since": since, "next": None}
    acme.post(f"/offers/{made[3]}/accept")
    acme.post(f"/offers/{made[1]}/reject", json={"reason": "other"})
    acme.post(f"/offers/{made[3]}/complete")
    page = acme.get(f"/offers?since={since}&limit=1").json()
    assert [(o["id"], o["state"]) for o in page["offers"]] == [(made[1], "rejected")]
    rest = acme.get(page["next"].removeprefix("/api/v1")).json()
    assert [(o["id"], o["state"]) for o in rest["offers"]] == [(made[3], "completed")]
    assert rest["next"] is None
    everything = acme.get("/offers?since=0").json()
    assert {o["id"] for o in everything["offers"]} == set(made)
    assert everything["since"] == rest["since"]


def test_only_offers_in_the_states_asked_for(api: Api) -> None:
    acme = api.partner("acme", capacity=50)
    made = [api.offered(f"lead-{n}") for n in range(3)]
    acme.post(f"/offers/{made[0]}/accept")
    assert [o["id"] for o in acme.get("/offers?state=accepted").json()["offers"]] == [made[0]]
    assert len(acme.get("/offers?state=accepted&state=offered").json()["offers"]) == 3
    assert acme.get("/offers?state=void").status_code == 422


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "after=x", "after=%00", "since=-1", "since=x", "after=" + "A" * 60]
)
def test_a_query_that_cannot_be_is_named(api: Api, query: str) -> None:
    answer = api.partner("acme").get(f"/offers?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, f"query.{query.partition('=')[0]}")


def test_bodies_are_json_of_known_fields_and_not_too_long(api: Api) -> None:
    acme = api.partner("acme")
    path = f"/offers/{api.offered()}/reject"
    form = acme.post(path, content=b"reason=other", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (form.status_code, form.json()["type"]) == (415, "urn:fairturn:problem:unsupported-media-type")
    long = acme.post(path, json={"reason": "x" * 70_000})
    assert (long.status_code, long.json()["type"]) == (413, "urn:fairturn:problem:body-too-large")
    chunked = acme.post(path, content=iter([b"x" * 40_000] * 2), headers={"Content-Type": "application/json"})
    assert chunked.status_code == 413
    unknown = acme.post(path, json={"reason": "other", "state": "accepted"})
    assert (unknown.status_code, unknown.json()["field"]) == (422, "body.state")
    assert acme.post(path, content=b"{", headers={"Content-Type": "application/json"}).status_code == 422


def test_an_extension_whose_answer_was_lost_with_its_process_is_not_given_twice(api: Api) -> None:
    api.house.publish(answers={"work_within": "48h", "extensions": 5})
    acme = api.partner("acme")
    offer = api.offered()
    version = acme.post(f"/offers/{offer}/accept").json()["version"]

    def extend(key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key, "If-Match": f'"{version}"'}
        return acme.post(f"/offers/{offer}/extend", json={"reason": "other"}, headers=headers)

    first = extend("one")
    api.house.run("UPDATE replays SET status = NULL, body = NULL, at = at - interval '31 seconds'")  # it died here
    again = extend("one")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["choices"]["extensions_left"] == again.json()["choices"]["extensions_left"] == 4
    assert (again.json()["work_by"], again.json()["version"]) == (first.json()["work_by"], first.json()["version"])
    assert extend("two").status_code == 412  # a request of its own, made before the first was seen


def test_the_life_of_an_offer_by_the_api_alone(api: Api) -> None:
    api.house.publish(answers={"work_within": "48h"})
    acme = api.partner("acme")
    offer = api.offered()
    taken = acme.post(f"/offers/{offer}/accept").json()
    assert taken["choices"]["extensions_left"] == 1
    assert taken["work_by"] is not None
    extended = acme.post(f"/offers/{offer}/extend", json={"reason": "customer_undecided"})
    assert extended.json()["choices"]["extensions_left"] == 0
    refused = acme.post(f"/offers/{offer}/extend", json={"reason": "other"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:fairturn:problem:extension-refused")
    assert acme.post(f"/offers/{offer}/progress").json()["version"] > extended.json()["version"]
    assert acme.post(f"/offers/{offer}/complete").json()["state"] == "completed"
    assert api.house.state(api.house.id_of("lead-1"))[0] == "done"


def test_a_program_of_the_network_names_its_member(api: Api) -> None:
    acme = api.partner("acme")
    offer = api.offered()
    network = Partner(api, 0, "", api.token(None, *OF_A_MEMBER, Scope.NETWORK))
    assert network.get(f"/offers/{offer}").status_code == 422
    assert network.get(f"/offers/{offer}", headers={"Fairturn-Member": "acme"}).status_code == 200
    api.partner("rival", lat=44.0)
    assert network.get(f"/offers/{offer}", headers={"Fairturn-Member": "rival"}).status_code == 404
    assert acme.get(f"/offers/{offer}").status_code == 200
