"""What changed about members: who did it, when, before and after (row E3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage.postgres.engine import transaction


@dataclass(frozen=True, slots=True)
class RosterChange:
    """One member's row before and after; None: there was, or is, none."""

    at: datetime
    actor: str  # empty where nobody is known for it
    market: str
    roster_version: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class RosterChanges:
    """Reads the history of members."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def latest(self, limit: int = 50) -> list[RosterChange]:
        """Changes, the newest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_CHANGES, {"limit": limit})
            return [RosterChange(r.at, r.actor or "", r.market, r.version, r.before, r.after) for r in rows]


# Changes of the roster take turns, and each is audited at its end: the next entry of the audit is its own.
_CHANGES = sa.text("""
    SELECT v.at, v.market, v.version, b.member AS before,
           CASE WHEN h.member IS NULL THEN NULL
                ELSE h.member || jsonb_build_object('places', to_jsonb(h.lats) || to_jsonb(h.lons)) END AS after,
           (SELECT a.actor FROM audit a
            WHERE a.at >= v.at AND (a.action LIKE 'member%' OR a.action = 'policy.published')
            ORDER BY a.id LIMIT 1) AS actor
    FROM roster_versions v
    JOIN member_history h ON h.market = v.market AND h.version = v.version
    LEFT JOIN LATERAL (
        SELECT CASE WHEN p.member IS NULL THEN NULL
                    ELSE p.member || jsonb_build_object('places', to_jsonb(p.lats) || to_jsonb(p.lons)) END AS member
        FROM member_history p
        WHERE p.market = h.market AND p.member_id = h.member_id AND p.version < h.version
        ORDER BY p.version DESC LIMIT 1
    ) b ON true
    ORDER BY v.at DESC, h.market, h.member_id
    LIMIT :limit
""")
