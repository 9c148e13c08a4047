"""Intake: pending events read into their leads, inside one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.change import Change
from routing.compare import OVERLAP, Kind
from routing.intake import Asked, Folded, Meaning, Read, Sheet, Taken, fold_late
from routing.lane import Lane
from routing.lead import LeadState, Reason
from storage.postgres.by_hand import heed, leave
from storage.postgres.ending import tell_salesforce
from storage.postgres.recordset import bigints_of
from storage.postgres.rerouting import take_back
from storage.postgres.scans import ask
from storage.postgres.sheets import lock_sheets, save_sheets
from storage.postgres.steps import note


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
    newer, and then its record is left to another reading. What follows upon the end of a lead, or upon what a person
    asks for, is read when that is done, as if it had come later.
    """
    before, touched = lock_sheets(conn, sorted({c.record_id for c in changes}))
    reading = _Reading(dict(before), touched, as_of)
    for change in changes:
        reading.read(change, read)
    taken, sheets = reading.taken, reading.sheets
    if taken.resync_since is not None:
        ask(conn, Kind.CHANGED, "overflow", since=taken.resync_since - OVERLAP)
    ids = save_sheets(conn, before, sheets, reading.again())
    # Somebody else has just added these leads: their events stay pending and are read into what is there.
    missing = {r for r in sheets if r not in ids}
    _finish_events(conn, {c.id: meaning for c, meaning in reading.outcomes if c.id and c.record_id not in missing})
    _note_intake(conn, reading.notes, ids, task_id)
    _follow(conn, reading, ids, task_id)
    settled = reading.gone.keys() | reading.asked.keys() | reading.rerouted
    _sort_out(conn, taken, {ids[r]: s for r, s in sheets.items() if r in ids and r not in settled}, before, task_id)
    if reading.later:
        taken.add(take(conn, reading.later, read, task_id, as_of=as_of))
    return taken


@dataclass(slots=True)
class _Reading:
    """Changes read into sheets, one after the other, and what is to follow."""

    sheets: dict[str, Sheet]
    touched: Mapping[str, datetime]
    as_of: datetime | None
    taken: Taken = field(default_factory=Taken)
    notes: list[tuple[Change, Folded]] = field(default_factory=list)
    outcomes: list[tuple[Change, Meaning]] = field(default_factory=list)
    gone: dict[str, Reason] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    rerouted: set[str] = field(default_factory=set)
    later: list[Change] = field(default_factory=list)

    def read(self, change: Change, read: Read) -> None:
        """Read one change, or keep it for later."""
        record, taken = change.record_id, self.taken
        if record in self.gone or record in self.asked or record in self.rerouted:
            self.later.append(change)
            return
        folded = self._late(change) or read(change, self.sheets.get(record))
        self.outcomes.append((change, folded.meaning))
        taken.meanings[folded.meaning] = taken.meanings.get(folded.meaning, 0) + 1
        if folded.sheet is not None:
            self.sheets[record] = folded.sheet
            self.notes.append((change, folded))
        if folded.withdrawn is not None:
            self.gone[record] = folded.withdrawn
        if folded.asked is not None:
            self.asked[record] = folded.asked
        if folded.meaning is Meaning.REROUTED:
            self.rerouted.add(record)
        if folded.meaning is Meaning.RESYNC:
            taken.resync_since = min(taken.resync_since or change.committed_at, change.committed_at)

    def again(self) -> set[str]:
        """The records that start anew."""
        return {c.record_id for c, meaning in self.outcomes if meaning in {Meaning.NEW, Meaning.MOVED}}

    def _late(self, change: Change) -> Folded | None:
        touched = self.touched.get(change.record_id)
        late = self.as_of is not None and touched is not None and touched > self.as_of
        return fold_late(self.sheets[change.record_id], change) if late else None


def _follow(conn: sa.Connection, reading: _Reading, ids: Mapping[str, int], task_id: str) -> None:
    """End what is gone, take back what is to be routed again, and do what people asked for."""
    for reason in sorted(set(reading.gone.values())):
        leaving = sorted(ids[r] for r, why in reading.gone.items() if why is reason and r in ids)
        leave(conn, leaving, reason, task_id)
        reading.taken.withdrawn += leaving
    if asked := {ids[r]: one for r, one in reading.asked.items() if r in ids}:
        reading.taken.add(heed(conn, asked, task_id))
    if changed := {ids[r]: reading.sheets[r] for r in reading.rerouted if r in ids}:
        reading.taken.add(take_back(conn, changed, task_id))


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
