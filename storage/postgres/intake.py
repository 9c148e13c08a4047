"""Intake: pending events read into their leads, inside one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.change import Change
from routing.compare import OVERLAP, Kind
from routing.intake import Folded, Meaning, Read, Sheet, Taken, fold_late
from routing.lane import Lane
from routing.lead import LeadState, Reason
from storage.postgres.ending import tell_salesforce
from storage.postgres.recordset import bigints_of
from storage.postgres.scans import ask
from storage.postgres.sheets import lock_sheets, save_sheets
from storage.postgres.steps import note, withdraw


def lock_events(conn: sa.Connection, ids: Sequence[int]) -> list[Change]:
    """Those of the events that nobody has read yet, in the order Salesforce committed them."""
    return [_change(dict(zip(_OF_CHANGE, row, strict=True))) for row in conn.execute(_LOCK, {"ids": bigints_of(ids)})]


def _change(row: dict[str, Any]) -> Change:
    row |= {"changed": tuple(row["changed"]), "nulled": tuple(row["nulled"]), "lane": Lane(row["lane"])}
    return Change(**row)


def take(
    conn: sa.Connection, changes: list[Change], read: Read, task_id: str, *, as_of: datetime | None = None
) -> Taken:
    """Read changes into their leads.

    `as_of` (the ledger's clock) is when records were asked for by REST: what we learned of a lead since then may be
    newer, and then its record is left to another reading. What follows upon the end of a lead is read when it has
    ended, as if it had come later.
    """
    before, touched = lock_sheets(conn, sorted({c.record_id for c in changes}))
    sheets = dict(before)
    taken, notes, outcomes = Taken(), [], []
    gone: dict[str, Reason] = {}
    later: list[Change] = []
    for change in changes:
        if change.record_id in gone:
            later.append(change)
            continue
        late = as_of is not None and change.record_id in touched and touched[change.record_id] > as_of
        folded = (fold_late(sheets[change.record_id], change) if late else None) or read(
            change, sheets.get(change.record_id)
        )
        outcomes.append((change, folded.meaning))
        if folded.sheet is not None:
            sheets[change.record_id] = folded.sheet
            notes.append((change, folded))
        if folded.withdrawn is not None:
            gone[change.record_id] = folded.withdrawn
        if folded.meaning is Meaning.RESYNC:
            taken.resync_since = min(taken.resync_since or change.committed_at, change.committed_at)
    again = {c.record_id for c, meaning in outcomes if meaning in {Meaning.NEW, Meaning.MOVED}}
    if taken.resync_since is not None:
        ask(conn, Kind.CHANGED, "overflow", since=taken.resync_since - OVERLAP)
    ids = save_sheets(conn, before, sheets, again)
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
    if later:
        taken.add(take(conn, later, read, task_id, as_of=as_of))
    return taken


def _finish_events(conn: sa.Connection, outcomes: Mapping[int, Meaning]) -> None:
    if outcomes:
        meanings = ",".join(outcomes.values())
        conn.execute(_FINISH_EVENTS, {"ids": bigints_of(outcomes), "meanings": f"{{{meanings}}}"})


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
        if sheet.lane is not Lane.LIVE:
            taken.lanes[lead_id] = sheet.lane
        if sheet.dirty:
            taken.dirty.append(lead_id)
        elif sheet.state is LeadState.NEW:
            (taken.to_route if sheet.place else taken.to_locate).append(lead_id)
        elif sheet.state is LeadState.REVIEW and sheet.reason is not _reason(before.get(sheet.salesforce_id)):
            taken.review.append(lead_id)
            told.append((lead_id, "review", {"reason": sheet.reason}))
    tell_salesforce(conn, [lead_id for lead_id, _, _ in told])
    note(conn, told, task_id)


def _reason(sheet: Sheet | None) -> Reason | None:
    return sheet.reason if sheet else None


_OF_CHANGE = [each.name for each in fields(Change)]
_LOCK = sa.text(f"""
    SELECT {", ".join("coalesce(committed_at, received_at)" if n == "committed_at" else n for n in _OF_CHANGE)}
    FROM events WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'pending'
    ORDER BY commit_number, sequence_number, id FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - names of columns only
_FINISH_EVENTS = sa.text("""
    UPDATE events SET state = 'done', meaning = f.meaning, done_at = clock_timestamp()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:meanings AS text[])) AS f(id, meaning) WHERE events.id = f.id
""")
