"""An org that outlives its process: everything committed goes into one SQLite file.

Written without fsync: it survives a killed process, not a failed machine.
"""

import json
import random
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox.avro import EventSchema
from sandbox.bus import Event
from sandbox.clock import Clock
from sandbox.journal import Row
from sandbox.org import Options, Org, new_org
from sandbox.schema import Field, Rule, SObject
from sandbox.tls import Identity, fresh_enough, identity

_TABLES = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS object (name TEXT PRIMARY KEY, shape TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event_schema (id TEXT PRIMARY KEY, name TEXT NOT NULL, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS record (object TEXT, id TEXT, value TEXT NOT NULL, PRIMARY KEY (object, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS issued (number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, entity TEXT, event_id TEXT,
  schema_id TEXT, payload BLOB);
"""


class SqliteJournal:
    """The file. Rows of one commit become visible together."""

    def __init__(self, path: Path) -> None:
        self.file = sqlite3.connect(path, check_same_thread=False)
        self.file.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _TABLES)

    def records(self, rows: Iterable[Row]) -> None:
        self.file.executemany(
            "INSERT INTO record VALUES (?, ?, ?) ON CONFLICT (object, id) DO UPDATE SET value = excluded.value",
            [(name, record_id, json.dumps(record)) for name, record_id, record in rows],
        )

    def issued(self, number: int, at_ms: int, event: Event | None) -> None:
        told = (event.entity, event.event_id, event.schema_id, event.payload) if event else (None, None, None, None)
        self.file.execute("INSERT OR REPLACE INTO issued VALUES (?, ?, ?, ?, ?, ?)", (number, at_ms, *told))

    def shape(self, sobject: SObject, described: EventSchema) -> None:
        self.file.execute("INSERT OR REPLACE INTO object VALUES (?, ?)", (sobject.name, json.dumps(asdict(sobject))))
        self.file.execute(
            "INSERT OR REPLACE INTO event_schema VALUES (?, ?, ?)", (described.id, described.name, described.json)
        )

    def forget(self) -> None:
        self.file.execute("DELETE FROM record")
        self.file.execute("DELETE FROM issued")

    def flush(self, org: Org) -> None:
        facts = {
            "org_id": org.id,
            "pod": org.pod,
            "offset_ms": org.clock.offset_ms,
            "numbers": org.numbers,
            "commit_number": org.commit_number,
            "tip": org.bus.tip,
            "selected": sorted(org.selected),
            "options": asdict(org.options),
            "purged": org.purged,
        }
        self.file.executemany(
            "INSERT OR REPLACE INTO fact VALUES (?, ?)", [(name, json.dumps(value)) for name, value in facts.items()]
        )
        self.file.commit()

    def identity(self) -> Identity:
        """The authority that clients of the last start trust already; a new one when there is none, or it is old."""
        kept = self.facts().get("identity")
        if kept:
            found = Identity(*(part.encode() for part in kept))
            if fresh_enough(found.certificate):
                return found
        made = identity()
        parts = json.dumps([part.decode() for part in (made.ca, made.certificate, made.key)])
        self.file.execute("INSERT OR REPLACE INTO fact VALUES ('identity', ?)", (parts,))
        self.file.commit()
        return made

    def facts(self) -> dict[str, Any]:
        return {name: json.loads(value) for name, value in self.file.execute("SELECT name, value FROM fact")}


def open_org(journal: SqliteJournal, *, bare: bool, seed: int | None) -> Org:
    """The org kept in this file; a new one when the file is new, and only then are `bare` and `seed` heard."""
    facts = journal.facts()
    if "org_id" in facts:
        return _restored(journal, facts)
    org = new_org(bare=bare, seed=seed, journal=journal)
    for sobject in org.types.values():
        journal.shape(sobject, org.current[sobject.name])
    journal.flush(org)
    return org


def _restored(journal: SqliteJournal, facts: dict[str, Any]) -> Org:
    shapes = [_sobject(json.loads(shape)) for (shape,) in journal.file.execute("SELECT shape FROM object")]
    org = Org(
        id=facts["org_id"],
        pod=facts["pod"],
        clock=Clock(facts["offset_ms"]),
        dice=random.Random(),  # a seed would deal the ids of the first start again
        types={sobject.name: sobject for sobject in shapes},
        options=Options(**facts["options"]),
        journal=journal,
        selected=set(facts["selected"]),
        numbers=facts["numbers"],
        commit_number=facts["commit_number"],
        purged=[(name, record_id, at_ms) for name, record_id, at_ms in facts.get("purged", ())],
    )
    for name, record_id, value in journal.file.execute("SELECT object, id, value FROM record"):
        org.tables[name].put(record_id, json.loads(value))
    for schema_id, name, text in journal.file.execute("SELECT id, name, json FROM event_schema"):
        org.schemas.setdefault(schema_id, EventSchema(name, text, schema_id, None, {}, {}, {}))
    _refill(org, journal)
    org.bus.tip = facts["tip"]
    return org


def _refill(org: Org, journal: SqliteJournal) -> None:
    for number, at_ms, *told in journal.file.execute("SELECT * FROM issued ORDER BY number"):
        org.bus.issued[number] = at_ms
        if told[0] is not None:
            org.bus.events.append(Event(number, at_ms, *told))


def _sobject(shape: dict[str, Any]) -> SObject:
    fields: list[dict[str, Any]] = [
        {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        for row in shape["fields"]
    ]
    return SObject(
        name=shape["name"],
        prefix=shape["prefix"],
        label=shape["label"],
        fields=tuple(Field(**row) for row in fields),
        rules=tuple(Rule(**rule) for rule in shape["rules"]),
    )
