"""Which cells hold every place within reach of some others: large ones inside, small ones along the edge."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing.distance import LEAST_RADIUS_M
from routing.lead import Point
from routing.near import EDGE_M, cells_around

#: Cells a degree and the columns a row of cells is numbered by, from large to small; the ledger's indexes say the same.
QUARTER, SIXTEENTH = (4, 2048), (16, 8192)
#: Up to this reach, in degrees, the edge is covered by small cells, by quarters, or by whole degrees.
_FINE, _MIDDLE, _COARSE = 1.5, 6.0, 20.0

Cells = NDArray[np.int64]  # rows of (south, west), counted from 0 degrees in cells of one size


class Cover(NamedTuple):
    """Cells by size; together they hold every place within reach, and some more."""

    degrees: tuple[int, ...]  # as routing.near.cell numbers them
    quarters: tuple[int, ...]
    sixteenths: tuple[int, ...]
    everywhere: bool = False  # the reach is so wide that cells are of no use


def angle(radius_m: float) -> float:
    """Degrees seen from the earth's centre, never too few: no degree is shorter than LEAST_RADIUS_M makes it."""
    return float(np.degrees((radius_m + EDGE_M) / LEAST_RADIUS_M))


def cover(places: Sequence[Point], radius_m: float) -> Cover:
    """Every cell that could hold a place within the radius of any of these places."""
    if angle(radius_m) > _COARSE:
        return Cover((), (), (), everywhere=True)
    found = [_around(place, radius_m) for place in places]
    return Cover(
        tuple(sorted({c for one in found for c in one.degrees})),
        tuple(sorted({c for one in found for c in one.quarters})),
        tuple(sorted({c for one in found for c in one.sixteenths})),
    )


@lru_cache(maxsize=256)
def _around(place: Point, radius_m: float) -> Cover:
    reach = angle(radius_m)
    large = np.array([divmod(cell, 360) for cell in cells_around(place, radius_m)], dtype=np.int64) - (90, 180)
    if reach > _MIDDLE:
        return Cover(_degrees(large), (), ())
    whole, edge = _sorted(place, reach, large, 1)
    quarters = _split(edge, 1, 4)
    if reach > _FINE:
        return Cover(_degrees(whole), _numbers(quarters, QUARTER), ())
    some, edge = _sorted(place, reach, quarters, 4)
    small = _split(edge, 4, 16)
    return Cover(
        _degrees(whole), _numbers(some, QUARTER), _numbers(np.concatenate(_sorted(place, reach, small, 16)), SIXTEENTH)
    )


def _sorted(place: Point, reach: float, cells: Cells, per_degree: int) -> tuple[Cells, Cells]:
    """Those well inside, and those that touch the edge; who is surely outside is left out."""
    south, west = cells[:, 0] / per_degree, cells[:, 1] / per_degree
    half = 0.5 / per_degree
    lat, lon = np.radians(south + half), np.radians(west + half)
    here_lat, here_lon = np.radians(place.lat), np.radians(place.lon)
    square = np.sin((lat - here_lat) / 2) ** 2 + np.cos(lat) * np.cos(here_lat) * np.sin((lon - here_lon) / 2) ** 2
    away = np.degrees(2 * np.arcsin(np.sqrt(np.minimum(square, 1.0))))
    # From the middle to any corner: at most half up, then half along the longer parallel.
    longest = np.cos(np.radians(np.minimum(np.abs(south), np.abs(south + 2 * half)) * (south * (south + 2 * half) > 0)))
    corner = half + half * longest
    touches = away - corner <= reach
    inside = away + corner <= 0.99 * reach
    return cells[touches & inside], cells[touches & ~inside]


def _split(cells: Cells, per_degree: int, to: int) -> Cells:
    """The smaller cells these are made of; the pole belongs to the row below it."""
    n = to // per_degree
    steps = np.array([(up, right) for up in range(n) for right in range(n)], dtype=np.int64)
    return (cells[:, None, :] * n + steps[None, :, :]).reshape(-1, 2)


def _degrees(cells: Cells) -> tuple[int, ...]:
    return tuple(((cells[:, 0] + 90) * 360 + cells[:, 1] + 180).tolist())


def _numbers(cells: Cells, size: tuple[int, int]) -> tuple[int, ...]:
    """As the ledger's indexes number them; the pole and the 180th meridian have numbers of their own there."""
    per_degree, columns = size
    rows, cols = cells[:, 0], cells[:, 1]
    pole, seam = rows == 90 * per_degree - 1, cols == -180 * per_degree
    rows = np.concatenate([rows, rows[pole] + 1, rows[seam], rows[pole & seam] + 1])
    cols = np.concatenate([cols, cols[pole], -cols[seam], -cols[pole & seam]])
    return tuple((rows * columns + cols).tolist())
