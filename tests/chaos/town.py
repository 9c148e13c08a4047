"""Where it all happens: some cities, members with few places around each, leads among them and some far away."""

import csv
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Spot(NamedTuple):
    """A point on earth, in degrees."""

    lat: float
    lon: float


CITIES = {
    "albany": Spot(42.66, -73.78),
    "boston": Spot(42.36, -71.06),
    "buffalo": Spot(42.89, -78.88),
    "denver": Spot(39.74, -104.99),
    "miami": Spot(25.77, -80.19),
    "seattle": Spot(47.61, -122.33),
}
NOWHERE = Spot(47.5, -107.5)
COLUMNS = ["partner_id", "name", "salesforce_id", "tier", "capacity", "country", "lat", "lon", "active"]


@dataclass(slots=True)
class Member:
    """One member as the run made it; `capacity` and `active` change in mid-run."""

    key: str
    spot: Spot
    tier: str
    capacity: int
    active: bool = True
    salesforce_id: str = ""


class Town:
    """The roster of one run, and where its leads live; the same for the same seed."""

    def __init__(self, seed: int, *, members: int, capacity: int) -> None:
        dice = random.Random(f"{seed} town")
        names = list(CITIES)
        self.members = {
            key: Member(
                key,
                around(dice, CITIES[names[number % len(names)]], 40.0),
                dice.choice(("platinum", "gold", "silver")),
                dice.randint(max(1, capacity // 2), capacity + capacity // 2),
            )
            for number in range(members)
            for key in [f"M{number:04}"]
        }

    def lead(self, dice: random.Random) -> Spot:
        """Where a lead lives: nearly always in reach of somebody."""
        if dice.random() < 0.02:
            return around(dice, NOWHERE, 10.0)
        return around(dice, CITIES[dice.choice(list(CITIES))], 30.0)

    def link(self, salesforce_ids: Mapping[str, str]) -> None:
        for key, salesforce_id in salesforce_ids.items():
            self.members[key].salesforce_id = salesforce_id

    def write(self, file: Path) -> Path:
        """The roster as a file that `fairturn members import` reads."""
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            for m in self.members.values():
                row = [m.key, f"Member {m.key}", m.salesforce_id, m.tier, m.capacity, "US", m.spot.lat, m.spot.lon]
                writer.writerow([*row, "yes" if m.active else "no"])
        return file


def around(dice: random.Random, centre: Spot, miles: float) -> Spot:
    """A random spot not much farther than so many miles from the centre."""
    far, angle = miles * math.sqrt(dice.random()) / 69.0, dice.uniform(0, 2 * math.pi)
    lat = centre.lat + far * math.sin(angle)
    return Spot(round(lat, 5), round(centre.lon + far * math.cos(angle) / math.cos(math.radians(lat)), 5))
