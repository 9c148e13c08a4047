"""Decisions on their way into the ledger: a batch at once, packed as Postgres reads it (COPY, binary format).

The format is told in the Postgres manual under COPY, an array is what `array_recv` takes. Numbers go from columns to
the wire as they are: a decision has some fifty candidates with ten numbers each.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import orjson
import psycopg
import sqlalchemy as sa
from numpy.typing import NDArray

from routing.columns import WEIGHED, Column, gather
from routing.decision import Decision
from routing.errors import GiveUp
from routing.limits import written_stops, written_uses
from storage.postgres import tables as t
from storage.postgres.values import clean

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_NO_STOPS, _NO_USES = b"\0\0\0\3\1{}", b"\0\0\0\3\1[]"  # as jsonb
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT2, _INT4, _INT8, _FLOAT4, _FLOAT8 = 21, 23, 20, 700, 701
#: The columns of candidates: the row's field, its type by number in Postgres, and how it is laid on the wire.
_ARRAYS = (
    ("member", _INT4, ">i4"),
    ("distance_m", _FLOAT4, ">f4"),
    ("member_ring", _INT2, ">i2"),
    ("weight", _INT4, ">i4"),
    ("capacity", _INT4, ">i4"),
    ("tier_rank", _INT2, ">i2"),
    ("gate", _INT2, ">i2"),
    ("open", _INT4, ">i4"),
    ("standing", _INT8, ">i8"),
    ("served", _INT8, ">i8"),
)
_FIXED = (
    "id", "lead_id", "attempt", "at", "policy_version", "roster_version", "generation", "seq", "ring", "chosen",
    "nearest_m", "units", "turn", "market", "pool", "rotation", "mode", "reason", "rule", "rings_m", "inputs",
    "stops", "uses",
)  # fmt: skip
#: The fields that are always there, each behind its length; the number of all fields in front.
_START = struct.Struct("!h i16s iq ii iq ii iq iq iq")
_COPY = (
    f"COPY {t.decisions.name} ({', '.join((*_FIXED, *(name for name, _, _ in _ARRAYS)))}) FROM STDIN (FORMAT BINARY)"
)


def write_decisions(conn: sa.Connection, decisions: Sequence[Decision]) -> None:
    """Write the decisions in the connection's transaction. Errors are those of any statement."""
    if not decisions:
        return
    raw = conn.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("the ledger is reached by psycopg")
    rows = packed(decisions)
    try:
        with raw.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(rows)
    except psycopg.Error as exc:
        raise sa.exc.DBAPIError.instance(_COPY, (), exc, psycopg.Error, hide_parameters=True) from exc


def packed(decisions: Sequence[Decision]) -> bytes:
    """The whole file, header and trailer included."""
    columns, sizes = gather(WEIGHED, [d.weighed for d in decisions])
    arrays = [_elements(column, oid, kind) for column, (_, oid, kind) in zip(columns, _ARRAYS, strict=True)]
    heads = _array_heads(sizes)
    parts = [_HEADER]
    start, width = 0, len(heads) // len(decisions)
    for number, (decision, size) in enumerate(zip(decisions, sizes.tolist(), strict=True)):
        parts.append(_scalars(decision))
        for at, (data, step) in enumerate(arrays):
            head = number * width + at * _ARRAY_HEAD.itemsize
            parts += (
                (heads[head : head + _ARRAY_HEAD.itemsize], data[start * step : (start + size) * step])
                if size
                else (_empty_array(_ARRAYS[at][1]),)
            )
        start += size
    parts.append(_TRAILER)
    return b"".join(parts)


_ARRAY_HEAD = np.dtype([(name, ">i4") for name in ("length", "dimensions", "nulls", "type", "size", "first")])


def _array_heads(sizes: NDArray[np.int64]) -> bytes:
    """For each decision the heads of its arrays, one behind the other."""
    heads = np.zeros((len(sizes), len(_ARRAYS)), dtype=_ARRAY_HEAD)
    steps = np.array([4 + np.dtype(kind).itemsize for _, _, kind in _ARRAYS])
    heads["length"] = 20 + sizes[:, None] * steps[None, :]
    heads["dimensions"], heads["first"] = 1, 1
    heads["type"] = np.array([oid for _, oid, _ in _ARRAYS])[None, :]
    heads["size"] = sizes[:, None]
    return heads.tobytes()


def _empty_array(oid: int) -> bytes:
    return struct.pack("!iiii", 12, 0, 0, oid)


def _elements(column: Column, oid: int, kind: str) -> tuple[bytes, int]:
    """All elements of a column, each behind its length; and how many bytes each takes."""
    if oid == _INT2 and len(column) and not -(2**15) <= column.min() <= column.max() < 2**15:
        raise GiveUp("a ring or a tier's rank is above 32,767")
    elements = np.empty(len(column), dtype=[("length", ">i4"), ("value", kind)])
    elements["length"], elements["value"] = np.dtype(kind).itemsize, column
    return elements.tobytes(), elements.dtype.itemsize


def _scalars(d: Decision) -> bytes:
    return b"".join(
        (
            _START.pack(
                len(_FIXED) + len(_ARRAYS),
                16, d.id.bytes,
                8, d.lead,
                4, d.attempt,
                8, (d.at - _EPOCH) // _MICROSECOND,
                4, d.policy_version,
                8, d.roster_version,
                8, d.generation,
                8, d.seq,
            ),
            _NULL if d.ring is None else struct.pack("!ih", 2, d.ring),
            _NULL if d.chosen is None else struct.pack("!ii", 4, d.chosen),
            _NULL if d.nearest_m is None else struct.pack("!if", 4, d.nearest_m),
            struct.pack("!iiiq", 4, d.units, 8, d.turn),
            *map(_text, (d.market, d.pool, d.rotation, d.mode.value, str(d.reason), d.rule)),
            _floats(d.rings_m),
            _jsonb(d.inputs),
            _jsonb(written_stops(d.stops)) if d.stops else _NO_STOPS,
            _jsonb(written_uses(d.uses)) if d.uses else _NO_USES,
        )
    )  # fmt: skip


@cache
def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!i", len(data)) + data


def _jsonb(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """What `jsonb_recv` takes: its version, then the text."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if value else b"{}"
    except TypeError:  # a lone surrogate, or a number of more than 64 bits
        text = json.dumps(clean(value), sort_keys=True).encode()
    data = b"\x01" + text
    return struct.pack("!i", len(data)) + data


@cache
def _floats(values: tuple[float, ...]) -> bytes:
    if not values:
        return _empty_array(_FLOAT8)
    data = b"".join(struct.pack("!id", 8, value) for value in values)
    return struct.pack("!iiiiii", 20 + len(data), 1, 0, _FLOAT8, len(values), 1) + data
