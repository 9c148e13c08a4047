"""The ledger's shape: brought up to date, and asked whether it is."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage.postgres.engine import connect, guarded

MIGRATIONS = Path(__file__).parent / "migrations"
#: Two processes that start at once migrate one after the other.
LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:migrate'))")


def upgrade(url: str) -> None:
    """Bring the ledger to the newest shape; a ledger that has it is left alone."""
    engine = connect(url, pool_size=1, statement_timeout_ms=0)
    try:
        with guarded(), engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(LOCK)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def newest() -> str:
    """The revision this code was written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError(f"no migrations in {MIGRATIONS}")
    return head


def current(engine: sa.Engine) -> str | None:
    """The revision the ledger has; None before the first."""
    with guarded(), engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_current(engine: sa.Engine) -> bool:
    """Whether the ledger has the shape this code was written for."""
    return current(engine) == newest()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config
