"""Up to which number a market had decided at a moment: found by halving, as times rise with numbers."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

#: Numbers follow the turnstile's clock; where that was set back a little, so many are looked through.
NEAR = 2_000
Number = tuple[int, int]  # generation, seq
NONE: Number = (0, 0)


def last_before(connection: sa.Connection, market: str, at: datetime) -> Number:
    """The number of the market's last decision or correction at this moment or before; zeros when there is none."""
    return max(_last(connection, table, market, at) for table in ("decisions", "corrections"))


def _last(connection: sa.Connection, table: str, market: str, at: datetime) -> Number:
    first, last = _FIRST[table], _LAST[table]

    def after(generation: int, seq: int) -> Any:
        return connection.execute(first, {"market": market, "generation": generation, "seq": seq}).one_or_none()

    def upto(generation: int) -> int:
        """The last number of a generation."""
        row = connection.execute(last, {"market": market, "generation": generation}).one_or_none()
        return 0 if row is None else int(row.seq)

    end = connection.execute(_END[table], {"market": market}).one_or_none()
    row = None if end is None else after(0, 0)
    if end is None or row is None or row.at > at:
        return NONE if row is None else _near(connection, table, market, NONE, at)
    low, high = int(row.generation), int(end.generation)  # the first of `low` is not after the moment
    while low < high:
        middle = (low + high + 1) // 2
        found = after(middle, 0)
        if found is not None and found.at <= at:
            low = int(found.generation)
        else:
            high = middle - 1
    least, most = 0, upto(low)  # likewise, within the generation
    while least < most:
        middle = (least + most + 1) // 2
        found = after(low, middle)
        if found is not None and found.generation == low and found.at <= at:
            least = int(found.seq)
        else:
            most = middle - 1
    return _near(connection, table, market, (low, least), at)


def _near(connection: sa.Connection, table: str, market: str, found: Number, at: datetime) -> Number:
    values = {"market": market, "generation": found[0], "seq": found[1], "at": at, "near": NEAR}
    row = connection.execute(_NEAR[table], values).one_or_none()
    return found if row is None else max(found, (row.generation, row.seq))


_TABLES = ("decisions", "corrections")
_FIRST = {
    table: sa.text(f"""
        SELECT generation, seq, at FROM {table}
        WHERE market = :market AND (generation, seq) >= (:generation, :seq) ORDER BY generation, seq LIMIT 1
    """)  # noqa: S608 - names of ours, here and below
    for table in _TABLES
}
_LAST = {
    table: sa.text(f"""
        SELECT seq FROM {table} WHERE market = :market AND generation = :generation
        ORDER BY generation DESC, seq DESC LIMIT 1
    """)  # noqa: S608
    for table in _TABLES
}
_END = {
    table: sa.text(f"""
        SELECT generation FROM {table} WHERE market = :market ORDER BY generation DESC, seq DESC LIMIT 1
    """)  # noqa: S608
    for table in _TABLES
}
_NEAR = {
    table: sa.text(f"""
        SELECT generation, seq FROM (
            SELECT generation, seq, at FROM {table}
            WHERE market = :market AND (generation, seq) > (:generation, :seq) ORDER BY generation, seq LIMIT :near
        ) next WHERE at <= :at ORDER BY generation DESC, seq DESC LIMIT 1
    """)  # noqa: S608
    for table in _TABLES
}
