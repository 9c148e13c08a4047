"""Where a lead stands, and why."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from config.cells import cell
from routing.lead import LeadState
from storage.postgres.explain import Explain, LeadStory
from storage.postgres.find import Filters, Find
from web.api.said import said
from web.api.words import NO_NUL, DayOrMoment
from web.errors import NotFound

Ref = Annotated[
    str,
    Path(
        max_length=255,
        pattern=NO_NUL,
        description="Fairturn's id of the lead, its Salesforce id, or the id of its source.",
    ),
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


Word = Annotated[str | None, Field(max_length=200, pattern=NO_NUL)]


class Asked(BaseModel):
    """Which leads; a filter that is not known is refused."""

    model_config = ConfigDict(extra="forbid")

    state: LeadState | None = None
    reason: Word = Field(None, description="Why it waits, is in review or was withdrawn, such as no_room.")
    pool: Word = None
    country: Word = Field(None, description="ISO 3166 alpha-2.")
    source: Word = None
    rule: Word = Field(None, description="Of the policy, that sent it.")
    policy: int | None = Field(None, ge=1, le=2**31 - 1, description="Decided under this version.")
    member: Word = Field(None, description="Who was offered it, by key.")
    since: DayOrMoment | None = Field(None, description="Committed in Salesforce then or later; in UTC, if not said.")
    until: DayOrMoment | None = Field(None, description="Committed before.")
    cursor: Word = Field(None, description="The `next` of the page before.")
    limit: int = Field(100, ge=1, le=500)
    format: Literal["json", "csv"] = Field("json", description="csv: a file of all that are found, without pages.")

    def filters(self) -> Filters:
        """The same for the ledger."""
        given = self.model_dump(exclude={"cursor", "limit", "format", "state"})
        return Filters(state=str(self.state) if self.state else None, **given)


def _as_csv(find: Find, asked: Filters) -> Iterator[str]:
    """A line with the filters used, a line of names, and a line a lead: as `fairturn find leads --format csv`."""
    lines = _Lines()
    writer = csv.DictWriter(lines, fieldnames=list(FoundLead.model_fields))
    yield f"# filters: {json.dumps(asked.used())}\n"
    writer.writeheader()
    with closing(find.all(asked)) as found:
        for lead in found:
            yield lines.last
            writer.writerow({name: cell(value) for name, value in lead.items()})
    yield lines.last


class _Lines:
    """What csv writes into, a line at a time."""

    last = ""

    def write(self, line: str) -> int:
        self.last = line
        return len(line)


_CSV = {"text/csv": {"schema": {"type": "string"}}}


def routes(explain: Callable[[], Explain], find: Callable[[], Find]) -> APIRouter:
    """`/leads/...`."""
    router = APIRouter(prefix="/leads", tags=["leads"])
    found_answers = said(200, 403)
    found_answers[200]["content"] = _CSV

    @router.get(
        "",
        operation_id="findLeads",
        summary="Leads by what they are",
        response_model=FoundLeads,
        responses=found_answers,
    )
    def leads(asked: Annotated[Asked, Query()]) -> Any:
        """The filters that are given hold together; times are when Salesforce committed the lead."""
        filters = asked.filters()
        if asked.format == "csv":
            name = {"Content-Disposition": 'attachment; filename="leads.csv"'}
            return StreamingResponse(_as_csv(find(), filters), media_type="text/csv", headers=name)
        page = find().page(filters, after=asked.cursor, limit=asked.limit)
        return {"filters": filters.used(), "leads": page.leads, "next": page.next}

    def story(ref: str) -> LeadStory:
        found = explain().lead(ref)
        if found is None:
            raise NotFound("No lead has this id. Salesforce ids are written as Salesforce writes them, case and all.")
        return found

    @router.get(
        "/{ref}",
        operation_id="getLead",
        summary="Where a lead stands and to whom it was offered",
        responses=said(200, 403, 404),
    )
    def lead(ref: Ref) -> LeadView:
        """No name, no address, no telephone number: those stay in Salesforce."""
        return LeadView.model_validate(story(ref))

    @router.get(
        "/{ref}/explanation",
        operation_id="explainLead",
        summary="Why a lead went where it went",
        response_model=LeadStory,
        responses=said(200, 403, 404),
    )
    def explanation(ref: Ref) -> Response:
        """Its timeline with task ids, its offers, and each decision with every member it looked at, gate by gate."""
        return JSONResponse(story(ref).to_json())

    return router
