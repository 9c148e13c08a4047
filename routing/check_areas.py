"""Checks of a policy's areas against the members there are: whether they lie where anybody is."""

from collections.abc import Iterator

import numpy as np

from routing.areas import Floats
from routing.check_people import People
from routing.finding import Finding, warning
from routing.policy import Policy

#: Degrees: members may well be so far from an area whose leads they get.
NEAR = 5.0


def areas(policy: Policy, known: People) -> Iterator[Finding]:
    """Areas far from every member, which would lie where members are if latitude and longitude changed places."""
    drawn = policy.rulebook.around.areas if policy.rulebook is not None else None
    if drawn is None:
        return
    columns = [roster.columns for roster in known.rosters.values()]
    lat = np.concatenate([np.empty(0), *(each.lat for each in columns)])
    lon = np.concatenate([np.empty(0), *(each.lon for each in columns)])
    for name in drawn.names:
        west, south, east, north = drawn.box(name)
        if _any_near(lon, lat, drawn.box(name)) or not _any_near(lat, lon, drawn.box(name)):
            continue
        place = drawn.some_place(name) or (south, west)
        yield warning(
            "swapped_area",
            ("areas", name),
            f"{name} lies at latitude {south:.1f} to {north:.1f}, longitude {west:.1f} to {east:.1f}, where no member "
            "is near; with the two exchanged it would lie where members are",
            "GeoJSON says longitude first: exchange the two numbers of each point.",
            {"lead.latitude": round(place[0], 6), "lead.longitude": round(place[1], 6)},
        )


def _any_near(lon: Floats, lat: Floats, box: tuple[float, float, float, float]) -> bool:
    west, south, east, north = box
    return bool(((lon > west - NEAR) & (lon < east + NEAR) & (lat > south - NEAR) & (lat < north + NEAR)).any())
