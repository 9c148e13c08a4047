"""Other ways to a lead than one's turn: another chance, and leads open to those who let them expire."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from routing.access import Principal
from routing.timekeeper import Openings
from web.api.partner import models
from web.api.partner.models import LeadSeen, Offer, View
from web.api.partner.offers import OfferId, Offers, member_of
from web.api.partner.once import IdempotencyKey, Once
from web.api.said import said


class OpenLeadView(View):
    """A lead that you may take now, first come, first served."""

    offer_id: UUID = Field(description="Of the offer of it that you let expire; take it by this id.")
    open_until: datetime
    lead: LeadSeen
    distance_miles: float
    distance_km: float


class OpenLeadsView(View):
    """Leads open to you, the first to close first."""

    leads: list[OpenLeadView]


def routes(
    offers: Offers, openings: Callable[[], Openings], once: Once, allow: Callable[..., Callable[..., Principal]]
) -> APIRouter:
    """`/open-leads` and `/offers/.../second-chance`."""
    router = APIRouter(tags=["open leads"])
    reader = Annotated[Principal, Depends(allow("offers:read"))]
    answerer = Annotated[Principal, Depends(allow("offers:answer"))]

    @router.post(
        "/offers/{offer_id}/second-chance",
        operation_id="askAgain",
        summary="Queue again for a lead that you let expire",
        response_model=Offer,
        responses=said(200, 403, 404, 409),
    )
    def ask_again(request: Request, principal: answerer, offer_id: OfferId, key: IdempotencyKey = None) -> Response:
        """You are asked first when the member who is asked now does not take it. Not every programme has this."""
        member = member_of(principal)

        def do() -> Offer:
            offers.partner().offer(member, offer_id)
            openings().second_chance(offer_id, member=member, person=principal.person_id)
            return offers.seen(member, offer_id)

        return once(request, principal, key, do)

    @router.get("/open-leads", operation_id="listOpenLeads", summary="Leads open to you", responses=said(200, 403))
    def list_open(principal: reader) -> OpenLeadsView:
        """Everyone's turn is over, and those who let them expire may take them. Not every programme has this."""
        member = member_of(principal)
        found = []
        for one in openings().open_leads(member):
            seen = offers.partner().offer(member, one.offer_id)
            shown = models.offer(seen, offers.rules(seen))
            found.append(
                OpenLeadView(
                    offer_id=one.offer_id,
                    open_until=one.open_until,
                    lead=shown.lead,
                    distance_miles=shown.distance_miles,
                    distance_km=shown.distance_km,
                )
            )
        return OpenLeadsView(leads=found)

    @router.post(
        "/open-leads/{offer_id}/take",
        operation_id="takeOpenLead",
        summary="Take an open lead",
        response_model=Offer,
        responses=said(200, 403, 404, 409),
    )
    def take(request: Request, principal: answerer, offer_id: OfferId, key: IdempotencyKey = None) -> Response:
        """The first who takes it has it: what comes back is a new offer, accepted already. No turn is charged."""
        member = member_of(principal)

        def do() -> Offer:
            lead = offers.partner().offer(member, offer_id).lead_id
            taken = openings().take(lead, member=member, person=principal.person_id)
            return offers.seen(member, taken.offer_id)

        return once(request, principal, key, do)

    return router
