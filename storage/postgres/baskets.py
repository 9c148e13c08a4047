"""Leads that wait for a person's word: held in baskets, quarantined by a check, sent to review by a rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from routing.lane import Lane
from storage.postgres.audit import record
from storage.postgres.ending import tell_salesforce
from storage.postgres.engine import transaction
from storage.postgres.steps import note


@dataclass(frozen=True, slots=True)
class Kept:
    """A lead that a rule keeps apart."""

    id: int
    salesforce_id: str
    state: str
    reason: str
    rule: str
    basket: str | None
    since: datetime


@dataclass(slots=True)
class Released:
    """Leads that were given back to routing, with their lanes, and those that were not kept apart."""

    released: list[int] = field(default_factory=list)
    lanes: dict[int, Lane] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)


class Baskets:
    """Gives leads back to routing; each method is one transaction and safe to repeat."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def all(self) -> Mapping[str, int]:
        """How many leads each basket holds."""
        with transaction(self._engine) as conn:
            return {row.basket: row.held for row in conn.execute(_BASKETS)}

    def kept(
        self, *, reason: str | None = None, basket: str | None = None, after: int = 0, limit: int = 100
    ) -> list[Kept]:
        """Leads that rules keep apart, by id: quarantined, held, sent to a person, waiting for facts."""
        values = {"reason": reason, "basket": basket, "after": after, "limit": limit}
        with transaction(self._engine) as conn:
            return [Kept(*row) for row in conn.execute(_KEPT, values)]

    def release(self, ids: Sequence[int], *, actor: str) -> Released:
        """Give these leads back to routing; the rule that kept each apart is passed over for it from now on."""
        return self._release(ids, actor, None)

    def distribute(self, basket: str, *, limit: int = 1000, actor: str) -> Released:
        """Give leads of a basket back to routing, the first by rank and age first."""
        with transaction(self._engine) as conn:
            ids = list(conn.execute(_OF_BASKET, {"basket": basket, "limit": limit}).scalars())
        return self._release(ids, actor, basket)

    def _release(self, ids: Sequence[int], actor: str, basket: str | None) -> Released:
        with transaction(self._engine) as conn:
            rows = conn.execute(_RELEASE, {"ids": sorted(set(ids)), "basket": basket}).all()
            found = {row.id: row for row in rows}
            done = [one for one in ids if one in found]
            tell_salesforce(conn, done)
            note(conn, [(i, "released", {"rule": found[i].rule, "was": found[i].was}) for i in done], "", actor=actor)
            if done:
                record(conn, actor, "leads.released", leads=done[:1000], basket=basket)
            lanes = {one: Lane(found[one].lane) for one in done}
            return Released(done, lanes, [one for one in ids if one not in found])


_REASONS = "('held', 'quarantined', 'ruled', 'missing_facts', 'overflow')"
_BASKETS = sa.text("""
    SELECT basket, count(*) AS held FROM leads
    WHERE basket IS NOT NULL AND state = 'waiting' AND reason = 'held' GROUP BY basket ORDER BY basket
""")
_KEPT = sa.text(f"""
    SELECT id, salesforce_id, state, reason, rule, basket, updated_at FROM leads
    WHERE state IN ('waiting', 'review') AND reason IN {_REASONS} AND id > :after
      AND (CAST(:reason AS text) IS NULL OR reason = :reason) AND (CAST(:basket AS text) IS NULL OR basket = :basket)
    ORDER BY id LIMIT :limit
""")  # noqa: S608 - our own words, here and below
_OF_BASKET = sa.text("""
    SELECT id FROM leads WHERE basket = :basket AND state = 'waiting' AND reason = 'held'
    ORDER BY rank DESC, received_at, id LIMIT :limit
""")
_RELEASE = sa.text(f"""
    WITH kept AS (
        SELECT id, rule, reason, ruled FROM leads
        WHERE id = ANY(CAST(:ids AS bigint[])) AND state IN ('waiting', 'review') AND reason IN {_REASONS}
          AND (CAST(:basket AS text) IS NULL OR basket = :basket)
        ORDER BY id FOR UPDATE
    )
    UPDATE leads SET state = 'new', reason = NULL, basket = NULL, next_try_at = NULL, version = version + 1,
           nudged_at = NULL, updated_at = clock_timestamp(), deaths = 0, delays = 0,
           ruled = CASE WHEN kept.rule = '' THEN kept.ruled ELSE jsonb_set(
               kept.ruled, '{{released}}',
               coalesce(kept.ruled -> 'released', '[]') - kept.rule || jsonb_build_array(kept.rule)) END
    FROM kept WHERE leads.id = kept.id RETURNING leads.id, kept.rule, kept.reason AS was, leads.lane
""")  # noqa: S608
