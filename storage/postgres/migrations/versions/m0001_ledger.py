"""The ledger: its tables, the rows that never change, and the views that watch the invariants."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    for part in ("0001_tables.sql", "0001_triggers.sql", "0001_invariants.sql"):
        op.get_bind().exec_driver_sql((Path(__file__).parent / part).read_text(encoding="utf-8"))
