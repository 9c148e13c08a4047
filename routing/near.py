"""Who is near: the spatial index of one roster, asked for whole batches, and coarse cells for the way back."""

import math
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import import_module
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing.distance import LEAST_RADIUS_M, earth_centred, metres, metres_many
from routing.lead import Point
from routing.member import Member, Roster
from routing.policy import Policy, Pool
from routing.rotation import WHOLE, local_day, ramped, scaled

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

#: A ring's edge belongs to the ring; nobody is left out for a rounding error of this size.
EDGE_M = 0.001
#: Distances this close to an edge, as a share of it, are measured exactly: a multiple of the error so near, and so far.
_NEAR_DOUBT, _DOUBT, _FAR_DOUBT = 1e-6, 1e-5, 5e-3
#: Up to this far the ground is as good as a sphere between two places: the straight line tells the way over it.
_NEAR_M, _RADIUS_M = 100_000.0, 6_367_000.0
_FAR_M = 1e7
#: The straight line and the line over the ground rank places alike but for close ties: look at a few.
_SHORTLIST = 8

_ROWS, _COLUMNS = 180, 360

Ints = NDArray[np.intp]
Int32s = NDArray[np.int32]
Floats = NDArray[np.float64]


class Near(NamedTuple):
    """A member in reach, measured from its nearest branch; `ring` counts from 0."""

    member: Member
    distance_m: float
    ring: int


class Reach(NamedTuple):
    """Who is in reach of a batch's leads, as columns in no order: one row a lead and member."""

    lead: Ints  # its number in the batch
    row: Ints  # the member's, in the index's columns
    distance_m: Floats
    ring: Ints


NOBODY = Reach(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float64), np.zeros(0, np.intp))


class Terms(NamedTuple):
    """Under which terms each member of an index takes leads, by one version of the policy."""

    member: Int32s
    tier_rank: Int32s
    weight: Int32s
    capacity: Int32s


@cache
def trees() -> "type[cKDTree]":
    """What sorts places in space; loaded where it is used, as most processes do not, and it takes half a second."""
    found: type[cKDTree] = import_module("scipy.spatial").cKDTree
    return found


class Index:
    """All active members of one roster version by place; built once, asked by many, never changed."""

    def __init__(self, roster: Roster) -> None:
        self.version = roster.version
        self._roster = roster
        columns = roster.columns
        used = columns.active[columns.owner] if len(columns.owner) else np.zeros(0, dtype=np.bool_)
        self._rows, self._owner = np.unique(columns.owner[used], return_inverse=True)
        self._ids = columns.id[self._rows]
        self._lats, self._lons = columns.lat[used], columns.lon[used]
        self._centred = earth_centred(self._lats, self._lons).reshape(-1, 3)
        self._tree = trees()(self._centred)
        self._branches = len(self._owner) > len(self._rows)
        self._terms: tuple[int, Terms] | None = None
        self._weights: dict[str, tuple[Terms, int, NDArray[np.int64]]] = {}  # by pool

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def roster(self) -> Roster:
        """Whose index this is."""
        return self._roster

    @property
    def roster_rows(self) -> Ints:
        """The roster's row of each row here: of the active ones, by id."""
        return self._rows

    def member(self, member_id: int) -> Member | None:
        """The active member of this id, or None."""
        found = self._roster.get(member_id)
        return found if found is not None and found.active and found.places else None

    @property
    def order(self) -> list[int]:
        """Everyone, neighbours together."""
        first: dict[int, None] = dict.fromkeys(self._ids[self._owner[self._tree.indices]].tolist())
        return list(first)

    def terms(self, policy: Policy) -> Terms:
        """Tier, weight and capacity of everyone under this policy; a member's own override goes before its tier's."""
        if self._terms is None or self._terms[0] != policy.version:
            self._terms = policy.version, self._terms_of(policy)
        return self._terms[1]

    def _terms_of(self, policy: Policy) -> Terms:
        columns, rows = self._roster.columns, self._rows
        tiers = [policy.tier(columns.tier[row]) for row in rows.tolist()]
        weight = np.array([t.weight for t in tiers], dtype=np.int32)
        capacity = np.array([t.capacity for t in tiers], dtype=np.int32)
        own_weight, own_capacity = columns.weight[rows], columns.capacity[rows]
        return Terms(
            self._ids,
            np.array([t.rank for t in tiers], dtype=np.int32),
            np.where(own_weight < 0, weight, own_weight).astype(np.int32),
            np.where(own_capacity < 0, capacity, own_capacity).astype(np.int32),
        )

    def boosted(self, pool: Pool) -> frozenset[int]:
        """Members whose weight is raised in this pool, as they are on the way to miss their minimum."""
        return self._roster.boosted.get(pool.name, frozenset()) if pool.turns.minimum else frozenset()

    def weights(self, pool: Pool, terms: Terms, now: datetime | None) -> NDArray[np.int64]:
        """What everyone weighs in this pool on that day, before any distance."""
        turns = pool.turns
        if turns.ramp and now is None:
            raise ValueError(f"weights of pool {pool.name} rise by the day, and no clock was given")
        day = local_day(turns.zone, now) if turns.ramp and now else 0
        known = self._weights.get(pool.name)
        if known is not None and known[0] is terms and known[1] == day:
            return known[2]
        weight = terms.weight.astype(np.int64)
        if turns.ramp:
            weight = scaled(weight, ramped(turns.ramp, self._roster.joined[self._rows], day))
        if turns.minimum and (boosted := self.boosted(pool)):
            raised = np.isin(self._ids, list(boosted))
            weight = scaled(weight, np.where(raised, turns.minimum.boost, WHOLE))
        self._weights[pool.name] = terms, day, weight
        return weight

    def reach(self, points: Sequence[Point], radii_m: Sequence[Sequence[float]], upto: Sequence[int]) -> Reach:
        """Every member inside each point's ring `upto` (from 0), once, measured from its nearest branch.

        The radii of a point ascend, edges inclusive; a point without radii has nobody in reach.
        """
        edges = _edges(radii_m)[:, : max(upto, default=0) + 1]
        ring_m = np.array([r[min(n, len(r) - 1)] if r else -1.0 for r, n in zip(radii_m, upto, strict=True)])
        limit = ring_m + EDGE_M
        if not len(self._rows) or not len(limit):
            return NOBODY
        lead, place, away = self._measured(points, edges, limit)
        inside = away <= limit[lead]
        lead, row, away = lead[inside], self._owner[place[inside]], away[inside]
        if self._branches:
            order = np.lexsort((away, row, lead))
            lead, row, away = lead[order], row[order], away[order]
            first = np.ones(len(lead), dtype=np.bool_)  # of each (lead, member): its nearest branch
            first[1:] = (lead[1:] != lead[:-1]) | (row[1:] != row[:-1])
            lead, row, away = lead[first], row[first], away[first]
        return Reach(lead, row, away, _rings(lead, away, edges))

    def within(self, points: Sequence[Point], radii_m: Sequence[Sequence[float]]) -> list[list[Near]]:
        """For each point, every member inside its last radius, once, nearest first (equals by member id)."""
        found = self.reach(points, radii_m, [max(len(r) - 1, 0) for r in radii_m])
        order = np.lexsort((found.row, found.distance_m, found.lead))
        lead, row, away, ring = (column[order] for column in found)
        bounds = np.searchsorted(lead, np.arange(len(points) + 1)).tolist()
        rows, distances, rings = self._rows[row].tolist(), away.tolist(), ring.tolist()
        return [
            [Near(self._roster[rows[i]], distances[i], rings[i]) for i in range(start, end)]
            for start, end in pairwise(bounds)
        ]

    def nearest(self, points: Sequence[Point]) -> list[tuple[int, float] | None]:
        """For each point the nearest member's id and distance in metres, or None when the roster is empty."""
        if not points or not len(self._rows):
            return [None for _ in points]
        wanted = range(1, min(_SHORTLIST, len(self._lats)) + 1)
        _, found = self._tree.query(_centred(points), k=list(wanted))
        lats, lons = _columns(points)
        away = metres_many(lats[:, None], lons[:, None], self._lats[found], self._lons[found])
        owners = self._owner[found]
        best = np.lexsort((owners, away), axis=-1)[:, 0]
        return [(int(self._ids[owners[i, best[i]]]), float(away[i, best[i]])) for i in range(len(points))]

    def _measured(self, points: Sequence[Point], edges: Floats, limit: Floats) -> tuple[Ints, Ints, Floats]:
        """(point, place, metres) of every pair that may be within the limit."""
        centred = _centred(points)
        hits = self._tree.query_ball_point(centred, np.maximum(limit, 0.0), return_sorted=False)
        counts = np.fromiter(map(len, hits), np.intp, len(hits))
        place = np.fromiter(chain.from_iterable(hits), np.intp, int(counts.sum()))
        lead = np.repeat(np.arange(len(hits)), counts)
        gap = np.repeat(centred, counts, axis=0)
        gap -= self._centred[place]
        straight2 = np.einsum("ij,ij->i", gap, gap)
        # Chord and arc of a circle: arc = chord * (1 + chord² / 24 radius²), and less than 1e-9 more this near.
        away = np.sqrt(straight2) * (1 + straight2 / (24 * _RADIUS_M**2))
        far = np.flatnonzero(straight2 > _NEAR_M**2)
        if len(far):
            lats, lons = _columns(points)
            away[far] = metres_many(lats[lead[far]], lons[lead[far]], self._lats[place[far]], self._lons[place[far]])
        for pair in np.flatnonzero(_doubtful(lead, away, edges)):
            branch = Point(float(self._lats[place[pair]]), float(self._lons[place[pair]]))
            away[pair] = metres(points[lead[pair]], branch)
        return lead, place, away


def _edges(radii_m: Sequence[Sequence[float]]) -> Floats:
    """The radii a row a point, filled up with infinity."""
    if len(set(map(id, radii_m))) == 1:
        return np.tile(np.array(radii_m[0], dtype=np.float64), (len(radii_m), 1))
    edges = np.full((len(radii_m), max(map(len, radii_m), default=0)), np.inf)
    for row, radii in enumerate(radii_m):
        edges[row, : len(radii)] = radii
    return edges


def _rings(lead: Ints, away: Floats, edges: Floats) -> Ints:
    ring = np.zeros(len(away), dtype=np.intp)
    for column in edges.T:
        ring += away > column[lead] + EDGE_M
    return ring


def _doubtful(lead: Ints, away: Floats, edges: Floats) -> NDArray[np.bool_]:
    """Which pairs lie so close to a ring's edge that a fast measurement cannot tell the side."""
    doubt = np.zeros(len(away), dtype=np.bool_)
    for column in edges.T:
        share = np.where(column <= _NEAR_M / 2, _NEAR_DOUBT, np.where(column <= _FAR_M, _DOUBT, _FAR_DOUBT))
        slack = np.where(np.isfinite(column), share * np.where(np.isfinite(column), column, 0.0) + EDGE_M, -1.0)
        doubt |= np.abs(away - column[lead]) <= slack[lead]
    return doubt


def cell(lat: float, lon: float) -> int:
    """The one-degree square of a place, 0 to 64,799, by rows from the south pole; 180 degrees east is west."""
    row = min(math.floor(lat) + 90, _ROWS - 1)
    return row * _COLUMNS + (math.floor(lon) + 180) % _COLUMNS


def cells_around(point: Point, radius_m: float) -> list[int]:
    """Every cell that could hold a place within the radius, ascending; never one too few, some too many."""
    rows, columns = _box(point, radius_m)
    return sorted({row * _COLUMNS + column for row in rows for column in columns})


def any_around(point: Point, radius_m: float, cells: frozenset[int]) -> bool:
    """Whether one of these cells is among those around: a ring may go around the earth, and hold all there are."""
    rows, columns = _box(point, radius_m)
    if len(rows) * len(columns) > len(cells):
        return any(one // _COLUMNS in rows and one % _COLUMNS in columns for one in cells)
    return any(row * _COLUMNS + column in cells for row in rows for column in columns)


def _box(point: Point, radius_m: float) -> tuple[range, range | set[int]]:
    # No angle seen from the centre is wider than this, as no degree on earth is shorter than LEAST_RADIUS_M makes it.
    angle = math.degrees((radius_m + EDGE_M) / LEAST_RADIUS_M)
    lowest, highest = math.floor(point.lat - angle) + 90, math.floor(point.lat + angle) + 90
    return range(max(lowest, 0), min(highest, _ROWS - 1) + 1), _columns_around(point, angle)


def _columns_around(point: Point, angle: float) -> range | set[int]:
    """The columns a cap of that many degrees touches; all of them when it reaches over a pole."""
    if abs(point.lat) + angle >= 90:
        return range(_COLUMNS)
    # The meridians that touch the cap: sin(width) = sin(angle) / cos(latitude).
    width = math.degrees(math.asin(min(1.0, math.sin(math.radians(angle)) / math.cos(math.radians(point.lat))))) + 1e-9
    west, east = math.floor(point.lon - width), math.floor(point.lon + width)
    return range(_COLUMNS) if east - west >= _COLUMNS else {(c + 180) % _COLUMNS for c in range(west, east + 1)}


def _columns(points: Sequence[Point]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([p.lat for p in points]), np.array([p.lon for p in points])


def _centred(points: Sequence[Point]) -> NDArray[np.float64]:
    return earth_centred(*_columns(points))
