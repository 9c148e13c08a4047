"""The course a lead takes: what the rules of the policy say about it, before anybody near it is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from routing.policy import Pool


class Way(StrEnum):
    """Where a rule sends a lead."""

    POOL = "pool"  # to whose turn it is in a pool
    OWNER = "owner"  # to a named member, outside of any rotation (row M3)
    HOLD = "hold"  # into a basket, until somebody distributes it
    WAIT = "wait"  # for facts that are still missing, for so long at most (row I6)
    QUARANTINE = "quarantine"  # never offered until somebody releases it: spam, tests, nonsense (row I7)
    REVIEW = "review"  # a person looks
    IGNORE = "ignore"  # not ours: nothing is written anywhere (row M4)


@dataclass(frozen=True, slots=True)
class Skill:
    """What a member must have for a lead (row M5), the most important first; some are dropped after a while (row M6).

    `wanted` is compared with the member's attribute of this name: a list holds it, a number is at least it, a text is
    equal to it.
    """

    name: str
    wanted: str | float | bool
    drop_after: timedelta | None = None  # by itself; None: not
    required: bool = True  # False: the pool may drop it as it relaxes


@dataclass(frozen=True, slots=True)
class Course:
    """What the first rule that matches says, with what the rules before it added and fell through."""

    way: Way
    rule: str = ""  # its name; empty: no rule was asked, the lead's country named the pool
    pool: Pool | None = None  # with way=pool
    target: str = ""  # the owner's key, the basket, or the reason
    wait_for: tuple[str, ...] = ()  # facts, with way=wait
    wait_up_to: timedelta | None = None
    priority: int | None = None  # None: the lead's own
    hot: bool | None = None
    skills: tuple[Skill, ...] = ()
    preferred: str = ""  # the key of the member that is asked first (row M8)
    preferred_for: timedelta | None = None
    best_first: bool = False  # the best tiers are asked first, within the share cap (row P2)
    units: int = 1  # of capacity (row C5)
    turn: int = 1_000_000  # micro-turns that this lead costs (row F12)
    passed: tuple[str, ...] = ()  # rules that matched before and fell through
    set_by: tuple[tuple[str, Mapping[str, object]], ...] = ()  # rules in order, with what each said that holds
    used: Mapping[str, object] = field(default_factory=dict)  # the facts that were looked at, for the decision's record
