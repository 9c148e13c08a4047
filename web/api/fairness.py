"""How far each member is from what is due to it, how far anyone ever was, and what bounds that."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from storage.postgres.followed import RotationFairness
from web.api.said import said
from web.api.words import NO_NUL


class MemberFairnessView(BaseModel):
    """One member's account in one rotation, in turns."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    member: str = Field(description="The member's key.")
    offers: int = Field(description="Offers it was given by turn.")
    received: float = Field(description="Turns those cost; a lead may cost more or less than one.")
    entitled: float = Field(description="Its share of the leads it was eligible for, and what corrections added.")
    deviation: float = Field(description="Received minus entitled: below zero, it is owed.")
    worst: float = Field(description="The farthest it ever was from what was due to it, either way.")
    corrected: float = Field(description="Of what it is entitled to, what corrections added.")


class RotationFairnessView(BaseModel):
    """The accounts of one rotation."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    market: str
    pool: str
    rotation: str
    mode: str | None = Field(description="Of the pool, as it is published now; null when no pool has that name.")
    members: int
    decisions: int
    worst_now: float = Field(description="The farthest anyone is from what is due to it now.")
    worst_ever: float
    worst_member: str | None
    worst_at: datetime | None
    bound: float | None = Field(
        description="Nobody can ever have been farther: (members - 1) / 2 of the largest turns, whatever the weights,"
        " and what corrections added. Null where decisions were made in a mode that keeps no accounts."
    )
    added: float = Field(
        description="Of the bound: the most that corrections gave at once, with those before that were not made good"
        " yet; and a turn for each decision that was taken back while others were made."
    )
    added_now: float = Field(description="The same as of now: corrections that were made good are out of it.")
    largest_turn: float
    accounts: list[MemberFairnessView] = Field(description="Best-owed first.")


class FairnessView(BaseModel):
    """Every rotation asked for."""

    model_config = ConfigDict(extra="forbid")

    rotations: list[RotationFairnessView]


def routes(all_of: Callable[[str], Sequence[RotationFairness]]) -> APIRouter:
    """`/fairness`."""
    router = APIRouter(prefix="/fairness", tags=["pools"])

    @router.get(
        "",
        operation_id="getFairness",
        summary="How far everyone is, and ever was, from what is due to it",
        responses=said(200, 403),
    )
    def fairness(
        pool: Annotated[str, Query(max_length=200, pattern=NO_NUL, description="Only this pool's rotations.")] = "",
    ) -> FairnessView:
        """Counted from the ledger as decisions pass by; a few seconds old. Past periods have rotations of their own."""
        return FairnessView(rotations=[RotationFairnessView.model_validate(one) for one in all_of(pool)])

    return router
