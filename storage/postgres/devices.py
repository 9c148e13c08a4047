"""Browsers of people that take web push, how people want to be told, and the key that push services know us by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.delivery import ORDER, Channel
from routing.errors import Refused
from storage.postgres.endpoints import Seals
from storage.postgres.engine import transaction
from storage.postgres.tables.identity import people
from storage.postgres.tables.notify import contact_wishes, devices, push_keys
from storage.postgres.values import clean_text
from storage.postgres.walls import as_member

#: The oldest ones make room.
MOST = 10
PURPOSE, KEY_PURPOSE = "device", "push-key"


class UnknownDevice(Refused):
    """No device of yours has this id."""


@dataclass(frozen=True, slots=True)
class Device:
    """A browser that takes push, without the way to it."""

    id: UUID
    label: str
    created_at: datetime


class Devices:
    """The rows of devices."""

    def __init__(self, engine: sa.Engine, vault: Seals) -> None:
        self._engine = engine
        self._vault = vault

    def of(self, member_id: int, person: UUID) -> Sequence[Device]:
        """A person's devices, oldest first."""
        with as_member(self._engine, member_id) as conn:
            mine = sa.and_(devices.c.member_id == member_id, devices.c.person_id == person)
            rows = conn.execute(sa.select(devices).where(mine).order_by(devices.c.created_at, devices.c.id))
            return [Device(row.id, row.label, row.created_at) for row in rows]

    def add(self, member_id: int, person: UUID, subscription: Mapping[str, Any], *, label: str = "") -> Device:
        """Remember a browser, by the address of its push service; one that is known becomes this person's."""
        mark = sha256(str(subscription["endpoint"]).encode()).digest()
        with transaction(self._engine) as conn:
            conn.execute(_ONE_AT_A_TIME, {"mark": mark.hex()})
            known = conn.execute(sa.select(devices.c.id).where(devices.c.mark == mark)).scalar()
            made = known or uuid4()
            values = {
                "member_id": member_id,
                "person_id": person,
                "sealed": self._vault.seal(PURPOSE, orjson.dumps(subscription), about=str(made)),
                "label": clean_text(label)[:80],
            }
            new = insert(devices).values(id=made, mark=mark, **values)
            row = conn.execute(new.on_conflict_do_update(index_elements=["id"], set_=values).returning(devices)).one()
            conn.execute(_MAKE_ROOM, {"person": person, "most": MOST})
            return Device(row.id, row.label, row.created_at)

    def remove(self, member_id: int, person: UUID, device: UUID) -> None:
        """Forget it; one that is gone already is no error."""
        theirs = sa.and_(devices.c.member_id == member_id, devices.c.person_id == person, devices.c.id == device)
        with as_member(self._engine, member_id) as conn:
            if conn.execute(sa.select(devices.c.id).where(theirs)).first() is None:
                return
        with transaction(self._engine) as conn:
            conn.execute(sa.delete(devices).where(theirs))

    def wishes(self, person: UUID) -> tuple[Channel, ...]:
        """In which order this person wants to be told."""
        with transaction(self._engine) as conn:
            found = conn.execute(
                sa.select(contact_wishes.c.channels).where(contact_wishes.c.person_id == person)
            ).scalar()
        return ORDER if found is None else tuple(Channel(name) for name in found)

    def wish(self, person: UUID, channels: Sequence[Channel]) -> None:
        """Tell this person by these channels, in this order; none of them: not at all."""
        names = [str(channel) for channel in dict.fromkeys(channels) if channel in ORDER]
        with transaction(self._engine) as conn:
            if conn.execute(sa.select(people.c.id).where(people.c.id == person)).first() is None:
                return
            new = insert(contact_wishes).values(person_id=person, channels=names)
            conn.execute(new.on_conflict_do_update(index_elements=["person_id"], set_={"channels": names}))

    def push_key(self, make: Callable[[], bytes]) -> bytes:
        """The key push services know us by, the same for all processes and for ever; the first to ask makes it."""
        with transaction(self._engine) as conn:
            sealed = conn.execute(sa.select(push_keys.c.sealed)).scalar()
            if sealed is None:
                fresh = self._vault.seal(KEY_PURPOSE, make())
                conn.execute(insert(push_keys).values(id=1, sealed=fresh).on_conflict_do_nothing())
                sealed = conn.execute(sa.select(push_keys.c.sealed)).scalar_one()
        return self._vault.open(KEY_PURPOSE, bytes(sealed))


_ONE_AT_A_TIME = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:mark, 0))")
_MAKE_ROOM = sa.text("""
    DELETE FROM devices WHERE person_id = :person AND id NOT IN (
        SELECT id FROM devices WHERE person_id = :person ORDER BY created_at DESC, id LIMIT :most)
""")
