"""Columns that read like tuples of rows: a batch's candidates and what was seen of them, without an object each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from routing.decision import Candidate, Gate, Sight, Weighed

T = TypeVar("T")
Column = NDArray[Any]
Columns = tuple[Column, ...]
Ints = NDArray[np.int64]


class Kind(Generic[T]):
    """A kind of row: how one is made, and the columns of many, in the order of its fields."""

    def __init__(self, make: Callable[..., T], fields: Sequence[tuple[str, Any]]) -> None:
        self.make = make
        self.types = tuple(kind for _, kind in fields)
        self._values = attrgetter(*(name for name, _ in fields))

    def columns(self, rows: Sequence[T]) -> Columns:
        """The columns of these rows. Raises OverflowError when a number is too large for its column."""
        values = list(zip(*map(self._values, rows), strict=True)) or [()] * len(self.types)
        return tuple(np.array(column, dtype=kind) for column, kind in zip(values, self.types, strict=True))


_GATES = tuple(Gate)


def _weighed(  # noqa: PLR0917 - a row, field by field
    member: int, distance_m: float, ring: int, weight: int, capacity: int, tier_rank: int, gate: int, *seen: int
) -> Weighed:
    return Weighed(member, distance_m, ring, weight, capacity, tier_rank, _GATES[gate], *seen)


CANDIDATE = Kind(
    Candidate,
    [
        ("member", np.int32),
        ("distance_m", np.float64),
        ("ring", np.int16),
        ("tier_rank", np.int32),
        ("weight", np.int32),
        ("capacity", np.int32),
    ],
)
SIGHT = Kind(
    Sight,
    [
        ("member", np.int32),
        ("eligible", np.bool_),
        ("open", np.int32),
        ("standing", np.int64),
        ("served", np.int64),
    ],
)
WEIGHED = Kind(
    _weighed,
    [
        ("member", np.int32),
        ("distance_m", np.float64),
        ("ring", np.int16),
        ("weight", np.int32),
        ("capacity", np.int32),
        ("tier_rank", np.int32),
        ("gate", np.int16),
        ("open", np.int32),
        ("standing", np.int64),
        ("served", np.int64),
    ],
)


class Table(Generic[T]):
    """Rows of one kind as columns, which may be worked out when first asked for."""

    __slots__ = ("_columns", "_work_out", "kind")

    def __init__(self, kind: Kind[T], columns: Columns | Callable[[], Columns]) -> None:
        self.kind = kind
        self._columns = None if callable(columns) else columns
        self._work_out = columns if callable(columns) else None

    @property
    def columns(self) -> Columns:
        if self._columns is None and self._work_out is not None:
            self._columns = self._work_out()
        return self._columns or ()

    def rows(self, start: int, stop: int) -> list[T]:
        """These rows as objects."""
        return list(map(self.kind.make, *(column[start:stop].tolist() for column in self.columns)))


class Rows(Sequence[T], Generic[T]):
    """A run of rows of a table; equal to any sequence of the same rows."""

    __slots__ = ("start", "stop", "table")

    def __init__(self, table: Table[T], start: int, stop: int) -> None:
        self.table, self.start, self.stop = table, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[T]:
        return iter(self.table.rows(self.start, self.stop))

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        return tuple(self)[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def of_member(runs: Iterable[Sequence[Candidate]], member: int) -> Candidate | None:
    """The member's row among these runs of candidates; nobody else of a table is made an object."""
    for run in runs:
        if not isinstance(run, Rows):
            found = next((c for c in run if c.member == member), None)
        else:
            at = run.start + np.flatnonzero(run.table.columns[0][run.start : run.stop] == member)
            found = next((c for i in at.tolist() for c in run.table.rows(i, i + 1)), None)
        if found is not None:
            return found
    return None


def gather(kind: Kind[T], runs: Sequence[Sequence[T]]) -> tuple[Columns, Ints]:
    """All runs one behind the other as columns, and the length of each; fast when they are runs of one table."""
    sizes = np.fromiter(map(len, runs), np.int64, len(runs))
    table = _only_table(runs)
    if table is None:
        return kind.columns(list(chain.from_iterable(runs))), sizes
    starts = np.fromiter((run.start for run in runs), np.int64, len(runs))  # type: ignore[attr-defined] # all are Rows
    total = int(sizes.sum())
    if (starts[1:] == starts[:-1] + sizes[:-1]).all():
        return tuple(column[starts[0] : starts[0] + total] for column in table.columns), sizes
    at = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(total)
    return tuple(column[at] for column in table.columns), sizes


def _only_table(runs: Sequence[Sequence[T]]) -> Table[T] | None:
    first = runs[0] if runs else None
    if not isinstance(first, Rows):
        return None
    table: Table[T] = first.table
    return table if all(type(run) is Rows and run.table is table for run in runs) else None
