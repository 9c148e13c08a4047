"""The policy as strangers found it: what was told of it, and is true now."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run every part of this revision, by name."""
    for part in sorted(Path(__file__).parent.glob("0005_*.sql")):
        op.get_bind().exec_driver_sql(part.read_text(encoding="utf-8"))
