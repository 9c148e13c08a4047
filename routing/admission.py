"""What a pool asks of its members besides room and turn: certificates, conditions, working hours, service areas."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol


class Holds(Protocol):
    """A condition of the policy."""

    @property
    def names(self) -> Collection[str]:
        """The facts it reads."""
        ...

    def holds(self, facts: Mapping[str, object]) -> bool:
        """Whether it is true of these facts."""
        ...


@dataclass(frozen=True, slots=True)
class Certificate:
    """A paper that a member must have: good from the day in one of its attributes to the end of the day in another.

    Days are those of the member's own time zone (row M9).
    """

    name: str
    until: str  # the attribute's name, without "member."
    since: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """What must hold, or must not, of a member and a lead."""

    name: str
    when: Holds | None = None  # must hold
    unless: Holds | None = None  # must not

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for one in (self.when, self.unless) if one is not None for name in one.names)

    def met(self, facts: Mapping[str, object]) -> bool:
        """Whether this lead may go to this member."""
        when, unless = self.when, self.unless
        return (when is None or when.holds(facts)) and (unless is None or not unless.holds(facts))


@dataclass(frozen=True, slots=True)
class OwnHours:
    """Members are asked in their working hours only: their attribute `hours`, else these, in their own time zone."""

    days: Mapping[int, tuple[tuple[int, int], ...]] | None = None  # None: who says nothing is always at work
    zone: str = "UTC"  # of members who name none


@dataclass(frozen=True, slots=True)
class Admission:
    """Everything that a pool asks of its members."""

    certificates: tuple[Certificate, ...] = ()
    conditions: tuple[Demand, ...] = ()
    hours: OwnHours | None = None
    areas: bool = False  # a member's own service area is held to (row G8)
    zone: str = "UTC"  # of members who name none, for days of certificates

    @property
    def asks(self) -> bool:
        return bool(self.certificates or self.conditions or self.hours or self.areas)


@dataclass(frozen=True, slots=True)
class Step:
    """What is asked for less, or farther away, once a lead was searched for so long in vain (row M6)."""

    after: timedelta
    drop: bool = False  # the least important skill that may be dropped
    rings: int = 0  # so many rings more


class Then(StrEnum):
    """Where a lead goes for which nobody has room (row C9)."""

    AS_EVER = "as_ever"  # tier by tier where they are ranked, ring by ring, then it waits
    NEXT_RING = "next_ring"  # the same tier farther away, before the next tier
    NEXT_TIER = "next_tier"  # the next tier of the same ring, and no farther
    WAIT = "wait"  # for the ring and the tier it was in
    HOLD = "hold"  # in a basket
    REVIEW = "review"  # a person looks
    POOL = "pool"  # to another pool


@dataclass(frozen=True, slots=True)
class Overflow:
    """What a pool does with leads for which nobody has room; `target` is the basket or the other pool."""

    then: Then = Then.AS_EVER
    target: str = ""


@dataclass(frozen=True, slots=True)
class Giving:
    """How a lead is given to a member that a rule names."""

    accept: bool = True  # at once; False: the member is asked, and may say no
    beyond_capacity: bool = True  # False: while it has no room, the lead waits for it


AS_EVER = Overflow()
GIVEN_AT_ONCE = Giving()
NOTHING_ASKED = Admission()
