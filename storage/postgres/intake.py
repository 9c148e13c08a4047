"""Intake: pending events read into their leads, inside one transaction."""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.change import Change
from routing.compare import OVERLAP, Kind
from routing.intake import Folded, Meaning, Read, Sheet, Taken, fold_late
from routing.lane import Lane
from routing.lead import LeadState, Point, Reason
from routing.near import cell
from storage.postgres import tables as t
from storage.postgres.ending import tell_salesforce
from storage.postgres.steps import bigints, note, withdraw

Row = sa.RowMapping


def lock_events(conn: sa.Connection, ids: Sequence[int]) -> list[Change]:
    e = t.events
    query = (
        sa.select(e)
        .where(e.c.id == sa.any_(bigints(ids)), e.c.state == "pending")
        .order_by(e.c.commit_number, e.c.sequence_number, e.c.id)
        .with_for_update(skip_locked=True)
    )
    return [_change(row) for row in conn.execute(query).mappings()]


def _change(row: Row) -> Change:
    return Change(
        id=row["id"],
        event_id=row["event_id"],
        record_id=row["record_id"],
        change_type=row["change_type"],
        replay_id=row["replay_id"],
        committed_at=row["committed_at"] or row["received_at"],
        origin=row["origin"],
        commit_user=row["commit_user"],
        commit_number=row["commit_number"],
        sequence_number=row["sequence_number"],
        changed=tuple(row["changed"]),
        nulled=tuple(row["nulled"]),
        body=row["body"],
    )
        lane=Lane(row["lane"]),


def take(
    conn: sa.Connection, changes: list[Change], read: Read, task_id: str, *, as_of: datetime | None = None
) -> Taken:
    """Read changes into their leads.

    `as_of` (the ledger's clock) is when records were asked for by REST: what we learned of a lead since then is
    newer, so its record is left to the next reading.
    """
    before, touched = _lock_sheets(conn, sorted({c.record_id for c in changes}))
    sheets = dict(before)
    taken, notes, outcomes = Taken(), [], []
    gone: dict[str, Reason] = {}
    for change in changes:
        if as_of is not None and change.record_id in touched and touched[change.record_id] > as_of:
            folded = Folded(Meaning.STALE, None)
        else:
            folded = read(change, sheets.get(change.record_id))
        outcomes.append((change, folded.meaning))
        if folded.sheet is not None:
            sheets[change.record_id] = folded.sheet
            notes.append((change, folded))
        if folded.withdrawn is not None:
            gone[change.record_id] = folded.withdrawn
        elif folded.meaning is Meaning.NEW:
            gone.pop(change.record_id, None)
        if folded.meaning is Meaning.RESYNC:
            taken.resync_since = min(taken.resync_since or change.committed_at, change.committed_at)
    again = {c.record_id for c, meaning in outcomes if meaning in {Meaning.NEW, Meaning.MOVED}}
    ids = _save_sheets(conn, before, sheets, again)
    # Somebody else has just added these leads: their events stay pending and are read into what is there.
    missing = {r for r in sheets if r not in ids}
    _finish_events(conn, {c.id: meaning for c, meaning in outcomes if c.id and c.record_id not in missing})
    _note_intake(conn, notes, ids, task_id)
    for reason in sorted(set(gone.values())):
        leaving = sorted(ids[r] for r, why in gone.items() if why is reason and r in ids)
        withdraw(conn, leaving, reason, task_id)
        taken.withdrawn += leaving
    _sort_out(conn, taken, {ids[r]: s for r, s in sheets.items() if r in ids and r not in gone}, before, task_id)
    for _, meaning in outcomes:
        taken.meanings[meaning] = taken.meanings.get(meaning, 0) + 1
    return taken


def _lock_sheets(conn: sa.Connection, record_ids: Sequence[str]) -> tuple[dict[str, Sheet], dict[str, datetime]]:
    """What is known of these records, under lock, and when each was last changed by us."""
    c = t.lead_contacts.c
    query = (
        sa.select(t.leads, c.name, c.company, c.email, c.phone, c.street)
        .join(t.lead_contacts, isouter=True)
        .where(t.leads.c.salesforce_id == sa.any_(sa.cast(list(record_ids), sa.ARRAY(sa.Text))))
        .order_by(t.leads.c.id)
        .with_for_update(of=t.leads)
    )
    rows = conn.execute(query).mappings().all()
    touched = {row["salesforce_id"]: row["updated_at"] for row in rows}
    return {row["salesforce_id"]: _sheet(row) for row in rows}, touched


def _sheet(row: Row) -> Sheet:
    return Sheet(
        id=row["id"],
        salesforce_id=row["salesforce_id"],
        received_at=row["received_at"],
        state=LeadState(row["state"]),
        reason=Reason(row["reason"]) if row["reason"] else None,
        version=row["version"],
        commit_number=row["commit_number"],
        sequence_number=row["sequence_number"],
        snapshot_at=row["snapshot_at"],
        dirty=row["dirty"],
        owner_id=row["owner_id"],
        source_id=row["source_id"],
        source=row["source"],
        priority=row["priority"],
        street=row["street"] or "",
        city=row["city"],
        state_name=row["region"],
        postal_code=row["postal_code"],
        lane=Lane(row["lane"]),
        country=row["country"],
        name=row["name"] or "",
        company=row["company"] or "",
        email=row["email"] or "",
        phone=row["phone"] or "",
        place=None if row["lat"] is None else Point(row["lat"], row["lon"]),
        attributes=row["attributes"],
    )


def _save_sheets(
    conn: sa.Connection, before: Mapping[str, Sheet], after: Mapping[str, Sheet], again: Container[str]
) -> dict[str, int]:
    """Insert the new leads and update the changed; returns every lead's id by Salesforce id.

    Those in `again` start anew, so whoever still works on what they were finds another version.
    """
    ids = {key: sheet.id for key, sheet in before.items() if sheet.id is not None}
    fresh = [s for key, s in sorted(after.items()) if key not in before]
    if fresh:
        statement = insert(t.leads).on_conflict_do_nothing().returning(t.leads.c.salesforce_id, t.leads.c.id)
        added = {row.salesforce_id: row.id for row in conn.execute(statement, [_lead_values(s) for s in fresh])}
        contacts = [_contact_values(s, added[s.salesforce_id]) for s in fresh if s.salesforce_id in added]
        if contacts:
            conn.execute(sa.insert(t.lead_contacts), contacts)
        ids |= added
    changed = [s for key, s in after.items() if key in before and s != before[key]]
    if changed:
        conn.execute(_UPDATE_LEAD, [_changed_values(s, before[s.salesforce_id], again) for s in changed])
        conn.execute(_UPDATE_CONTACT, [_new(_contact_values(s, s.id)) for s in changed])
    return ids


def _changed_values(s: Sheet, known: Sheet, again: Container[str]) -> dict[str, Any]:
    return _new(_lead_values(s)) | {
        "the_id": s.id,
        "step": int(s.state is not known.state or s.salesforce_id in again),
        "ready": known.dirty and not s.dirty,
    }


def _new(values: Mapping[str, Any]) -> dict[str, Any]:
    """SQLAlchemy keeps the columns' own names of parameters for itself."""
    return {f"new_{name}": value for name, value in values.items()}


def _lead_values(s: Sheet) -> dict[str, Any]:
    return {
        "salesforce_id": s.salesforce_id,
        "received_at": s.received_at,
        "state": s.state,
        "reason": s.reason,
        "commit_number": s.commit_number,
        "sequence_number": s.sequence_number,
        "snapshot_at": s.snapshot_at,
        "dirty": s.dirty,
        "owner_id": s.owner_id,
        "source_id": s.source_id,
        "source": s.source,
        "priority": s.priority,
        "city": s.city,
        "region": s.state_name,
        "postal_code": s.postal_code,
        "country": s.country,
        "attributes": dict(s.attributes),
        "lane": s.lane,
        "lat": s.place.lat if s.place else None,
        "lon": s.place.lon if s.place else None,
        "cell": cell(s.place.lat, s.place.lon) if s.place else None,
    }


def _contact_values(s: Sheet, lead_id: int | None) -> dict[str, Any]:
    return {
        "lead_id": lead_id,
        "name": s.name,
        "company": s.company,
        "email": s.email,
        "phone": s.phone,
        "street": s.street,
    }


def _finish_events(conn: sa.Connection, outcomes: Mapping[int, Meaning]) -> None:
    if outcomes:
        conn.execute(_FINISH_EVENTS, {"ids": list(outcomes), "meanings": [str(m) for m in outcomes.values()]})


def _note_intake(
    conn: sa.Connection, notes: Sequence[tuple[Change, Folded]], ids: Mapping[str, int], task_id: str
) -> None:
    note(
        conn,
        [
            (
                ids[change.record_id],
                "received" if folded.meaning is Meaning.NEW else str(folded.meaning),
                {"event": change.id, "change": change.change_type, "committed_at": change.committed_at.isoformat()},
            )
            for change, folded in notes
            if change.record_id in ids and folded.meaning not in {Meaning.STALE, Meaning.ECHO, Meaning.NOTHING}
        ],
        task_id,
        actor="salesforce",
    )


def _sort_out(
    conn: sa.Connection, taken: Taken, sheets: Mapping[int, Sheet], before: Mapping[str, Sheet], task_id: str
) -> None:
    """Say what each lead needs next; leads in review are told to Salesforce."""
    told = []
    for lead_id, sheet in sheets.items():
        if sheet == before.get(sheet.salesforce_id):
            continue
        if sheet.dirty:
            taken.dirty.append(lead_id)
        elif sheet.state is LeadState.NEW:
            (taken.to_route if sheet.place else taken.to_locate).append(lead_id)
        elif sheet.state is LeadState.REVIEW and sheet.reason is not _reason(before.get(sheet.salesforce_id)):
        if sheet.lane is not Lane.LIVE:
            taken.lanes[lead_id] = sheet.lane
            taken.review.append(lead_id)
            told.append((lead_id, "review", {"reason": sheet.reason}))
    moved = [i for i, s in sheets.items() if s.place != _place(before.get(s.salesforce_id))]
    if moved:
        conn.execute(_OWN_PLACE, {"ids": moved})
    tell_salesforce(conn, [lead_id for lead_id, _, _ in told])
    note(conn, told, task_id)


def _reason(sheet: Sheet | None) -> Reason | None:
    return sheet.reason if sheet else None


def _place(sheet: Sheet | None) -> Point | None:
    return sheet.place if sheet else None


def _set(table: sa.Table, names: Iterable[str]) -> dict[str, Any]:
    return {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


_STREAM_SIDE = [
    name
    for name in _lead_values(Sheet("", datetime.min))  # noqa: DTZ901 - only the names are used
    if name not in {"salesforce_id", "received_at"}
]
_UPDATE_LEAD = (
    sa.update(t.leads)
    .where(t.leads.c.id == sa.bindparam("the_id"))
    .values(
        _set(t.leads, _STREAM_SIDE)
        | {
            "version": t.leads.c.version + sa.bindparam("step", type_=sa.BigInteger),
            "updated_at": sa.func.clock_timestamp(),
            # What a waiting lead missed while it was not to be planned is made up for.
            "next_try_at": sa.case(
                (sa.bindparam("new_state", type_=sa.Text) != "waiting", None),
                (sa.bindparam("ready", type_=sa.Boolean), sa.func.clock_timestamp()),
                else_=t.leads.c.next_try_at,
            ),
            "nudged_at": None,
        }
    )
)
_UPDATE_CONTACT = (
    sa.update(t.lead_contacts)
    .where(t.lead_contacts.c.lead_id == sa.bindparam("new_lead_id"))
    .values(_set(t.lead_contacts, ("name", "company", "email", "phone", "street")))
)
# A place that changes in intake is the lead's own, or none any more.
_OWN_PLACE = sa.text("""
    UPDATE leads SET geo_precision = CASE WHEN lat IS NULL THEN NULL ELSE 'exact' END,
           geo_provider = CASE WHEN lat IS NULL THEN NULL ELSE 'source' END
    WHERE id = ANY(CAST(:ids AS bigint[]))
""")
_FINISH_EVENTS = sa.text("""
    UPDATE events SET state = 'done', meaning = f.meaning, done_at = clock_timestamp()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:meanings AS text[])) AS f(id, meaning) WHERE events.id = f.id
""")
