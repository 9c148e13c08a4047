"""Seals over what was written: batches of rows, their hashes in a tree, each root chained to the seals before.

How hashes are made, and how anyone can check them, is said in routing/seal_verify.py.
"""

import json
import secrets
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from routing import seal_verify as hashes
from storage.postgres.engine import transaction
from storage.postgres.export import stream
from storage.postgres.tables import metadata
from storage.postgres.walls import as_member

#: For so long a row may still come whose number is lower than those already sealed: no transaction lives longer.
LATE = timedelta(minutes=3)
#: Batches made in one run at most; the next run goes on.
BATCHES = 50
Row = dict[str, str | None]
#: A row that has no seal: its market, generation, id and number, and what it says.
Found = tuple[str, int, str, int, Row]
_NO_END = (2**62, 2**62)


@dataclass(frozen=True, slots=True)
class Kind:
    """A table whose rows are sealed: what of a row never changes, and how rows are found that are not sealed yet."""

    name: str
    number: str  # of a row; in the order of numbers rows are sealed
    besides: frozenset[str] = frozenset()  # columns that may change
    of_market: bool = False  # numbers count by market and generation
    where: str = "true"
    few: bool = False  # all of them are looked at each time, whatever their numbers

    @property
    def columns(self) -> list[str]:
        return [column.name for column in metadata.tables[self.name].columns if column.name not in self.besides]


#: A policy is sealed once it was in force; its state goes on changing.
_OF_A_POLICY = frozenset({"state", "retired_at", "publish_at", "problem", "findings", "edition"})
KINDS = {
    kind.name: kind
    for kind in (
        Kind("policies", "version", _OF_A_POLICY, where="published_at IS NOT NULL", few=True),
        Kind("audit", "id"),
        Kind("decisions", "seq", of_market=True),
        Kind("corrections", "seq", of_market=True),
        Kind("timeline", "id"),
    )
}


class Seals:
    """Seals what was committed, and tells what was sealed."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime] | None = None) -> None:
        self._engine, self._clock = engine, clock  # None: by the ledger's

    def seal(self, batches: int = BATCHES, *, only: Container[str] = KINDS) -> int:
        """Seal what is committed and not sealed yet; how many rows. Safe to run twice, and beside itself."""
        total, made = 0, 0
        for kind in [one for one in KINDS.values() if one.name in only]:
            look_back = True
            while made < batches:
                rows, look_back = self._seal(kind, look_back=look_back)
                total, made = total + rows, made + bool(rows)
                if rows < hashes.SIZE:
                    break
        return total

    def _seal(self, kind: Kind, *, look_back: bool) -> tuple[int, bool]:
        """One batch: how many rows it has, and whether there may be more that came late."""
        with transaction(self._engine) as connection:
            connection.execute(_TAKE_TIME)
            if not connection.scalar(_ONE_AT_A_TIME):
                return 0, False
            upto = dict(connection.scalar(_UPTO, {"kind": kind.name}) or {})
            late = _late(connection, kind, upto) if look_back and (upto or kind.few) else []
            # What lies behind the last seal has none; there is nothing to compare it with.
            new = [] if kind.few else _unsealed(connection, kind, upto, None, hashes.SIZE - len(late))
            rows = [*late, *new]
            if not rows:
                return 0, False
            for market, generation, _, number, _ in rows:
                upto[market] = max(tuple(upto.get(market, (0, -1))), (generation, number))
            at = self._clock() if self._clock else connection.scalar(_NOW)
            _write(connection, kind, [(ref, number, row) for _, _, ref, number, row in rows], upto, at)
            return len(rows), len(late) == hashes.SIZE

    def newest(self) -> tuple[int, str] | None:
        """Number and hash of the last seal: keep it elsewhere, and nobody can change what was before."""
        with transaction(self._engine) as connection:
            row = connection.execute(_NEWEST).one_or_none()
            return (row.number, row.head.hex()) if row else None

    def headers(self) -> Iterator[dict[str, Any]]:
        """Every seal without its rows, the oldest first."""
        with stream(self._engine) as connection:
            for row in connection.execute(_HEADERS, execution_options={"stream_results": True}):
                yield {"seal": _header(row), "head": row.head.hex(), "removed": row.removed_at is not None}

    def chain(self, since: int = 1) -> Iterator[dict[str, Any]]:
        """Every seal with its rows as they are now, as seal_verify.py reads them."""
        number = since
        while True:
            with transaction(self._engine) as connection:
                connection.execute(_TAKE_TIME)
                seal = connection.execute(_NEXT, {"number": number}).one_or_none()
                if seal is None:
                    return
                rows = _rows(connection, seal)
            removed = seal.removed_at is not None
            yield {"seal": _header(seal), "head": seal.head.hex(), "key": seal.key.hex(), "removed": removed}
            for ref, kept in zip(seal.refs, _leaves(seal), strict=True):
                yield {"ref": ref, "leaf": kept.hex(), "row": rows.get(ref)}
            number = seal.number + 1

    def check(self, kept: tuple[int, str] | None = None) -> Iterator[str]:
        """Everything that is not as it was sealed, one sentence each; the ledger is read, seal by seal.

        `kept`: number and hash of a seal that was kept elsewhere.
        """
        chain = hashes.Chain()
        yield from chain.read(json.dumps(line) for line in self.chain())
        if kept is not None:
            yield from hashes.compare(chain.heads, kept)
        with transaction(self._engine) as connection:
            connection.execute(_TAKE_LONG)
            connection.execute(_NO_LOOPS)
            for kind in KINDS.values():
                for ref in () if kind.few else connection.execute(_added(kind), {"late": LATE}).scalars():
                    yield f"{kind.name} {ref} was put in after its neighbours were sealed"
            for digest in connection.execute(_CONTENTS).scalars():
                yield f"the table or area {digest} is not what its digest says"

    def removals(self) -> list[str]:
        """What was removed for its age, as the newest sealed note about it says; nothing where nothing was."""
        with transaction(self._engine) as connection:
            notes = [row for row in connection.execute(NOTES, {"action": hashes.REMOVES}) if row.sealed]
        return [
            f"{', '.join(f'{kind} up to seal {number}' for kind, number in sorted(note.detail['upto'].items()))}, "
            f"written before {note.detail['before']}, kept for {note.detail['days']} days (audit {note.id})"
            for note in notes[:1]
        ]

    def proof(self, member_id: int, *, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """What was written about a member's offers, each with its way to the newest seal; nothing of anybody else."""
        with as_member(self._engine, member_id) as connection:
            mine = connection.execute(_MY_OFFERS).all()
        values = {"leads": sorted({row.lead_id for row in mine}), "offers": [str(row.id) for row in mine]}
        with transaction(self._engine) as connection:
            connection.execute(_TAKE_TIME)
            newest = connection.execute(_NEWEST).one_or_none()
            asked = values | {"member": member_id, "after": after, "limit": limit}
            entries = connection.execute(_MY_ENTRIES, asked).all()
            seals, proved = _proved(connection, entries)
            numbers = {n for number in seals for n in hashes.way(newest.number, number)} if newest else set()
            headers = connection.execute(_SOME, {"numbers": sorted(numbers | ({newest.number} if newest else set()))})
            return {
                "what": "fairturn proof",
                "head": {"number": newest.number, "hash": newest.head.hex()} if newest else None,
                "seals": [_header(row) for row in headers],
                "entries": proved,
                "unsealed": len(entries) - len(proved),
                "next": entries[-1].number if len(entries) == limit else None,
            }


def _late(connection: sa.Connection, kind: Kind, upto: Mapping[str, Any]) -> list[Found]:
    """Rows before the last seal that were not settled when it was made."""
    floor = None if kind.few else connection.execute(_FLOOR, {"kind": kind.name, "late": LATE}).one_or_none()
    connection.execute(_NO_LOOPS)
    since, after = (floor.upto, floor.number) if floor else ({}, 0)
    return _unsealed(connection, kind, since, after, hashes.SIZE, upto=None if kind.few else upto)


def _unsealed(  # noqa: PLR0917 - of one query
    connection: sa.Connection,
    kind: Kind,
    since: Mapping[str, Any],
    after: int | None,
    limit: int,
    upto: Mapping[str, Any] | None = None,
) -> list[Found]:
    """Settled rows behind a number, in order; with `after`, those that no seal after this one has."""
    found: list[Found] = []
    for market in connection.execute(_MARKETS).scalars() if kind.of_market else [""]:
        generation, number = since.get(market, (0, -1))
        to_generation, to_number = _NO_END if upto is None else upto.get(market, (0, -1))
        values = {"market": market, "generation": generation, "number": number, "limit": limit - len(found)}
        values |= {"kind": kind.name, "after": after, "to_generation": to_generation, "to_number": to_number}
        for row in connection.execute(_select(kind, compare=after is not None), values):
            ref, at, of_generation, *told = row
            found.append((market, of_generation, ref, at, dict(zip(kind.columns, told, strict=True))))
        if len(found) >= limit:
            break
    return found


def _select(kind: Kind, *, compare: bool) -> sa.TextClause:
    """The rows of a kind as text: as Postgres writes each value, in UTC.

    Settled is what was written by a transaction before which every other one is over as well.
    """
    table, number = metadata.tables[kind.name], kind.number
    key = next(iter(table.primary_key.columns)).name
    texts = ", ".join(f"t.{name}\\:\\:text AS of_{name}" for name in kind.columns)
    generation = "t.generation" if kind.of_market else "0"
    if kind.of_market:
        since = (
            f"t.market = :market AND (t.generation, t.{number}) > (:generation, :number) "
            f"AND (t.generation, t.{number}) <= (:to_generation, :to_number)"
        )
    else:
        since = (
            f"CAST(:market AS text) = '' AND CAST(:generation AS bigint) = 0 AND t.{number} > :number "
            f"AND CAST(:to_generation AS bigint) >= 0 AND t.{number} <= :to_number"
        )
    sealed = "CAST(:kind AS text) <> '' AND CAST(:after AS bigint) IS NULL"
    if compare:
        sealed = f"""NOT EXISTS (
            SELECT FROM (SELECT unnest(refs) AS ref FROM seals WHERE kind = :kind AND number > :after) s
            WHERE s.ref = CAST(t.{key} AS text)
        )"""  # noqa: S608 - names of our own tables
    return sa.text(f"""
        SELECT t.{key}\\:\\:text AS ref, t.{number} AS number, {generation} AS generation, {texts}
        FROM {table.name} t
        WHERE {since} AND {kind.where} AND age(t.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())\\:\\:xid)
          AND {sealed}
        ORDER BY {"t.generation, " if kind.of_market else ""}t.{number} LIMIT :limit
    """)  # noqa: S608 - names of our own tables


def _added(kind: Kind) -> sa.TextClause:
    """Rows among sealed ones that no seal has: they were put in afterwards. What came late has been sealed since."""
    table, number = metadata.tables[kind.name], kind.number
    key = next(iter(table.primary_key.columns)).name
    if kind.of_market:
        at = ", ".join(f"CAST(u.upto->t.market->>{n} AS bigint)" for n in (0, 1))
        among = f"(t.generation, t.{number}) <= ({at})"
    else:
        among = f"t.{number} <= CAST(u.upto->''->>1 AS bigint)"
    return sa.text(f"""
        SELECT CAST(t.{key} AS text) FROM {table.name} t, (
            SELECT upto FROM seals WHERE kind = '{kind.name}' AND at < clock_timestamp() - 2 * CAST(:late AS interval)
            ORDER BY number DESC LIMIT 1
        ) u
        WHERE {among} AND NOT EXISTS (
            SELECT FROM (SELECT unnest(refs) AS ref FROM seals WHERE kind = '{kind.name}') s
            WHERE s.ref = CAST(t.{key} AS text)
        )
        ORDER BY t.{number} LIMIT 100
    """)  # noqa: S608 - names of our own tables


def _write(
    connection: sa.Connection, kind: Kind, rows: Sequence[tuple[str, int, Row]], upto: Mapping[str, Any], at: Any
) -> None:
    key = secrets.token_bytes(32)
    leaves = [hashes.leaf(hashes.salt_of(key, ref), row) for ref, _, row in rows]
    newest = connection.execute(_NEWEST).one_or_none()
    number = 1 + (newest.number if newest else 0)
    before = {row.number: row.head for row in connection.execute(_HEADS, {"numbers": hashes.linked(number)})}
    values: dict[str, Any] = {
        "number": number,
        "kind": kind.name,
        "at": at,
        "columns": kind.columns,
        "key": key,
        "refs": [ref for ref, _, _ in rows],
        "leaves": b"".join(leaves),
        "root": hashes.levels(leaves, key)[-1][0],
        "links": [before[n] for n in hashes.linked(number)],
        "upto": upto,
        "low": min(one for _, one, _ in rows),
        "high": max(one for _, one, _ in rows),
    }
    table = metadata.tables["seals"]
    head = bytes.fromhex(hashes.head(_header(SimpleNamespace(**values))))
    connection.execute(sa.insert(table).values(head=head, **values))


def _header(seal: Any) -> dict[str, Any]:
    """What the head of a seal is the hash of."""
    return {
        "number": seal.number,
        "kind": seal.kind,
        "at": seal.at.isoformat(timespec="microseconds"),
        "columns": list(seal.columns),
        "root": seal.root.hex(),
        "links": [link.hex() for link in seal.links],
    }


def _leaves(seal: Any) -> list[bytes]:
    return [seal.leaves[at : at + 32] for at in range(0, len(seal.leaves), 32)]


def _rows(connection: sa.Connection, seal: Any) -> dict[str, Row]:
    """The rows of a seal as they are now, by their ids; those that are gone are missing."""
    table = metadata.tables[seal.kind]
    key = next(iter(table.primary_key.columns))
    texts = ", ".join(f"t.{name}\\:\\:text" for name in seal.columns)
    kind = key.type.compile(connection.dialect)
    query = f"""
        SELECT t.{key.name}\\:\\:text, {texts} FROM {table.name} t
        WHERE t.{key.name} = ANY(CAST(CAST(:refs AS text[]) AS {kind}[]))
    """  # noqa: S608 - names of our own tables, and columns that a seal names
    found = connection.execute(sa.text(query), {"refs": list(seal.refs)})
    return {ref: dict(zip(seal.columns, told, strict=True)) for ref, *told in found}


def _proved(connection: sa.Connection, entries: Sequence[Any]) -> tuple[set[int], list[dict[str, Any]]]:
    """The seals, and each entry with its salt and its way to the root of its seal; what is not sealed is left out."""
    if not entries:
        return set(), []
    columns = KINDS["timeline"].columns
    rows = {entry.ref: dict(zip(columns, entry[2:], strict=True)) for entry in entries}
    bounds = {"low": min(e.number for e in entries), "high": max(e.number for e in entries)}
    found: dict[str, dict[str, Any]] = {}
    numbers = set()
    for seal in connection.execute(_OVER, bounds | {"refs": list(rows)}):
        leaves = _leaves(seal)
        tree = hashes.levels(leaves, seal.key)
        for ref, kept in [(ref, leaves[at]) for at, ref in enumerate(seal.refs) if ref in rows]:
            row = {name: rows[ref][name] for name in seal.columns}
            salt = hashes.salt_of(seal.key, ref)
            steps = hashes.path(tree, kept)
            found[ref] = {"seal": seal.number, "row": row, "salt": salt.hex(), "path": steps}
            numbers.add(seal.number)
    return numbers, [found[ref] for ref in rows if ref in found]


_ONE_AT_A_TIME = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('fairturn:seal'))")
_TAKE_TIME = sa.text("SELECT set_config('statement_timeout', '60s', true), set_config('timezone', 'UTC', true)")
#: Rows and sealed rows are many, whatever the planner thinks: they are brought together by hashes.
_NO_LOOPS = sa.text("SELECT set_config('enable_nestloop', 'off', true)")
#: For looking through all there is, once in a while.
_TAKE_LONG = sa.text("SELECT set_config('statement_timeout', '3600s', true), set_config('timezone', 'UTC', true)")
_NOW = sa.text("SELECT clock_timestamp()")
_MARKETS = sa.text("SELECT name FROM markets ORDER BY name")
_NEWEST = sa.text("SELECT number, head FROM seals ORDER BY number DESC LIMIT 1")
_HEADS = sa.text("SELECT number, head FROM seals WHERE number = ANY(CAST(:numbers AS bigint[]))")
_HEADERS = sa.text("SELECT number, kind, at, columns, root, links, head, removed_at FROM seals ORDER BY number")
_SOME = sa.text("""
    SELECT number, kind, at, columns, root, links FROM seals WHERE number = ANY(CAST(:numbers AS bigint[]))
    ORDER BY number
""")
_NEXT = sa.text("SELECT * FROM seals WHERE number >= :number ORDER BY number LIMIT 1")
_UPTO = sa.text("SELECT upto FROM seals WHERE kind = :kind ORDER BY number DESC LIMIT 1")
#: What came before this was settled when it was made, and everything before its end has been looked at again since.
_FLOOR = sa.text("""
    SELECT number, upto FROM seals WHERE kind = :kind AND at < clock_timestamp() - CAST(:late AS interval)
    ORDER BY number DESC LIMIT 1
""")
_OVER = sa.text("""
    SELECT number, key, refs, leaves, columns FROM seals
    WHERE kind = 'timeline' AND high >= :low AND low <= :high AND refs && CAST(:refs AS text[]) ORDER BY number
""")
_MY_OFFERS = sa.text("SELECT id, lead_id FROM offers")
_MY_ENTRIES = sa.text(
    """
    SELECT t.id\\:\\:text AS ref, t.id AS number, {columns} FROM timeline t
    WHERE t.lead_id = ANY(CAST(:leads AS bigint[])) AND t.detail->>'offer' = ANY(CAST(:offers AS text[]))
      AND coalesce(t.detail->>'member', CAST(:member AS text)) = CAST(:member AS text) AND t.id > :after
    ORDER BY t.id LIMIT :limit
    """.format(columns=", ".join(f"t.{name}\\:\\:text AS of_{name}" for name in KINDS["timeline"].columns))  # noqa: S608 - names of ours
)
#: Of tables and areas, whose name is the digest of what is in them.
_CONTENTS = sa.text("""
    SELECT digest FROM contents WHERE digest <> 'sha256:' || encode(sha256(body), 'hex') ORDER BY digest
""")
#: What was said before rows were removed for their age, the newest first, and whether it is sealed.
NOTES = sa.text("""
    SELECT id, detail, EXISTS (
        SELECT FROM seals s WHERE s.kind = 'audit' AND s.refs @> ARRAY[CAST(audit.id AS text)]
    ) AS sealed
    FROM audit WHERE action = :action ORDER BY id DESC LIMIT 5
""")
