"""Areas on the map: which of them a place is in, exactly, also on an edge that two of them share.

A place on an edge belongs to the area north of it, and where the edge runs due north, to the one east of it: the usual
half-open rule of counting the edges that a line due north of the place crosses (even-odd, so holes need no rule of
their own). Longitudes and latitudes are taken as plane coordinates, as GeoJSON does (RFC 7946); signs that floating
point cannot tell are worked out in whole fractions, so two areas with a common edge never both have a place on it, and
never neither.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: The largest relative error of a difference of products of differences of doubles (Shewchuk 1997, ccwerrboundA).
_DOUBT = 3.3306690738754716e-16

Exact = tuple[Fraction, Fraction]
Ring = Sequence[tuple[float, float]]  # of (longitude, latitude), the first again at the end


@dataclass(frozen=True, eq=False)
class Areas:
    """Named areas, each a set of rings; built once, asked by many, never changed."""

    names: tuple[str, ...]
    _boxes: Floats  # west, south, east, north of each
    _edges: tuple[Floats, ...]  # of each: from west to east, (lon, lat, lon, lat); edges due north left out

    @classmethod
    def of(cls, shapes: Mapping[str, Iterable[Ring]]) -> "Areas":
        """Areas of closed rings: outlines and holes alike."""
        rings = {name: [np.asarray(ring, dtype=np.float64) for ring in shape] for name, shape in shapes.items()}
        boxes = [np.concatenate(parts) for parts in rings.values()]
        return cls(
            tuple(rings),
            np.array([[*b.min(axis=0), *b.max(axis=0)] for b in boxes], dtype=np.float64).reshape(-1, 4),
            tuple(np.concatenate([_eastward(part) for part in parts]) for parts in rings.values()),
        )

    def at(self, lat: float, lon: float) -> frozenset[str]:
        """The names of the areas that the place is in."""
        if not len(self._boxes):
            return frozenset()
        west, south, east, north = self._boxes.T
        near = np.flatnonzero((west <= lon) & (lon <= east) & (south <= lat) & (lat <= north))
        return frozenset(self.names[i] for i in near.tolist() if _inside(self._edges[i], lat, lon))

    def box(self, name: str) -> tuple[float, float, float, float]:
        """West, south, east and north of the area of this name."""
        west, south, east, north = self._boxes[self.names.index(name)].tolist()
        return west, south, east, north

    def some_place(self, name: str) -> tuple[float, float] | None:
        """A latitude and longitude within the area of this name; None when none is found."""
        at = self.names.index(name)
        edges = self._edges[at]
        for lon in ((edges[:, 0] + edges[:, 2]) / 2).tolist():
            x1, y1, x2, y2 = edges[(edges[:, 0] <= lon) & (lon < edges[:, 2])].T
            crossed = np.sort(y1 + (lon - x1) * (y2 - y1) / (x2 - x1))
            for lat in ((crossed[:-1] + crossed[1:]) / 2).tolist():
                if name in self.at(lat, lon):
                    return lat, lon
        return None


def _eastward(ring: Floats) -> Floats:
    """The edges of a ring from west to east, without those that run due north."""
    edges = np.concatenate([ring[:-1], ring[1:]], axis=1)
    edges = edges[edges[:, 0] != edges[:, 2]]
    turned: Floats = np.where((edges[:, 0] < edges[:, 2])[:, None], edges, edges[:, [2, 3, 0, 1]])
    return turned


def _inside(edges: Floats, lat: float, lon: float) -> bool:
    """Whether a line due north of the place crosses an odd number of edges; an edge begins at its western end."""
    x1, y1, x2, y2 = edges[(edges[:, 0] <= lon) & (lon < edges[:, 2])].T
    left, right = (x2 - x1) * (lat - y1), (y2 - y1) * (lon - x1)
    turn = left - right  # above 0: the place is north of the edge
    below = turn < 0
    for i in np.flatnonzero(np.abs(turn) <= _DOUBT * (np.abs(left) + np.abs(right))).tolist():
        start, end = (Fraction(x1[i]), Fraction(y1[i])), (Fraction(x2[i]), Fraction(y2[i]))
        below[i] = _south_of((Fraction(lon), Fraction(lat)), start, end)
    return bool(np.count_nonzero(below) % 2)


def _south_of(place: Exact, start: Exact, end: Exact) -> bool:
    width, height = end[0] - start[0], end[1] - start[1]
    return width * (place[1] - start[1]) < height * (place[0] - start[0])


def serves(postal_codes: Iterable[str], postal_code: str) -> bool:
    """Whether a list of postal codes has this one; `941*` in the list stands for every one that begins so."""
    wanted = _bare(postal_code)
    return bool(wanted) and any(
        wanted.startswith(_bare(code[:-1])) if code.endswith("*") else wanted == _bare(code)
        for code in map(str.strip, postal_codes)
        if code
    )


def _bare(code: str) -> str:
    return code.replace(" ", "").replace("-", "").casefold()
