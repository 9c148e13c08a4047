"""Signs of life: who handled something of each queue last, and when."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from storage.postgres.engine import transaction
from storage.postgres.tables import NOW, heartbeats


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of one queue, process or sweep; `age_s` by the ledger's clock."""

    name: str
    worker: str
    at: datetime
    age_s: float


class Heartbeats:
    """One row a name, such as `queue:leads`, `subscriber`, `beat`, `sweep.hourly`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def beat(self, name: str, worker: str) -> None:
        """Remember that this worker is alive and does that."""
        row = insert(heartbeats).values(name=name, worker=worker, at=NOW)
        upsert = row.on_conflict_do_update(index_elements=["name"], set_={"worker": row.excluded.worker, "at": NOW})
        with transaction(self._engine) as connection:
            connection.execute(upsert)

    def all(self) -> list[Beat]:
        """Every sign of life, by name."""
        age = sa.extract("epoch", sa.func.clock_timestamp() - heartbeats.c.at).label("age_s")
        query = sa.select(heartbeats, age).order_by(heartbeats.c.name)
        with transaction(self._engine) as connection:
            return [Beat(row.name, row.worker, row.at, float(row.age_s)) for row in connection.execute(query)]
