import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from routing.errors import Refused
from storage.postgres import schema
from storage.postgres.engine import transaction
from storage.postgres.tables import metadata


def test_the_migrations_make_exactly_the_tables_of_the_code(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_make_exactly_the_checks_of_the_code(engine: sa.Engine) -> None:
    wanted = {
        f"ck_{table.name}_{check.name}" if not str(check.name).startswith("ck_") else str(check.name)
        for table in metadata.tables.values()
        for check in table.constraints
        if isinstance(check, sa.CheckConstraint)
    }
    with engine.connect() as connection:
        made = set(connection.scalars(sa.text("SELECT conname FROM pg_constraint WHERE contype = 'c'")))
    assert {name for name in made if name.startswith("ck_")} == wanted


def test_upgrading_twice_changes_nothing(engine: sa.Engine, database_url: str) -> None:
    schema.upgrade(database_url)
    schema.upgrade(database_url)
    assert schema.is_current(engine)
    assert schema.current(engine) == schema.newest()


def test_a_fresh_ledger_breaks_no_invariant(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        views = connection.scalars(sa.text("SELECT viewname FROM pg_views WHERE viewname LIKE 'inv\\_%'")).all()
        assert len(views) >= 12
        for view in views:
            assert connection.execute(sa.text(f"SELECT subject, detail FROM {view}")).all() == []  # noqa: S608 - our own views


def test_what_happened_cannot_be_changed(engine: sa.Engine) -> None:
    for table in ("audit", "timeline", "decisions", "corrections"):
        for change in ("UPDATE {} SET at = at", "DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(Refused) as refused, transaction(engine) as connection:
                connection.execute(sa.text(change.format(table)))
            assert refused.value.facts["constraint"] == f"{table}_never_change"
