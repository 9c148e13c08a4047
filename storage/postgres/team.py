"""A member seen from within: what it is, and its people. Personal data; read behind the member's wall."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.access import Role
from routing.errors import Refused
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.people import end_sessions
from storage.postgres.tables import NOW
from storage.postgres.tables.identity import people
from storage.postgres.values import clean
from storage.postgres.walls import as_member


class LastAdmin(Refused):
    """Somebody must be left who manages the team: name another one first."""


@dataclass(frozen=True, slots=True)
class Colleague:
    """One of a member's people."""

    id: UUID
    role: str
    name: str
    email: str
    phone: str
    language: str
    units: str
    time_zone: str
    quiet_from: time | None
    quiet_to: time | None
    active: bool


@dataclass(frozen=True, slots=True)
class Ourselves:
    """The member as it may see itself."""

    id: int
    key: str
    name: str
    market: str
    tier: str
    active: bool
    present: bool
    auto_accept: bool
    open: int
    capacity: int


class Team:
    """What a member's people ask about themselves."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def member(self, member_id: int) -> Ourselves:
        """The member itself."""
        with as_member(self._engine, member_id) as conn:
            row = conn.execute(_MEMBER, {"member": member_id}).mappings().one()
        own = dict(row)
        if own["capacity"] is None:
            with transaction(self._engine) as conn:
                own["capacity"] = conn.scalar(_CAPACITY, {"tier": row["tier"]}) or 0
        return Ourselves(**own)

    def all(self, member_id: int) -> Sequence[Colleague]:
        """Its people, by address."""
        with as_member(self._engine, member_id) as conn:
            return [Colleague(**row) for row in conn.execute(_PEOPLE, {"member": member_id}).mappings()]

    def one(self, member_id: int, person: UUID) -> Colleague | None:
        """One of its people; None for anybody else."""
        with as_member(self._engine, member_id) as conn:
            row = conn.execute(_PERSON, {"member": member_id, "person": person}).mappings().first()
            return Colleague(**row) if row else None

    def change(self, member_id: int, person: UUID, changes: Mapping[str, Any], *, actor: str) -> Colleague | None:
        """Change some of what is known of one of its people; None for anybody else.

        Another role, or being shut out, ends every token of that person. Raises LastAdmin when nobody would be left
        who manages the team.
        """
        known = self.one(member_id, person)
        if known is None:
            return None
        made = {name: value for name, value in clean_times(changes).items() if getattr(known, name) != value}
        if made:
            self._write(member_id, person, made, actor)
        return self.one(member_id, person)

    def _write(self, member_id: int, person: UUID, made: dict[str, Any], actor: str) -> None:
        is_it = sa.and_(people.c.id == person, people.c.member_id == member_id)
        ends = bool(made.keys() & {"role", "active"})
        raised = {"token_version": people.c.token_version + 1} if ends else {}
        with transaction(self._engine) as conn:
            conn.execute(_ONE_AT_A_TIME, {"member": member_id})
            conn.execute(sa.update(people).where(is_it).values(**made, **raised, updated_at=NOW))
            if ends:
                end_sessions(conn, person)
                if not conn.scalar(_ADMINS, {"member": member_id}):
                    raise LastAdmin
            record(conn, actor, "person.changed", person=str(person), fields=sorted(made))


def clean_times(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The same changes, with texts as Postgres holds them."""
    return {name: value if isinstance(value, time) else clean(value) for name, value in changes.items()}


_FIELDS = "id, role, name, email, phone, language, units, time_zone, quiet_from, quiet_to, active"
_PEOPLE = sa.text(f"SELECT {_FIELDS} FROM people WHERE member_id = :member ORDER BY email")  # noqa: S608 - our words
_PERSON = sa.text(f"SELECT {_FIELDS} FROM people WHERE member_id = :member AND id = :person")  # noqa: S608 - our words
_MEMBER = sa.text("""
    SELECT id, key, name, market, tier, active, present, auto_accept, open, capacity FROM members WHERE id = :member
""")
_CAPACITY = sa.text("SELECT capacity FROM tiers WHERE name IN (:tier, '') ORDER BY name DESC LIMIT 1")
_ONE_AT_A_TIME = sa.text("SELECT 1 FROM members WHERE id = :member FOR UPDATE")
_ADMINS = sa.text(
    f"SELECT count(*) FROM people WHERE member_id = :member AND active AND role = '{Role.PARTNER_ADMIN}'"  # noqa: S608
)
