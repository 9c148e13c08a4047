"""The past over the API: leads found and explained for managers, entries proved to their partner."""

import csv
import json
from typing import Any

from routing import seal_verify
from storage.postgres.seals import Seals
from tests.integration.web.conftest import Api

OPERATOR = {"Authorization": "Bearer operators-token"}


def test_E6_managers_page_through_leads_by_filters_and_partners_may_not(api: Api) -> None:
    acme = api.partner("acme", capacity=2)
    for n in range(3):
        api.house.lead(f"lead-{n}")
    api.house.work()
    found, cursor = [], None
    while True:
        asked: dict[str, Any] = {"state": "offered", "limit": 1} | ({"cursor": cursor} if cursor else {})
        answer = api.client.get("/api/v1/leads", params=asked, headers=OPERATOR).json()
        assert answer["filters"] == {"state": "offered"}
        found += answer["leads"]
        cursor = answer["next"]
        if cursor is None:
            break
    assert [lead["member"] for lead in found] == ["acme", "acme"]
    wrong = ({"state": "lost"}, {"cursor": "x"}, {"status": "offered"}, {"since": "2026"}, {"pool": "\0"})
    for asked in wrong:
        assert api.client.get("/api/v1/leads", params=asked, headers=OPERATOR).status_code == 422, asked
    file = api.client.get("/api/v1/leads", params={"since": "2020-01-01", "format": "csv"}, headers=OPERATOR)
    told, *lines = file.text.splitlines()
    assert (told, file.headers["content-type"]) == (
        '# filters: {"since": "2020-01-01T00:00:00+00:00"}', "text/csv; charset=utf-8"
    )  # fmt: skip
    assert [row["member"] for row in csv.DictReader(lines)] == ["acme", "acme", ""]
    assert acme.get("/leads").status_code == 403


def test_E2_managers_see_every_candidate_with_its_gates(api: Api) -> None:
    api.partner("acme", capacity=1)
    api.partner("busy", 40.001, capacity=0)
    api.offered("lead-1")
    told = api.client.get("/api/v1/leads/lead-1/explanation", headers=OPERATOR).json()
    (decision,) = told["decisions"]
    chosen, full = decision["candidates"]
    assert decision["step"] == "the only one eligible"
    assert (chosen["member"], chosen["why"], set(chosen["gates"].values())) == ("acme", "chosen", {"passed"})
    assert (full["member"], full["why"], full["gates"]["full"]) == ("busy", "holds 0 of 0", "failed")
    assert decision["inputs"]["lead"]["country"] == "US"


def test_N5_a_partner_is_given_its_own_entries_with_the_proof_that_nobody_changed_them(api: Api) -> None:
    acme, rival = api.partner("acme"), api.partner("rival", 40.01, -75.01)
    assert acme.get("/me/proof").json() == {
        "what": "fairturn proof", "head": None, "seals": [], "entries": [], "unsealed": 0, "next": None
    }  # fmt: skip
    for n in range(4):
        api.offered(f"lead-{n}")
    Seals(api.house.engine).seal()
    mine, theirs = acme.get("/me/proof").json(), rival.get("/me/proof").json()
    assert list(seal_verify.check_proof(mine)) == []
    assert [json.loads(entry["row"]["detail"])["member"] for entry in mine["entries"]] == [acme.id] * 2
    assert mine["head"] == theirs["head"]
    hidden = {word for entry in theirs["entries"] for word in (entry["salt"], entry["row"]["lead_id"])}
    shown = {word for entry in mine["entries"] for word in (entry["salt"], entry["row"]["lead_id"])}
    assert not hidden & shown
    page = acme.get("/me/proof", params={"limit": 1}).json()
    assert list(seal_verify.check_proof(page)) == []
    assert (len(page["entries"]), page["next"]) == (1, int(mine["entries"][0]["row"]["id"]))
