"""Leads as the stream's side knows them: many read under lock, many saved, each by one statement."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.intake import Sheet
from routing.lane import Lane
from routing.lead import LeadState, Point, Reason
from routing.near import cell
from storage.postgres import tables as t
from storage.postgres.recordset import names, to_json, typed


def lock_sheets(conn: sa.Connection, record_ids: Sequence[str]) -> tuple[dict[str, Sheet], dict[str, datetime]]:
    """What is known of these records, under lock, and when each was last changed by us."""
    rows = conn.execute(_LOCK, {"records": to_json(record_ids)}).all()
    sheets = (_sheet(dict(zip(_READ, row[1:], strict=True))) for row in rows)
    return {sheet.salesforce_id: sheet for sheet in sheets}, {row.salesforce_id: row.updated_at for row in rows}


def save_sheets(
    conn: sa.Connection, before: Mapping[str, Sheet], after: Mapping[str, Sheet], again: Container[str]
) -> dict[str, int]:
    """Insert the new leads and update the changed; returns every lead's id by Salesforce id.

    A lead that somebody else has just added is left out. Those in `again` start anew, so whoever still works on what
    they were finds another version. A place that changes here is the lead's own, or none any more.
    """
    ids = {key: sheet.id for key, sheet in before.items() if sheet.id is not None}
    fresh = [_lead_values(sheet) | _contact_values(sheet) for key, sheet in sorted(after.items()) if key not in before]
    if fresh:
        ids |= {row.salesforce_id: row.id for row in conn.execute(_ADD, {"rows": to_json(fresh)})}
    changed = [
        _lead_values(sheet) | _contact_values(sheet) | _moves(sheet, before[key], again)
        for key, sheet in after.items()
        if key in before and sheet != before[key]
    ]
    if changed:
        conn.execute(_CHANGE, {"rows": to_json(changed)})
    return ids


def _sheet(row: dict[str, Any]) -> Sheet:
    lat, lon, told_lat, told_lon = (row.pop(name) for name in ("lat", "lon", "told_lat", "told_lon"))
    row |= {
        "state": LeadState(row["state"]),
        "reason": Reason(row["reason"]) if row["reason"] else None,
        "lane": Lane(row["lane"]),
        "place": None if lat is None else Point(lat, lon),
        "told": None if told_lat is None else Point(told_lat, told_lon),
    }
    return Sheet(**row)


def _lead_values(s: Sheet) -> dict[str, Any]:
    return {
        "salesforce_id": s.salesforce_id,
        "received_at": s.received_at,
        "state": s.state,
        "reason": s.reason,
        "commit_number": s.commit_number,
        "sequence_number": s.sequence_number,
        "snapshot_at": s.snapshot_at,
        "changed_at": s.changed_at,
        "dirty": s.dirty,
        "owner_id": s.owner_id,
        "stage": s.stage,
        "source_id": s.source_id,
        "source": s.source,
        "priority": s.priority,
        "lane": s.lane,
        "city": s.city,
        "region": s.state_name,
        "postal_code": s.postal_code,
        "country": s.country,
        "attributes": s.attributes,
        "lat": s.place.lat if s.place else None,
        "lon": s.place.lon if s.place else None,
        "told_lat": s.told.lat if s.told else None,
        "told_lon": s.told.lon if s.told else None,
        "cell": cell(s.place.lat, s.place.lon) if s.place else None,
    }


def _contact_values(s: Sheet) -> dict[str, Any]:
    return {"name": s.name, "company": s.company, "email": s.email, "phone": s.phone, "street": s.street}


def _moves(s: Sheet, known: Sheet, again: Container[str]) -> dict[str, Any]:
    return {
        "id": s.id,
        "step": int(s.state is not known.state or s.salesforce_id in again),
        "ready": known.dirty and not s.dirty,
    }


_BLANK = Sheet("", datetime.min)  # noqa: DTZ901 - only the names of its columns are used
_LEAD, _CONTACT = list(_lead_values(_BLANK)), list(_contact_values(_BLANK))
_STREAM_SIDE = [name for name in _LEAD if name not in {"salesforce_id", "received_at"}]
_GIVEN = f"json_to_recordset(CAST(:rows AS json)) AS row ({typed(t.leads, _LEAD)}, {typed(t.lead_contacts, _CONTACT)}"
#: Columns of a lead, and what a sheet calls them; after them those of its contact.
_OF_LEAD = {name: "state_name" if name == "region" else name for name in ("id", *_LEAD, "version") if name != "cell"}
_READ = [*_OF_LEAD.values(), *_CONTACT]

_LOCK = sa.text(f"""
    SELECT l.updated_at, {", ".join(f"l.{name}" for name in _OF_LEAD)},
           {", ".join(f"coalesce(c.{name}, '')" for name in _CONTACT)}
    FROM leads l LEFT JOIN lead_contacts c ON c.lead_id = l.id
    WHERE l.salesforce_id = ANY(ARRAY(SELECT json_array_elements_text(CAST(:records AS json))))
    ORDER BY l.id FOR UPDATE OF l
""")  # noqa: S608 - names of columns only, here and below
_ADD = sa.text(f"""
    WITH given AS MATERIALIZED (SELECT * FROM {_GIVEN})),
    added AS (
        INSERT INTO leads ({names(_LEAD)}, rank, geo_precision, geo_provider)
        SELECT {names(_LEAD)}, priority,
               CASE WHEN lat IS NOT NULL THEN 'exact' END, CASE WHEN lat IS NOT NULL THEN 'source' END
        FROM given ON CONFLICT DO NOTHING RETURNING id, salesforce_id
    ),
    contacts AS (
        INSERT INTO lead_contacts (lead_id, {names(_CONTACT)})
        SELECT added.id, {names(_CONTACT)} FROM added JOIN given USING (salesforce_id)
    )
    SELECT id, salesforce_id FROM added
""")  # noqa: S608
_CHANGE = sa.text(f"""
    WITH given AS MATERIALIZED (SELECT * FROM {_GIVEN}, id bigint, step bigint, ready boolean)),
    contacts AS (
        UPDATE lead_contacts c SET {", ".join(f"{name} = g.{name}" for name in _CONTACT)}
        FROM given g WHERE c.lead_id = g.id
    )
    UPDATE leads l SET {", ".join(f"{name} = g.{name}" for name in _STREAM_SIDE)},
        version = l.version + g.step,
        rank = CASE WHEN g.priority = l.priority THEN l.rank ELSE g.priority END,
        basket = CASE WHEN g.state = 'waiting' THEN l.basket END,
        updated_at = clock_timestamp(),
        -- What a waiting lead missed while it was not to be planned is made up for.
        next_try_at = CASE WHEN g.state <> 'waiting' THEN NULL
                           WHEN g.ready THEN clock_timestamp() ELSE l.next_try_at END,
        nudged_at = NULL, asked_at = NULL,
        deaths = CASE WHEN l.state = 'review' AND g.state = 'new' THEN 0 ELSE l.deaths END,
        geo_precision = CASE WHEN (g.lat, g.lon) IS NOT DISTINCT FROM (l.lat, l.lon) THEN l.geo_precision
                             WHEN g.lat IS NOT NULL THEN 'exact' END,
        geo_provider = CASE WHEN (g.lat, g.lon) IS NOT DISTINCT FROM (l.lat, l.lon) THEN l.geo_provider
                            WHEN g.lat IS NOT NULL THEN 'source' END
    FROM given g WHERE l.id = g.id
""")  # noqa: S608
