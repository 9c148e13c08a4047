"""What must never be, and how often it was."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from storage.postgres.invariants import Invariant
from web.api.said import said

_FAILURES: dict[int | str, dict[str, Any]] = {status: said()[status] for status in (500, 503)}


class InvariantView(BaseModel):
    """One promise, and how often it was seen broken."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    name: str
    meaning: str = Field(description="The promise, in a sentence.")
    violations: int = Field(description="Found when last looked at, over all history.")
    checked_at: datetime
    whole_at: datetime = Field(description="When all of history was last looked at; since then only what is new.")


class InvariantsView(BaseModel):
    """Every promise that is looked at."""

    model_config = ConfigDict(extra="forbid")

    violations: int
    invariants: list[InvariantView]


def routes(all_of: Callable[[], Sequence[Invariant]]) -> APIRouter:
    """`/invariants`."""
    router = APIRouter(prefix="/invariants", tags=["invariants"])

    @router.get(
        "",
        operation_id="getInvariants",
        summary="What must never be, and how often it was, over all history",
        responses=_FAILURES,
    )
    def summary() -> InvariantsView:
        """For everybody: it names nobody. `fairturn verify` tells operators which rows are meant."""
        found = [InvariantView.model_validate(one) for one in all_of()]
        return InvariantsView(violations=sum(one.violations for one in found), invariants=found)

    return router
