"""Members: whoever can be given a lead, and the roster that holds them."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

from routing.lead import Point

TIERS_OWN = -1  # in a column: the tier decides

Ints = NDArray[np.int32]
NOBODY_BOOSTED: Mapping[str, frozenset[int]] = {}


@dataclass(frozen=True, slots=True)
class Member:
    """One installer partner or sales rep, with every branch it works from.

    `capacity` and `weight` are overrides; None means the tier's.
    """

    id: int
    key: str  # the outside id, such as the CSV's partner_id
    name: str
    market: str
    tier: str
    places: tuple[Point, ...]
    capacity: int | None = None
    weight: int | None = None  # thousandths
    active: bool = True
    country: str = ""  # this and the attributes only where the policy asks for them
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)
    joined: int = 0  # the day, counted from 1970: its weight may rise with the days since then


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Members by id ascending, and their places by member: a hundred thousand of them in a few megabytes."""

    id: Ints
    key: Sequence[str]
    name: Sequence[str]
    tier: Sequence[str]
    capacity: Ints  # TIERS_OWN where there is no override
    weight: Ints
    active: NDArray[np.bool_]
    owner: NDArray[np.intp]  # of each place: the row of its member
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    country: Sequence[str] = ()  # empty, as the attributes are, where the policy asks for neither
    attributes: Sequence[Mapping[str, object]] = ()
    joined: Ints | None = None  # days since 1970; None: long ago

    @classmethod
    def of(cls, members: Sequence[Member]) -> "Columns":
        ordered = sorted(members, key=lambda m: m.id)
        places = list(chain.from_iterable(m.places for m in ordered))
        return cls(
            id=np.array([m.id for m in ordered], dtype=np.int32),
            key=[m.key for m in ordered],
            name=[m.name for m in ordered],
            tier=[m.tier for m in ordered],
            capacity=np.array([TIERS_OWN if m.capacity is None else m.capacity for m in ordered], dtype=np.int32),
            weight=np.array([TIERS_OWN if m.weight is None else m.weight for m in ordered], dtype=np.int32),
            active=np.array([m.active for m in ordered], dtype=np.bool_),
            owner=np.repeat(np.arange(len(ordered)), [len(m.places) for m in ordered]).astype(np.intp),
            lat=np.array([p.lat for p in places], dtype=np.float64),
            lon=np.array([p.lon for p in places], dtype=np.float64),
            country=[m.country for m in ordered],
            attributes=[m.attributes for m in ordered],
            joined=np.array([m.joined for m in ordered], dtype=np.int32),
        )


class Roster(Sequence[Member]):
    """All members of one market at one version, by id; a member is put together when it is asked for.

    `boosted`: by pool, the members that are on the way to miss their minimum.
    """

    def __init__(
        self,
        market: str,
        version: int,
        members: Sequence[Member] | Columns = (),
        *,
        boosted: Mapping[str, frozenset[int]] = NOBODY_BOOSTED,
    ) -> None:
        self.market, self.version, self.boosted = market, version, boosted
        self.columns = members if isinstance(members, Columns) else Columns.of(members)
        self._rows_by_key: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.columns.id)

    @overload
    def __getitem__(self, at: int) -> Member: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Member]: ...
    def __getitem__(self, at: int | slice) -> Member | Sequence[Member]:
        if isinstance(at, slice):
            return [self[i] for i in range(len(self))[at]]
        row = range(len(self))[at]
        c = self.columns
        first, last = np.searchsorted(c.owner, [row, row + 1])
        places = zip(c.lat[first:last].tolist(), c.lon[first:last].tolist(), strict=True)
        return Member(
            id=int(c.id[row]),
            key=c.key[row],
            name=c.name[row],
            market=self.market,
            tier=c.tier[row],
            places=tuple(Point(lat, lon) for lat, lon in places),
            capacity=_override(c.capacity[row]),
            weight=_override(c.weight[row]),
            active=bool(c.active[row]),
            country=c.country[row] if c.country else "",
            attributes=c.attributes[row] if c.attributes else {},
            joined=0 if c.joined is None else int(c.joined[row]),
        )

    @property
    def members(self) -> Sequence[Member]:
        """Everyone, by id."""
        return self

    @property
    def is_full(self) -> bool:
        """Whether countries and attributes are known."""
        return len(self.columns.attributes) == len(self)

    @property
    def joined(self) -> NDArray[np.int64]:
        """The day on which each member joined, from 1970: its attribute `joined`, else the day we heard of it."""
        known = self.columns.joined
        days = np.zeros(len(self), np.int64) if known is None else known.astype(np.int64)
        for row, attributes in enumerate(self.columns.attributes):
            if "joined" in attributes and (day := _day(attributes["joined"])) is not None:
                days[row] = day
        return days

    def by_key(self, key: str) -> Member | None:
        """The member of this outside id, or None."""
        if self._rows_by_key is None:
            self._rows_by_key = {known: row for row, known in enumerate(self.columns.key)}
        row = self._rows_by_key.get(key)
        return None if row is None else self[row]

    def get(self, member_id: int) -> Member | None:
        """The member of this id, or None."""
        row = bisect_left(self.columns.id, member_id)
        return self[row] if row < len(self) and self.columns.id[row] == member_id else None


def _override(value: np.int32) -> int | None:
    return None if value == TIERS_OWN else int(value)


def _day(told: object) -> int | None:
    """The day of a text such as 2026-11-22, counted from 1970; None when it is none."""
    with suppress(ValueError):
        return date.fromisoformat(str(told)[:10]).toordinal() - date(1970, 1, 1).toordinal()
    return None
