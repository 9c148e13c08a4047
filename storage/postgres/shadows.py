"""Drafts beside live: how far each has come, and where it went apart. Only tables of its own are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.errors import BadInput, Refused
from routing.verify import Past
from storage.postgres.engine import transaction
from storage.postgres.tables import decisions
from storage.postgres.tables.shadow import shadow_divergences, shadow_runs
from storage.postgres.verify import COLUMNS


@dataclass(frozen=True, slots=True)
class Shadow:
    """A draft that runs, or ran, beside live."""

    id: int
    name: str
    document: Mapping[str, Any]
    begun_at: datetime
    stopped_at: datetime | None
    upto: datetime
    state: Mapping[str, Any] | None
    decided: int
    same: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Divergence:
    """One attempt for which the draft chose another member than live, or the one of them nobody."""

    lead_id: int
    attempt: int
    at: datetime
    live_member: int | None
    shadow_member: int | None
    cause: str
    live: Mapping[str, Any] | None
    shadow: Mapping[str, Any] | None


class Shadows:
    """The runs; one at a time."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def clock(self) -> datetime:
        """The ledger's time."""
        with transaction(self._engine) as conn:
            now: datetime = conn.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            return now

    def start(self, name: str, document: Mapping[str, Any]) -> int:
        """Begin beside live as it stands now. Raises BadInput while another one runs."""
        begin = sa.insert(shadow_runs).values(name=name, document=document, upto=sa.func.clock_timestamp())
        try:
            with transaction(self._engine) as conn:
                return int(conn.execute(begin.returning(shadow_runs.c.id)).scalar_one())
        except Refused as exc:
            fix = "`fairturn shadow stop` ends it; what it came to is kept."
            raise BadInput("a draft runs beside live already", field="shadow", fix=fix) from exc

    def stop(self) -> Shadow | None:
        """End the one that runs; None when there is none."""
        now = sa.func.clock_timestamp()
        ending = sa.update(shadow_runs).where(shadow_runs.c.stopped_at.is_(None)).values(stopped_at=now)
        with transaction(self._engine) as conn:
            row = conn.execute(ending.returning(*shadow_runs.c)).one_or_none()
            return Shadow(*row) if row else None

    def running(self) -> Shadow | None:
        """The one that runs."""
        return self._one(sa.select(shadow_runs).where(shadow_runs.c.stopped_at.is_(None)))

    def last(self) -> Shadow | None:
        """The newest one, running or not."""
        return self._one(sa.select(shadow_runs).order_by(shadow_runs.c.id.desc()).limit(1))

    def went_on(
        self,
        shadow: Shadow,
        upto: datetime,
        state: Mapping[str, Any],
        counts: tuple[int, int],
        found: Sequence[Divergence],
    ) -> bool:
        """Keep how far it has come and what was found on the way; False when somebody else was faster.

        `counts`: attempts decided since, and how many of them alike.
        """
        decided, same = counts
        going = (
            sa.update(shadow_runs)
            .where(shadow_runs.c.id == shadow.id, shadow_runs.c.upto == shadow.upto, shadow_runs.c.stopped_at.is_(None))
            .values(
                upto=upto,
                state=state,
                decided=shadow_runs.c.decided + decided,
                same=shadow_runs.c.same + same,
                error=None,
            )
        )
        with transaction(self._engine) as conn:
            conn.execute(_TAKE_TIME)
            if not conn.execute(going).rowcount:
                return False
            if found:
                rows = [{"run_id": shadow.id, **{n: getattr(one, n) for n in Divergence.__slots__}} for one in found]
                statement = sa.dialects.postgresql.insert(shadow_divergences).on_conflict_do_nothing()
                conn.execute(statement, rows)
            return True

    def failed(self, shadow: Shadow, why: str) -> None:
        """Say why it could not go on; it is tried again from where it was."""
        with transaction(self._engine) as conn:
            conn.execute(sa.update(shadow_runs).where(shadow_runs.c.id == shadow.id).values(error=why[:1000]))

    def divergences(self, run: int, *, limit: int = 100) -> list[Divergence]:
        """The newest ones first."""
        columns = [shadow_divergences.c[name] for name in Divergence.__slots__]
        query = sa.select(*columns).where(shadow_divergences.c.run_id == run)
        with transaction(self._engine) as conn:
            rows = conn.execute(query.order_by(shadow_divergences.c.at.desc()).limit(limit))
            return [Divergence(*row) for row in rows]

    def count(self, run: int) -> int:
        """How many divergences there are."""
        query = sa.select(sa.func.count()).select_from(shadow_divergences).where(shadow_divergences.c.run_id == run)
        with transaction(self._engine) as conn:
            return int(conn.execute(query).scalar_one())

    def decided(self, lead: int, attempt: int) -> Past | None:
        """What live decided last for an attempt of a lead."""
        mine = (decisions.c.lead_id == lead, decisions.c.attempt == attempt)
        query = sa.select(*COLUMNS).where(*mine).order_by(decisions.c.generation.desc(), decisions.c.seq.desc())
        with transaction(self._engine) as conn:
            row = conn.execute(query.limit(1)).one_or_none()
            return Past(*row) if row else None

    def _one(self, query: sa.Select[Any]) -> Shadow | None:
        with transaction(self._engine) as conn:
            row = conn.execute(query).one_or_none()
            return Shadow(*row) if row else None


_TAKE_TIME = sa.text("SELECT set_config('statement_timeout', '60s', true)")
