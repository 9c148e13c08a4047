"""X3 and I10: what the outbox, the gate and the REST side do together when the org is unwell or short of calls."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from gateways.salesforce.auth import ClientCredentials, TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from routing import gate as rules
from routing.dispatcher import Dispatcher
from routing.errors import TryLater
from routing.gate import Budget, OrgPaused
from routing.outbound import Outbound
from storage.postgres import outbox as outbox_module
from storage.postgres.engine import transaction
from storage.postgres.gates import OrgGate
from storage.postgres.leads import Leads
from storage.postgres.outbox import Outbox
from storage.postgres.timeline import Timeline
from tests.proofs.writes import Plan, prove
from tests.sandbox_fixture import SandboxOrg

SHORT = Plan(
    leads=300,
    minutes=1.4,
    speed=10.0,
    kills=2,
    phases=(
        "503 to a third of the calls, a fifth of the records locked",
        "503 now and applied later all the same",
        "applied, but the answer comes too late",
        "half of the records locked",
    ),
)


class Desk:
    """A worker of the outbox: its own connections, its own session."""

    def __init__(self, org: SandboxOrg, engine: sa.Engine, budget: Budget | None = None, timeout_s: float = 20) -> None:
        self.gate = OrgGate(engine, budget, dice=lambda: 0.0)
        tokens = TokenProvider(org.login_url, ClientCredentials("app", "secret"), ca_file=org.ca)
        self.salesforce = Salesforce(
            tokens, FieldMap.load(), ca_file=org.ca, gate=self.gate, timeouts=(3.05, timeout_s)
        )
        self.outbox = Outbox(engine, self.gate, dice=lambda: 0.0)
        self.outbound = Outbound(
            outbox=self.outbox,
            dispatcher=cast("Dispatcher", None),
            write=self.salesforce.write,
            withdraw=Leads(engine).withdraw,
            nudge=lambda _task: None,
        )


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are longer than a slow machine takes for a test; time passes by `later` and `waited` alone."""
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(rules, name, 60.0)
    monkeypatch.setattr(outbox_module, "COMPANY_S", 30.0)


@pytest.fixture
def desk(org: SandboxOrg, engine: sa.Engine) -> Callable[..., Desk]:
    return lambda **over: Desk(org, engine, **over)


def run(engine: sa.Engine, statement: str, **values: Any) -> Any:
    with transaction(engine) as connection:
        result = connection.execute(sa.text(statement), values)
        return result.all() if result.returns_rows else result.rowcount


def told(org: SandboxOrg, engine: sa.Engine, count: int) -> list[str]:
    """New leads of the org that the ledger has something to say about."""
    ids = org.create_leads(*({"LastName": f"L{n}", "Company": "C"} for n in range(count)))
    run(
        engine,
        "INSERT INTO leads (salesforce_id, received_at, state, reason)"
        " SELECT unnest(CAST(:ids AS text[])), clock_timestamp(), 'waiting', 'no_room'",
        ids=ids,
    )
    change(engine, ids)
    return ids


def change(engine: sa.Engine, ids: list[str]) -> None:
    run(
        engine,
        "WITH new AS (UPDATE leads SET version = version + 1 WHERE salesforce_id = ANY(CAST(:ids AS text[]))"
        " RETURNING id, version) INSERT INTO outbox (kind, lead_id, version) SELECT 'salesforce', id, version FROM new",
        ids=ids,
    )


def later(engine: sa.Engine, seconds: float) -> None:
    """Let so much time have passed for the outbox and the gate."""
    past = timedelta(seconds=seconds)
    waited(engine, seconds)
    run(
        engine,
        "UPDATE gates SET open_until = open_until - :past, probe_until = probe_until - :past,"
        " seen_at = seen_at - :past",
        past=past,
    )


def waited(engine: sa.Engine, seconds: float) -> None:
    """Let what is to be told have waited so long."""
    past = timedelta(seconds=seconds)
    run(engine, "UPDATE outbox SET due_at = due_at - :past, lease_until = lease_until - :past", past=past)


def versions(org: SandboxOrg, ids: list[str]) -> list[float | None]:
    rows = org.rest("GET", "query", params={"q": "SELECT Id, Fairturn_Version__c FROM Lead"}).json()["records"]
    found = {row["Id"]: row["Fairturn_Version__c"] for row in rows}
    return [found[one] for one in ids]


def written(org: SandboxOrg, record_id: str) -> list[float]:
    """Every version this lead has had in the org, in order."""
    changes = org.admin("GET", "history", object="Lead")["changes"]
    found = [change["values"].get("Fairturn_Version__c") for change in changes if change["id"] == record_id]
    return [version for version in found if version]


def patches(org: SandboxOrg) -> int:
    """Calls that reached the org's counting."""
    return int(org.admin("GET", "state")["api_calls"])


def test_X3_after_an_outage_salesforce_shows_what_the_ledger_says(tmp_path: Path, database_url: str) -> None:
    report = prove(SHORT, tmp_path, database=database_url, say=lambda _text: None)
    assert report.wrong == []
    assert report.versions > 1000
    assert report.killed == 4


@pytest.mark.long
def test_X3_what_one_worker_finds_broken_the_others_leave_alone(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    ids = told(org, engine, 250)
    one, two = desk(), desk()
    org.fault("http", "answer", match={"path": "composite"}, count=3, args={"name": "unavailable"})
    with pytest.raises(TryLater):
        one.outbound.deliver()
    assert two.outbound.deliver() == {"paused": 1}
    assert two.outbox.due("salesforce") is False
    with pytest.raises(OrgPaused, match="SERVER_UNAVAILABLE"):
        two.salesforce.read(ids[:1])
    for _ in range(2):
        later(engine, 61)
        with pytest.raises(TryLater):
            two.outbound.deliver()
    later(engine, 61)
    probe = one.outbox.claim_writes()
    assert len(probe) == 10  # after three failures a small call goes first
    assert two.outbound.deliver() == {"paused": 1}
    one.outbox.finish(list(zip(probe, one.salesforce.write([p.write for p in probe]), strict=True)))
    assert two.outbound.deliver() == {"done": 240}
    assert versions(org, ids) == [2.0] * 250
    rows = run(engine, "SELECT attempts FROM outbox")
    assert {row.attempts for row in rows} == {1}


def test_X3_a_late_older_write_is_refused_by_the_orgs_rule(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    ids = told(org, engine, 3)
    org.fault("http", "late_apply", match={"path": "composite"}, args={"seconds": 600})
    with pytest.raises(TryLater):
        desk().outbound.deliver()
    change(engine, ids)
    later(engine, 61)
    assert desk().outbound.deliver() == {"done": 3}
    apply_late(org)
    assert versions(org, ids) == [3.0] * 3
    assert written(org, ids[0]) == [3.0]


@pytest.mark.long
def test_X3_without_that_rule_an_older_write_is_found_and_told_anew(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    org.admin("POST", "options", {"version_rule": False})
    ids = told(org, engine, 3)
    org.fault("http", "late_apply", match={"path": "composite"}, args={"seconds": 600})
    with pytest.raises(TryLater):
        desk().outbound.deliver()
    change(engine, ids)
    later(engine, 61)
    worker = desk()
    worker.outbound.deliver()
    apply_late(org)
    assert versions(org, ids) == [2.0] * 3
    assert worker.outbox.compare(worker.salesforce.versions(worker.salesforce.read(ids))) == 3
    assert worker.outbound.deliver() == {"done": 3}
    assert versions(org, ids) == [3.0] * 3


def apply_late(org: SandboxOrg) -> None:
    """What was refused is applied now, all the same."""
    assert org.admin("POST", "hurry") == {"late": 1}
    while org.admin("GET", "state")["late"]:
        pass


def test_X3_a_write_that_timed_out_but_was_applied_lands_once(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    ids = told(org, engine, 20)
    org.fault("http", "timeout_after", match={"path": "composite"}, args={"seconds": 3})
    with pytest.raises(TryLater):
        desk(timeout_s=1).outbound.deliver()
    later(engine, 61)
    assert desk().outbound.deliver() == {"done": 20}
    assert [written(org, one) for one in ids] == [[2.0]] * 20


@pytest.mark.long
def test_X3_a_worker_that_dies_between_the_call_and_the_ledger_costs_a_repetition_at_most(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    ids = told(org, engine, 20)
    dead = desk()
    claimed = dead.outbox.claim_writes()
    dead.salesforce.write([one.write for one in claimed])
    assert desk().outbound.deliver() == {}  # on lease
    later(engine, 60)
    alive = desk()
    while alive.outbound.deliver().get("done"):
        later(engine, 61)
    assert [written(org, one) for one in ids] == [[2.0]] * 20
    leads = [row.id for row in run(engine, "SELECT id FROM leads")]
    assert [len(Timeline(engine).of(lead)) for lead in leads] == [1] * 20


def test_X3_a_lead_deleted_in_the_org_is_withdrawn_and_a_refused_one_parked_with_advice(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    ids = told(org, engine, 4)
    org.rest("DELETE", f"sobjects/Lead/{ids[0]}")
    org.fault("record", "refuse", match={"Id": ids[1]}, args={"code": "DUPLICATE_VALUE", "message": "twice"})
    org.fault("record", "refuse", match={"Id": ids[2]}, args={"name": "locked"})
    assert desk().outbound.deliver() == {"gone": 1, "park": 1, "retry": 1, "done": 1}
    states = {row.salesforce_id: row.state for row in run(engine, "SELECT salesforce_id, state FROM leads")}
    assert states[ids[0]] == "withdrawn"
    [letter] = run(engine, "SELECT reason, input FROM parked")
    assert letter.reason.startswith("DUPLICATE_VALUE: twice Another record holds")
    later(engine, 60)
    assert desk().outbound.deliver()["done"] >= 1
    assert versions(org, [ids[2]]) == [2.0]


def test_I10_at_the_ceiling_work_pauses_with_the_reason_and_goes_on_when_the_window_has_moved_on(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    worker = desk(budget=Budget(share=0.5))
    org.admin("POST", "options", {"daily_api_requests": 40})
    ids = told(org, engine, 30)
    done = 0
    for n in range(60):  # one at a time, which is the worst for the budget
        change(engine, ids[n % 30 : n % 30 + 1])
        waited(engine, 86_400)
        done += worker.outbound.deliver().get("done", 0)
    used = patches(org)
    assert used <= 21
    state = worker.gate.state()
    assert (state.used, state.allowed, state.ceiling) == (used, 40, 20)
    assert "20 of its 40 API calls" in state.because
    assert worker.outbound.deliver() == {"paused": 1}
    with pytest.raises(OrgPaused):
        worker.salesforce.read(ids[:1])
    assert patches(org) == used
    assert run(engine, "SELECT count(*) AS n FROM outbox WHERE state = 'parked'")[0].n == 0
    org.admin("POST", "clock", {"advance_s": 86_400})
    later(engine, 900)
    assert worker.outbound.deliver()["done"] > 0
    assert worker.gate.state().because == ""
    assert versions(org, ids) == [float(row.version) for row in run(engine, "SELECT version FROM leads ORDER BY id")]


@pytest.mark.long
def test_I10_a_day_of_leads_in_dribbles_fits_into_half_of_the_calls_they_would_take(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    """400 leads, five at a time over a day, with 50 calls allowed of which we may use 40."""
    worker = desk(budget=Budget(share=0.8))
    ids = told(org, engine, 400)
    run(engine, "UPDATE outbox SET due_at = clock_timestamp() + interval '10 days'")
    org.admin("POST", "options", {"daily_api_requests": 50})
    for start in range(0, 400, 5):
        run(
            engine,
            "UPDATE outbox SET due_at = clock_timestamp() FROM leads WHERE leads.id = lead_id"
            " AND salesforce_id = ANY(CAST(:ids AS text[]))",
            ids=ids[start : start + 5],
        )
        worker.outbound.deliver()
        run(engine, "UPDATE outbox SET due_at = due_at - interval '1080 s' WHERE due_at < clock_timestamp()")
    waited(engine, 86_400)
    worker.outbound.deliver()
    assert versions(org, ids) == [2.0] * 400
    state = worker.gate.state()
    assert state.own["write"] < 40
    assert state.because == ""


def test_I10_reading_is_refused_before_writing_is(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    worker = desk(budget=Budget(calls=20))
    ids = told(org, engine, 5)
    run(
        engine, "INSERT INTO api_calls (org, hour, purpose, calls) VALUES ('salesforce', clock_timestamp(), 'read', 18)"
    )
    with pytest.raises(OrgPaused, match="SALESFORCE_API_CALLS"):
        worker.salesforce.read(ids)
    assert worker.outbound.deliver() == {}  # waits to be filled: two calls are left for the day
    waited(engine, 86_400)
    assert worker.outbound.deliver() == {"done": 5}
    change(engine, ids)
    waited(engine, 86_400)
    run(engine, "UPDATE api_calls SET calls = 20")
    assert worker.outbound.deliver() == {"paused": 1}
    run(engine, "UPDATE api_calls SET hour = hour - interval '25 hours' WHERE purpose = 'read'")
    run(engine, "UPDATE api_calls SET calls = 10")
    assert worker.outbound.deliver() == {"done": 5}


def test_I10_a_day_that_is_used_up_is_a_pause_and_no_failure(
    org: SandboxOrg, engine: sa.Engine, desk: Callable[..., Desk]
) -> None:
    worker, ids = desk(), told(org, engine, 5)
    org.fault("http", "answer", match={"path": "composite"}, args={"name": "daily_limit"})
    with pytest.raises(TryLater, match="24 hours are used up"):
        worker.outbound.deliver()
    later(engine, 800)
    assert worker.outbound.deliver() == {"paused": 1}
    assert "24 hours are used up" in worker.gate.state().because
    later(engine, 200)
    assert worker.outbound.deliver() == {"done": 5}
    assert versions(org, ids) == [2.0] * 5
