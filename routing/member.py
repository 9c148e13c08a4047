"""Members: whoever can be given a lead, and the roster that holds them."""

from collections.abc import Sequence
from dataclasses import dataclass

from routing.lead import Point


@dataclass(frozen=True, slots=True)
class Member:
    """One installer partner or sales rep, with every branch it works from.

    `capacity` and `weight` are overrides; None means the tier's.
    """

    id: int
    key: str  # the outside id, such as the CSV's partner_id
    name: str
    market: str
    tier: str
    places: tuple[Point, ...]
    capacity: int | None = None
    weight: int | None = None  # thousandths
    active: bool = True


@dataclass(frozen=True, slots=True)
class Roster:
    """All members of one market at one version."""

    market: str
    version: int
    members: Sequence[Member]
