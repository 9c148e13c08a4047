"""Where a lead stands, and why."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from storage.postgres.explain import Explain, LeadStory
from web.errors import NotFound

Ref = Annotated[
    str, Path(max_length=255, description="Fairturn's id of the lead, its Salesforce id, or the id of its source.")
]


class OfferView(BaseModel):
    """A lead held out to one member."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    offer_id: UUID
    member: str = Field(description="The member's key.")
    attempt: int
    state: str
    reason: str | None
    distance_miles: float
    ring_miles: float
    offered_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class LeadView(BaseModel):
    """A lead without any personal data."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    lead_id: int
    salesforce_id: str
    source_id: str | None
    state: str
    reason: str | None = Field(description="Why it waits, is in review or was withdrawn.")
    attempt: int = Field(description="The number of its next or open offer.")
    priority: int
    pool: str | None
    received_at: datetime = Field(description="When Salesforce committed it.")
    offers: list[OfferView]


def routes(explain: Callable[[], Explain]) -> APIRouter:
    """`/leads/...`."""
    router = APIRouter(prefix="/leads", tags=["leads"])

    def story(ref: str) -> LeadStory:
        found = explain().lead(ref)
        if found is None:
            raise NotFound("No lead has this id. Salesforce ids are written as Salesforce writes them, case and all.")
        return found

    @router.get("/{ref}", operation_id="getLead", summary="Where a lead stands and to whom it was offered")
    def lead(ref: Ref) -> LeadView:
        """No name, no address, no telephone number: those stay in Salesforce."""
        return LeadView.model_validate(story(ref))

    @router.get("/{ref}/explanation", operation_id="explainLead", summary="Why a lead went where it went")
    def explanation(ref: Ref) -> dict[str, Any]:
        """Its timeline with task ids, its offers, and each decision with every member it looked at."""
        return story(ref).to_json()

    return router
