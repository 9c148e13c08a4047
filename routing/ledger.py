"""What the dispatcher asks of the ledger."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from routing.batch import Batch, Known
from routing.lead import Lead, Point, Reason
from routing.limits import Use
from routing.member import Roster
from routing.policy import Policy
from routing.ports import Snapshot


class WaitingLead(Protocol):
    """A waiting lead in some member's neighbourhood."""

    @property
    def id(self) -> int: ...
    @property
    def place(self) -> Point: ...
    @property
    def country(self) -> str: ...
    @property
    def reason(self) -> Reason: ...
    @property
    def moves(self) -> int: ...
    @property
    def rung(self) -> int | None: ...


class Stand(NamedTuple):
    """The versions of one moment."""

    policy_version: int
    roster_version: int
    generation: int
    alone: bool = False  # the turnstile is away, the ledger decides
    seq: int = 0  # of the last decision or correction of this generation


class Ledger(Protocol):
    """What the dispatcher asks of the ledger."""

    def batch(self, ids: Sequence[int], *, woken: bool, task_id: str) -> AbstractContextManager[Batch]:
        """Leads under lock until the context is left; leaving commits."""
        ...

    def policy(self, version: int) -> Policy:
        """One version of the policy."""
        ...

    def roster(self, market: str, *, full: bool = False) -> Roster:
        """All members of a market, with the roster's version; `full`: with their countries and attributes."""
        ...

    def known(self, ids: Sequence[int], policy: Policy) -> tuple[Sequence[Lead], Known]:
        """Leads that wait, and what the rules of the policy may ask of them; nothing is locked."""
        ...

    def rebuild(self, market: str, seen: int, above: int) -> AbstractContextManager[Snapshot | None]:
        """What the turnstile must hold, under a new generation higher than `above`; leaving commits it.

        None when somebody else has raised the generation above `seen` meanwhile.
        """
        ...

    def stand_alone(self, market: str, seen: int) -> bool:
        """Decide alone until the next rebuild; False when somebody else has raised the generation above `seen`."""
        ...

    def standing_at(self, market: str) -> Stand:
        """Under which versions the market is now."""
        ...

    def waiting_near(
        self,
        places: Sequence[Point],
        radius_m: float,
        member_id: int,
        *,
        limit: int,
        after: Any = None,
        besides: Sequence[int] = (),
        again: bool = False,
        room: int | None = None,
    ) -> Sequence[WaitingLead]:
        """Waiting leads this near, never offered to the member: best priority, then oldest, first.

        `after`: the last one of the page before. `besides`: leads that are left out. `again`: with those it let expire
        and may be offered once more. `room`: those that take more units of capacity are passed over. A few that are a
        little too far may be among them.
        """
        ...

    def wake(self, ids: Sequence[int]) -> int:
        """Let these waiting leads be planned again."""
        ...

    def given_back(self, offers: Sequence[UUID]) -> Mapping[UUID, Sequence[Use]]:
        """Of those of the offers that were not kept, the limits that count them no longer."""
        ...

    def waiting_cells(self) -> frozenset[int]:
        """The cells in which any lead waits."""
        ...

    def open_counts(self, market: str) -> Mapping[int, int]:
        """How many units of capacity each member holds, by the ledger."""
        ...

    def members_with_room(self, market: str, ids: Sequence[int] | None) -> Mapping[int, int]:
        """How many more units each active member (of those, or all) may hold; none with 0."""
        ...
