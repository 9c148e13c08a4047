"""Many rows as one parameter: a JSON text that Postgres reads as a table, at a tenth of the cost of parameters."""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from storage.postgres.values import clean

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
_PLAIN = frozenset({str, int, bool, type(None)})


def names(columns: Iterable[str]) -> str:
    """These columns as a statement names them."""
    return ", ".join(f'"{name}"' for name in columns)


def typed(table: sa.Table, columns: Iterable[str]) -> str:
    """These columns with their types, for `json_to_recordset(...) AS row (...)`."""
    return ", ".join(f'"{name}" {table.c[name].type.compile(_DIALECT)}' for name in columns)


def bigints_of(ids: Iterable[int]) -> str:
    """The ids as one parameter, for `CAST(:ids AS bigint[])`."""
    return "{" + ",".join(map(str, ids)) + "}"


def to_json(rows: Sequence[Mapping[str, Any] | str]) -> str:
    """The rows as JSON that Postgres takes: NUL, lone surrogates and numbers that are none are made holdable.

    Numbers of the rows themselves are taken as they are; those in a mapping inside of them, such as a body, may be
    none.
    """
    inner = (value for row in rows if isinstance(row, Mapping) for value in row.values() if isinstance(value, dict))
    if not all(_is_plain(value.values()) for value in inner):
        return json.dumps(clean(rows))
    try:
        text = orjson.dumps(rows)
    except TypeError:  # a lone surrogate, or a number of more than 64 bits
        return json.dumps(clean(rows))
    return (orjson.dumps(clean(rows)) if b"\\u0000" in text else text).decode()


def _is_plain(values: Collection[Any]) -> bool:
    """Whether every value means the same in JSON."""
    odd = set(map(type, values)) - _PLAIN
    if not odd:
        return True
    if not odd <= {float, list, dict}:
        return False
    return all(
        math.isfinite(value)
        if isinstance(value, float)
        else _is_plain(value if isinstance(value, list) else value.values())
        for value in values
        if type(value) in odd
    )
