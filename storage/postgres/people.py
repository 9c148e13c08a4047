"""People: of members, and our own. Personal data; only ids leave this room unasked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.access import Role
from routing.errors import BadInput, Refused
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.tables import NOW, members
from storage.postgres.tables.identity import people, refresh_tokens
from storage.postgres.values import clean_text


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may log in."""

    id: UUID
    member_id: int | None
    role: Role
    name: str
    email: str
    language: str
    units: str
    active: bool
    version: int  # tokens of an older version are dead
    manages: frozenset[str] = frozenset()  # of a manager: markets and pools; empty: everything


class People:
    """The people's rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(
        self,
        *,
        name: str,
        email: str,
        role: Role,
        member: str | int | None,
        actor: str,
        phone: str = "",
        language: str = "en",
        units: str = "mi",
        manages: Sequence[str] = (),
    ) -> UUID:
        """Let this person in, for the member with that key or id; who is known by the address keeps the id.

        `manages`: a manager is in charge of these markets and pools only (row M12); none named: of everything.

        Raises BadInput when there is no such member, or the person belongs to another one.
        """
        values: dict[str, Any] = {"name": clean_text(name), "phone": clean_text(phone)}
        values |= {"language": language, "units": units, "manages": sorted({*map(clean_text, manages)})}
        with transaction(self._engine) as connection:
            member_id = member_of(connection, member)
            known = connection.execute(
                sa.select(people).where(people.c.email == _email(email)).with_for_update()
            ).first()
            if known is None:
                added = sa.insert(people).values(**values, email=_email(email), role=role, member_id=member_id)
                found: UUID = connection.execute(added.returning(people.c.id)).scalar_one()
            else:
                _keep(known.member_id, member_id)
                found = known.id
                same = known.role == role and known.active
                raised = people.c.token_version + (0 if same else 1)
                connection.execute(
                    sa.update(people)
                    .where(people.c.id == found)
                    .values(**values, role=role, active=True, token_version=raised, updated_at=NOW)
                )
            record(connection, actor, "person.added", person=str(found), role=str(role), member=member_id)
            return found

    def set_active(self, person: UUID, *, active: bool, actor: str, member: int | None = None) -> None:
        """Let a person in again, or out at once: every token ends. With `member`, only one of its people."""
        mine = people.c.member_id == member if member is not None else sa.true()
        change = (
            sa.update(people)
            .where(people.c.id == person, mine, people.c.active != active)
            .values(active=active, token_version=people.c.token_version + 1, updated_at=NOW)
        )
        with transaction(self._engine) as connection:
            if connection.execute(change).rowcount:
                end_sessions(connection, person)
                record(connection, actor, "person.let_in" if active else "person.shut_out", person=str(person))

    def end_sessions(self, person: UUID, *, actor: str) -> None:
        """Every token of this person is dead from now on; a new login is needed."""
        raised = sa.update(people).where(people.c.id == person).values(token_version=people.c.token_version + 1)
        with transaction(self._engine) as connection:
            connection.execute(raised)
            end_sessions(connection, person)
            record(connection, actor, "person.sessions_ended", person=str(person))

    def get(self, person: UUID) -> Person | None:
        """Who this is."""
        return self._one(people.c.id == person)

    def by_email(self, email: str) -> Person | None:
        """Whose address this is, in whatever case it is written."""
        return self._one(people.c.email == _email(email))

    def by_outside(self, subject: str, email: str | None) -> Person | None:
        """Whom an outside issuer means: by its own name for the person, else by an address it has verified.

        The first time, its name for the person is kept, so that a changed address leads to nobody else.
        """
        with transaction(self._engine) as connection:
            known = connection.execute(_SELECT.where(people.c.outside_subject == subject)).first()
            if known is None and email:
                free = sa.and_(people.c.email == _email(email), people.c.outside_subject.is_(None))
                bound = (
                    sa.update(people).where(free).values(outside_subject=subject).returning(*_SELECT.selected_columns)
                )
                known = connection.execute(bound).first()
            return _person(known) if known else None

    def all(self, member: int | None = None) -> Sequence[Person]:
        """Everyone, or a member's people, by address."""
        mine = people.c.member_id == member if member is not None else sa.true()
        with transaction(self._engine) as connection:
            return [_person(row) for row in connection.execute(_SELECT.where(mine).order_by(people.c.email))]

    def _one(self, is_it: sa.ColumnElement[bool]) -> Person | None:
        with transaction(self._engine) as connection:
            row = connection.execute(_SELECT.where(is_it)).first()
            return _person(row) if row else None


def end_sessions(connection: sa.Connection, person: UUID) -> None:
    """As part of the caller's transaction: no refresh token of this person works any more."""
    theirs = sa.and_(refresh_tokens.c.person_id == person, refresh_tokens.c.revoked_at.is_(None))
    connection.execute(sa.update(refresh_tokens).where(theirs).values(revoked_at=NOW))


def member_of(connection: sa.Connection, member: str | int | None) -> int | None:
    """The id of the member with this key or id. Raises BadInput when there is none."""
    if member is None:
        return None
    is_it = members.c.id == member if isinstance(member, int) else members.c.key == member
    found: int | None = connection.execute(sa.select(members.c.id).where(is_it)).scalar()
    if found is None:
        raise BadInput("there is no such member", field="member", fix="`fairturn export members` lists the keys.")
    return found


def _keep(of: int | None, wanted: int | None) -> None:
    if of != wanted:
        raise Refused("This address belongs to somebody of another member; an address is one person's.")


def _email(email: str) -> str:
    return clean_text(email).strip().lower()


def _person(row: sa.Row[*tuple[Any, ...]]) -> Person:
    return Person(
        id=row.id,
        member_id=row.member_id,
        role=Role(row.role),
        name=row.name,
        email=row.email,
        language=row.language,
        units=row.units,
        active=row.active,
        version=row.token_version,
        manages=frozenset(row.manages),
    )


_SELECT = sa.select(
    people.c.id,
    people.c.member_id,
    people.c.role,
    people.c.name,
    people.c.email,
    people.c.language,
    people.c.units,
    people.c.active,
    people.c.token_version,
    people.c.manages,
)
