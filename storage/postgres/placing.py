"""Places of leads: what is asked of a geocoder, and what it found; used inside other transactions."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from routing.lane import Lane
from routing.lead import Address, Located, ToLocate
from routing.near import cell
from storage.postgres.recordset import bigints_of, to_json


def unplaced(conn: sa.Connection, ids: Sequence[int]) -> list[ToLocate]:
    """Those of the leads that wait for a place."""
    return [
        ToLocate(key, version, Address(street or "", city, region, postal_code, country), Lane(lane))
        for key, version, lane, street, city, region, postal_code, country in conn.execute(
            _UNPLACED, {"ids": bigints_of(ids)}
        )
    ]


def place(conn: sa.Connection, found: Sequence[tuple[ToLocate, Located]], task_id: str) -> list[int]:
    """Keep the places of leads that are as they were when the geocoder was asked; their ids, ascending."""
    if not found:
        return []
    rows = to_json([_row(lead, at) for lead, at in found])
    return sorted(conn.execute(_PLACE, {"rows": rows, "task": task_id or None}).scalars())


def _row(lead: ToLocate, at: Located) -> dict[str, Any]:
    return {
        "id": lead.id,
        "version": lead.version,
        "lat": at.point.lat,
        "lon": at.point.lon,
        "cell": cell(at.point.lat, at.point.lon),
        "precision": at.precision,
        "provider": at.provider,
    }


_UNPLACED = sa.text("""
    SELECT l.id, l.version, l.lane, c.street, l.city, l.region, l.postal_code, l.country
    FROM leads l LEFT JOIN lead_contacts c ON c.lead_id = l.id
    WHERE l.id = ANY(CAST(:ids AS bigint[])) AND l.state = 'new' AND l.lat IS NULL AND NOT l.dirty ORDER BY l.id
""")
_PLACE = sa.text("""
    WITH found AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rows AS json))
            AS row (id bigint, version bigint, lat double precision, lon double precision, cell int,
                    precision text, provider text)
    ),
    placed AS (
        UPDATE leads l SET lat = f.lat, lon = f.lon, cell = f.cell, geo_precision = f.precision,
               geo_provider = f.provider, updated_at = clock_timestamp(), nudged_at = NULL
        FROM found f
        WHERE l.id = f.id AND l.state = 'new' AND l.lat IS NULL AND l.version = f.version AND NOT l.dirty
        RETURNING l.id, f.precision, f.provider
    )
    INSERT INTO timeline (lead_id, what, actor, task_id, detail)
    SELECT id, 'located', 'fairturn', :task, jsonb_build_object('precision', precision, 'provider', provider)
    FROM placed RETURNING lead_id
""")
