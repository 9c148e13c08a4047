"""A partner's own entries, with what it takes to check that nobody has changed them since."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from routing.access import Principal
from storage.postgres.seals import Seals
from web.api.partner.models import View
from web.api.partner.offers import member_of
from web.api.said import said

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Side = Literal["left", "right"]


class SealView(View):
    """A seal over a batch of entries; its hash is made of all of this."""

    number: int
    kind: str
    at: str
    columns: list[str]
    root: Hash = Field(description="Of the tree over the batch.")
    links: list[Hash] = Field(description="The hashes of the seal before, and of some farther back.")


class HeadView(View):
    """The newest seal: keep number and hash, and nobody can change what was before without your seeing it."""

    number: int
    hash: Hash


class EntryView(View):
    """One entry about an offer of yours, and its way to the root of its seal."""

    seal: int
    row: dict[str, str | None] = Field(description="The entry as it is stored; every value as text.")
    salt: str
    path: list[tuple[Side, Hash]] = Field(description="The neighbours on the way, from the entry up.")


class ProofView(View):
    """What was written about your offers, provable."""

    what: Literal["fairturn proof"]
    head: HeadView | None = Field(description="Null: nothing is sealed yet.")
    seals: list[SealView] = Field(description="Those of the entries, and those on the way from the newest to them.")
    entries: list[EntryView]
    unsealed: int = Field(description="Entries of this page that are too new to be sealed; ask again in a minute.")
    next: int | None = Field(description="Ask for more with this `after`; null: that was all.")


def routes(seals: Callable[[], Seals], allow: Callable[..., Callable[..., Principal]]) -> APIRouter:
    """`/me/proof`."""
    router = APIRouter(prefix="/me", tags=["me"])
    reader = Annotated[Principal, Depends(allow("me:read"))]
    After = Annotated[int, Query(ge=0, le=2**53, description="The `next` of the page before.")]  # noqa: N806 - a type
    Limit = Annotated[int, Query(ge=1, le=200)]  # noqa: N806 - as above

    @router.get("/proof", operation_id="getProof", summary="Your own entries, provable", responses=said(200, 403))
    def get_proof(principal: reader, after: After = 0, limit: Limit = 100) -> ProofView:
        """Save the answer and check it anywhere, without us: `python seal_verify.py proof.json`.

        Nothing of others is in it: hashes of their entries are made with salts that you do not get.
        """
        return ProofView.model_validate(seals().proof(member_of(principal), after=after, limit=limit))

    return router
