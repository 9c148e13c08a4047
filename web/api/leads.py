"""Where a lead stands, and why."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from routing.lead import LeadState
from storage.postgres.explain import Explain, LeadStory
from storage.postgres.find import Filters, Find
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


class FoundLead(BaseModel):
    """One lead of a list, without any personal data."""

    model_config = ConfigDict(extra="forbid")

    lead_id: str
    source_id: str | None
    salesforce_id: str
    received_at: datetime
    state: str
    reason: str | None
    attempt: int
    priority: int
    pool: str | None
    country: str
    source: str
    geo_precision: str | None
    member: str | None = Field(description="The key of who has it, or had it last.")
    offered_at: datetime | None
    distance_miles: float | None
    nearest_miles: float | None


class FoundLeads(BaseModel):
    """Leads found, the oldest first."""

    model_config = ConfigDict(extra="forbid")

    filters: dict[str, Any] = Field(description="Those that were used.")
    leads: list[FoundLead]
    next: str | None = Field(description="Ask for more with this `cursor`; null: that was all.")


Word = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


def routes(explain: Callable[[], Explain], find: Callable[[], Find]) -> APIRouter:
    """`/leads/...`."""
    router = APIRouter(prefix="/leads", tags=["leads"])

    @router.get("", operation_id="findLeads", summary="Leads by what they are")
    def leads(
        *,
        state: Annotated[LeadState | None, Query()] = None,
        reason: Word = None,
        pool: Word = None,
        country: Word = None,
        source: Word = None,
        rule: Word = None,
        policy: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
        member: Annotated[Word, Query(description="Who was offered it, by key.")] = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: Word = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> FoundLeads:
        """The filters that are given hold together; times are when Salesforce committed the lead."""
        asked = Filters(
            str(state) if state else None, reason, pool, country, source, rule, policy, member, since, until
        )
        page = find().page(asked, after=cursor, limit=limit)
        return FoundLeads.model_validate({"filters": asked.used(), "leads": page.leads, "next": page.next})

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
