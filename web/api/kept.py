"""Leads that rules keep apart: for managers, who list them and give them back to routing."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from routing.access import Principal, Scope
from routing.lane import Lane
from storage.postgres.baskets import Baskets
from storage.postgres.explain import Explain
from web.api.leads import Ref
from web.api.said import said
from web.api.words import NO_NUL
from web.errors import NotFound

Kinds = Literal["quarantined", "held", "ruled", "missing_facts", "overflow"]
Announce = Callable[[str, list[int], Lane], object]


class KeptView(BaseModel):
    """A lead that a rule keeps apart; no personal data."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    id: int
    salesforce_id: str
    state: str
    reason: str
    rule: str = Field(description="That keeps it, such as the check that failed.")
    basket: str | None
    since: datetime


class KeptLeads(BaseModel):
    """A page of them, by id."""

    model_config = ConfigDict(extra="forbid")

    leads: list[KeptView]
    next: int | None = Field(description="Give this as `after` for the next page; null: this was the last.")


class ReleaseView(BaseModel):
    """What a release came to."""

    model_config = ConfigDict(extra="forbid")

    released: bool = Field(description="False: no rule kept the lead apart, and it was left as it is.")


def routes(
    baskets: Callable[[], Baskets],
    explain: Callable[[], Explain],
    announce: Announce,
    allow: Callable[..., Callable[..., Principal]],
) -> APIRouter:
    """`/kept-leads` and the release of one."""
    router = APIRouter(tags=["leads"])
    manager = Annotated[Principal, Depends(allow(Scope.MANAGE))]

    @router.get(
        "/kept-leads", operation_id="listKeptLeads", summary="Leads that rules keep apart", responses=said(200, 403)
    )
    def kept(
        _: manager,
        reason: Annotated[Kinds | None, Query(description="Only these.")] = None,
        basket: Annotated[
            str | None, Query(max_length=100, pattern=NO_NUL, description="Only those of this basket.")
        ] = None,
        after: Annotated[int, Query(ge=0, le=2**62, description="The `next` of the page before.")] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 100,
    ) -> KeptLeads:
        """Quarantined by a check, held in a basket, sent to a person, or waiting for facts."""
        found = baskets().kept(reason=reason, basket=basket, after=after, limit=limit)
        last = found[-1].id if len(found) == limit else None
        return KeptLeads(leads=[KeptView.model_validate(one) for one in found], next=last)

    @router.post(
        "/leads/{ref}/release",
        operation_id="releaseLead",
        summary="Give a lead back to routing",
        responses=said(200, 403, 404),
    )
    def release(who: manager, ref: Ref) -> ReleaseView:
        """The rule that kept it apart is passed over for it from now on. Doing it twice is doing it once."""
        story = explain().lead(ref)
        if story is None:
            raise NotFound("No lead has this id.")
        done = baskets().release([story.lead_id], actor=who.kind)
        for lead in done.released:
            announce("leads.route", [lead], done.lanes[lead])
        return ReleaseView(released=bool(done.released))

    return router
