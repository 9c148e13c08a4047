"""A company's own people: who they are, and who of them works on which lead."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from starlette.responses import Response

from routing.access import Principal, Role
from routing.errors import BadInput, Refused
from storage.postgres.people import People
from storage.postgres.team import Colleague, Team
from web.api.partner.me import Language, Units
from web.api.partner.models import Offer, View
from web.api.partner.offers import OfferId, Offers, member_of
from web.api.partner.once import IdempotencyKey, Once
from web.api.said import said
from web.errors import NotFound

#: As the HTML standard has it for input fields, and a little stricter about the domain.
EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$"

PersonId = Annotated[UUID, Path(description="The person's id.")]
AdminOrNot = Literal["partner", "partner_admin"]


class NotYourself(Refused):
    """Nobody shuts out, or takes rights from, the person they are themselves: another admin of your team may."""


class ColleagueView(View):
    """One of your people."""

    id: UUID
    role: AdminOrNot
    name: str
    email: str
    phone: str
    language: str
    units: Units
    active: bool = Field(description="False: cannot log in.")


class TeamView(View):
    """Your people."""

    people: list[ColleagueView]


class Newcomer(BaseModel):
    """Who is to be let in; they log in with a code by mail."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "Zoe Quill", "email": "zoe@acme.example"}]}
    )

    name: str = Field(min_length=1, max_length=200)
    email: str = Field(max_length=254, pattern=EMAIL)
    phone: str = Field("", max_length=40)
    role: AdminOrNot = "partner"
    language: Language = "en"
    units: Units = "mi"


class Edits(BaseModel):
    """What is to change; what is left out, or null, stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"active": False}]})

    name: str | None = Field(None, min_length=1, max_length=200)
    phone: str | None = Field(None, max_length=40)
    role: AdminOrNot | None = None
    active: StrictBool | None = None


class Assignment(BaseModel):
    """Who works on it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"person_id": "01936f7e-4a00-7c3e-8a55-2f0d5f0c9b22"}]}
    )

    person_id: UUID | None = Field(description="Null: nobody in particular.")


@dataclass(frozen=True, slots=True)
class OurPeople:
    """What the routes need."""

    team: Callable[[], Team]
    people: Callable[[], People]
    offers: Offers
    once: Once

    def add(self, principal: Principal, wanted: Newcomer) -> ColleagueView:
        member, by = member_of(principal), _by(principal)
        found = self.people().add(
            name=wanted.name,
            email=wanted.email,
            phone=wanted.phone,
            role=Role(wanted.role),
            language=wanted.language,
            units=wanted.units,
            member=member,
            actor=by,
        )
        return _shown(self.team().one(member, found))

    def change(self, principal: Principal, person: UUID, edits: Edits) -> ColleagueView:
        changes = edits.model_dump(exclude_none=True)
        if person == principal.person_id and (edits.active is False or edits.role == "partner"):
            raise NotYourself
        return _shown(self.team().change(member_of(principal), person, changes, actor=_by(principal)))

    def assign(self, principal: Principal, offer: UUID, person: UUID | None) -> Offer:
        member = member_of(principal)
        self.offers.partner().offer(member, offer)
        if person is not None:
            known = self.team().one(member, person)
            if known is None or not known.active:
                fix = "GET /api/v1/me/team lists them."
                raise BadInput("nobody of your people who can log in has this id", field="body.person_id", fix=fix)
        self.offers.partner().assign(member, offer, person, by=principal.person_id)
        return self.offers.seen(member, offer)


def _by(principal: Principal) -> str:
    return f"{principal.kind}:{principal.id}"


def _shown(known: Colleague | None) -> ColleagueView:
    if known is None:
        raise NotFound("Nobody of your people has this id.")
    return ColleagueView.model_validate(known)


def routes(ours: OurPeople, allow: Callable[..., Callable[..., Principal]]) -> APIRouter:
    """`/me/team` and `/offers/.../assign`."""
    router = APIRouter(tags=["team"])
    admin = Annotated[Principal, Depends(allow("team:manage"))]

    @router.get("/me/team", operation_id="listTeam", summary="Your people", responses=said(200, 403))
    def list_team(principal: admin) -> TeamView:
        """Those who cannot log in any more are among them."""
        return TeamView(people=[_shown(one) for one in ours.team().all(member_of(principal))])

    @router.post(
        "/me/team",
        operation_id="addColleague",
        summary="Let somebody in",
        status_code=201,
        responses=said(201, 403, 409),
    )
    def add_colleague(principal: admin, wanted: Newcomer) -> ColleagueView:
        """Who is one of your people already is let in again, and is as you say now. Given twice, it is done once."""
        return ours.add(principal, wanted)

    @router.patch(
        "/me/team/{person_id}",
        operation_id="changeColleague",
        summary="Change one of your people, or let them in no more",
        responses=said(200, 403, 404, 409),
    )
    def change_colleague(principal: admin, person_id: PersonId, edits: Edits) -> ColleagueView:
        """Another role, or none any more, ends every login of that person within five seconds."""
        return ours.change(principal, person_id, edits)

    @router.post(
        "/offers/{offer_id}/assign",
        operation_id="assignOffer",
        summary="Say who of your people works on it",
        response_model=Offer,
        responses=said(200, 403, 404, 409, etag=True),
    )
    def assign(
        *, request: Request, principal: admin, offer_id: OfferId, assignment: Assignment, key: IdempotencyKey = None
    ) -> Response:
        """Turns, capacity and the network's fairness are as before: it is your company's lead."""

        def do() -> Offer:
            return ours.assign(principal, offer_id, assignment.person_id)

        return ours.once(request, principal, key, do, asked=assignment)

    return router
