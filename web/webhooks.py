"""What is called on a partner's server, as the OpenAPI document tells it: one operation a kind of event."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, Field
from starlette.routing import BaseRoute

from routing.offer import Notice, OfferState

_MEANINGS = {
    Notice.CREATED: "A lead is offered to you",
    Notice.REMINDER: "An offer of yours ends soon",
    Notice.ACCEPTED: "An offer of yours was accepted",
    Notice.REJECTED: "An offer of yours was rejected",
    Notice.EXPIRED: "An offer of yours has expired",
    Notice.WITHDRAWN: "An offer of yours was withdrawn",
    Notice.TAKEN: "Another company accepted first, of several who were asked",
    Notice.COMPLETED: "Your work on a lead is done",
    Notice.LOST: "A lead of yours is lost",
    Notice.RETURNED: "A lead of yours was given back",
    Notice.WARNING: "You accepted, and nothing has happened since",
    Notice.EXTENDED: "You have more time to work on a lead",
    Notice.CHANGED: "What may be seen of a lead of yours has changed",
    Notice.OPENED: "A lead is open to whoever takes it first",
}


class Area(BaseModel):
    """Where the lead is, as far as it may be seen before acceptance."""

    country: str | None = None
    region: str | None = None
    postal_code: str | None = None
    city: str | None = None
    product: str | None = None


class Told(BaseModel):
    """Ids, and the offer as it stood when the call was made: fetch the offer to see it as it is."""

    offer_id: UUID
    number: int = Field(description="Counts up for each company, without gaps: the same as in the stream.")
    state: OfferState | None = None
    version: int | None = None
    expires_at: datetime | None = None
    area: Area | None = None


class Call(BaseModel):
    """One event, by the Standard Webhooks specification."""

    type: str
    timestamp: datetime
    data: Told


def routes() -> list[BaseRoute]:
    """For the document alone: nobody can call these here."""
    router = APIRouter(tags=["webhooks"])
    for notice in Notice:
        router.add_api_route(
            f"/{notice}",
            _answered,
            methods=["POST"],
            operation_id=f"told_{notice.value.replace('.', '_')}",
            summary=_MEANINGS[notice],
            status_code=204,
            response_class=Response,
            responses={
                204: {"description": "Any 2xx says that you have it; it is not told again."},
                410: {"description": "You want no more calls: the webhook is disabled."},
            },
        )
    for route in router.routes:  # a webhook's key is the event's name, not a path
        route.path_format = route.path_format.removeprefix("/")  # type: ignore[attr-defined]  # all are routes of an API
    return list(router.routes)


def _answered(
    _call: Call,
    _id: Annotated[str, Header(alias="webhook-id", description="The same for every try of one event.")],
    _at: Annotated[int, Header(alias="webhook-timestamp", description="Seconds since 1970.")],
    _signature: Annotated[
        str, Header(alias="webhook-signature", description="`v1,` and base64 of the HMAC-SHA-256; several, by spaces.")
    ],
) -> None:
    """Verify the signature with any library of Standard Webhooks, answer within 15 seconds, then do the work."""
