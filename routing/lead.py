"""A lead: one enquiry, where it is, and where it stands."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from routing.errors import BadInput
from routing.lane import Lane


class LeadState(StrEnum):
    """Where a lead stands; `new` has not been planned yet."""

    NEW = "new"
    WAITING = "waiting"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    DONE = "done"
    REVIEW = "review"
    WITHDRAWN = "withdrawn"


class Reason(StrEnum):
    """Why a lead waits, is in review or was withdrawn: exactly one at a time."""

    NO_ROOM = "no_room"  # waiting: members in range, all at capacity
    NO_PARTNER_IN_RANGE = "no_partner_in_range"  # waiting: nobody inside the last ring
    NOBODY_FITS = "nobody_fits"  # waiting: members in range, none who may have it as things are
    NO_ADDRESS = "no_address"  # review: nothing to place the lead by
    UNKNOWN_PLACE = "unknown_place"  # review: no geocoder knows the address
    UNKNOWN_COUNTRY = "unknown_country"  # review: the country is not one we know, or no pool serves it
    BAD_COORDINATES = "bad_coordinates"  # review: latitude or longitude out of range
    IMPRECISE_PLACE = "imprecise_place"  # review: the policy wants a better place than this
    ERROR = "error"  # review: handling it failed; the error is among the parked
    EXHAUSTED = "exhausted"  # review: the last reassignment was used up
    EVERYONE_TRIED = "everyone_tried"  # review: members in range, all of them were tried
    BY_HAND = "by_hand"  # review: somebody asked for it in Salesforce
    RETURNED = "returned"  # review: given back by its member more often than goes by itself
    HELD = "held"  # waiting: in a basket, until somebody distributes it
    MISSING_FACTS = "missing_facts"  # waiting: a rule waits for facts that have not come yet
    QUARANTINED = "quarantined"  # review: a check of the policy failed; never offered until it is released
    RULED = "ruled"  # review: a rule of the policy asks for a person
    OVERFLOW = "overflow"  # review: nobody in its pool has room, and such leads go to a person
    NOT_OURS = "not_ours"  # withdrawn: a rule of the policy leaves it alone
    OPEN_POOL = "open_pool"  # waiting: everyone's turn is over, and it is open to who did not answer
    OWNED = "owned"  # withdrawn: somebody gave it to an owner by hand
    RESCINDED = "rescinded"  # withdrawn: a person took it out of distribution
    DELETED = "deleted"  # withdrawn: deleted in Salesforce
    CONVERTED = "converted"  # withdrawn: converted in Salesforce


class Precision(StrEnum):
    """How well a place is known, best first."""

    EXACT = "exact"  # coordinates came with the lead, or a rooftop
    STREET = "street"
    POSTAL = "postal"  # centroid of the postal code
    CITY = "city"
    REGION = "region"
    COUNTRY = "country"


@dataclass(frozen=True, slots=True)
class Point:
    """A place on earth in degrees, WGS 84. Raises BadInput when it is not on earth."""

    lat: float
    lon: float

    def __post_init__(self) -> None:
        for name, value, limit in (("latitude", self.lat, 90.0), ("longitude", self.lon, 180.0)):
            if not math.isfinite(value) or abs(value) > limit:
                raise BadInput(
                    f"{value} is out of range", field=name, fix=f"Give a number from -{limit:g} to {limit:g}."
                )


@dataclass(frozen=True, slots=True)
class Address:
    """Where somebody lives, as they wrote it; country is a name or an ISO 3166 code."""

    street: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.street or self.city or self.postal_code)


@dataclass(frozen=True, slots=True)
class Located:
    """A point with how well it is known and who said so."""

    point: Point
    precision: Precision
    provider: str


@dataclass(frozen=True, slots=True)
class Ruled:
    """What the rules of the policy have made of a lead so far, beside its state."""

    released: frozenset[str] = frozenset()  # rules that a person let it pass
    passed: Mapping[str, str] = field(default_factory=dict)  # rules it has waited for -> how it came past: facts, time
    waits: Mapping[str, datetime] = field(default_factory=dict)  # rules it waits for -> since when
    searched: tuple[int, datetime] | None = None  # the attempt it is in, and since when it is searched in vain
    dropped: tuple[str, ...] = ()  # what was asked for less since then, such as a skill


NOTHING_RULED = Ruled()


@dataclass(frozen=True, slots=True)
class Lead:
    """What routing needs to know of a lead; `attempt` is the number of the next offer, from 1.

    `moves` counts those of the offers before that used up a reassignment.
    """

    id: int
    received_at: datetime
    country: str = "US"  # ISO 3166 alpha-2
    place: Point | None = None
    precision: Precision | None = None
    priority: int = 0  # higher first
    attempt: int = 1
    tried: frozenset[int] = field(default_factory=frozenset)  # members offered this lead before
    version: int = 0
    moves: int = 0
    lane: Lane = Lane.LIVE
    lapsed: frozenset[int] = field(default_factory=frozenset)  # of the tried, who let the only offer of theirs expire
    chances: tuple[int, ...] = ()  # of those, who asked for another chance, the first first
    taken_back: frozenset[int] = field(default_factory=frozenset)  # of the tried, who gave no answer: it was taken back
    facts: Mapping[str, object] = field(default_factory=dict)  # what rules may ask, by name: "lead.product" and so on
    ruled: Ruled = NOTHING_RULED


@dataclass(frozen=True, slots=True)
class ToLocate:
    """A lead that has an address and no place."""

    id: int
    version: int
    address: Address
    lane: Lane = Lane.LIVE
