"""Leads tried out: what would become of one at this instant, and nothing is written anywhere."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from routing.errors import BadInput
from web.api.said import said
from web.api.words import NO_NUL

Text = Field(default="", max_length=255, pattern=NO_NUL)


class FactsForm(BaseModel):
    """A lead that nobody sent; without coordinates its place is that of its postal code or city."""

    model_config = ConfigDict(extra="forbid")

    country: str = Text
    region: str = Text
    city: str = Text
    postal_code: str = Text
    lat: float | None = Field(None, ge=-90, le=90)
    lon: float | None = Field(None, ge=-180, le=180)
    source: str = Text
    priority: int = Field(0, ge=-999_999_999, le=999_999_999)
    hot: bool = False
    others: dict[str, str | float | bool | None] = Field(
        default_factory=dict, max_length=200, description="Other facts that rules may ask, such as product."
    )


class TrialForm(BaseModel):
    """Either a lead that there is, or the facts of one that there is not."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"lead": "00Q000000000001AAA"},
                {"facts": {"country": "US", "postal_code": "14806", "source": "web", "others": {"product": "battery"}}},
            ]
        },
    )

    lead: str | None = Field(
        None, max_length=255, pattern=NO_NUL, description="Our id, its Salesforce id or the id of its source."
    )
    facts: FactsForm | None = None


class TrialView(BaseModel):
    """What live would do with the lead now."""

    model_config = ConfigDict(extra="forbid")

    outcome: str = Field(description="offered, accepted, waiting, review, withdrawn or nothing.")
    reason: str
    member: str | None = Field(description="The key of the member it would be offered to.")
    rule: str
    target: str = Field(description="The basket, or the rule's own word.")
    note: str = Field(description="How the lead stands now, where this is what would come next.")
    written: bool = Field(description="Always false.")
    explanations: list[dict[str, Any]] = Field(description="Each decision with every member it looked at.")


def routes(
    try_lead: Callable[[str], Mapping[str, Any]], try_facts: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> APIRouter:
    """`/leads/try`."""
    router = APIRouter(prefix="/leads", tags=["leads"])

    @router.post(
        "/try",
        operation_id="tryLead",
        summary="What would become of a lead now; nothing is written",
        responses=said(200, 403),
    )
    def trial(form: TrialForm) -> TrialView:
        """Decided by the live policy against offers, turns and limits of this instant, as the lead's turn would be."""
        if (form.lead is None) == (form.facts is None):
            raise BadInput("say which lead", field="lead", fix="Give either lead or facts.")
        if form.lead is not None:
            return TrialView.model_validate(try_lead(form.lead))
        return TrialView.model_validate(try_facts(form.facts.model_dump() if form.facts else {}))

    return router
