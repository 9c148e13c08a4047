"""Fairness accounts of a pool."""

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from config.accounts import Fairness
from storage.postgres.followed import RotationFairness
from web.api.said import said
from web.api.words import NO_NUL
from web.errors import NotFound


class AccountView(BaseModel):
    """One member's account in one rotation, in turns."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    rotation: str
    member: str = Field(description="The member's key.")
    received: float = Field(description="Turns it was given, ever; a lead may cost more or less than one.")
    entitled: float | None = Field(description="Its share of the leads it was eligible for; null in modes without one.")
    deviation: float | None = Field(description="Entitled minus received: above zero, it is owed.")


class StandingsView(BaseModel):
    """The accounts of every rotation a pool takes part in, best-owed first."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    pool: str
    market: str
    mode: str
    bound_turns: float | None = Field(
        None,
        description="In mode fair no deviation passes this: (members - 1) / 2 of the largest turns, and what"
        " corrections added (`added` of /fairness). Null in other modes, and before the first decision.",
    )
    worst_turns: float
    accounts: list[AccountView]


def routes(fairness: Callable[[], Fairness], followed: Callable[[str], Sequence[RotationFairness]]) -> APIRouter:
    """`/pools/...`."""
    router = APIRouter(prefix="/pools", tags=["pools"])

    @router.get(
        "/{pool}/standings",
        operation_id="getPoolStandings",
        summary="Who was entitled to how many turns, and who got them",
        responses=said(200, 403, 404),
    )
    def standings(
        pool: Annotated[str, Path(max_length=200, pattern=NO_NUL, description="The pool's name.")],
    ) -> StandingsView:
        """Turns come from the ledger, standings from the turnstile; 503 while it awaits its rebuild."""
        found = fairness().of(pool)
        if found is None:
            raise NotFound(f"No pool of the published policy is named {pool!r}; `fairturn policy show` lists them.")
        bounds = [one.bound for one in followed(pool) if one.bound is not None]
        return StandingsView.model_validate(found).model_copy(update={"bound_turns": max(bounds, default=None)})

    return router
