"""The policy: rules, limits, versions, simulation, and a ledger that shows when somebody changed it."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run every part of this revision, by name."""
    for part in sorted(Path(__file__).parent.glob("0004_*.sql")):
        op.get_bind().exec_driver_sql(part.read_text(encoding="utf-8"))
