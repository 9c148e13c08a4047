"""The partner answers: offers with a life, notices, identity, deliveries."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run every part of this revision, by name."""
    for part in sorted(Path(__file__).parent.glob("0003_*.sql")):
        op.get_bind().exec_driver_sql(part.read_text(encoding="utf-8"))
