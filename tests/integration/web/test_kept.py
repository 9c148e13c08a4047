"""Leads that rules keep apart, over the API and the command line: listed with the check, released by one word."""

from tests.command_line import fairturn
from tests.integration.routing.test_special_cases import ruled, when
from tests.integration.web.conftest import Api

OPERATOR = {"Authorization": "Bearer operators-token"}


def test_I7_a_quarantined_lead_is_listed_with_its_check_and_released_by_one_call_or_one_command(api: Api) -> None:
    acme = api.partner("acme", capacity=5)
    api.house.publish_document(ruled(when("spam", "lead.source == 'spam'", quarantine=True)))
    leads = [api.house.lead(f"lead-{n}", source="spam") for n in range(2)]
    api.house.work()
    answer = api.client.get("/api/v1/kept-leads", params={"reason": "quarantined"}, headers=OPERATOR).json()
    assert [(one["id"], one["rule"]) for one in answer["leads"]] == [(lead, "spam") for lead in leads]
    assert acme.get("/kept-leads").status_code == 403
    for released in (True, False):
        done = api.client.post("/api/v1/leads/lead-0/release", headers=OPERATOR)
        assert (done.status_code, done.json()) == (200, {"released": released})
    assert api.client.post("/api/v1/leads/nobody/release", headers=OPERATOR).status_code == 404
    told = fairturn(api.house, "lead", "list", "--reason", "quarantined")
    assert ("lead-1" in told.stdout, "lead-0" in told.stdout, "spam" in told.stdout) == (True, False, True), told.stderr
    told = fairturn(api.house, "lead", "release", "lead-1")
    assert (told.returncode, told.stdout.strip()) == (0, "1 lead given back to routing."), told.stderr
    api.house.journey.route(leads)
    assert [api.house.state(lead)[0] for lead in leads] == ["offered", "offered"]
