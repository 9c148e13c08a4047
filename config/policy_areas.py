"""Areas of the policy: polygons as GeoJSON (RFC 7946), checked one by one and against each other."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any, Self

from pydantic import BaseModel, model_validator

from config.policy_parts import STRICT, wrong
from config.policy_tables import Contents, Digest, held
from routing.areas import Areas, Ring
from routing.errors import BadInput

MOST_BYTES, MOST_POINTS = 64 * 1024 * 1024, 1_000_000
#: Two areas may cover the same ground up to this much, in square degrees (some hundred square metres), as rounded
#: corners leave slivers along a common edge. A place in one belongs to the area whose name comes first.
SLIVER = 1e-8
Where = Callable[[str], str]
Polygon = list[Ring]  # its outline, then its holes


class AreaPart(BaseModel):
    """An area: GeoJSON written here, or the digest of a GeoJSON file."""

    model_config = STRICT

    geojson: dict[str, Any] | None = None
    content: Digest | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.geojson is None) == (self.content is None):
            raise wrong(
                "an area has either geojson or a content", "Publish a file: fairturn policy area NAME FILE.geojson"
            )
        return self

    def polygons(self, name: str, contents: Contents, where: Where) -> list[Polygon]:
        """Its polygons. Raises BadInput with the place and the fix."""
        if self.content is None:
            return polygons_of(self.geojson, where("geojson"))
        return read(held(contents, self.content, where("content")), f"{name}.geojson")


def areas_of(parts: Mapping[str, AreaPart], contents: Contents, where: Where) -> Areas:
    """All areas of a policy. Raises BadInput when one is not sound, or two of them overlap."""
    areas = {name: parts[name].polygons(name, contents, _below(where, name)) for name in sorted(parts)}
    _apart(areas, where)
    return Areas.of({name: [ring for polygon in polygons for ring in polygon] for name, polygons in areas.items()})


def _below(where: Where, name: str) -> Where:
    return lambda rest: where(f"{name}.{rest}")


def read(body: bytes, file: str) -> list[Polygon]:
    """The polygons of the area in a GeoJSON file. Raises BadInput naming the place in it."""
    if len(body) > MOST_BYTES:
        raise BadInput(f"it is larger than {MOST_BYTES // 1024 // 1024} MB", field=file, fix="Simplify its outlines.")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise BadInput("it is not UTF-8", field=file, fix="Save the file as UTF-8.") from exc
    except json.JSONDecodeError as exc:
        raise BadInput(
            exc.msg, field=f"{file} line {exc.lineno} column {exc.colno}", fix="Mend the JSON there."
        ) from exc
    except ValueError as exc:
        raise BadInput("it holds a number of thousands of digits", field=file, fix="Write decimal degrees.") from exc
    except RecursionError as exc:
        raise BadInput("it is nested too deeply", field=file, fix="Write a Polygon or a MultiPolygon.") from exc
    return polygons_of(document, file)


def polygons_of(document: object, where: str) -> list[Polygon]:
    """A GeoJSON polygon, several, or those of features. Raises BadInput."""
    _in_degrees(document, where)
    try:
        found = [_polygon(polygon, place) for place, polygon in _polygons(document, where)]
    except RecursionError as exc:
        raise BadInput("it is nested too deeply", field=where, fix="Write a Polygon or a MultiPolygon.") from exc
    if not found:
        raise BadInput("it holds no area", field=where, fix="Write a Polygon or a MultiPolygon.")
    if sum(len(ring) for rings in found for ring in rings) > MOST_POINTS:
        raise BadInput(f"it has more than {MOST_POINTS:,} points", field=where, fix="Simplify its outlines.")
    return found


def _in_degrees(document: object, where: str) -> None:
    """Raise BadInput where a member `crs`, of before RFC 7946, names other coordinates than longitude and latitude."""
    crs = document.get("crs") if isinstance(document, Mapping) else None
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, Mapping) else None
    name = str(properties.get("name") if isinstance(properties, Mapping) else crs)
    if not re.search(r"(CRS:?84|EPSG:+(\d[\d.]*)?:?4326)$", name.strip(), re.IGNORECASE):
        raise BadInput(
            f"its coordinates are {_shown(name)}",
            field=f"{where}.crs",
            fix="Write it in WGS 84, longitude first (RFC 7946), such as with: ogr2ogr -t_srs EPSG:4326 -f GeoJSON.",
        )


def _polygons(document: object, where: str) -> Iterator[tuple[str, object]]:
    """The coordinates of each polygon, with its place in the document."""
    kind = document.get("type") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(kind, str) or kind not in _HELD_IN:
        raise BadInput(
            f"{_shown(kind)} is no area", field=where, fix="Write a Polygon, a MultiPolygon, or features of these."
        )
    inner = document.get(_HELD_IN[kind])
    place = f"{where}.{_HELD_IN[kind]}"
    if kind == "Polygon":
        yield place, inner
    elif kind == "Feature":
        yield from _polygons(inner, place)
    else:
        if not isinstance(inner, list):
            raise BadInput("it is no list", field=place, fix="Write it as GeoJSON (RFC 7946).")
        for at, part in enumerate(inner):
            if kind == "MultiPolygon":
                yield f"{place}[{at}]", part
            else:
                yield from _polygons(part, f"{place}[{at}]")


_HELD_IN = {
    "Polygon": "coordinates",
    "MultiPolygon": "coordinates",
    "Feature": "geometry",
    "FeatureCollection": "features",
    "GeometryCollection": "geometries",
}


def _polygon(rings: object, where: str) -> Polygon:
    if not isinstance(rings, list) or not rings:
        raise BadInput("it is no list of rings", field=where, fix="Write it as GeoJSON (RFC 7946).")
    made = [_ring(ring, f"{where}[{at}]") for at, ring in enumerate(rings)]
    _sound(made, where)
    return made


def _ring(points: object, where: str) -> Ring:
    if not isinstance(points, list):
        raise BadInput("it is no list of points", field=where, fix="Write it as GeoJSON (RFC 7946).")
    ring = [_point(point, f"{where}[{at}]") for at, point in enumerate(points)]
    if len(ring) < 4:
        raise BadInput(f"a ring of {len(ring)} points", field=where, fix="Give four or more, the last as the first.")
    if ring[0] != ring[-1]:
        raise BadInput("the ring is not closed", field=where, fix="Repeat its first point at its end.")
    for at, ((west, _), (east, _)) in enumerate(pairwise(ring)):
        if abs(east - west) > 180:
            raise BadInput(
                "the line from here crosses the 180th meridian",
                field=f"{where}[{at}]",
                fix="Cut the area in two there, as a MultiPolygon (RFC 7946, 3.1.9).",
            )
    return ring


def _point(point: object, where: str) -> tuple[float, float]:
    numbers = point[:2] if isinstance(point, list) and 2 <= len(point) <= 4 else []
    if len(numbers) != 2 or not all(type(n) in {int, float} and abs(n) < math.inf for n in numbers):
        raise BadInput(f"{_shown(point)} is no point", field=where, fix="Write [longitude, latitude].")
    lon, lat = numbers
    if abs(lon) > 180 or abs(lat) > 90:
        raise BadInput(
            f"{_shown(point)} is not on earth", field=where, fix="Write longitude first, -180 to 180, then latitude."
        )
    return float(lon), float(lat)


def _shown(value: object) -> str:
    return repr(value)[:60]


def _shapely() -> Any:
    """The geometry library; loaded where there is an area, as most processes meet none."""
    return import_module("shapely")


def _sound(rings: list[Ring], where: str) -> None:
    """Raise BadInput when an outline crosses itself or a hole lies outside."""
    shapely = _shapely()
    shape = shapely.Polygon(rings[0], rings[1:])
    if not shape.is_valid:
        raise BadInput(
            f"it is no area: {shapely.is_valid_reason(shape).lower()}",
            field=where,
            fix="Mend it there (longitude, latitude) in a map editor.",
        )


def _apart(areas: Mapping[str, list[Polygon]], where: Where) -> None:
    """Raise BadInput when two areas, or two parts of one, cover the same ground."""
    parts = [(name, polygon) for name, polygons in areas.items() for polygon in polygons]
    if len(parts) < 2:
        return
    shapely = _shapely()
    shapes = [shapely.Polygon(polygon[0], polygon[1:]) for _, polygon in parts]
    for one, other in sorted(shapely.STRtree(shapes).query(shapes, predicate="intersects").T.tolist()):
        if one < other and (both := shapely.intersection(shapes[one], shapes[other])).area > SLIVER:
            lon, lat = both.representative_point().coords[0]
            first, second = parts[one][0], parts[other][0]
            what = f"the area {first}" if first != second else "itself: two of its parts"
            raise BadInput(
                f"it overlaps {what}, at longitude {lon:.5f}, latitude {lat:.5f}",
                field=where(second),
                fix="Draw a border between them; a place on it belongs to the one north of it.",
            )
