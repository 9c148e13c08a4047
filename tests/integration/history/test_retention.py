"""What is over and old goes, in small steps; sums, seals and whatever is not over stay."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from config import policy as policy_file
from routing.errors import BadInput
from routing.offer import Actor
from storage.postgres.explain import Explain
from storage.postgres.history import History
from storage.postgres.reexecution import Reexecution
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
    rows["audit"] += 1  # the note about it
    assert rows == {t: aged.value(f"SELECT count(*) FROM {t}") for t in rows}  # noqa: S608 - our own tables
    newest = Seals(aged.engine).newest()

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

    # A sealed note says what went; who calls rows of a younger seal removed has none.
    (said,) = Seals(aged.engine).removals()
    assert "kept for 90 days" in said
    aged.run(
        "UPDATE seals SET removed_at = now() WHERE number = (SELECT max(number) FROM seals WHERE kind = 'decisions')"
    )
    forged = list(Seals(aged.engine).check())
    number = aged.value("SELECT max(number) FROM seals WHERE kind = 'decisions'")
    told = f"seal {number} is said to be removed for its age, and no sealed note says that its decisions were to be"
    assert forged == [told]
    aged.run("UPDATE seals SET removed_at = NULL WHERE number = :number", number=number)

    kept = aged.value("SELECT id FROM decisions LIMIT 1")
    aged.run("ALTER TABLE decisions DISABLE TRIGGER USER")
    aged.run("UPDATE decisions SET rule = 'x' WHERE id = :id", id=kept)
    assert [problem.split(" (")[0] for problem in Seals(aged.engine).check()] == [f"decisions {kept}"]


def test_E4_everything_is_kept_unless_it_is_said_how_long_and_seven_years_may_be_said(aged: House) -> None:
    assert Retention(aged.engine, 0).remove() == {}
    assert not any(Retention(aged.engine, 2557).remove().values())
    with pytest.raises(BadInput, match="at least 60"):
        Retention(aged.engine, 30)


#: Tables that grow with every lead.
GROWING = {"leads", "offers", "timeline", "decisions", "corrections", "events", "lead_contacts"}


def test_E4_one_lead_is_told_by_indexes_alone(aged: House) -> None:
    """Every statement that is really sent, whichever of its ids is asked for: no part reads a growing table through."""
    aged.publish(mode="cursor")
    aged.run(
        "UPDATE leads SET salesforce_id = '00Q00000000000' || id || 'AAA', source_id = 'shop-' || id WHERE id < 10"
    )
    (lead,) = aged.rows("SELECT id, salesforce_id, source_id FROM leads ORDER BY id LIMIT 1")
    sent: list[tuple[str, Any]] = []
    explain, again = Explain(aged.engine), Reexecution(aged.engine, policy_file.parse)

    @sa.event.listens_for(aged.engine, "before_cursor_execute")
    def _heard(_c: Any, _cursor: Any, statement: str, values: Any, *_more: Any) -> None:
        sent.append((statement, values))

    for ref in (str(lead.id), lead.salesforce_id, lead.salesforce_id[:15], lead.source_id):
        story = explain.lead(ref)
        assert story is not None
        assert (story.lead_id, len(story.decisions)) == (lead.id, 1)
    assert [one.remade.same for one in again.run(lead=lead.id)] == [True]
    assert (list(again.gifts(lead=lead.id)), again.by_people(lead=lead.id)) == ([], {})
    sa.event.remove(aged.engine, "before_cursor_execute", _heard)

    read = [(text, values) for text, values in sent if any(f" {table}" in text for table in GROWING)]
    assert len(read) >= 20
    with aged.engine.connect() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off")
        for text, values in read:
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}", values).scalar_one()
            assert not list(_read_through(plan["Plan"])), text
        connection.exec_driver_sql("RESET enable_seqscan")


def _read_through(node: dict[str, Any]) -> Iterator[str]:
    """Growing tables of which a plan reads every row, or an index from its beginning."""
    kind, table = node["Node Type"], node.get("Relation Name", "")
    if "Scan" in kind and table in GROWING and kind != "Bitmap Heap Scan" and "Index Cond" not in node:
        yield table
    if kind == "Bitmap Index Scan" and "Index Cond" not in node:
        yield node["Index Name"]
    for below in node.get("Plans", ()):
        yield from _read_through(below)
