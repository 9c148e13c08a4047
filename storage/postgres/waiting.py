"""Waiting leads, found by a place that became free."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import cos, radians, sin
from typing import Any

import sqlalchemy as sa

from routing.cover import angle, cover
from routing.lead import Point, Reason


@dataclass(frozen=True, slots=True)
class Waiting:
    """A waiting lead in the neighbourhood of a member."""

    id: int
    place: Point
    country: str
    reason: Reason
    rank: int
    received_at: datetime
    moves: int = 0
    rung: int | None = None  # of its pool's ladder, on which it waits


def waiting_near(
    conn: sa.Connection,
    places: Sequence[Point],
    radius_m: float,
    member_id: int,
    *,
    limit: int,
    after: Waiting | None = None,
    besides: Sequence[int] = (),
    again: bool = False,
    room: int | None = None,
) -> list[Waiting]:
    """Waiting leads within the radius of a place that the member may be offered: best priority, then oldest, first.

    Those named in `besides` are left out; `again`: some may be offered to a member who let them expire before. With
    `room`, those that take more units of capacity are passed over.
    Measured on a sphere that is a little too small, so that nobody is missed; the caller measures again. Each cell of
    the neighbourhood gives its first few by its own index, so it matters little how many wait in all.
    """
    cells, wide = cover(places, radius_m), angle(radius_m)
    values: dict[str, Any] = {
        "member": member_id,
        "limit": limit,
        "room": _PLENTY if room is None else room,
        "besides": f"{{{','.join(map(str, besides))}}}",  # as Postgres writes it: ten times as fast as a list
        "degrees": list(cells.degrees),
        "quarters": list(cells.quarters),
        "sixteenths": list(cells.sixteenths),
        "reach": sin(radians(min(wide, 180.0)) / 2) ** 2 + 1e-12,
    }
    for n, place in enumerate(places):
        values |= {f"lat{n}": radians(place.lat), f"lon{n}": radians(place.lon), f"cos{n}": cos(radians(place.lat))}
        values |= {f"south{n}": place.lat - wide, f"north{n}": place.lat + wide}
    if after is not None:
        values |= {"rank": after.rank, "received_at": after.received_at, "last": after.id}
    rows = conn.execute(_statement(len(places), cells.everywhere, after is not None, again), values)
    return [
        Waiting(r.id, Point(r.lat, r.lon), r.country, Reason(r.reason), r.rank, r.received_at, r.moves, r.rung)
        for r in rows
    ]


@cache
def _statement(places: int, everywhere: bool, on: bool, again: bool) -> sa.TextClause:
    near = " OR ".join(_NEAR.format(n=n) for n in range(places)) or "false"
    mine = _MINE.format(near=near, on=_ON if on else "", fresh=_FRESH_OR_AGAIN if again else _FRESH)
    if everywhere:
        return sa.text(f"SELECT {_SEEN} FROM leads WHERE {mine} {_FIRST}")  # noqa: S608 - our own words
    parts = " UNION ALL ".join(_PART.format(cells=c, key=key, mine=mine, seen=_SEEN, first=_FIRST) for c, key in _KEYS)
    return sa.text(f"SELECT * FROM ({parts}) w {_FIRST}")  # noqa: S608 - our own words


_PLENTY = 2**31 - 1
_SEEN = "id, lat, lon, country, reason, rank, received_at, moves, rung"
_FIRST = "ORDER BY rank DESC, received_at, id LIMIT :limit"
# First a cheap box, then the haversine of the angle between two places.
_NEAR = """(lat BETWEEN :south{n} AND :north{n}
        AND power(sin((radians(lat) - :lat{n}) / 2), 2)
            + cos(radians(lat)) * :cos{n} * power(sin((radians(lon) - :lon{n}) / 2), 2) <= :reach)"""
_ON = """AND (rank < :rank OR (rank = :rank AND (received_at, id) > (CAST(:received_at AS timestamptz),
                                                                                    CAST(:last AS bigint))))"""
_MINE = """state = 'waiting' AND reason NOT IN ('open_pool', 'held', 'missing_facts') AND NOT dirty
        AND units <= :room AND ({near}) {on} AND id <> ALL(CAST(:besides AS bigint[])) AND {fresh}"""
_FRESH = """NOT EXISTS (SELECT FROM offers o
                        WHERE o.lead_id = leads.id AND o.member_id = :member AND o.state <> 'void')"""
# Who let its only offer expire: by its own wish, or when the lead waits for such members.
_FRESH_OR_AGAIN = f"""({_FRESH}
        OR EXISTS (SELECT FROM chances c
                   WHERE c.lead_id = leads.id AND c.member_id = :member AND c.used_at IS NULL)
        OR rung = -1 AND (SELECT count(*) = 1 AND bool_and(o.state = 'expired') FROM offers o
                          WHERE o.lead_id = leads.id AND o.member_id = :member AND o.state <> 'void'))"""  # noqa: S608
_PART = """
    SELECT w.* FROM unnest(CAST(:{cells} AS int[])) AS c(number) CROSS JOIN LATERAL (
        SELECT {seen} FROM leads WHERE {key} = c.number AND {mine} {first}
    ) w"""
# As the ledger's indexes have them, to the letter.
_KEYS = (
    ("degrees", "cell"),
    ("quarters", "(floor(lat * 4)::int * 2048 + floor(lon * 4)::int)"),
    ("sixteenths", "(floor(lat * 16)::int * 8192 + floor(lon * 16)::int)"),
)
