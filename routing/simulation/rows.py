"""Rows of the ledger in memory: leads and offers as they stand, and waiting leads by the square they are in."""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import merge
from math import asin, cos, floor, pi, radians, sin, sqrt
from typing import NamedTuple
from uuid import UUID

from routing.distance import LEAST_RADIUS_M
from routing.lane import Lane
from routing.lead import NOTHING_RULED, Lead, LeadState, Point, Reason, Ruled
from routing.limits import Use
from routing.near import cell
from routing.offer import Kind, OfferState
from routing.plan import Verdict
from routing.ruling import Aside, Gift
from routing.simulation.past import us
from routing.turns import Correction

#: The member that a rule names has no room: the lead is looked at again after so long.
ROOM_AFTER = timedelta(minutes=5)
#: Squares of the waiting, as a part of a degree.
_SQUARES = 4

Shares = tuple[str, int, Mapping[int, int]]  # the rotation, who was chosen, and what everyone eligible earned
Key = tuple[int, int, int]  # best rank, then oldest, first


@dataclass(slots=True)
class LeadRow:
    """A lead as the ledger knows it now."""

    lead: Lead  # as it came in
    state: LeadState = LeadState.NEW
    reason: Reason | None = None
    attempt: int = 1
    moves: int = 0
    lane: Lane = Lane.LIVE
    pool: str = ""
    rung: int | None = None
    units: int = 1  # of capacity, as it was weighed last
    rank: int | None = None  # by which it goes before others; None: its own priority
    score: int | None = None  # what the policy's rules made of its priority
    rule: str = ""
    basket: str = ""
    ruled: Ruled = NOTHING_RULED
    next_try: int | None = None  # microseconds since 1970
    open_until: int | None = None
    offers: list[UUID] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)  # members who asked for another chance

    @property
    def key(self) -> Key:
        return -(self.lead.priority if self.rank is None else self.rank), us(self.lead.received_at), self.lead.id


@dataclass(slots=True)
class OfferRow:
    """An offer as the ledger knows it now; times in microseconds since 1970."""

    id: UUID
    lead: int
    member: int
    market: str
    pool: str
    attempt: int
    offered: int
    expires: int
    distance_m: float = 0.0
    ring: int = 0
    slot: int = 0
    kind: Kind = Kind.TURN
    units: int = 1
    uses: tuple[Use, ...] = ()  # of limits
    state: OfferState = OfferState.OFFERED
    reason: str = ""
    accepted: int | None = None
    ended: int | None = None


class Waiting(NamedTuple):
    """A waiting lead in the neighbourhood of a member."""

    id: int
    place: Point
    country: str
    reason: Reason
    moves: int
    rung: int | None
    key: Key


@dataclass(slots=True)
class News:
    """What has happened since somebody looked: for whoever drives the clock."""

    route: list[int] = field(default_factory=list)  # leads to be routed, by hand of nobody
    offered: list[OfferRow] = field(default_factory=list)
    ended: list[OfferRow] = field(default_factory=list)
    owed: list[Correction] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)  # leads that wait for the open pool
    decided: list[Verdict] = field(default_factory=list)
    woken: list[int] = field(default_factory=list)
    later: list[tuple[int, int]] = field(default_factory=list)  # (moment, lead) to be looked at again
    given: list[OfferRow] = field(default_factory=list)  # by rules, outside of any rotation


class Waiters:
    """Waiting leads by square, so that a freed place finds the first of its neighbourhood."""

    def __init__(self) -> None:
        self._squares: defaultdict[tuple[int, int], list[Key]] = defaultdict(list)
        self._cells: Counter[int] = Counter()

    def add(self, key: Key, place: Point | None) -> None:
        if place is not None:
            insort(self._squares[_square(place)], key)
            self._cells[cell(place.lat, place.lon)] += 1

    def remove(self, key: Key, place: Point | None) -> None:
        if place is None:
            return
        square = self._squares[_square(place)]
        at = bisect_left(square, key)
        if at < len(square) and square[at] == key:
            del square[at]
            one = cell(place.lat, place.lon)
            self._cells[one] -= 1
            if not self._cells[one]:
                del self._cells[one]

    def cells(self) -> frozenset[int]:
        return frozenset(self._cells)

    def around(self, places: Sequence[Point], radius_m: float, after: Key | None) -> Iterator[Key]:
        """Everyone in the squares around the places, in order; some are too far."""
        wanted = {square for place in places for square in self._within(*_around(place, radius_m))}
        rows = (self._squares[square] for square in wanted)
        return merge(*(row[bisect_left(row, (*after[:2], after[2] + 1)) if after else 0 :] for row in rows))

    def _within(self, rows: range, columns: set[int]) -> Iterable[tuple[int, int]]:
        """Those of the squares that anybody waits in: a ring may go around the earth, where they are fewer."""
        if len(rows) * len(columns) > len(self._squares):
            return (one for one in self._squares if one[0] in rows and one[1] in columns)
        return ((row, column) for row in rows for column in columns if (row, column) in self._squares)


def _square(place: Point) -> tuple[int, int]:
    return floor(place.lat * _SQUARES), floor(place.lon * _SQUARES) % (360 * _SQUARES)


def _around(place: Point, radius_m: float) -> tuple[range, set[int]]:
    """The rows and the columns of the squares that a circle touches."""
    high = radius_m / LEAST_RADIUS_M * 180 / pi + 1e-6
    lean = cos(radians(min(89.0, abs(place.lat) + high)))
    wide = min(180.0, high / lean) if abs(place.lat) + high < 89 else 180.0
    rows = range(floor((place.lat - high) * _SQUARES), floor((place.lat + high) * _SQUARES) + 1)
    west, east = floor((place.lon - wide) * _SQUARES), floor((place.lon + wide) * _SQUARES)
    columns = range(west, min(east, west + 360 * _SQUARES) + 1)
    return rows, {column % (360 * _SQUARES) for column in columns}


def apart_m(a: Point, b: Point) -> float:
    """On a sphere that is a little too small: never farther than it is."""
    half = sin(radians(b.lat - a.lat) / 2) ** 2
    half += cos(radians(a.lat)) * cos(radians(b.lat)) * sin(radians(b.lon - a.lon) / 2) ** 2
    return 2 * LEAST_RADIUS_M * asin(min(1.0, sqrt(half)))


def without_room(gift: Gift) -> Aside:
    """The lead waits until the member that a rule names has room."""
    ruling = gift.ruling
    again = ruling.now + ROOM_AFTER
    return Aside(gift.lead, LeadState.WAITING, Reason.NO_ROOM, ruling.course.rule, "", again, ruling.rank, ruling.ruled)
