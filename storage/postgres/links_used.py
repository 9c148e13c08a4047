"""One-tap links that did their work, and the person and offer behind a link."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.courier import About
from routing.offer import OfferState
from storage.postgres.engine import transaction
from storage.postgres.tables.notify import links_used


@dataclass(frozen=True, slots=True)
class Behind:
    """What the page of a link shows."""

    member_id: int
    language: str
    units: str
    zone: str
    reason: str | None  # why the offer ended
    about: About


class LinksUsed:
    """What is known of links; the links themselves are kept nowhere."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def behind(self, mark: bytes, offer: UUID, person: UUID) -> Behind | None:
        """Who follows the link, and what it is about; None when it was used, or the person may not answer any more."""
        with transaction(self._engine) as conn:
            row = conn.execute(_BEHIND, {"mark": mark, "offer": offer, "person": person}).mappings().first()
        return _behind(row) if row else None

    def use(self, mark: bytes, offer: UUID) -> None:
        """The link has done its work; repeating that changes nothing."""
        with transaction(self._engine) as conn:
            conn.execute(insert(links_used).values(mark=mark, offer_id=offer).on_conflict_do_nothing())


def _behind(row: Mapping[Any, Any]) -> Behind:
    about = About(
        state=OfferState(row["state"]),
        version=row["version"],
        expires_at=row["expires_at"],
        work_by=row["work_by"],
        stepped=row["worked_at"] is not None,
        distance_m=row["distance_m"],
        pool=row["pool"] or "",
        country=row["country"],
        region=row["region"],
        postal_code=row["postal_code"],
        city=row["city"],
        product=row["product"] or "",
    )
    return Behind(row["member_id"], row["language"], row["units"], row["time_zone"], row["reason"], about)


_BEHIND = sa.text("""
    SELECT o.member_id, o.state, o.reason, o.version, o.expires_at, o.work_by, o.worked_at, o.distance_m,
           l.pool, l.country, l.region, l.postal_code, l.city, l.attributes ->> 'product' AS product,
           p.language, p.units, p.time_zone
    FROM offers o JOIN people p ON p.member_id = o.member_id AND p.id = :person AND p.active
    JOIN members m ON m.id = o.member_id
    JOIN leads l ON l.id = o.lead_id
    WHERE o.id = :offer AND o.state <> 'void'
      AND NOT EXISTS (SELECT FROM links_used WHERE mark = :mark)
""")
