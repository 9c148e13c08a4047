"""The ledger's shape: brought up to date, and asked whether it is."""

from importlib import import_module
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from storage.postgres.engine import connect, guarded

MIGRATIONS = Path(__file__).parent / "migrations"
_HAS_REVISION = sa.text("SELECT to_regclass('alembic_version')")
_REVISION = sa.text("SELECT version_num FROM alembic_version")
#: Two processes that start at once migrate one after the other.
LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:migrate'))")


def upgrade(url: str) -> None:
    """Bring the ledger to the newest shape; a ledger that has it is left alone."""
    command = import_module("alembic.command")  # here: it takes longer to load than most commands take to run
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
    """The revision this code was written for: that of the last file, m0004_the_policy.py is 0004."""
    return max(path.name[1:5] for path in (MIGRATIONS / "versions").glob("m*.py"))


def current(engine: sa.Engine) -> str | None:
    """The revision the ledger has; None before the first."""
    with guarded(), engine.connect() as connection:
        if connection.scalar(_HAS_REVISION) is None:
            return None
        revision: str | None = connection.scalar(_REVISION)
        return revision


def is_current(engine: sa.Engine) -> bool:
    """Whether the ledger has the shape this code was written for."""
    return current(engine) == newest()


def _config() -> Any:
    config = import_module("alembic.config").Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config
