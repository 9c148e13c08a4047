import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa

from routing.errors import GiveUp, LedgerUnreachable, Refused, TryLater
from storage.postgres.engine import connect, transaction
from storage.postgres.tables import lead_contacts, leads


def test_a_connection_that_the_server_closed_is_replaced_unnoticed(engine: sa.Engine, database_url: str) -> None:
    with transaction(engine) as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    administrator = connect(database_url)
    with transaction(administrator) as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    administrator.dispose()
    with transaction(engine) as connection:
        assert connection.scalar(sa.text("SELECT pg_backend_pid()")) != pid


def test_a_ledger_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    engine = connect(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    with pytest.raises(LedgerUnreachable), transaction(engine) as connection:
        connection.execute(sa.text("SELECT 1"))
    engine.dispose()


def test_a_connection_lost_within_a_transaction_is_unreachable(engine: sa.Engine) -> None:
    suicide = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(LedgerUnreachable), transaction(engine) as connection:
        connection.execute(suicide)


def test_a_refusal_names_the_constraint_and_not_the_row(engine: sa.Engine) -> None:
    with pytest.raises(Refused) as refused, transaction(engine) as connection:
        connection.execute(sa.insert(lead_contacts).values(lead_id=1, email="jane@example.com", name=None))
    assert "jane@example.com" not in f"{refused.value} {refused.value.__cause__} {refused.value.__cause__!r}"
    with pytest.raises(Refused) as refused, transaction(engine) as connection:
        connection.execute(sa.insert(leads).values(salesforce_id="00Q", state="lost", received_at=sa.func.now()))
    assert refused.value.facts["constraint"] == "ck_leads_state"


def test_a_value_the_ledger_cannot_hold_is_given_up(engine: sa.Engine) -> None:
    with pytest.raises(GiveUp), transaction(engine) as connection:
        connection.execute(sa.text("SELECT CAST(:value AS integer)"), {"value": "jane@example.com"})


def test_a_statement_that_takes_too_long_is_tried_later(database_url: str) -> None:
    engine = connect(database_url, statement_timeout_ms=50)
    with pytest.raises(TryLater), transaction(engine) as connection:
        connection.execute(sa.text("SELECT pg_sleep(10)"))
    engine.dispose()


def test_times_come_back_in_utc(engine: sa.Engine) -> None:
    with transaction(engine) as connection:
        assert connection.scalar(sa.text("SHOW timezone")) == "UTC"


def _child(engine: sa.Engine, answers: "multiprocessing.Queue[int]") -> None:
    with transaction(engine) as connection:
        answers.put(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


def test_a_forked_process_gets_connections_of_its_own(engine: sa.Engine) -> None:
    def pid() -> int:
        with transaction(engine) as connection:
            return connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()  # type: ignore[no-any-return]  # an int by its SQL

    before = pid()
    fork = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[int] = fork.Queue()
    child = fork.Process(target=_child, args=(engine, answers))
    child.start()
    of_child = answers.get(timeout=20)
    child.join(20)
    assert of_child != before
    assert pid() == before
