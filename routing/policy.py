"""The policy as routing sees it: pools, tiers, rings and timers of one published version."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from routing.lead import Precision

METRES = {"mi": 1609.344, "km": 1000.0}


class Mode(StrEnum):
    """Whose turn it is among the eligible."""

    FAIR = "fair"
    CURSOR = "cursor"
    LEAST_RECENT = "least_recent"
    LEAST_LOADED = "least_loaded"
    NEAREST = "nearest"


class Tiers(StrEnum):
    """How tiers meet: one rotation with weights, or the best tier with room first."""

    BLENDED = "blended"
    RANKED = "ranked"


class Scope(StrEnum):
    """What shares one fairness account (row F4)."""

    POOL = "pool"
    POOL_RING = "pool_ring"
    SHARED = "shared"  # with every pool of the market that names the same rotation


class PoorPlace(StrEnum):
    """What to do with a lead whose place is only known to a coarse precision (row G4)."""

    CENTROID = "centroid"  # route from the centre as if it were exact
    WIDER_RING = "wider_ring"  # search from the second ring on: the first counts as part of it
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Rings:
    """Search radii, smallest first, edges inclusive."""

    unit: str  # mi or km
    radii: tuple[float, ...]

    @property
    def metres(self) -> tuple[float, ...]:
        return tuple(r * METRES[self.unit] for r in self.radii)


@dataclass(frozen=True, slots=True)
class Tier:
    """A layer of the partner hierarchy; rank 1 is the best, weight counts in thousandths."""

    name: str
    rank: int
    capacity: int
    weight: int = 1000


@dataclass(frozen=True, slots=True)
class Pool:
    """Who takes turns for one kind of lead."""

    name: str
    market: str
    countries: frozenset[str]  # empty: every country no other pool names
    rings: Rings
    rings_by_country: Mapping[str, Rings] = field(default_factory=dict)
    mode: Mode = Mode.FAIR
    tiers: Tiers = Tiers.BLENDED
    scope: Scope = Scope.POOL
    rotation: str = ""  # the shared rotation's name, for scope=shared
    reassignments: int = 3  # after the first offer
    answer_within: timedelta = timedelta(hours=4)
    poor_places: Mapping[Precision, PoorPlace] = field(default_factory=dict)

    def rings_for(self, country: str) -> Rings:
        return self.rings_by_country.get(country, self.rings)


@dataclass(frozen=True, slots=True)
class Policy:
    """One published version; a tier that it does not name follows `default_tier`."""

    version: int
    pools: tuple[Pool, ...]
    tiers: Mapping[str, Tier]
    default_tier: Tier

    def tier(self, name: str) -> Tier:
        return self.tiers.get(name, self.default_tier)

    def pool_for(self, country: str) -> Pool | None:
        """The pool that names this country, else the one that takes every country, else None."""
        named = (p for p in self.pools if country in p.countries)
        catch_all = (p for p in self.pools if not p.countries)
        return next(named, None) or next(catch_all, None)
