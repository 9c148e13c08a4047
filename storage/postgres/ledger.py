"""The ledger as the dispatcher asks it: one object over the nouns."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.batch import Batch, Known
from routing.dispatcher import Stand
from routing.lead import Lead, Point
from routing.limits import Use
from routing.member import Roster
from routing.policy import Policy
from routing.ports import Snapshot
from storage.postgres.books import Shelf
from storage.postgres.engine import transaction
from storage.postgres.leads import Leads
from storage.postgres.members import Members
from storage.postgres.policies import Policies
from storage.postgres.policy_reader import PolicyReader, Trouble
from storage.postgres.quotas import given_back
from storage.postgres.routing_batch import routing_batch, waiting_leads
from storage.postgres.ruled import known
from storage.postgres.snapshot import Turns
from storage.postgres.waiting import Waiting, waiting_near


class RoutingLedger:
    """Keeps routing.dispatcher.Ledger's promises with Postgres."""

    def __init__(
        self,
        engine: sa.Engine,
        parse: Callable[[Mapping[str, Any], int], Policy],
        *,
        read: Callable[[str], Mapping[str, Any]] | None = None,
        tell: Callable[[Trouble], object] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._leads = Leads(engine)
        self._members = Members(engine)
        self._reader = PolicyReader(Policies(engine), parse, read=read, tell=tell)
        self._shelf = Shelf()
        self._turns = Turns(engine, self._shelf)

    def batch(self, ids: Sequence[int], *, woken: bool, task_id: str) -> AbstractContextManager[Batch]:
        usable = self._reader.going
        return routing_batch(self._engine, ids, woken=woken, task_id=task_id, shelf=self._shelf, usable=usable)

    def policy(self, version: int) -> Policy:
        return self._reader.policy(version)

    def published(self) -> Policy:
        """The policy in force, or the last good one when that cannot be read."""
        return self._reader.published()

    def policy_trouble(self, *, tell: bool = False) -> Trouble | None:
        """What is wrong with the policy that should be in force; None when nothing is. `tell`: log it, once."""
        return self._reader.trouble(tell=tell)

    def roster(self, market: str, *, full: bool = False) -> Roster:
        return self._members.roster(market, full=full)

    def known(self, ids: Sequence[int], policy: Policy) -> tuple[Sequence[Lead], Known]:
        with transaction(self._engine) as conn:
            now = conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
            return waiting_leads(conn, ids), known(conn, ids, policy, now)

    def rebuild(self, market: str, seen: int, above: int = 0) -> AbstractContextManager[Snapshot | None]:
        return self._turns.rebuild(market, seen=seen, above=above)

    def stand_alone(self, market: str, seen: int) -> bool:
        return self._turns.stand_alone(market, seen)

    def standing_at(self, market: str) -> Stand:
        with transaction(self._engine) as conn:
            row = conn.execute(_STAND, {"market": market}).one()
        version = self._reader.going(row.policy_version)
        return Stand(version, row.roster_version, row.generation, bool(row.alone), row.seq)

    def waiting_near(
        self,
        places: Sequence[Point],
        radius_m: float,
        member_id: int,
        *,
        limit: int,
        after: Waiting | None = None,
        besides: Sequence[int] = (),
        again: bool = False,
        room: int | None = None,
    ) -> Sequence[Waiting]:
        with transaction(self._engine) as conn:
            return waiting_near(
                conn, places, radius_m, member_id, limit=limit, after=after, besides=besides, again=again, room=room
            )

    def wake(self, ids: Sequence[int]) -> int:
        return self._leads.wake(ids) if ids else 0

    def given_back(self, offers: Sequence[UUID]) -> Mapping[UUID, Sequence[Use]]:
        with transaction(self._engine) as conn:
            return given_back(conn, offers)

    def waiting_cells(self) -> frozenset[int]:
        with transaction(self._engine) as conn:
            return frozenset(conn.execute(_WAITING_CELLS).scalars())

    def open_counts(self, market: str) -> Mapping[int, int]:
        with transaction(self._engine) as conn:
            return {row.id: row.open for row in conn.execute(_OPEN, {"market": market})}

    def members_with_room(self, market: str, ids: Sequence[int] | None) -> Mapping[int, int]:
        values = {"market": market, "ids": None if ids is None else list(ids)}
        with transaction(self._engine) as conn:
            return {row.id: row.room for row in conn.execute(_WITH_ROOM, values)}


_STAND = sa.text("""
    SELECT coalesce((SELECT version FROM policies WHERE state = 'published'), 0) AS policy_version,
           coalesce(max(roster_version), 0) AS roster_version, coalesce(max(generation), 0) AS generation,
           max(alone_since) IS NOT NULL AS alone,
           greatest((SELECT max(d.seq) FROM decisions d
                     WHERE d.market = :market AND d.generation = max(markets.generation)),
                    (SELECT max(c.seq) FROM corrections c
                     WHERE c.market = :market AND c.generation = max(markets.generation)), 0) AS seq
    FROM markets WHERE name = :market
""")
_OPEN = sa.text("SELECT id, open FROM members WHERE market = :market AND open > 0")
# From one cell to the next by the index: as cheap with 100,000 waiting leads as with a hundred.
_WAITING_CELLS = sa.text("""
    WITH RECURSIVE found AS (
        (SELECT cell FROM leads WHERE state = 'waiting' ORDER BY cell LIMIT 1)
        UNION ALL
        SELECT (SELECT cell FROM leads WHERE state = 'waiting' AND cell > found.cell ORDER BY cell LIMIT 1)
        FROM found WHERE found.cell IS NOT NULL
    )
    SELECT cell FROM found WHERE cell IS NOT NULL
""")
_WITH_ROOM = sa.text("""
    SELECT id, room FROM (
        SELECT m.id, coalesce(m.capacity, (SELECT capacity FROM tiers WHERE name = m.tier),
                              (SELECT capacity FROM tiers WHERE name = '')) - m.open AS room
        FROM members m
        WHERE m.market = :market AND m.active AND m.present AND m.left_at IS NULL
          AND (CAST(:ids AS int[]) IS NULL OR m.id = ANY(CAST(:ids AS int[])))
    ) r WHERE room > 0 ORDER BY id
""")
