"""What a routing batch is to routing: leads under lock, versions, and a way to save what was decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from routing.lead import Lead, Reason, Ruled
from routing.plan import Verdict
from routing.policy import Policy
from routing.ports import Decider
from routing.ruling import Aside, Gift


@dataclass(frozen=True, slots=True)
class Market:
    """A market's versions at the moment of locking."""

    name: str
    roster_version: int
    generation: int
    alone: Decider | None = None  # who decides while the turnstile is away: the ledger
    now: datetime | None = None  # the ledger's clock


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written, and what the ledger refused because a member would have passed its capacity."""

    kept: tuple[Verdict, ...]
    over: tuple[Verdict, ...]
    spent: tuple[Verdict, ...] = ()  # would have passed a limit


@dataclass(frozen=True, slots=True)
class Known:
    """What the rules of a policy may ask: the moment of planning, and of each lead its facts and what was made of it.

    `best_above`: the priority from which leads are among the best, where the policy counts it from the last ones.
    """

    now: datetime
    facts: Mapping[int, Mapping[str, object]]
    ruled: Mapping[int, Ruled] = field(default_factory=dict)
    best_above: float | None = None


class Batch(Protocol):
    """Leads nobody else can route until the batch is left."""

    @property
    def leads(self) -> tuple[Lead, ...]: ...
    @property
    def policy_version(self) -> int: ...
    @property
    def markets(self) -> dict[str, Market]: ...

    def known(self, policy: Policy) -> Known:
        """What the rules of the policy may ask of these leads."""
        ...

    def save(
        self,
        verdicts: Sequence[Verdict],
        *,
        refused: Sequence[tuple[Lead, Reason]] = (),
        asides: Sequence[Aside] = (),
        gifts: Sequence[tuple[UUID, Gift]] = (),
    ) -> Saved:
        """Write everything decided in the batch's own transaction; gifts with the ids of their offers."""
        ...
