"""Values as they are written to Salesforce: what a field cannot hold is cut, what it must not hold is left empty."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

from gateways.salesforce.words import clean_text, is_id, long_id
from routing.change import OfferRecord, WriteBack

METRES_PER_MILE = 1609.344
_OWNERS = ("005", "00G")  # users and queues


@lru_cache(maxsize=10_000)
def owner(salesforce_id: str | None) -> str | None:
    """The id of a user or a queue."""
    if salesforce_id and salesforce_id.startswith(_OWNERS) and is_id(salesforce_id):
        return long_id(salesforce_id)
    return None


@lru_cache(maxsize=10_000)
def partner(salesforce_id: str | None) -> str | None:
    """The id of any other record."""
    if salesforce_id and not salesforce_id.startswith(_OWNERS) and is_id(salesforce_id):
        return long_id(salesforce_id)
    return None


def cut(text: str | None, longest: int) -> str | None:
    return None if text is None else clean_text(text[:longest])


def miles(metres: float | None) -> float | None:
    return None if metres is None else round(metres / METRES_PER_MILE, 2)


def time(at: datetime | None) -> str | None:
    if at is None:
        return None
    text = at.isoformat(timespec="milliseconds")
    if not text.endswith("+00:00"):
        text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return f"{text[:-6]}Z"


#: What a lead shows, by our name for it.
LEAD: Mapping[str, Callable[[WriteBack], object]] = {
    "partner": lambda write: partner(write.member_salesforce_id),
    "partner_key": lambda write: cut(write.member_key, 80),
    "status": lambda write: cut(write.state, 40),
    "reason": lambda write: cut(write.reason, 255),
    "distance_miles": lambda write: miles(write.distance_m),
    "ring_miles": lambda write: miles(write.ring_m),
    "attempt": lambda write: write.attempt,
    "policy_version": lambda write: write.policy_version,
    "version": lambda write: write.version,
    "offered_at": lambda write: time(write.offered_at),
    "expires_at": lambda write: time(write.expires_at),
    "answered_at": lambda write: time(write.answered_at),
    "accepted_at": lambda write: time(write.accepted_at),
    "ended_at": lambda write: time(write.ended_at),
    "outcome": lambda write: cut(write.outcome, 40),
    "offer_reason": lambda write: cut(write.offer_reason, 255),
    "offers": lambda write: write.offers,
}
#: What an offer's own record shows.
OFFER: Mapping[str, Callable[[OfferRecord], object]] = {
    "lead": lambda one: one.salesforce_id,
    "partner": lambda one: partner(one.member_salesforce_id),
    "partner_key": lambda one: cut(one.member_key, 80),
    "state": lambda one: cut(one.state, 40),
    "reason": lambda one: cut(one.reason, 255),
    "kind": lambda one: cut(one.kind, 40),
    "attempt": lambda one: one.attempt,
    "distance_miles": lambda one: miles(one.distance_m),
    "ring_miles": lambda one: miles(one.ring_m),
    "policy_version": lambda one: one.policy_version,
    "version": lambda one: one.version,
    "offered_at": lambda one: time(one.offered_at),
    "expires_at": lambda one: time(one.expires_at),
    "answered_at": lambda one: time(one.answered_at),
    "accepted_at": lambda one: time(one.accepted_at),
    "ended_at": lambda one: time(one.ended_at),
}
