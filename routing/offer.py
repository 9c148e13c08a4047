"""The life of an offer: which change of state is legal, who may make it, and what a refusal is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from routing.errors import Refused
from routing.lane import Lane


class OfferState(StrEnum):
    """offered -> accepted, rejected, expired, withdrawn; accepted -> completed, lost, returned."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    COMPLETED = "completed"
    LOST = "lost"
    RETURNED = "returned"
    VOID = "void"  # an id burned before it lived: its reservation was never committed


#: These hold a place of the member's capacity.
OPEN = frozenset({OfferState.OFFERED, OfferState.ACCEPTED})

LEGAL: dict[OfferState, frozenset[OfferState]] = {
    OfferState.OFFERED: frozenset({OfferState.ACCEPTED, OfferState.REJECTED, OfferState.EXPIRED, OfferState.WITHDRAWN}),
    OfferState.ACCEPTED: frozenset({OfferState.COMPLETED, OfferState.LOST, OfferState.RETURNED, OfferState.WITHDRAWN}),
}


def may_become(old: OfferState, new: OfferState) -> bool:
    """Whether an offer may change from one state to the other; ended offers stay ended."""
    return new in LEGAL.get(old, frozenset())


class Kind(StrEnum):
    """How an offer came about."""

    TURN = "turn"  # it was the member's turn
    SECOND = "second"  # the member let it expire before and asked for another chance
    OPEN = "open"  # taken from the open pool, after everyone's turn was over
    MANUAL = "manual"  # a person gave it, here or in Salesforce


class Actor(StrEnum):
    """Who changed an offer, as the ledger writes it down."""

    MEMBER = "member"  # the partner's person or its app, through the API
    LINK = "link"  # a signed link
    MANAGER = "manager"
    SALESFORCE = "salesforce"
    FAIRTURN = "fairturn"  # a rule, such as a deadline


class Notice(StrEnum):
    """What a member is told about an offer, in the order of its own numbers."""

    CREATED = "offer.created"
    REMINDER = "offer.reminder"
    ACCEPTED = "offer.accepted"
    REJECTED = "offer.rejected"
    EXPIRED = "offer.expired"
    WITHDRAWN = "offer.withdrawn"
    TAKEN = "offer.taken"  # another member accepted first, of several who were asked
    COMPLETED = "offer.completed"
    LOST = "offer.lost"
    RETURNED = "offer.returned"
    WARNING = "offer.warning"  # accepted, and nothing has happened since
    EXTENDED = "offer.extended"
    CHANGED = "offer.changed"  # what may be seen of its lead changed
    OPENED = "lead.opened"  # to the open pool


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an answer."""

    offer_id: UUID
    lead_id: int
    member_id: int
    state: OfferState
    at: datetime
    repeated: bool = False  # it was so already, by the same answer: nothing changed
    route: bool = False  # the lead goes on to the next member
    lane: Lane = Lane.LIVE
    frees: bool = False  # a place of the member became free


class UnknownOffer(Refused):
    """No offer of yours has this id."""


class AlreadyAnswered(Refused):
    """The offer was answered before."""


class OfferExpired(Refused):
    """The offer's deadline has passed."""


class OfferTaken(Refused):
    """Another member was faster."""


class OfferWithdrawn(Refused):
    """The offer was taken back."""


class WrongState(Refused):
    """An offer in this state cannot be changed so."""


class OfferChanged(Refused):
    """The offer is not any more as you saw it; look at it again."""


class RejectLimitReached(Refused):
    """You have rejected as many offers today as your programme allows; ask its manager."""


class ReturnWindowClosed(Refused):
    """The time in which a lead may be returned is over."""


class ExtensionRefused(Refused):
    """The lead cannot be kept any longer; ask the programme's manager."""


class NoSecondChance(Refused):
    """The lead cannot be asked for again."""


class NoRoom(Refused):
    """You hold as many leads as you may; complete one, or give one back."""


def refusal(asked: OfferState, state: OfferState, ended_at: datetime | None) -> Refused:
    """Why an offer in `state` cannot become what was asked for."""
    when = f" at {ended_at:%Y-%m-%d %H:%M:%S} UTC" if ended_at else ""
    facts: Mapping[str, object] = {"state": str(state), "ended_at": ended_at.isoformat() if ended_at else None}
    if state is OfferState.EXPIRED:
        return OfferExpired(f"The offer expired{when}.", **facts)
    if state is OfferState.WITHDRAWN:
        return OfferWithdrawn(f"The offer was withdrawn{when}.", **facts)
    if asked in LEGAL[OfferState.OFFERED] and state is not OfferState.OFFERED:
        return AlreadyAnswered(f"The offer was answered before: it is {state}.", **facts)
    return WrongState(f"An offer that is {state} cannot become {asked}.", **facts)
