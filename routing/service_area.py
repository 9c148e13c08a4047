"""The area that a member serves by its own word: a list of postal codes, or a GeoJSON polygon (row G8)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routing.areas import Areas, Ring, serves
from routing.lead import Point

#: The attributes of a member that say it.
POSTAL_CODES, AREA = "service_postal_codes", "service_area"
_MINE = "mine"
#: No longitude is beyond this.
FARTHEST = 360.0


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Where a member takes leads; within the one or the other where it names both."""

    postal_codes: tuple[str, ...] = ()
    areas: Areas | None = None

    def holds(self, place: Point | None, postal_code: str) -> bool:
        """Whether a lead is within it."""
        if self.areas is not None and place is not None and self.areas.at(place.lat, place.lon):
            return True
        return serves(self.postal_codes, postal_code)


def region_of(attributes: Mapping[str, object]) -> Region | None:
    """The member's own area; None when it names none, so that its rings alone decide.

    One that is named and cannot be read holds nothing: no lead goes where the member may not want it.
    """
    codes, shape = attributes.get(POSTAL_CODES), attributes.get(AREA)
    if not codes and not shape:
        return None
    return Region(_codes(codes), _areas(shape))


def _codes(value: object) -> tuple[str, ...]:
    parts = value.replace(",", ";").split(";") if isinstance(value, str) else value if isinstance(value, list) else ()
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _areas(shape: object) -> Areas | None:
    rings = _rings(shape)
    return Areas.of({_MINE: rings}) if rings else None


def _rings(shape: Any) -> list[Ring]:
    """The rings of a polygon, several, or a feature of these; none when it is anything else."""
    if not isinstance(shape, Mapping):
        return []
    if shape.get("type") == "Feature":
        return _rings(shape.get("geometry"))
    coordinates = shape.get("coordinates")
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(shape.get("type")))
    if not isinstance(polygons, list) or not all(isinstance(polygon, list) for polygon in polygons):
        return []
    rings = [ring for polygon in polygons for ring in polygon]
    return [_ring(ring) for ring in rings] if rings and all(map(_is_ring, rings)) else []


def _is_ring(ring: object) -> bool:
    return isinstance(ring, list) and len(ring) > 2 and all(map(_is_place, ring))


def _is_place(place: object) -> bool:
    if not isinstance(place, Sequence) or isinstance(place, str) or len(place) < 2:
        return False
    return all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= FARTHEST for n in place[:2])


def _ring(ring: Any) -> Ring:
    places = [(float(lon), float(lat)) for lon, lat, *_ in ring]
    return places if places[0] == places[-1] else [*places, places[0]]
