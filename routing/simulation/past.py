"""What happened, as a simulation takes it: leads, decisions, offers and their ends, corrections, rosters, policies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from routing.fairness import TURN
from routing.lead import NOTHING_RULED, Lead, Point, Reason, Ruled
from routing.member import Roster
from routing.offer import Kind, OfferState
from routing.policy import Policy
from routing.ports import Snapshot
from routing.turns import Correction

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


def us(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // _US


def moment(at_us: int) -> datetime:
    """The moment so many microseconds after 1970."""
    return EPOCH + timedelta(microseconds=at_us)


@dataclass(frozen=True, slots=True)
class PastEdit:
    """What others did to a lead on its way: facts that changed, a word that sent it back to routing."""

    at: int  # microseconds
    what: str  # updated, moved, ruled_again, released, reprocessed
    lead: Lead | None = None  # as it is from then on; None: as before
    rule: str = ""  # that is passed over from then on


@dataclass(frozen=True, slots=True)
class PastLead:
    """A lead as it came in, before any offer; `left` says when and why it was taken out by others, if it was."""

    lead: Lead
    label: str = ""  # as its source calls it
    postal_code: str = ""
    region: str = ""
    left: tuple[tuple[int, Reason], ...] = ()  # microseconds, and why
    edits: tuple[PastEdit, ...] = ()  # by time
    asides: tuple[int, ...] = ()  # when a rule set it aside: it was looked at, and nothing was decided

    def at(self, moment_us: int) -> Lead:
        """The lead as it was at a moment."""
        known = [edit.lead for edit in self.edits if edit.at < moment_us and edit.lead is not None]
        return known[-1] if known else self.lead


@dataclass(frozen=True, slots=True)
class PastOffer:
    """One offer and what became of it; times in microseconds since 1970."""

    id: UUID
    lead: int
    member: int
    market: str
    attempt: int
    slot: int
    kind: Kind
    state: OfferState
    reason: str
    offered: int
    expires: int
    accepted: int | None
    ended: int | None
    distance_m: float = 0.0
    work_by: int | None = None
    units: int = 1
    by_rule: bool = False  # a rule named its member, outside of any rotation

    def open_at(self, at: int) -> bool:
        """Whether it held a place then."""
        return self.offered < at and (self.ended is None or self.ended >= at)


@dataclass(frozen=True, slots=True)
class PastDecision:
    """One choice that was made, with what its chooser saw of everyone in reach."""

    market: str
    generation: int
    seq: int
    at: int
    lead: int
    attempt: int
    policy_version: int
    roster_version: int
    pool: str
    rotation: str
    mode: str
    chosen: int | None
    reason: str
    nearest_m: float | None = None
    rings_m: Sequence[float] = ()
    ring: int | None = None
    distance_m: Sequence[float] = ()
    member: Sequence[int] = ()
    weight: Sequence[int] = ()
    capacity: Sequence[int] = ()
    gate: Sequence[int] = ()
    open: Sequence[int] = ()
    standing: Sequence[int] = ()
    served: Sequence[int] = ()
    turn: int = TURN  # micro-turns that it cost
    ruled: Ruled = NOTHING_RULED  # what rules had made of the lead by then; of earlier ones only


@dataclass(frozen=True, slots=True)
class PastCorrection:
    """A correction with its time in the one order of decisions and corrections."""

    at: int
    correction: Correction


@dataclass(frozen=True, slots=True)
class PastRoster:
    """The members of a market from a moment on."""

    at: int
    roster: Roster


@dataclass(frozen=True, slots=True)
class PastPolicy:
    """The policy in force from a moment on."""

    at: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What of a member is told beside its numbers."""

    id: int
    key: str
    name: str
    market: str
    tier: str
    zone: str = ""
    auto_accept: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """A stretch of history, or leads and members out of files with no history at all.

    `start` holds, by market, the accounts as of `since`; the open offers are among `offers`.
    """

    since: int
    until: int
    leads: Sequence[PastLead]
    rosters: Sequence[PastRoster]  # by time; the first of each market holds from the beginning
    policies: Sequence[PastPolicy] = ()  # that were in force, by time
    members: Mapping[int, MemberFacts] = field(default_factory=dict)
    decisions: Sequence[PastDecision] = ()  # by market, generation and number
    before: Sequence[PastDecision] = ()  # of these leads, earlier than `since`
    offers: Sequence[PastOffer] = ()  # of these leads and every other that was open at `since`, oldest first
    corrections: Sequence[PastCorrection] = ()
    chances: Sequence[tuple[int, int, int]] = ()  # (microseconds, lead, member) who asked for another chance
    start: Mapping[str, Snapshot] = field(default_factory=dict)
    notes: Sequence[str] = ()  # what could not be known, for the report

    @property
    def places(self) -> Mapping[int, Point]:
        """Where each lead is."""
        return {one.lead.id: one.lead.place for one in self.leads if one.lead.place is not None}
