"""The policy as routing sees it: pools, tiers, rings and timers of one published version."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from routing.admission import AS_EVER, GIVEN_AT_ONCE, NOTHING_ASKED, Admission, Giving, Overflow, Step
from routing.lead import Precision
from routing.limits import Limit
from routing.priority import PLAIN, Priority
from routing.rotation import Turning

if TYPE_CHECKING:
    from routing.entry import Entry, Reroute
    from routing.rules import Rulebook

METRES = {"mi": 1609.344, "km": 1000.0}
WEIGHTED_BY_DISTANCE = "weighted_by_distance"


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
    limits: tuple[Limit, ...] = ()  # of its members, over all pools; they go before the policy's of the same name


class TurnEffect(StrEnum):
    """What an ended offer means for its member's turn (row F9)."""

    CONSUME = "consume"  # the turn is used up
    RETURN = "return"  # the turn is given back, as if the offer had never been
    PENALISE = "penalise"  # a second turn is used up


#: What an installer may say when it turns a lead down; a policy may name others.
REJECT_REASONS: Mapping[str, TurnEffect] = dict.fromkeys(
    ("too_far", "no_capacity", "wrong_product", "too_small", "known_customer", "other"), TurnEffect.CONSUME
)
RETURN_REASONS: Mapping[str, TurnEffect] = dict.fromkeys(
    ("unreachable", "wrong_contact", "duplicate", "not_interested", "out_of_area", "other"), TurnEffect.CONSUME
)
#: What of a lead may be seen before it is accepted (row O10).
SHOWN = ("city", "region", "postal_code", "country", "product", "size")


@dataclass(frozen=True, slots=True)
class Hours:
    """Working time of a week in one time zone; minutes from midnight, half open, by weekday (Monday is 0)."""

    zone: str  # IANA
    days: Mapping[int, tuple[tuple[int, int], ...]]
    holidays: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class Rung:
    """Where an attempt looks (row O13): only these tiers, and no farther than so many of the rings."""

    tiers: frozenset[str] = frozenset()  # empty: all
    rings: int | None = None  # so many, from the smallest; None: all


@dataclass(frozen=True, slots=True)
class Answering:
    """How offers of a pool are answered, and what follows (rows O1 to O18)."""

    within: timedelta = timedelta(hours=4)
    hot_within: timedelta | None = None  # for hot leads; None: as the others
    hours: Hours | None = None  # deadlines count working time; None: wall-clock time
    reminders: tuple[int, ...] = (50, 80)  # percent of the time that has passed
    reassignments: int = 3  # after the first offer; rejected, expired and returned offers count
    expiry_counts: bool = True  # an offer that nobody answered counts like a rejected one
    reject_reasons: Mapping[str, TurnEffect] = field(default_factory=lambda: REJECT_REASONS)
    expired_turn: TurnEffect = TurnEffect.CONSUME
    rejects_a_day: int | None = None  # a member may reject so many, by its own calendar
    fan_out: int = 1  # members asked at once; the first who accepts has it
    ladder: tuple[Rung, ...] = ()  # where attempt 1, 2 ... look; the last one holds for all further attempts
    again_when_exhausted: bool = False  # when everyone was tried, those who let it expire may be tried once more
    second_chance: bool = False  # who let it expire may queue again
    open_for: timedelta | None = None  # after the last attempt, open to those who let it expire, for so long
    work_within: timedelta | None = None  # from accepting to the next step; then it goes to another member
    work_warning: int = 80  # percent of that time
    extensions: int = 1  # of that time, each with a reason
    extend_reasons: tuple[str, ...] = ("appointment_made", "customer_undecided", "no_contact_yet", "other")
    lost_reasons: tuple[str, ...] = (
        "no_contact",
        "no_interest",
        "too_expensive",
        "competitor",
        "not_feasible",
        "other",
    )
    return_within: timedelta = timedelta(hours=72)
    return_reasons: Mapping[str, TurnEffect] = field(default_factory=lambda: RETURN_REASONS)
    returns_percent: int = 10  # of the leads accepted in a month: so many go back by themselves, the rest by a person
    shown: tuple[str, ...] = SHOWN


class Unit(StrEnum):
    """What turns are counted in (row F12)."""

    COUNT = "count"  # a lead is a turn
    UNITS = "units"  # of capacity
    VALUE = "value"  # of the lead


@dataclass(frozen=True, slots=True)
class Cost:
    """What a lead costs in turns."""

    unit: Unit = Unit.COUNT
    fact: str = ""  # of the lead, with unit=value: a number
    worth: float = 1.0  # what one turn is worth in that number
    most: int = 100  # turns; whatever a lead is worth


ONE_TURN = Cost()


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
    answering: Answering = field(default_factory=Answering)
    poor_places: Mapping[Precision, PoorPlace] = field(default_factory=dict)
    turns: Turning = field(default_factory=Turning)
    admission: Admission = NOTHING_ASKED
    relax: tuple[Step, ...] = ()
    overflow: Overflow = AS_EVER
    limits: tuple[Limit, ...] = ()  # within this pool
    cost: Cost = ONE_TURN

    @property
    def way(self) -> str:
        """The mode as the policy names it: weighted_by_distance is mode fair with weights that fall with distance."""
        return WEIGHTED_BY_DISTANCE if self.turns.halves_at_m else str(self.mode)

    @property
    def weighs_anew(self) -> bool:
        """Whether a member's weight here is not simply its own."""
        turns = self.turns
        return bool(turns.ramp or turns.minimum or turns.halves_at_m)

    @property
    def reassignments(self) -> int:
        """How often a lead may move on after its first offer."""
        return self.answering.reassignments

    @property
    def answer_within(self) -> timedelta:
        """How long a member has to answer."""
        return self.answering.within

    def rings_for(self, country: str) -> Rings:
        return self.rings_by_country.get(country, self.rings)


@dataclass(frozen=True, slots=True)
class Policy:
    """One published version; a tier that it does not name follows `default_tier`."""

    version: int
    pools: tuple[Pool, ...]
    tiers: Mapping[str, Tier]
    default_tier: Tier
    rulebook: "Rulebook | None" = None  # None: the lead's country names the pool
    priority: Priority = PLAIN
    entry: "Entry | None" = None  # None: every lead is ours
    giving: Giving = GIVEN_AT_ONCE
    reroute: "Reroute | None" = None  # None: whatever changes before an offer is out
    limits: tuple[Limit, ...] = ()  # over all pools

    @property
    def is_limited(self) -> bool:
        """Whether anything limits how many leads somebody gets, besides capacity."""
        tiers = any(tier.limits for tier in (*self.tiers.values(), self.default_tier))
        return bool(self.limits) or tiers or any(pool.limits for pool in self.pools)

    @property
    def has_ramps(self) -> bool:
        """Whether weights rise from the day on which a member joined."""
        return any(pool.turns.ramp for pool in self.pools)

    @property
    def asks_members(self) -> bool:
        """Whether it looks at what members are, besides their tier and place."""
        return self.rulebook is not None or any(pool.admission.asks for pool in self.pools)

    @property
    def asks_leads(self) -> bool:
        """Whether it looks at what leads are, besides their country and place."""
        special = any(pool.relax or pool.overflow is not AS_EVER or pool.cost.fact for pool in self.pools)
        return special or self.asks_members or self.priority is not PLAIN

    def tier(self, name: str) -> Tier:
        return self.tiers.get(name, self.default_tier)

    def pool_for(self, country: str) -> Pool | None:
        """The pool that names this country, else the one that takes every country, else None."""
        named = (p for p in self.pools if country in p.countries)
        catch_all = (p for p in self.pools if not p.countries)
        return next(named, None) or next(catch_all, None)
