"""Geocodes: where addresses are, by digest; the address itself is not kept."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.lead import Located, Point, Precision
from storage.postgres.engine import transaction
from storage.postgres.tables import geocodes

#: The provider of a row whose answer is still awaited.
ASKING = ""
NOW = sa.func.clock_timestamp()


class Geocodes:
    """What geocoders said, and who is asking one just now.

    That an address is unknown holds for `unknown_for` only; who asks and is not heard of for `lease` has died.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        unknown_for: timedelta = timedelta(days=7),
        lease: timedelta = timedelta(seconds=15),
    ) -> None:
        self._engine, self._unknown_for, self._lease = engine, unknown_for, lease

    def get_many(self, digests: Sequence[bytes], providers: Sequence[str]) -> dict[bytes, Located | None]:
        """What these providers said and still holds; None where they did not know the address."""
        wanted = geocodes.c.address_hash == sa.any_(sa.literal(list(digests), sa.ARRAY(sa.LargeBinary)))
        with transaction(self._engine) as connection:
            rows = connection.execute(sa.select(geocodes).where(wanted, self._holds(providers))).all()
        return {
            bytes(row.address_hash): None
            if row.lat is None
            else Located(Point(row.lat, row.lon), Precision(row.precision), row.provider)
            for row in rows
        }

    def claim(self, digest: bytes, providers: Sequence[str]) -> bool:
        """Whether the caller is the one to ask; False while another is asking, or an answer is there."""
        fresh = {"provider": ASKING, "lat": None, "lon": None, "precision": None, "found_at": NOW}
        died = sa.and_(geocodes.c.provider == ASKING, geocodes.c.found_at < NOW - self._lease)
        outdated = sa.and_(geocodes.c.provider != ASKING, sa.not_(self._holds(providers)))
        statement = (
            insert(geocodes)
            .values(address_hash=digest, **fresh)
            .on_conflict_do_update(index_elements=["address_hash"], set_=fresh, where=sa.or_(died, outdated))
            .returning(geocodes.c.address_hash)
        )
        with transaction(self._engine) as connection:
            return connection.execute(statement).first() is not None

    def put_many(self, found: Mapping[bytes, Located | None], providers: Sequence[str]) -> None:
        """Remember answers; unknown addresses with the names of all who were asked. This ends the claims."""
        if not found:
            return
        rows = [
            {
                "address_hash": digest,
                "provider": place.provider if place else _all(providers),
                "lat": place.point.lat if place else None,
                "lon": place.point.lon if place else None,
                "precision": place.precision.value if place else None,
            }
            for digest, place in sorted(found.items())
        ]
        statement = insert(geocodes)
        told = {name: statement.excluded[name] for name in ("provider", "lat", "lon", "precision")}
        statement = statement.on_conflict_do_update(index_elements=["address_hash"], set_={**told, "found_at": NOW})
        with transaction(self._engine) as connection:
            connection.execute(statement, rows)

    def abandon(self, digest: bytes) -> None:
        """End a claim without an answer, so that the next may ask."""
        claimed = sa.and_(geocodes.c.address_hash == digest, geocodes.c.provider == ASKING)
        with transaction(self._engine) as connection:
            connection.execute(sa.delete(geocodes).where(claimed))

    def _holds(self, providers: Sequence[str]) -> sa.ColumnElement[bool]:
        known = sa.and_(geocodes.c.lat.is_not(None), geocodes.c.provider.in_(list(providers)))
        unknown = sa.and_(
            geocodes.c.lat.is_(None),
            geocodes.c.provider == _all(providers),
            geocodes.c.provider != ASKING,
            geocodes.c.found_at > NOW - self._unknown_for,
        )
        return sa.or_(known, unknown)


def _all(providers: Sequence[str]) -> str:
    return ",".join(providers)
