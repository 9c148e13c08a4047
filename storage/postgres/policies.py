"""Policy versions: one is published, the earlier ones are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.policy import Tier
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.members import ONE_AT_A_TIME
from storage.postgres.tables import NOW, markets, policies, pools, tiers
from storage.postgres.values import clean, clean_text


class Policies:
    """The policy's versions, and what statements need of the published one."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def publish(
        self,
        document: Mapping[str, Any],
        tiers: Sequence[Tier],
        default: Tier,
        pools: Sequence[tuple[str, str, str]],
        *,
        actor: str,
        note: str = "",
    ) -> int:
        """Make this document the published policy; its version. The document in force keeps its version.

        `pools` are (name, market, mode). Every roster version is raised, so that capacities and weights count anew.
        """
        document = clean(document)
        with transaction(self._engine) as connection:
            connection.execute(ONE_AT_A_TIME)
            published = _published(connection)
            if published and published[1] == document:
                return published[0]
            version = _add_version(connection, document, clean_text(note))
            _rewrite(connection, [*tiers, replace(default, name="")], pools)
            record(connection, actor, "policy.published", version=version, note=note)
            return version

    def current(self) -> tuple[int, dict[str, Any]] | None:
        """The published version and its document; None before the first."""
        with transaction(self._engine) as connection:
            return _published(connection)

    def get(self, version: int) -> dict[str, Any] | None:
        """The document of any version; None when there is no such version."""
        with transaction(self._engine) as connection:
            return connection.scalar(sa.select(policies.c.document).where(policies.c.version == version))


def _published(connection: sa.Connection) -> tuple[int, dict[str, Any]] | None:
    row = connection.execute(
        sa.select(policies.c.version, policies.c.document).where(policies.c.state == "published")
    ).one_or_none()
    return (row.version, row.document) if row else None


def _add_version(connection: sa.Connection, document: Mapping[str, Any], note: str) -> int:
    connection.execute(sa.update(policies).where(policies.c.state == "published").values(state="retired"))
    newest = sa.select(sa.func.coalesce(sa.func.max(policies.c.version), 0) + 1).scalar_subquery()
    version: int = connection.execute(
        sa.insert(policies)
        .values(version=newest, state="published", document=document, note=note, published_at=NOW)
        .returning(policies.c.version)
    ).scalar_one()
    return version


def _rewrite(connection: sa.Connection, new_tiers: Sequence[Tier], new_pools: Sequence[tuple[str, str, str]]) -> None:
    connection.execute(sa.delete(tiers))
    connection.execute(
        sa.insert(tiers),
        [{"name": t.name, "rank": t.rank, "capacity": t.capacity, "weight": t.weight} for t in new_tiers],
    )
    connection.execute(sa.delete(pools))
    names = sorted({market for _, market, _ in new_pools})
    if names:
        connection.execute(insert(markets).on_conflict_do_nothing(), [{"name": name} for name in names])
        connection.execute(
            sa.insert(pools), [{"name": name, "market": market, "mode": str(mode)} for name, market, mode in new_pools]
        )
    connection.execute(sa.update(markets).values(roster_version=markets.c.roster_version + 1))
