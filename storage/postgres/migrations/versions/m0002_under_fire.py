"""The main job under fire: what the protocol whole, streams that break and load need of the ledger."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run every part of this revision, by name."""
    for part in sorted(Path(__file__).parent.glob("0002_*.sql")):
        op.get_bind().exec_driver_sql(part.read_text(encoding="utf-8"))
