"""Who is near: the spatial index of one roster, asked for whole batches, and coarse cells for the way back."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from routing.distance import LEAST_RADIUS_M, earth_centred, metres, metres_many
from routing.lead import Point
from routing.member import Member, Roster

#: A ring's edge belongs to the ring; nobody is left out for a rounding error of this size.
EDGE_M = 0.001
#: Distances this close to an edge, as a share of it, are measured exactly: a multiple of the error of `metres_many`.
_DOUBT, _FAR_M, _FAR_DOUBT = 1e-5, 1e7, 5e-3
#: The straight line and the line over the ground rank places alike but for close ties: look at a few.
_SHORTLIST = 8

_ROWS, _COLUMNS = 180, 360

Ints = NDArray[np.intp]


class Near(NamedTuple):
    """A member in reach, measured from its nearest branch; `ring` counts from 0."""

    member: Member
    distance_m: float
    ring: int


class Index:
    """All active members of one roster version by place; built once, asked by many, never changed."""

    def __init__(self, roster: Roster) -> None:
        self.version = roster.version
        self._members = sorted((m for m in roster.members if m.active and m.places), key=lambda m: m.id)
        self._owner = np.array([i for i, m in enumerate(self._members) for _ in m.places], dtype=np.intp)
        self._lats = np.array([p.lat for m in self._members for p in m.places], dtype=float)
        self._lons = np.array([p.lon for m in self._members for p in m.places], dtype=float)
        self._tree = cKDTree(earth_centred(self._lats, self._lons).reshape(-1, 3))

    def within(self, points: Sequence[Point], radii_m: Sequence[Sequence[float]]) -> list[list[Near]]:
        """For each point, every member inside its last radius, once, nearest first (equals by member id).

        The radii of a point ascend, edges inclusive; a member with several branches is measured from the nearest.
        """
        if not points or not self._members:
            return [[] for _ in points]
        lead, place, metres_away = self._measured(points, radii_m)
        order = np.lexsort((metres_away, self._owner[place], lead))
        lead, owner, metres_away = lead[order], self._owner[place[order]], metres_away[order]
        first = np.ones(len(lead), dtype=bool)  # of each (lead, member): its nearest branch
        first[1:] = (lead[1:] != lead[:-1]) | (owner[1:] != owner[:-1])
        lead, owner, metres_away = lead[first], owner[first], metres_away[first]
        order = np.lexsort((owner, metres_away, lead))
        return self._split(lead[order], owner[order], metres_away[order], radii_m)

    def nearest(self, points: Sequence[Point]) -> list[tuple[int, float] | None]:
        """For each point the nearest member's id and distance in metres, or None when the roster is empty."""
        if not points or not self._members:
            return [None for _ in points]
        wanted = range(1, min(_SHORTLIST, len(self._lats)) + 1)
        _, found = self._tree.query(_centred(points), k=list(wanted))
        lats, lons = _columns(points)
        away = metres_many(lats[:, None], lons[:, None], self._lats[found], self._lons[found])
        owners = self._owner[found]
        best = np.lexsort((owners, away), axis=-1)[:, 0]
        rows = range(len(points))
        return [(self._members[owners[i, best[i]]].id, float(away[i, best[i]])) for i in rows]

    def _measured(
        self, points: Sequence[Point], radii_m: Sequence[Sequence[float]]
    ) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """(point, place, metres) of every pair within the point's last radius."""
        reach = np.array([max(radii, default=-1.0) for radii in radii_m]) + EDGE_M
        hits = self._tree.query_ball_point(_centred(points), np.maximum(reach, 0.0), return_sorted=False)
        lead = np.repeat(np.arange(len(points)), [len(h) for h in hits])
        place = np.concatenate([np.asarray(h, dtype=np.intp) for h in hits])
        lats, lons = _columns(points)
        away = metres_many(lats[lead], lons[lead], self._lats[place], self._lons[place])
        for pair in np.flatnonzero(_doubtful(lead, away, radii_m)):
            branch = Point(float(self._lats[place[pair]]), float(self._lons[place[pair]]))
            away[pair] = metres(points[lead[pair]], branch)
        inside = away <= reach[lead]
        return lead[inside], place[inside], away[inside]

    def _split(
        self, lead: Ints, owner: Ints, away: NDArray[np.float64], radii_m: Sequence[Sequence[float]]
    ) -> list[list[Near]]:
        bounds = np.searchsorted(lead, np.arange(len(radii_m) + 1))
        members, owners, distances = self._members, owner.tolist(), away.tolist()
        split = []
        for radii, (start, end) in zip(radii_m, pairwise(bounds.tolist()), strict=True):
            rings = np.searchsorted(np.asarray(radii, float) + EDGE_M, away[start:end]).tolist()
            rows = zip(owners[start:end], distances[start:end], rings, strict=True)
            split.append([Near(members[o], d, r) for o, d, r in rows])
        return split


def cell(lat: float, lon: float) -> int:
    """The one-degree square of a place, 0 to 64,799, by rows from the south pole; 180 degrees east is west."""
    row = min(math.floor(lat) + 90, _ROWS - 1)
    return row * _COLUMNS + (math.floor(lon) + 180) % _COLUMNS


def cells_around(point: Point, radius_m: float) -> list[int]:
    """Every cell that could hold a place within the radius, ascending; never one too few, some too many."""
    # No angle seen from the centre is wider than this, as no degree on earth is shorter than LEAST_RADIUS_M makes it.
    angle = math.degrees((radius_m + EDGE_M) / LEAST_RADIUS_M)
    south, north = point.lat - angle, point.lat + angle
    columns = _columns_around(point, angle)
    lowest, highest = max(math.floor(south) + 90, 0), min(math.floor(north) + 90, _ROWS - 1)
    return sorted({row * _COLUMNS + column for row in range(lowest, highest + 1) for column in columns})


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


def _doubtful(lead: Ints, away: NDArray[np.float64], radii_m: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """Which pairs lie so close to a ring's edge that a fast measurement cannot tell the side."""
    edges = np.full((len(radii_m), max(map(len, radii_m), default=0)), np.inf)
    for row, radii in enumerate(radii_m):
        edges[row, : len(radii)] = radii
    doubt: NDArray[np.bool_] = np.zeros(len(away), dtype=bool)
    for column in edges.T:
        edge = column[lead]
        share = np.where(edge <= _FAR_M, _DOUBT, _FAR_DOUBT)
        doubt |= np.isfinite(edge) & (np.abs(away - edge) <= share * edge + EDGE_M)
    return doubt
