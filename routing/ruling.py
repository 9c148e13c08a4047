"""What the rules came to for one lead: how it is asked for, or what becomes of it instead."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from routing.course import Course, Skill
from routing.lead import Lead, LeadState, Reason, Ruled
from routing.member import Member
from routing.policy import Pool

#: Something for the timeline: what happened, and its detail: names of the policy, ids and numbers.
Step = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Ruling:
    """How a lead is asked for, where the policy has rules, priorities or asks something of members."""

    course: Course
    now: datetime  # the batch's clock
    score: int = 0  # its priority, with the policy's points
    rank: int = 0  # by which leads are put in order, the highest first
    skills: tuple[Skill, ...] = ()  # that are asked for by now
    rings: int | None = None  # so many at most, for now
    preferred: int | None = None  # the member who is asked first, alone
    best: bool = False  # the best tiers are asked first, wherever they are in reach
    best_above: float | None = None  # what the last leads said about that
    next_at: datetime | None = None  # when less will be asked for
    ruled: Ruled = field(default_factory=Ruled)  # to be kept
    steps: tuple[Step, ...] = ()
    used: Mapping[str, object] = field(default_factory=dict)  # facts looked at, for the decision's record

    @property
    def relaxes(self) -> bool:
        """Whether less will be asked for by and by, so that the lead waits for that first (row M6)."""
        return self.next_at is not None


@dataclass(frozen=True, slots=True)
class Aside:
    """A lead that is not asked for: where it stands from now on, and why."""

    lead: Lead
    state: LeadState
    reason: Reason
    rule: str = ""
    target: str = ""  # the basket, or the rule's own word
    next_try_at: datetime | None = None
    rank: int = 0
    ruled: Ruled = field(default_factory=Ruled)
    steps: tuple[Step, ...] = ()

    @property
    def told(self) -> bool:
        """Whether Salesforce is told; of leads that are none of ours nothing is written."""
        return self.reason is not Reason.NOT_OURS


@dataclass(frozen=True, slots=True)
class Gift:
    """A lead that a rule gives to a named member, outside of any rotation (row M3)."""

    lead: Lead
    member: Member
    distance_m: float
    pool: Pool | None  # by whose rules it is answered
    accept: bool  # at once, without being asked
    beyond: bool  # its capacity
    ruling: Ruling
