"""Makes tests/data/three_modes.csv: 1,000 leads, and to whom each goes in the three modes of row G6.

    python -m tests.data.three_modes > tests/data/three_modes.csv

It knows none of our code: the modes are told here once more, from docs/policy.md alone.
"""

import csv
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from geographiclib.geodesic import Geodesic

SEED, LEADS, MILE_M, TURN = 6, 1000, 1609.344, 1_000_000
RINGS_M = [5 * MILE_M, 15 * MILE_M, 30 * MILE_M, 50 * MILE_M]
HALVES_AT_M = 10 * MILE_M
#: id -> latitude, longitude, weight in thousandths
MEMBERS: Mapping[int, tuple[float, float, int]] = {
    1: (40.00, -75.00, 1000),
    2: (40.05, -75.02, 2000),
    3: (39.98, -75.10, 1000),
    4: (40.12, -75.20, 4000),
    5: (40.10, -74.90, 1000),
    6: (39.85, -75.15, 2000),
    7: (40.30, -75.05, 1000),
    8: (39.80, -74.80, 1000),
    9: (40.02, -75.33, 500),
    10: (40.25, -74.70, 2500),
}


@dataclass
class Account:
    """The standings of a mode, and when each was served last."""

    standing: dict[int, int] = field(default_factory=lambda: dict.fromkeys(MEMBERS, 0))
    served: dict[int, int] = field(default_factory=lambda: dict.fromkeys(MEMBERS, 0))
    turns: int = 0

    def serve(self, member: int) -> None:
        self.turns += 1
        self.served[member] = self.turns


def leads() -> Iterator[tuple[float, float]]:
    """Places of leads, to four decimals."""
    dice = random.Random(SEED)
    for _ in range(LEADS):
        yield round(dice.gauss(40.03, 0.16), 4), round(dice.gauss(-75.05, 0.2), 4)


def decimetres(lat: float, lon: float, member: int) -> int:
    """Over the ellipsoid."""
    at = MEMBERS[member]
    metres: float = Geodesic.WGS84.Inverse(lat, lon, at[0], at[1])["s12"]
    return round(metres * 10)


def in_ring(lat: float, lon: float) -> dict[int, int]:
    """Everyone in the smallest ring that has anybody, and how far away each is."""
    away = {member: decimetres(lat, lon, member) for member in MEMBERS}
    for ring in RINGS_M:
        if here := {member: far for member, far in away.items() if far <= ring * 10}:
            return here
    return {}


def nearest(here: Mapping[int, int], book: Account) -> int:
    """The nearest; among equals the longest unserved, then the lowest id."""
    chosen = min(here, key=lambda m: (here[m], book.served[m], m))
    book.serve(chosen)
    return chosen


def fair(weights: Mapping[int, int], book: Account) -> int:
    """Everyone earns its part of one turn by weight; who is owed most then gets the lead and pays for it."""
    total = sum(weights.values())
    parts = {member: weight * TURN // total for member, weight in weights.items()}
    for member, part in parts.items():
        book.standing[member] += part
    chosen = min(weights, key=lambda m: (-book.standing[m], book.served[m], m))
    book.standing[chosen] -= sum(parts.values())
    book.serve(chosen)
    return chosen


def by_distance(here: Mapping[int, int]) -> dict[int, int]:
    """Weight * h / (h + distance), rounded down, never less than a thousandth."""
    half = round(HALVES_AT_M * 10)
    return {member: max(MEMBERS[member][2] * half // (half + far), 1) for member, far in here.items()}


def rows() -> Iterator[tuple[float, float, int | str, int | str, int | str]]:
    """Each lead, and its member by mode."""
    first, second, third = Account(), Account(), Account()
    for lat, lon in leads():
        here = in_ring(lat, lon)
        if not here:
            yield lat, lon, "", "", ""
            continue
        yield (
            lat,
            lon,
            nearest(here, first),
            fair({member: MEMBERS[member][2] for member in here}, second),
            fair(by_distance(here), third),
        )


def main() -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["lat", "lon", "nearest", "fair", "weighted_by_distance"])
    out.writerows(rows())


if __name__ == "__main__":
    main()
