"""Where a lead looks for a member: rung by rung of its pool's ladder, at last among those who let it expire."""

from dataclasses import dataclass
from typing import Protocol

from routing.admission import Then
from routing.course import Skill
from routing.lead import Lead, Precision, Reason
from routing.policy import Policy, Pool, PoorPlace, Rung, Tiers
from routing.ruling import Ruling

#: The look after the last rung: everyone was asked, and who did not answer may be asked once more.
AGAIN = -1
_EVERYWHERE = Rung()


@dataclass(frozen=True, slots=True)
class Look:
    """One place on the ladder: whom a lead asks there, and how far away."""

    lead: Lead
    pool: Pool
    rung: int
    radii_m: tuple[float, ...]
    ranks: frozenset[int] | None  # tiers that are asked, by rank; None: all
    tried: frozenset[int]  # members who are not asked, as they were before
    ruling: Ruling | None = None

    @property
    def skills(self) -> tuple[Skill, ...]:
        """What a member must have."""
        return self.ruling.skills if self.ruling else ()

    @property
    def wide(self) -> bool:
        """Whether all rings are searched at once, as somebody in any of them may be asked before the nearest."""
        ruling = self.ruling
        if self.lead.chances or (self.pool.tiers is Tiers.RANKED and self.pool.overflow.then is Then.NEXT_RING):
            return True
        return ruling is not None and (ruling.best or ruling.preferred is not None)

    @property
    def further(self) -> int | None:
        """The next rung, for when this one has nobody; None: there is none."""
        if self.rung == AGAIN:
            return None
        if self.rung + 1 < len(self.pool.answering.ladder):
            return self.rung + 1
        again = self.pool.answering.again_when_exhausted and self.lead.lapsed.difference(self.lead.chances)
        return AGAIN if again else None


def first_rung(lead: Lead, pool: Pool) -> int:
    """Where the ladder's part of this attempt begins (row O13); the last rung holds for all further attempts."""
    return max(0, min(lead.moves, len(pool.answering.ladder) - 1))


def look(lead: Lead, pool: Pool, policy: Policy, rung: int, ruling: Ruling | None = None) -> Look:
    """What a lead looks at on this rung."""
    ladder = pool.answering.ladder
    step = ladder[rung] if ladder else _EVERYWHERE
    tried = lead.tried.difference(lead.chances)
    limits = [rings for rings in (step.rings, ruling.rings if ruling else None) if rings is not None]
    return Look(
        lead,
        pool,
        rung,
        reach_m(lead, pool, min(limits, default=None)),
        frozenset(policy.tier(name).rank for name in step.tiers) if step.tiers else None,
        tried - lead.lapsed if rung == AGAIN else tried,
        ruling,
    )


class Waits(Protocol):
    """A waiting lead."""

    @property
    def reason(self) -> Reason: ...
    @property
    def moves(self) -> int: ...
    @property
    def rung(self) -> int | None: ...


def is_asked(pool: Pool, lead: Waits, ring: int, tier: str) -> bool:
    """Whether a waiting lead would ask a member of this tier in this ring.

    It waits for room on one rung; while nobody is in range, whoever comes on any further rung is asked.
    """
    ladder = pool.answering.ladder
    if not ladder:
        return True
    last = len(ladder) - 1
    if lead.reason is Reason.NO_ROOM and lead.rung is not None:
        rungs = ladder[lead.rung :][:1] if lead.rung != AGAIN else ladder[last:]
    else:
        rungs = ladder[min(lead.moves, last) :]
    return any((one.rings is None or ring < one.rings) and (not one.tiers or tier in one.tiers) for one in rungs)


def reach_m(lead: Lead, pool: Pool, rings: int | None = None) -> tuple[float, ...]:
    """The radii searched for this lead, in metres, smallest first; at most so many of the pool's rings."""
    radii = pool.rings_for(lead.country).metres[:rings]
    wider = poor_place(lead, pool) is PoorPlace.WIDER_RING and len(radii) > 1
    return radii[1:] if wider else radii


def poor_place(lead: Lead, pool: Pool) -> PoorPlace:
    """What the policy does with a place known as well as this lead's."""
    return pool.poor_places.get(lead.precision or Precision.EXACT, PoorPlace.CENTROID)
