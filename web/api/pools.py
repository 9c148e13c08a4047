"""Fairness accounts of a pool."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from config.accounts import BOUND_TURNS, Fairness
from web.errors import NotFound


class AccountView(BaseModel):
    """One member's account in one rotation, in turns."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    rotation: str
    member: str = Field(description="The member's key.")
    received: int = Field(description="Turns it was given, ever.")
    entitled: float | None = Field(description="Its share of the leads it was eligible for; null in modes without one.")
    deviation: float | None = Field(description="Entitled minus received: above zero, it is owed.")


class StandingsView(BaseModel):
    """The accounts of every rotation a pool takes part in, best-owed first."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")

    pool: str
    market: str
    mode: str
    bound_turns: float = Field(BOUND_TURNS, description="No deviation goes beyond this.")
    worst_turns: float
    accounts: list[AccountView]


def routes(fairness: Callable[[], Fairness]) -> APIRouter:
    """`/pools/...`."""
    router = APIRouter(prefix="/pools", tags=["pools"])

    @router.get(
        "/{pool}/standings",
        operation_id="getPoolStandings",
        summary="Who was entitled to how many turns, and who got them",
    )
    def standings(pool: Annotated[str, Path(max_length=200, description="The pool's name.")]) -> StandingsView:
        """Turns come from the ledger, standings from the turnstile; 503 while it awaits its rebuild."""
        found = fairness().of(pool)
        if found is None:
            raise NotFound(f"No pool of the published policy is named {pool!r}; `fairturn policy show` lists them.")
        return StandingsView.model_validate(found)

    return router
