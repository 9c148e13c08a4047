"""How much of Salesforce's allowance is used, and why nobody calls, where people look for it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from config.metrics import entry
from config.ops import Ops
from routing import gate as rules
from routing.gate import Budget, OrgPaused, Purpose
from storage.postgres.engine import connect
from storage.postgres.gates import OrgGate
from storage.postgres.stats import Stats
from storage.postgres.vitals import Vitals
from storage.redis.broker import Broker
from storage.redis.turnstile import RedisTurnstile
from web.api import stats
from workers.checks import _calls

NOWHERE = "redis://127.0.0.1:1"


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


@pytest.fixture
def gate(engine: sa.Engine) -> OrgGate:
    """Two calls made; 4,000 of 5,000 used, which is all we may use."""
    gate = OrgGate(engine, Budget(share=0.8, calls=1000))
    gate.ask(Purpose.READ)
    gate.passed(3000, 5000)
    gate.ask(Purpose.WRITE)
    gate.passed(4000, 5000)
    return gate


def test_I10_usage_and_ceiling_are_metrics(engine: sa.Engine, gate: OrgGate) -> None:
    ops = Ops(Vitals(engine), RedisTurnstile(NOWHERE), Broker(NOWHERE), ("leads",), gate.state)
    found = {
        (s.name.removeprefix("fairturn_salesforce_"), *s.labels.values()): s.value
        for s in ops.samples()
        if s.name.startswith("fairturn_salesforce_") and entry(s.name, s.labels, "gauge")
    }
    assert found == {
        ("paused",): 1.0,
        ("api_calls", "read"): 1,
        ("api_calls", "write"): 1,
        ("api_calls", "own"): 2,
        ("api_calls", "org"): 4000,
        ("api_ceiling", "org"): 4000,
        ("api_ceiling", "own"): 1000,
    }


def test_I10_doctor_says_why_nobody_calls_and_that_nothing_is_lost(gate: OrgGate) -> None:
    finding = _calls(gate.state())
    assert not finding.ok
    assert "the org has used 4000 of its 5000 API calls" in finding.message
    assert "SALESFORCE_API_SHARE" in finding.fix


async def ask(web: FastAPI) -> Any:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://house") as client:
        return (await client.get("/stats")).json()


def test_I10_the_api_shows_it(engine: sa.Engine, gate: OrgGate) -> None:
    web = FastAPI()
    web.include_router(stats.routes(lambda: Stats(engine), gate.state))
    shown = asyncio.run(ask(web))["salesforce"]
    assert (shown["used"], shown["allowed"], shown["ceiling"], shown["own"]) == (
        4000,
        5000,
        4000,
        {"read": 1, "write": 1},
    )
    assert "SALESFORCE_API_SHARE" in shown["because"]


def test_I10_an_org_with_calls_left_is_well(engine: sa.Engine) -> None:
    gate = OrgGate(engine, Budget(share=0.8))
    gate.ask(Purpose.WRITE)
    gate.passed(17, 5000)
    finding = _calls(gate.state())
    assert finding.ok
    assert "17 of 5000" in finding.message


def test_X3_workers_that_fail_together_leave_the_org_alone_together(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FIRST_PAUSE_S", 30.0)  # longer than a slow machine takes
    one, two, three = (OrgGate(engine, dice=lambda: 1.0) for _ in range(3))
    one.ask(Purpose.WRITE)
    two.ask(Purpose.WRITE)
    one.failed("503")
    two.failed("503")
    assert three.state().because == "503"
    with pytest.raises(OrgPaused) as paused:
        three.ask(Purpose.READ)
    assert 0 < float(str(paused.value.facts["pause_s"])) <= 30.0
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE gates SET open_until = clock_timestamp()"))
    three.ask(Purpose.READ)
    with pytest.raises(OrgPaused, match="somebody is trying"):
        one.ask(Purpose.WRITE)
    three.passed()
    one.ask(Purpose.WRITE)
    assert one.state().because == ""
