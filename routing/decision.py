"""A decision: one routing choice with all it saw, enough to explain it and to make it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from routing.limits import Check, Stop, Use
from routing.policy import Mode


class Gate(IntEnum):
    """Why a candidate was or was not eligible."""

    ELIGIBLE = 0
    FULL = 1  # open >= capacity
    TRIED = 2  # was offered this lead before
    TIER = 3  # of a tier that this attempt does not ask
    QUOTA = 4  # a quota, a cap or a share is used up
    SKILL = 5  # lacks a skill that the lead needs
    CERTIFICATE = 6  # a certificate is missing or has ended
    CONDITION = 7  # a condition of the pool does not hold for this member and this lead
    HOURS = 8  # outside of its working hours
    AREA = 9  # the lead is outside of the member's own service area


class Candidate(NamedTuple):
    """A member in reach of a lead, before the turnstile looks at it."""

    member: int
    distance_m: float
    ring: int  # index into the rings, from 0
    tier_rank: int
    weight: int  # thousandths
    capacity: int


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates who compete with each other; a later group is asked only when an earlier has nobody eligible."""

    ring: int
    rotation: str  # whose standings and cursor decide, such as "installers" or "installers:gold"
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Ask:
    """What the turnstile is asked for one lead. Asked again for the same (lead, attempt), the answer is the same.

    `last` is False when more will be asked for the lead should nobody be eligible; such an answer may have no number.
    The offer takes `units` of its member's capacity, and costs `turn` micro-turns, of which everyone eligible earns its
    share.
    """

    lead: int
    attempt: int
    offer: UUID
    mode: Mode
    groups: tuple[Group, ...]
    last: bool = True
    units: int = 1
    turn: int = 1_000_000
    limits: Mapping[int, tuple[Check, ...]] = field(default_factory=dict)  # by member; who has none is not named


class Sight(NamedTuple):
    """What the turnstile saw of one candidate at the moment of choice."""

    member: int
    eligible: bool
    open: int  # units held before this decision
    standing: int  # micro-turns before this decision
    served: int  # tick of its last turn in the rotation, 0 = never


@dataclass(frozen=True, slots=True)
class Grant:
    """The turnstile's answer to one Ask; member is None when nobody was eligible in any group.

    `sights` lists every candidate of the groups looked at (0 to `group`, or all), in the Ask's order; a repeated answer
    may have none. `seq` is 0 when the answer has no number. `at_us` is the turnstile's clock in microseconds since
    1970; (generation, seq) orders all answers of a market.
    """

    lead: int
    attempt: int
    offer: UUID
    member: int | None
    group: int | None
    seq: int
    at_us: int
    sights: Sequence[Sight]
    repeated: bool = False
    stops: Mapping[int, Stop] = field(default_factory=dict)  # members with room whom a limit stopped
    uses: tuple[Use, ...] = ()  # what the offer counts in


class Weighed(NamedTuple):
    """One candidate in a decision: the plan's side and the turnstile's side together."""

    member: int
    distance_m: float
    ring: int
    weight: int
    capacity: int
    tier_rank: int
    gate: Gate
    open: int = 0
    standing: int = 0
    served: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """One routing choice, complete: from these values alone the choice can be made again (row N4)."""

    id: UUID  # of the offer, when there is one
    lead: int
    attempt: int
    at: datetime
    market: str
    pool: str
    rotation: str  # of the deciding group; empty when nobody was chosen
    mode: Mode
    rings_m: tuple[float, ...]
    ring: int | None  # index of the ring used
    policy_version: int
    roster_version: int
    generation: int
    seq: int
    chosen: int | None
    reason: str  # "chosen", "chosen_again", "second_chance", or the Reason nobody was
    weighed: Sequence[Weighed]
    nearest_m: float | None = None  # the nearest member's distance, when none is in range
    rule: str = ""  # of the policy, that sent the lead to this pool
    inputs: Mapping[str, object] = field(default_factory=dict)  # facts of the lead and the clock that were looked at
    units: int = 1  # of capacity
    turn: int = 1_000_000  # micro-turns it costs
    stops: Mapping[int, Stop] = field(default_factory=dict)  # members with room whom a limit stopped, with its numbers
    uses: tuple[Use, ...] = ()  # the limits that the offer counts in, with their numbers before it
