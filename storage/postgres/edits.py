"""Answers that people gave in Salesforce, until they were carried out or refused."""

from collections.abc import Sequence

import sqlalchemy as sa

from routing.heeding import ROUND, Edit
from routing.offer import Actor
from storage.postgres.ending import tell_salesforce
from storage.postgres.engine import transaction
from storage.postgres.steps import lock, note
from storage.postgres.tables import NOW, edits


class Edits:
    """Keeps routing.heeding.EditBook's promises."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def waiting(self) -> bool:
        """Whether there is any answer to give."""
        with transaction(self._engine) as conn:
            return bool(conn.scalar(sa.select(sa.exists().where(edits.c.done_at.is_(None)))))

    def pending(self, limit: int = ROUND) -> Sequence[Edit]:
        """The oldest answers nobody has given yet. Two may ask at once: an answer given twice is given once."""
        what = (edits.c.id, edits.c.lead_id, edits.c.offer_id, edits.c.asked, edits.c.reason, edits.c.shown)
        with transaction(self._engine) as conn:
            rows = conn.execute(sa.select(*what).where(edits.c.done_at.is_(None)).order_by(edits.c.id).limit(limit))
            return [Edit(*row) for row in rows]

    def done(self, edit: Edit) -> None:
        """It was given."""
        with transaction(self._engine) as conn:
            _end(conn, edit, None)

    def refuse(self, edit: Edit, why: str, *, task_id: str = "") -> None:
        """The rules say no: what Salesforce shows is put right again."""
        with transaction(self._engine) as conn:
            lock(conn, [edit.lead_id])
            if not _end(conn, edit, why):
                return
            detail = {"offer": str(edit.offer_id), "status": edit.asked, "because": why}
            note(conn, [(edit.lead_id, "edit refused", detail)], task_id, actor=Actor.SALESFORCE)
            if edit.shown:
                tell_salesforce(conn, [edit.lead_id])


def _end(conn: sa.Connection, edit: Edit, why: str | None) -> bool:
    ending = sa.update(edits).where(edits.c.id == edit.id, edits.c.done_at.is_(None))
    return conn.execute(ending.values(done_at=NOW, refused=why)).rowcount == 1
