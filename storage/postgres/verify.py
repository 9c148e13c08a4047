"""The ledger checked against itself: every decision made again, every invariant looked at."""

from collections.abc import Callable, Iterator
from uuid import UUID

import sqlalchemy as sa

from routing.verify import Breach, Past, Recount, Report
from storage.postgres.engine import transaction
from storage.postgres.export import rows, stream
from storage.postgres.tables import decisions, offers

#: A check that finds more than this is named once more with the number of the rest.
SHOWN = 100
COLUMNS = [decisions.c[name] for name in Past.__dataclass_fields__]


class Verify:
    """Reads everything, changes nothing."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def run(self, progress: Callable[[int], None] = lambda _done: None) -> Report:
        """Make every decision again and look at every invariant; `progress` hears how many decisions are done."""
        recount = Recount()
        found = _few(self._recounted(recount, progress))
        found += _few(self._invariants())
        with transaction(self._engine) as connection:
            lived = sa.select(sa.func.count()).select_from(offers).where(offers.c.state != "void")
            count = int(connection.execute(lived).scalar_one())
        return Report(
            decisions=recount.decisions,
            offers=count,
            drifts=recount.drifts,
            breaches=tuple(found),
            worst=recount.worst(),
        )

    def decision(self, decision_id: UUID) -> Past | None:
        """One decision as it was written down, to be made `again`."""
        with transaction(self._engine) as connection:
            row = connection.execute(sa.select(*COLUMNS).where(decisions.c.id == decision_id)).one_or_none()
            return Past(*row) if row else None

    def count(self) -> int:
        """How many decisions there are to make again."""
        with transaction(self._engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one())

    def _recounted(self, recount: Recount, progress: Callable[[int], None]) -> Iterator[Breach]:
        query = sa.select(*COLUMNS).order_by(decisions.c.market, decisions.c.generation, decisions.c.seq)
        with stream(self._engine) as connection:
            for row in rows(connection, query):
                yield from recount.add(Past(*row))
                if recount.decisions % 500 == 0:
                    progress(recount.decisions)
        progress(recount.decisions)

    def _invariants(self) -> Iterator[Breach]:
        with stream(self._engine) as connection:
            for view in connection.execute(_VIEWS).scalars().all():
                found = sa.table(view, sa.column("subject"), sa.column("detail"))
                for row in rows(connection, sa.select(found)):
                    yield Breach(view.removeprefix("inv_"), row.subject, row.detail)


_VIEWS = sa.text(
    r"SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname LIKE 'inv\_%' ORDER BY 1"
)


def _few(breaches: Iterator[Breach]) -> list[Breach]:
    """The first of each check, and how many more there are."""
    shown: list[Breach] = []
    counts: dict[str, int] = {}
    for breach in breaches:
        counts[breach.check] = counts.get(breach.check, 0) + 1
        if counts[breach.check] <= SHOWN:
            shown.append(breach)
    more = [Breach(check, "and more", f"{n - SHOWN} more") for check, n in counts.items() if n > SHOWN]
    return shown + more
