"""What is over and old goes, in small steps; sums, seals and whatever is not over stay."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from routing.errors import BadInput
from routing.offer import Actor
from storage.postgres.history import History
from storage.postgres.retention import Retention
from storage.postgres.seals import Seals
from storage.postgres.verify import Verify
from tests.integration.routing.house import MARKET, House


def _older(house: House, days: int) -> None:
    """Let everything have happened so many days earlier."""
    columns = house.rows(_TIMES, days=days)
    changes = "; ".join(f"UPDATE {table} SET {changed}" for table, changed in columns)  # noqa: S608 - our own tables
    house.run(f"SET session_replication_role = replica; {changes}")


_TIMES = """
    SELECT table_name,
           string_agg(format('%1$I = %1$I - interval ''%2$s days''', column_name, CAST(:days AS text)), ', ')
    FROM information_schema.columns c JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type = 'timestamp with time zone'
    GROUP BY table_name
"""


def _whole_life(house: House, name: str) -> int:
    lead = house.lead(name)
    house.work()
    offer = house.offer(lead)
    house.desk.accept(offer, actor=Actor.MANAGER)
    house.desk.complete(offer, actor=Actor.MANAGER)
    house.work()
    return lead


@pytest.fixture
def aged(house: House) -> House:
    house.member("one", capacity=50)
    house.member("two", 40.01, -75.01, capacity=50)
    for n in range(3):
        _whole_life(house, f"old-{n}")
    house.lead("waits-long", 10.0, 10.0)
    house.work()
    _older(house, 100)
    Seals(house.engine, lambda: datetime.now(UTC) - timedelta(days=99)).seal()
    for n in range(2):
        _whole_life(house, f"new-{n}")
    Seals(house.engine).seal()
    return house


def test_E4_what_is_over_and_old_goes_and_everything_still_adds_up(aged: House) -> None:
    standings = {m: s.standing for m, s in aged.turnstile.standings(MARKET, "installers").items()}
    rows = {t: aged.value(f"SELECT count(*) FROM {t}") for t in ("leads", "offers", "policies", "audit")}  # noqa: S608
    newest = Seals(aged.engine).newest()
    removed = Retention(aged.engine, 90).remove()
    assert removed["decisions"] == 4
    assert removed["contacts"] >= 3
    assert removed["timeline"] > 6
    assert removed["events"] >= 4
    assert aged.value("SELECT count(*) FROM decisions") == 2
    assert aged.value("SELECT count(*) FROM timeline WHERE lead_id = (SELECT min(id) FROM leads)") == 0
    waits = aged.value("SELECT id FROM leads WHERE state = 'waiting'")
    assert aged.value("SELECT count(*) FROM timeline WHERE lead_id = :waits", waits=waits) > 0
    assert aged.value("SELECT count(*) FROM lead_contacts WHERE lead_id = :waits", waits=waits) == 1
    assert rows == {t: aged.value(f"SELECT count(*) FROM {t}") for t in rows}  # noqa: S608 - our own tables

    assert list(Seals(aged.engine).check()) == []
    assert Seals(aged.engine).newest() == newest
    report = Verify(aged.engine).run()
    assert report.sound, report.breaches
    accounts = History(aged.engine).turns_at(aged.value("SELECT clock_timestamp()"))
    assert sum(round(a.standing * 1e6) for a in accounts) == 0
    aged.dispatcher.rebuild(MARKET)
    assert {m: s.standing for m, s in aged.turnstile.standings(MARKET, "installers").items()} == standings
    with pytest.raises(BadInput, match="removed for its age"):
        History(aged.engine).turns_at(aged.value("SELECT at - interval '1 millisecond' FROM bases"))
    assert not any(Retention(aged.engine, 90).remove().values())

    kept = aged.value("SELECT id FROM decisions LIMIT 1")
    aged.run("ALTER TABLE decisions DISABLE TRIGGER USER")
    aged.run("UPDATE decisions SET rule = 'x' WHERE id = :id", id=kept)
    assert [problem.split(" (")[0] for problem in Seals(aged.engine).check()] == [f"decisions {kept}"]


def test_E4_everything_is_kept_unless_it_is_said_how_long_and_seven_years_may_be_said(aged: House) -> None:
    assert Retention(aged.engine, 0).remove() == {}
    assert not any(Retention(aged.engine, 2557).remove().values())
    with pytest.raises(BadInput, match="at least 60"):
        Retention(aged.engine, 30)


def test_E4_one_lead_is_told_by_indexes_alone(aged: House) -> None:
    lead = aged.value("SELECT min(id) FROM leads")
    queries = [
        "SELECT * FROM timeline WHERE lead_id = :lead ORDER BY at, id",
        "SELECT * FROM decisions WHERE lead_id = :lead ORDER BY at, seq",
        "SELECT * FROM offers WHERE lead_id = :lead",
        "SELECT * FROM corrections WHERE offer_id IN (SELECT id FROM offers WHERE lead_id = :lead)",
        "SELECT * FROM leads WHERE id = :lead",
        "SELECT * FROM leads WHERE salesforce_id = 'x'",
        "SELECT * FROM leads WHERE source_id = 'x'",
    ]
    with aged.engine.connect() as connection:
        connection.execute(sa.text("SET enable_seqscan = off"))
        for query in queries:
            told = connection.execute(sa.text("EXPLAIN " + query.replace(":lead", str(lead)))).scalars()
            plan = "\n".join(told)
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan
        connection.execute(sa.text("RESET enable_seqscan"))
