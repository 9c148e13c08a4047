"""What a partner sees, field by field; nothing leaves that is not named here."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from routing.policy import METRES, Answering
from storage.postgres.partner import Contact, Seen

State = Literal["offered", "accepted", "rejected", "expired", "withdrawn", "completed", "lost", "returned"]
Kind = Literal["turn", "second", "open", "manual"]

#: What of a lead has a column of its own; every other name of the policy's `shown` is one of its attributes.
PLACE = ("city", "region", "postal_code", "country")
LONGEST_VALUE = 200


class View(BaseModel):
    """Answers name every field they have, and have no other."""

    model_config = ConfigDict(from_attributes=True, extra="forbid", json_schema_serialization_defaults_required=True)


class LeadSeen(View):
    """What of a lead may be seen before it is accepted; the policy says which fields, the others are null."""

    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = Field(None, description="ISO 3166 alpha-2.")
    attributes: dict[str, str | float | bool | None] = Field(
        {}, description="Such as product and size, by the names in the policy."
    )


class ContactData(View):
    """Who the customer is, and where: for the member alone that accepted. Each look at it is written down."""

    name: str
    company: str
    email: str
    phone: str
    street: str
    city: str
    postal_code: str
    region: str
    country: str
    lat: float | None
    lon: float | None


class Choices(View):
    """What may be answered now, and with which reasons; a list is empty when that answer cannot be given."""

    reject_reasons: list[str]
    lose_reasons: list[str]
    return_reasons: list[str]
    return_until: datetime | None = Field(description="When the time to return it is over; null unless accepted.")
    extend_reasons: list[str]
    extensions_left: int


class Offer(View):
    """An offer as its member may see it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01936f7e-4a00-7c3e-8a55-2f0d5f0c9b11",
                    "state": "offered",
                    "kind": "turn",
                    "version": 1,
                    "attempt": 1,
                    "reason": None,
                    "lead": {
                        "city": "Rochester",
                        "region": "NY",
                        "postal_code": "14604",
                        "country": "US",
                        "attributes": {"product": "solar", "size": "8 kW"},
                    },
                    "distance_miles": 4.2,
                    "distance_km": 6.8,
                    "ring_miles": 5.0,
                    "offered_at": "2026-11-22T09:00:00Z",
                    "expires_at": "2026-11-22T13:00:00Z",
                    "seconds_left": 14399,
                    "accepted_at": None,
                    "work_by": None,
                    "ended_at": None,
                    "assignee_id": None,
                    "choices": {
                        "reject_reasons": ["too_far", "no_capacity", "other"],
                        "lose_reasons": [],
                        "return_reasons": [],
                        "return_until": None,
                        "extend_reasons": [],
                        "extensions_left": 0,
                    },
                }
            ]
        }
    )

    id: UUID
    state: State
    kind: Kind = Field(description="turn: it was your turn; second: a second chance; open: taken; manual: by a person.")
    version: int = Field(description="Raised by each change. It is the ETag, and what If-Match names.")
    attempt: int = Field(description="The number of this offer among those of its lead.")
    reason: str | None = Field(description="Why it ended.")
    lead: LeadSeen
    distance_miles: float = Field(description="From your nearest place.")
    distance_km: float
    ring_miles: float
    offered_at: datetime
    expires_at: datetime = Field(description="Answer before this.")
    seconds_left: int = Field(description="To answer, by our clock; 0 once it is answered or over.")
    accepted_at: datetime | None
    work_by: datetime | None = Field(description="Accepted: it goes to another member when nothing happens until then.")
    ended_at: datetime | None
    assignee_id: UUID | None = Field(description="Who of your people works on it.")
    choices: Choices


class OfferDetail(Offer):
    """An offer, with contact data once it is accepted."""

    model_config = ConfigDict(json_schema_extra={})

    contact: ContactData | None = Field(description="Null until it is accepted, and when it is not yours any more.")


class OfferPage(View):
    """A page of offers."""

    offers: list[Offer]
    since: int = Field(description="Ask for ?since= this later, and you get what has changed after this page.")
    next: str | None = Field(description="The address of the next page; also in the Link header.")


def facts(seen: Seen, answering: Answering) -> dict[str, Any]:
    """The fields of Offer."""
    left = (seen.expires_at - seen.now) / timedelta(seconds=1) if seen.state == "offered" else 0.0
    return {
        "id": seen.id,
        "state": seen.state,
        "kind": seen.kind,
        "version": seen.version,
        "attempt": seen.attempt,
        "reason": seen.reason,
        "lead": lead(seen, answering),
        "distance_miles": round(seen.distance_m / METRES["mi"], 1),
        "distance_km": round(seen.distance_m / METRES["km"], 1),
        "ring_miles": round(seen.ring_m / METRES["mi"], 1),
        "offered_at": seen.offered_at,
        "expires_at": seen.expires_at,
        "seconds_left": max(0, int(left)),
        "accepted_at": seen.accepted_at,
        "work_by": seen.work_by if seen.state == "accepted" else None,
        "ended_at": seen.ended_at,
        "assignee_id": seen.assignee_id,
        "choices": choices(seen, answering),
    }


def offer(seen: Seen, answering: Answering) -> Offer:
    return Offer(**facts(seen, answering))


def detail(seen: Seen, answering: Answering, contact: Contact | None) -> OfferDetail:
    view = ContactData.model_validate(contact) if contact else None
    return OfferDetail(**facts(seen, answering), contact=view)


def lead(seen: Seen, answering: Answering) -> LeadSeen:
    """What the policy shows of the lead, and nothing else of it."""
    place = {name: getattr(seen, name) or None for name in PLACE if name in answering.shown}
    return LeadSeen(**place, attributes=_attributes(seen.attributes, answering.shown))


def _attributes(held: Mapping[str, Any], shown: tuple[str, ...]) -> dict[str, str | float | bool | None]:
    return {name: _plain(held[name]) for name in shown if name not in PLACE and name in held}


def _plain(value: Any) -> str | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    return value[:LONGEST_VALUE] if isinstance(value, str) else None


def choices(seen: Seen, answering: Answering) -> Choices:
    """What the member may answer to this offer at this moment."""
    open_, accepted = seen.state == "offered" and seen.now < seen.expires_at, seen.state == "accepted"
    until = seen.accepted_at + answering.return_within if accepted and seen.accepted_at else None
    left = max(0, answering.extensions - seen.extensions) if accepted and seen.work_by else 0
    return Choices(
        reject_reasons=list(answering.reject_reasons) if open_ else [],
        lose_reasons=list(answering.lost_reasons) if accepted else [],
        return_reasons=list(answering.return_reasons) if until and seen.now <= until else [],
        return_until=until,
        extend_reasons=list(answering.extend_reasons) if left else [],
        extensions_left=left,
    )
