"""Members: who can be given a lead, and from where they work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from routing.lead import Point
from routing.member import NOBODY_BOOSTED, TIERS_OWN, Columns, Roster
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.tables import NOW, markets, members, places
from storage.postgres.values import clean, clean_text


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member as a file or Salesforce gives it.

    None leaves the tier to decide (capacity, weight) or what is known to stay (salesforce_id, active).
    """

    key: str  # the outside id, such as partner_id
    name: str
    market: str
    tier: str = ""
    country: str = ""
    capacity: int | None = None
    weight: int | None = None  # thousandths
    active: bool | None = None
    salesforce_id: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    places: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """A member as the ledger holds it; `open` offers use its capacity."""

    id: int
    open: int
    row: MemberRow


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did."""

    added: int
    changed: int
    same: int
    member_ids_changed: tuple[int, ...]  # added ones as well


class Members:
    """The roster's rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def roster(self, market: str, *, full: bool = False) -> Roster:
        """Everyone of a market, with the version that counts every change; version 0 when there is no such market.

        `full`: with countries and attributes, which few policies ask for.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(FULL_ROSTER if full else ROSTER, {"market": market}).one()
            flagged = connection.execute(_FLAGGED, {"market": market}).all()
        return roster_of(row, market, full=full, boosted={one.pool: frozenset(one.members) for one in flagged})

    def versions(self) -> dict[str, int]:
        """The roster version of every market."""
        with transaction(self._engine) as connection:
            rows = connection.execute(sa.select(markets.c.name, markets.c.roster_version))
            return {row.name: row.roster_version for row in rows}

    def id_of(self, key: str) -> int | None:
        """The id of the member with this outside id."""
        with transaction(self._engine) as connection:
            found: int | None = connection.execute(
                sa.select(members.c.id).where(members.c.key == clean_text(key))
            ).scalar()
            return found

    def all(self) -> list[Held]:
        """Every member of every market."""
        with transaction(self._engine) as connection:
            return list(_held(connection).values())

    def upsert(self, rows: Sequence[MemberRow], *, actor: str) -> ImportResult:
        """Make the members as the rows say (the last one of a key counts); given twice, the second changes nothing."""
        wanted = {row.key: row for row in map(_cleaned, rows)}
        with transaction(self._engine) as connection:
            connection.execute(ONE_AT_A_TIME)
            held = _held(connection, wanted)
            rows_to_write = [
                row for row in (_keeping(row, held.get(row.key)) for row in wanted.values()) if _differs(row, held)
            ]
            ids = _write(connection, rows_to_write)
            added = sum(row.key not in held for row in rows_to_write)
            result = ImportResult(added, len(ids) - added, len(wanted) - len(ids), tuple(sorted(ids)))
            if rows_to_write:
                touched = {row.market for row in rows_to_write}
                touched |= {held[row.key].row.market for row in rows_to_write if row.key in held}
                _raise_versions(connection, touched)
                record(
                    connection,
                    actor,
                    "members.imported",
                    added=result.added,
                    changed=result.changed,
                    same=result.same,
                    markets=sorted(touched),
                )
            return result

    def pause(self, keys: Iterable[str], *, actor: str = "fairturn") -> list[int]:
        """Give these members no new leads; the ids of those it changed. What they hold they keep."""
        return self._activate(keys, False, actor)

    def resume(self, keys: Iterable[str], *, actor: str = "fairturn") -> list[int]:
        """Give these members leads again; the ids of those it changed."""
        return self._activate(keys, True, actor)

    def _activate(self, keys: Iterable[str], active: bool, actor: str) -> list[int]:
        change = (
            sa.update(members)
            .where(members.c.key.in_(list(keys)), members.c.active.is_(not active))
            .values(active=active, updated_at=NOW)
            .returning(members.c.id, members.c.key, members.c.market)
        )
        with transaction(self._engine) as connection:
            connection.execute(ONE_AT_A_TIME)
            rows = connection.execute(change).all()
            if rows:
                _raise_versions(connection, {row.market for row in rows})
                action = "members.resumed" if active else "members.paused"
                record(connection, actor, action, members=sorted(row.key for row in rows))
            return sorted(row.id for row in rows)

    def set_present(self, member_id: int, present: bool, *, actor: str) -> bool:
        """On duty or off, by the member's own word: off duty it gets no new leads. Whether that is a change."""
        change = (
            sa.update(members)
            .where(members.c.id == member_id, members.c.present.is_(not present))
            .values(present=present, updated_at=NOW)
            .returning(members.c.key, members.c.market)
        )
        with transaction(self._engine) as connection:
            connection.execute(ONE_AT_A_TIME)
            row = connection.execute(change).first()
            if row is not None:
                _raise_versions(connection, [row.market])
                record(connection, actor, "member.present" if present else "member.away", member=row.key)
            return row is not None

    def link(self, salesforce_ids: Mapping[str, str]) -> int:
        """Tell members (by key) their Salesforce ids; how many were not so already."""
        with transaction(self._engine) as connection:
            linked = connection.execute(
                _LINK, {"keys": list(salesforce_ids), "salesforce_ids": list(salesforce_ids.values())}
            )
            return linked.rowcount


def roster_of(
    row: Any, market: str, *, full: bool = False, boosted: Mapping[str, frozenset[int]] = NOBODY_BOOSTED
) -> Roster:
    """The roster of one row of columns, as ROSTER and FULL_ROSTER give it."""
    ids = np.array(row.ids or (), dtype=np.int32)
    columns = Columns(
        id=ids,
        key=row.keys or (),
        name=row.names or (),
        tier=_shared(row.tiers or ()),
        capacity=np.array(row.capacities or (), dtype=np.int32),
        weight=np.array(row.weights or (), dtype=np.int32),
        active=np.array(row.actives or (), dtype=np.bool_),
        owner=np.searchsorted(ids, np.array(row.owners or (), dtype=np.int32)),
        lat=np.array(row.lats or (), dtype=np.float64),
        lon=np.array(row.lons or (), dtype=np.float64),
        country=_shared(row.countries or ()) if full else (),
        attributes=row.attributes or () if full else (),
        joined=np.array(row.joined or (), dtype=np.int32),
    )
    return Roster(market, row.version or 0, columns, boosted=boosted)


# One row of columns: a hundred thousand members come in a second, and cost a few megabytes.
_ROSTER_SOURCE = """
    SELECT (SELECT roster_version FROM markets WHERE name = :market) AS version, m.*, p.*
    FROM (
        SELECT array_agg(id ORDER BY id) AS ids, array_agg(key ORDER BY id) AS keys,
               array_agg(name ORDER BY id) AS names, array_agg(tier ORDER BY id) AS tiers,
               array_agg(coalesce(capacity, {tiers_own}) ORDER BY id) AS capacities,
               array_agg(coalesce(weight, {tiers_own}) ORDER BY id) AS weights,
               array_agg(active AND present AND left_at IS NULL ORDER BY id) AS actives,
               array_agg(CAST(created_at AT TIME ZONE 'UTC' AS date) - date '1970-01-01' ORDER BY id) AS joined{more}
        FROM members WHERE market = :market
    ) m, (
        SELECT array_agg(member_id ORDER BY member_id, id) AS owners, array_agg(lat ORDER BY member_id, id) AS lats,
               array_agg(lon ORDER BY member_id, id) AS lons
        FROM places WHERE member_id IN (SELECT id FROM members WHERE market = :market)
    ) p
"""
ROSTER = sa.text(_ROSTER_SOURCE.format(tiers_own=TIERS_OWN, more=""))
FULL_ROSTER = sa.text(
    _ROSTER_SOURCE.format(
        tiers_own=TIERS_OWN,
        more=", array_agg(country ORDER BY id) AS countries, json_agg(attributes ORDER BY id) AS attributes",
    )
)
_FLAGGED = sa.text("""
    SELECT pool, array_agg(member_id) AS members FROM minimum_flags
    WHERE market = :market AND cleared_at IS NULL GROUP BY pool
""")
_PLACES = (
    sa.select(sa.func.json_agg(aggregate_order_by(sa.func.json_build_array(places.c.lat, places.c.lon), places.c.id)))
    .where(places.c.member_id == members.c.id)
    .correlate(members)
    .scalar_subquery()
    .label("places")
)
_COLUMNS = (*members.c, _PLACES)
#: Changes of the roster, a new policy among them, take turns: roster versions rise in one order.
ONE_AT_A_TIME = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:roster'))")
_LINK = sa.text("""
    UPDATE members SET salesforce_id = link.salesforce_id, updated_at = clock_timestamp()
    FROM unnest(CAST(:keys AS text[]), CAST(:salesforce_ids AS text[])) AS link (key, salesforce_id)
    WHERE members.key = link.key AND members.salesforce_id IS DISTINCT FROM link.salesforce_id
""")


def _points(row: Any) -> tuple[Point, ...]:
    return tuple(Point(lat, lon) for lat, lon in row.places or ())


def _shared(names: Sequence[str]) -> list[str]:
    """The same names, each kept once."""
    once: dict[str, str] = {}
    return [once.setdefault(name, name) for name in names]


def _held(connection: sa.Connection, keys: Iterable[str] | None = None) -> dict[str, Held]:
    query = sa.select(*_COLUMNS).order_by(members.c.id)
    if keys is not None:
        query = query.where(members.c.key == sa.any_(sa.cast(list(keys), sa.ARRAY(sa.Text))))
    return {row.key: Held(row.id, row.open, _row(row)) for row in connection.execute(query)}


def _row(row: Any) -> MemberRow:
    return MemberRow(
        key=row.key,
        name=row.name,
        market=row.market,
        tier=row.tier,
        country=row.country,
        capacity=row.capacity,
        weight=row.weight,
        active=row.active,
        salesforce_id=row.salesforce_id,
        attributes=row.attributes,
        places=_points(row),
    )


def _cleaned(row: MemberRow) -> MemberRow:
    return replace(
        row,
        key=clean_text(row.key),
        name=clean_text(row.name),
        market=clean_text(row.market),
        tier=clean_text(row.tier),
        country=clean_text(row.country),
        attributes=clean(row.attributes),
        places=tuple(row.places),
    )


def _keeping(row: MemberRow, held: Held | None) -> MemberRow:
    """The row with what it leaves open filled from what is known."""
    active = row.active if row.active is not None else held is None or bool(held.row.active)
    return replace(row, active=active, salesforce_id=row.salesforce_id or (held.row.salesforce_id if held else None))


def _differs(row: MemberRow, held: Mapping[str, Held]) -> bool:
    return row.key not in held or held[row.key].row != row


def _write(connection: sa.Connection, rows: Sequence[MemberRow]) -> list[int]:
    if not rows:
        return []
    markets_of_rows = [{"name": name} for name in sorted({row.market for row in rows})]
    connection.execute(insert(markets).on_conflict_do_nothing(), markets_of_rows)
    ids: dict[str, int] = {row.key: row.id for row in connection.execute(_UPSERT, [_values(row) for row in rows])}
    connection.execute(sa.delete(places).where(places.c.member_id.in_(list(ids.values()))))
    points = [{"member_id": ids[row.key], "lat": point.lat, "lon": point.lon} for row in rows for point in row.places]
    if points:
        connection.execute(sa.insert(places), points)
    return list(ids.values())


_FIELDS = ("name", "market", "tier", "country", "capacity", "weight", "active", "salesforce_id", "attributes")
_INSERT = insert(members)
_UPSERT = _INSERT.on_conflict_do_update(
    index_elements=["key"], set_={name: _INSERT.excluded[name] for name in _FIELDS} | {"updated_at": NOW}
).returning(members.c.id, members.c.key)


def _values(row: MemberRow) -> dict[str, Any]:
    return {"key": row.key} | {name: getattr(row, name) for name in _FIELDS}


def _raise_versions(connection: sa.Connection, names: Iterable[str]) -> None:
    raised = {"roster_version": markets.c.roster_version + 1}
    connection.execute(sa.update(markets).where(markets.c.name.in_(sorted(names))).values(raised))
