"""What routing asks of its neighbours; adapters in storage/ and gateways/ keep these promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from routing.decision import Ask, Grant
from routing.errors import GiveUp, TryLater
from routing.lead import Address, Located
from routing.limits import Use, Uses
from routing.turns import Correction, Corrects, Numbered, Uncertain

NO_USES: Mapping[UUID, Sequence[Use]] = {}


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's account in one rotation: micro-turns owed to it, and the tick of its last turn (0 = never)."""

    standing: int
    served: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the ledger knows that the turnstile must hold, for one market."""

    generation: int
    seq: int  # the last sequence number the ledger has seen
    open_offers: Mapping[UUID, int]  # offer -> member
    standings: Mapping[str, Mapping[int, Standing]]  # rotation -> member -> account
    ticks: Mapping[str, int]  # rotation -> turns given so far
    cursors: Mapping[str, int]  # rotation -> member served last
    order: Sequence[int] = ()  # members, neighbours together: only how fast the turnstile is depends on it
    units: Mapping[UUID, int] = field(default_factory=dict)  # of those offers that take more than one of capacity
    uses: Uses = field(default_factory=dict)  # of limits: counter -> bucket -> units


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the turnstile says it is in one market; zeros when it holds nothing."""

    generation: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A reservation nobody has settled yet."""

    lead: int
    attempt: int
    offer: UUID
    member: int
    age_s: float


class Decider(Corrects, Protocol):
    """Who gives members to leads: the turnstile, or while it is away the ledger itself, by the same rule."""

    def reserve(
        self, market: str, asks: Sequence[Ask], *, generation: int, release: Sequence[UUID] = ()
    ) -> list[Grant]:
        """Free the released offers, then give each Ask a member with room, in order; all of it or nothing."""
        ...

    def settle(
        self, market: str, *, keep: Sequence[tuple[int, int]] = (), cancel: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Forget reservations by (lead, attempt): kept ones are in the ledger now, cancelled ones are undone whole."""
        ...


class Turnstile(Protocol):
    """Capacity and turns, decided atomically; a fast opinion that the ledger can rebuild.

    Every method raises TurnstileUnreachable when Redis does not answer, ColdTurnstile when the generation differs.
    """

    def reserve(
        self, market: str, asks: Sequence[Ask], *, generation: int, release: Sequence[UUID] = ()
    ) -> list[Grant]:
        """Free the released offers, then give each Ask a member with room, in order; atomic, one round trip."""
        ...

    def settle(
        self,
        market: str,
        *,
        keep: Sequence[tuple[int, int]] = (),
        cancel: Sequence[tuple[int, int]] = (),
        offers: Sequence[UUID] = (),
    ) -> None:
        """Forget reservations by (lead, attempt): kept ones are in the ledger now, cancelled ones are undone whole.

        With `offers`, of those to keep and then of those to cancel, only where they were made for that offer.
        Cancelling gives back the place and the turn, shares included. Safe to repeat.
        """
        ...

    def correct(self, market: str, corrections: Sequence[Correction], *, generation: int) -> list[Numbered]:
        """Move standings, in order; a correction that was carried out before keeps its number and moves nothing."""
        ...

    def settle_corrections(
        self, market: str, *, keep: Sequence[tuple[UUID, int]] = (), undo: Sequence[tuple[UUID, int]] = ()
    ) -> None:
        """Forget corrections by id and number: kept ones are in the ledger now, undone ones are moved back whole.

        Safe to repeat.
        """
        ...

    def uncertain(self, market: str, *, older_than_s: float) -> list[Uncertain]:
        """Corrections that were not settled within that time."""
        ...

    def release(self, market: str, offers: Sequence[UUID], *, back: Mapping[UUID, Sequence[Use]] = NO_USES) -> None:
        """Free the places these offers hold; those that hold none are left alone. `back`: what they no longer use."""
        ...

    def rebuild(self, market: str, snapshot: Snapshot) -> None:
        """Replace everything held for the market by the snapshot, at once.

        Raises ColdTurnstile when its generation is not below the snapshot's: somebody else was faster.
        """
        ...

    def pending(self, market: str, *, older_than_s: float) -> list[Pending]:
        """Reservations that were not settled within that time."""
        ...

    def standings(self, market: str, rotation: str) -> dict[int, Standing]:
        """The accounts of one rotation."""
        ...

    def uses(self, market: str) -> dict[str, dict[int, int]]:
        """What is used of limits: counter -> bucket -> units."""
        ...

    def open_counts(self, market: str) -> dict[int, int]:
        """How many units of capacity each member holds."""
        ...

    def mark(self, market: str) -> Mark:
        """How far it is; never ColdTurnstile."""
        ...

    def probe(self, market: str) -> None:
        """Raise TurnstileUnreachable unless the market's Redis answers and takes a write."""
        ...


class Geocoder(Protocol):
    """Finds places."""

    def locate_each(self, addresses: Sequence[Address]) -> Sequence[Located | TryLater | GiveUp | None]:
        """For each address, in order: its place, None where nobody knows it, or why it could not be asked for."""
        ...
