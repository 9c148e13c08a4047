"""What a partner may see: its own offers, with contact data only of those it accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.offer import Actor, Notice, UnknownOffer
from storage.postgres.engine import transaction
from storage.postgres.notices import tell_members
from storage.postgres.steps import note
from storage.postgres.walls import as_member

#: States in which the member sees who its customer is.
WITH_CONTACT = frozenset({"accepted", "completed"})
#: The step on the timeline that says that somebody looked at contact data.
VIEWED = "contact viewed"


@dataclass(frozen=True, slots=True)
class Seen:
    """An offer as its member's side sees it; no contact data, no exact place."""

    id: UUID
    lead_id: int
    kind: str
    state: str
    version: int
    attempt: int
    reason: str | None
    distance_m: float
    ring_m: float
    offered_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    worked_at: datetime | None
    work_by: datetime | None
    ended_at: datetime | None
    extensions: int
    assignee_id: UUID | None
    pool: str | None
    city: str
    region: str
    postal_code: str
    country: str
    attributes: Mapping[str, Any]
    now: datetime  # by the ledger's clock
    number: int = 0  # of its newest notice, where that was asked for


@dataclass(frozen=True, slots=True)
class Contact:
    """Who the customer is, and where."""

    name: str
    company: str
    email: str
    phone: str
    street: str
    city: str
    postal_code: str
    region: str
    country: str
    lat: float | None
    lon: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """One notice of a member, with its offer as it stands now; None where there is no such offer."""

    number: int
    what: str
    at: datetime
    offer_id: UUID
    kind: str | None
    state: str | None
    version: int | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Offers, and the number of the newest notice that they take into account."""

    offers: tuple[Seen, ...]
    latest: int
    more: bool


class Partner:
    """What partners ask. Every row is read behind the member's wall."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def offers(
        self, member_id: int, *, states: Sequence[str] = (), before: tuple[datetime, UUID] | None = None, limit: int
    ) -> Page:
        """The member's offers, newest first, those before a place in that order."""
        values = {
            "member": member_id,
            "states": list(states),
            "at": before[0] if before else None,
            "id": before[1] if before else None,
            "limit": limit + 1,
        }
        with as_member(self._engine, member_id) as conn:
            latest = _latest(conn, member_id)  # before the offers: what comes in between is told again
            rows = [_seen(row) for row in conn.execute(_LIST, values).mappings()]
        return Page(tuple(rows[:limit]), latest, len(rows) > limit)

    def changed(self, member_id: int, *, since: int, limit: int) -> Page:
        """The member's offers with notices after a number, in the order of their newest, as they stand now."""
        with as_member(self._engine, member_id) as conn:
            latest = _latest(conn, member_id)
            values = {"member": member_id, "since": since, "until": latest, "limit": limit + 1}
            rows = [_seen(row) for row in conn.execute(_CHANGED, values).mappings()]
        more = len(rows) > limit
        return Page(tuple(rows[:limit]), rows[limit - 1].number if more else max(latest, since), more)

    def offer(self, member_id: int, offer_id: UUID) -> Seen:
        """One offer. Raises UnknownOffer when it is not the member's."""
        with as_member(self._engine, member_id) as conn:
            return _one(conn, member_id, offer_id)

    def opened(self, member_id: int, offer_id: UUID, *, by: str) -> tuple[Seen, Contact | None]:
        """One offer, with its contact data once it is accepted; that somebody saw those goes on the timeline.

        `by` is the id of the person or program that looks. Raises UnknownOffer when it is not the member's.
        """
        with as_member(self._engine, member_id) as conn:
            seen = _one(conn, member_id, offer_id)
            row = None
            if seen.state in WITH_CONTACT:
                row = conn.execute(_CONTACT, {"member": member_id, "id": offer_id}).mappings().first()
        if row is None:
            return seen, None
        self._write_down(seen, member_id, by)
        return seen, Contact(**row)

    def _write_down(self, seen: Seen, member_id: int, by: str) -> None:
        """Note the look at contact data: once a minute for each who looks. Without it nothing is shown."""
        with transaction(self._engine) as conn:
            conn.execute(_ONE_LOOK, {"key": f"viewed:{seen.id}:{by}"})
            if conn.execute(_LOOKED, {"lead": seen.lead_id, "offer": str(seen.id), "by": by}).first() is None:
                detail = {"offer": str(seen.id), "member": member_id, "by": by}
                note(conn, [(seen.lead_id, VIEWED, detail)], "", actor=Actor.MEMBER)

    def told(self, member_id: int, *, since: int, limit: int) -> list[Told]:
        """The member's notices after a number, in their order."""
        values = {"member": member_id, "since": since, "limit": limit}
        with as_member(self._engine, member_id) as conn:
            return [Told(*row) for row in conn.execute(_TOLD, values)]

    def heads(self, member_ids: Sequence[int]) -> dict[int, int]:
        """The number of the newest notice of each member: what the stream looks at twice a second."""
        if not member_ids:
            return {}
        with transaction(self._engine) as conn:
            return {row.id: row.notices for row in conn.execute(_HEADS, {"ids": list(member_ids)})}

    def member_of(self, key: str) -> int | None:
        """The id of the member of this key."""
        with transaction(self._engine) as conn:
            found: int | None = conn.scalar(sa.text("SELECT id FROM members WHERE key = :key"), {"key": key})
            return found

    def assign(self, member_id: int, offer_id: UUID, person: UUID | None, *, by: UUID | None) -> Seen:
        """Give an open offer to one of the member's own people, or to nobody; turn and capacity stay as they are.

        Raises UnknownOffer when it is not the member's or has ended. The caller knows the person to be the member's.
        """
        self.offer(member_id, offer_id)
        with transaction(self._engine) as conn:
            values = {"member": member_id, "id": offer_id, "person": person}
            row = conn.execute(_ASSIGN, values).first()
            if row is not None:
                detail = {"offer": str(offer_id), "member": member_id, "person": str(by or ""), "to": str(person or "")}
                note(conn, [(row.lead_id, "assigned", detail)], "", actor=Actor.MEMBER)
                tell_members(conn, [(member_id, offer_id, row.lead_id, Notice.CHANGED)])
        return self.offer(member_id, offer_id)


def _one(conn: sa.Connection, member_id: int, offer_id: UUID) -> Seen:
    row = conn.execute(_ONE, {"member": member_id, "id": offer_id}).mappings().first()
    if row is None:
        raise UnknownOffer
    return _seen(row)


def _seen(row: sa.RowMapping) -> Seen:
    return Seen(**row)


def _latest(conn: sa.Connection, member_id: int) -> int:
    found: int | None = conn.scalar(_LATEST, {"member": member_id})
    return found or 0


_COLUMNS = """
    o.id, o.lead_id, o.kind, o.state, o.version, o.attempt, o.reason, o.distance_m, o.ring_m, o.offered_at,
    o.expires_at, o.accepted_at, o.worked_at, o.work_by, o.ended_at, o.extensions, o.assignee_id,
    l.pool, l.city, l.region, l.postal_code, l.country, l.attributes, clock_timestamp() AS now
"""
_LATEST = sa.text("SELECT max(number) FROM notices WHERE member_id = :member")
_ONE = sa.text(f"""
    SELECT {_COLUMNS} FROM offers o JOIN leads l ON l.id = o.lead_id
    WHERE o.id = :id AND o.member_id = :member AND o.state <> 'void'
""")  # noqa: S608 - words of ours
_LIST = sa.text(f"""
    SELECT {_COLUMNS} FROM offers o JOIN leads l ON l.id = o.lead_id
    WHERE o.member_id = :member AND o.state <> 'void'
      AND (CAST(:states AS text[]) = '{{}}' OR o.state = ANY(CAST(:states AS text[])))
      AND (CAST(:at AS timestamptz) IS NULL OR (o.offered_at, o.id) < (CAST(:at AS timestamptz), CAST(:id AS uuid)))
    ORDER BY o.offered_at DESC, o.id DESC LIMIT :limit
""")  # noqa: S608 - words of ours
_CHANGED = sa.text(f"""
    SELECT {_COLUMNS}, n.number FROM (
        SELECT offer_id, max(number) AS number FROM notices
        WHERE member_id = :member AND number > :since AND number <= :until GROUP BY offer_id
    ) n JOIN offers o ON o.id = n.offer_id JOIN leads l ON l.id = o.lead_id
    WHERE o.member_id = :member AND o.state <> 'void'
    ORDER BY n.number LIMIT :limit
""")  # noqa: S608 - words of ours
_CONTACT = sa.text("""
    SELECT c.name, c.company, c.email, c.phone, c.street, l.city, l.postal_code, l.region, l.country, p.lat, p.lon
    FROM offers o JOIN leads l ON l.id = o.lead_id JOIN lead_contacts c ON c.lead_id = o.lead_id
    LEFT JOIN accepted_places p ON p.lead_id = o.lead_id
    WHERE o.id = :id AND o.member_id = :member AND o.state IN ('accepted', 'completed')
""")
_TOLD = sa.text("""
    SELECT n.number, n.what, n.at, n.offer_id, o.kind, o.state, o.version, o.expires_at
    FROM notices n LEFT JOIN offers o ON o.id = n.offer_id AND o.member_id = n.member_id
    WHERE n.member_id = :member AND n.number > :since ORDER BY n.number LIMIT :limit
""")
_HEADS = sa.text("SELECT id, notices FROM members WHERE id = ANY(CAST(:ids AS int[]))")
_ONE_LOOK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_LOOKED = sa.text(f"""
    SELECT 1 FROM timeline WHERE lead_id = :lead AND what = '{VIEWED}' AND at > clock_timestamp() - interval '1 minute'
      AND detail->>'offer' = :offer AND detail->>'by' = :by LIMIT 1
""")  # noqa: S608 - words of ours
_ASSIGN = sa.text("""
    UPDATE offers SET assignee_id = :person, version = version + 1
    WHERE id = :id AND member_id = :member AND state IN ('offered', 'accepted')
      AND assignee_id IS DISTINCT FROM CAST(:person AS uuid)
    RETURNING lead_id
""")
