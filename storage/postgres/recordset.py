"""Many rows as one parameter: a JSON text that Postgres reads as a table, at a tenth of the cost of parameters."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
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


def to_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as JSON that Postgres takes: NUL, lone surrogates and numbers that are none are made holdable.

    A mapping inside a row, such as a body, is expected to be flat; in a deeper one numbers are looked at as well.
    """
    if not all(_is_plain(value) for row in rows for value in row.values() if isinstance(value, dict)):
        return json.dumps(clean(rows))
    try:
        text = orjson.dumps(rows)
    except TypeError:  # a lone surrogate, or a number of more than 64 bits
        return json.dumps(clean(rows))
    return (orjson.dumps(clean(rows)) if b"\\u0000" in text else text).decode()


def _is_plain(body: Mapping[str, Any]) -> bool:
    """Whether every value of this body means the same in JSON."""
    odd = [value for value in body.values() if value.__class__ not in _PLAIN]
    return not odd or all(isinstance(value, float) and math.isfinite(value) for value in odd)
