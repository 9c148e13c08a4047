"""Oneself: who calls, the member it belongs to, whether that is on duty, and how it stands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Any, Literal, cast
from uuid import UUID
from zoneinfo import available_timezones

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from config.standing import OwnStanding, OwnStandings
from routing.access import Principal
from routing.delivery import Channel
from routing.errors import BadInput
from storage.postgres.devices import Devices
from storage.postgres.members import Members
from storage.postgres.team import Colleague, Ourselves, Team
from web.api.partner.models import View
from web.api.partner.offers import member_of
from web.api.said import said

Language = Literal["en", "de", "fr", "es", "pl"]
Units = Literal["mi", "km"]
Told = Literal["push", "sms", "email"]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
ProgramOrPerson = Literal["person", "client", "key"]


class Quiet(View):
    """Hours in which a person is not disturbed, by the person's own clock; they may pass midnight."""

    begin: Clock = Field(description="Such as 20:00.", examples=["20:00"])
    end: Clock = Field(examples=["07:00"])


class Person(View):
    """A person, as it sees itself."""

    id: UUID
    role: Literal["partner", "partner_admin"]
    name: str
    email: str
    phone: str
    language: str
    units: Units
    time_zone: str = Field(description="Of the quiet hours; empty is UTC.")
    quiet: Quiet | None
    channels: list[Told] = Field(description="How to tell of offers, the first first; the next when it is not opened.")


class Member(View):
    """The company, as it sees itself."""

    key: str
    name: str
    tier: str
    active: bool = Field(description="False: the programme's manager gives it no new leads.")
    present: bool = Field(description="False: off duty by its own word; it gets no new leads.")
    auto_accept: bool
    open: int = Field(description="Leads held now.")
    capacity: int = Field(description="Leads it may hold at once.")


class Me(View):
    """Who calls."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "person",
                    "scopes": ["events:read", "me:read", "me:write", "offers:answer", "offers:read"],
                    "person": {
                        "id": "01936f7e-4a00-7c3e-8a55-2f0d5f0c9b22",
                        "role": "partner",
                        "name": "Zoe Quill",
                        "email": "zoe@acme.example",
                        "phone": "+15550100",
                        "language": "en",
                        "units": "mi",
                        "time_zone": "America/New_York",
                        "quiet": {"begin": "20:00", "end": "07:00"},
                        "channels": ["push", "email"],
                    },
                    "member": {
                        "key": "acme",
                        "name": "Acme Solar",
                        "tier": "gold",
                        "active": True,
                        "present": True,
                        "auto_accept": False,
                        "open": 2,
                        "capacity": 10,
                    },
                }
            ]
        }
    )

    kind: ProgramOrPerson
    scopes: list[str]
    person: Person | None = Field(description="Null for a program.")
    member: Member


class Changes(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"present": False}, {"language": "es", "units": "km"}]}
    )

    present: StrictBool | None = Field(None, description="On duty or off: off duty the member gets no new leads.")
    name: str | None = Field(None, min_length=1, max_length=200)
    phone: str | None = Field(None, max_length=40)
    language: Language | None = None
    units: Units | None = None
    time_zone: str | None = Field(None, max_length=60, description="Such as America/New_York; empty is UTC.")
    quiet: Quiet | None = Field(None, description="Null: no quiet hours.")
    channels: list[Told] | None = Field(None, max_length=3, description="An empty list: not at all.")


class TurnView(View):
    """Where the member is in a pool's order of turns."""

    pool: str
    place: int | None = Field(description="1: the next turn. Null where few take part, or the pool keeps no account.")
    of_about: int | None


class LimitView(View):
    """What is left of a pool's limits."""

    pool: str
    rejects_left: int | None = Field(description="Today; null: no limit.")
    day_ends: datetime
    returns_left: int = Field(description="This month, that go back without a person looking at them.")
    month_ends: datetime


class QuotaView(View):
    """What is left of a quota of yours."""

    pool: str = Field(description="Empty: over all pools.")
    limit: str = Field(description="As the programme calls it.", examples=["member-day"])
    used: int
    most: int
    left: int
    until: datetime = Field(description="When its window moves on.")


class MissedView(View):
    """Leads in reach that went elsewhere."""

    within_miles: float = Field(description="The ring around your nearest place.")
    why: Literal[
        "full", "limit", "tier", "skill", "certificate", "condition", "hours", "area", "turn", "nearer", "away"
    ] = Field(
        description="full: you held all you may; limit: a limit of yours, or of your pool, was used up; turn: it was "
        "another's turn; nearer: somebody nearer was asked; tier: other tiers were asked first; skill, certificate, "
        "condition: it asked for what you do not have; hours, area: it was outside of yours; away: you were off duty."
    )
    about: int = Field(description="In steps of five.")


class StandingView(View):
    """How the member stands."""

    open: int
    capacity: int
    present: bool
    turns: list[TurnView]
    limits: list[LimitView]
    quotas: list[QuotaView] = Field(description="How many leads you may still have, by window.")
    offered: int = Field(description="In the last 30 days, as the three that follow.")
    accepted: int
    rejected: int
    expired: int
    acceptance_percent: int | None = Field(description="Of the offers answered or expired; null when there is none.")
    missed: list[MissedView] = Field(description="Of the last 30 days.")


@dataclass(frozen=True, slots=True)
class Us:
    """What the routes need."""

    team: Callable[[], Team]
    members: Callable[[], Members]
    standings: Callable[[], OwnStandings]
    devices: Callable[[], Devices | None]  # None: nobody is told anything here
    fill: Callable[[Sequence[int]], object]  # waiting leads are offered to these members

    def show(self, principal: Principal) -> Me:
        member_id = member_of(principal)
        person = self.team().one(member_id, principal.person_id) if principal.person_id else None
        return Me(
            kind=cast(ProgramOrPerson, principal.kind),  # the operator has no member
            scopes=sorted(principal.scopes),
            person=self._person(person) if person else None,
            member=member(self.team().member(member_id)),
        )

    def _person(self, known: Colleague) -> Person:
        devices = self.devices()
        return Person(
            **{name: getattr(known, name) for name in ("id", "role", "name", "email", "phone", "language", "units")},
            time_zone=known.time_zone,
            quiet=_quiet(known.quiet_from, known.quiet_to),
            channels=[_TOLD[channel] for channel in devices.wishes(known.id)] if devices else [],
        )

    def change(self, principal: Principal, changes: Changes) -> None:
        member_id, by = member_of(principal), f"{principal.kind}:{principal.id}"
        asked = changes.model_dump(exclude_unset=True)
        of_person = asked.keys() - {"present"}
        if of_person and principal.person_id is None:
            raise BadInput("a program has none", field=f"body.{min(of_person)}", fix="Change it as the person itself.")
        columns = _columns(changes, asked)
        turned = changes.present is not None and self.members().set_present(member_id, changes.present, actor=by)
        if turned and changes.present:
            self.fill([member_id])
        if principal.person_id is None:
            return
        self.team().change(member_id, principal.person_id, columns, actor=by)
        devices = self.devices()
        if changes.channels is not None and devices:
            devices.wish(principal.person_id, [Channel(name) for name in changes.channels])


_TOLD: dict[Channel, Told] = {Channel.PUSH: "push", Channel.SMS: "sms", Channel.EMAIL: "email"}


def member(known: Ourselves) -> Member:
    return Member.model_validate(known, extra="ignore")


def _quiet(begin: time | None, end: time | None) -> Quiet | None:
    return Quiet(begin=f"{begin:%H:%M}", end=f"{end:%H:%M}") if begin and end else None


def _columns(changes: Changes, asked: dict[str, Any]) -> dict[str, Any]:
    """The changes by column; a null means that it stays, but for the quiet hours."""
    if changes.time_zone and changes.time_zone not in available_timezones():
        raise BadInput("it is no time zone", field="body.time_zone", fix="Write it like America/New_York.")
    columns = {
        name: asked[name] for name in ("name", "phone", "language", "units", "time_zone") if asked.get(name) is not None
    }
    if "quiet" in asked:
        quiet = changes.quiet
        columns |= {
            "quiet_from": time.fromisoformat(quiet.begin) if quiet else None,
            "quiet_to": time.fromisoformat(quiet.end) if quiet else None,
        }
    return columns


def standing(own: OwnStanding) -> StandingView:
    acceptance = own.answered.acceptance
    return StandingView(
        open=own.member.open,
        capacity=own.member.capacity,
        present=own.member.present,
        turns=[TurnView.model_validate(one) for one in own.turns],
        limits=[LimitView.model_validate(one, extra="ignore") for one in own.allowances],
        quotas=[QuotaView.model_validate(one) for one in own.quotas],
        offered=own.answered.offered,
        accepted=own.answered.accepted,
        rejected=own.answered.rejected,
        expired=own.answered.expired,
        acceptance_percent=None if acceptance is None else round(100 * acceptance),
        missed=[MissedView.model_validate(one) for one in own.missed],
    )


def routes(us: Us, allow: Callable[..., Callable[..., Principal]]) -> APIRouter:
    """`/me`."""
    router = APIRouter(prefix="/me", tags=["me"])
    reader = Annotated[Principal, Depends(allow("me:read"))]
    writer = Annotated[Principal, Depends(allow("me:write"))]

    @router.get("", operation_id="getMe", summary="Who you are, and your company", responses=said(200, 403))
    def get_me(principal: reader) -> Me:
        """For a program, the company alone."""
        return us.show(principal)

    @router.patch(
        "", operation_id="changeMe", summary="Change yourself, or go on and off duty", responses=said(200, 403)
    )
    def change_me(principal: writer, changes: Changes) -> Me:
        """What is left out stays as it is. Back on duty, leads that wait near you are offered at once."""
        us.change(principal, changes)
        return us.show(principal)

    @router.get("/standing", operation_id="getStanding", summary="How you stand", responses=said(200, 403))
    def get_standing(principal: reader) -> StandingView:
        """Your place in turn, what is left of your limits, and why leads near you went elsewhere.

        Numbers in which others have a part are in steps, and change every ten minutes at most.
        """
        return standing(us.standings().of(member_of(principal)))

    return router
