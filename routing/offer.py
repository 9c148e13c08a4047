"""The life of an offer: which change of state is legal."""

from enum import StrEnum


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
