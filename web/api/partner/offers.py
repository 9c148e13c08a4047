"""Offers: seen, answered, worked on."""
# ruff: noqa: FAST003 - the offer's id is taken by `given`, for every answer

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from routing.access import Principal
from routing.answering import Desk, Who
from routing.errors import BadInput
from routing.offer import Actor, Answered
from routing.policy import Answering
from storage.postgres.partner import Page, Partner, Seen
from web.api.partner import models
from web.api.partner.models import Offer, OfferDetail, OfferPage, State
from web.api.partner.once import IdempotencyKey, Once, etag
from web.api.said import said
from web.errors import Forbidden
from web.limits import caller_of

MOST = 100
#: For a lead of a pool that the policy does not name any more.
ANYWHERE = Answering()

OfferId = Annotated[UUID, Path(description="The offer's id.")]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        pattern=r'^(\*|"\d{1,15}")$',
        description="The ETag of the offer as you saw it. When it has changed since, nothing happens: 412.",
        examples=['"1"'],
    ),
]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", description="304 while the ETag is still this one.")]


class Reason(BaseModel):
    """Why, in one of the words that the offer's `choices` list."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "too_far"}]})

    reason: str = Field(min_length=1, max_length=64)


def member_of(principal: Principal) -> int:
    """The member that the caller speaks for. Raises Forbidden when it speaks for nobody."""
    if principal.member_id is None:
        raise Forbidden("Say for which member you ask: send its key in the header Fairturn-Member.")
    return principal.member_id


@dataclass(frozen=True, slots=True)
class Offers:
    """What the routes need: the rows, the desk, the policy's words, and the way to do things once."""

    partner: Callable[[], Partner]
    desk: Callable[[], Desk]
    answering: Callable[[], Mapping[str, Answering]]  # by pool
    once: Once
    opened: Callable[[UUID, int, UUID], object]  # offer, member, person: it need not be told of it any more

    def page(self, found: Page, address: str, more: Mapping[str, Any]) -> OfferPage:
        following = f"{address}?{urlencode(more, doseq=True)}" if found.more else None
        known = self.answering()
        shown = [models.offer(seen, known.get(seen.pool or "", ANYWHERE)) for seen in found.offers]
        return OfferPage(offers=shown, since=found.latest, next=following)

    def seen(self, member: int, offer: UUID) -> Offer:
        seen = self.partner().offer(member, offer)
        return models.offer(seen, self.rules(seen))

    def rules(self, seen: Seen) -> Answering:
        """How offers of its pool are answered."""
        return self.answering().get(seen.pool or "", ANYWHERE)

    def answer(self, to: "Answer", verb: Callable[..., Answered], reason: Reason | None = None) -> Response:
        """Give the answer at the desk, once for its key; what comes back is the offer as it stands then."""
        member = member_of(to.principal)
        who = Who(actor=Actor.MEMBER, member=member, person=to.principal.person_id, version=to.version)
        if to.key is not None:
            who["key"] = f"{caller_of(to.principal)} {to.key}"

        def do() -> BaseModel:
            self.partner().offer(member, to.offer)  # behind the member's wall: what it does not see it cannot answer
            if reason is None:
                verb(to.offer, **who)
            else:
                verb(to.offer, reason.reason, **who)
            return self.seen(member, to.offer)

        return self.once(to.request, to.principal, to.key, do, asked=reason)


@dataclass(frozen=True, slots=True)
class Answer:
    """What every answer to an offer comes with."""

    request: Request
    offer: UUID
    principal: Principal
    key: str | None
    version: int | None  # of the offer, as the caller saw it


def routes(offers: Offers, allow: Callable[..., Callable[..., Principal]]) -> APIRouter:
    """`/offers/...`."""
    router = APIRouter(prefix="/offers", tags=["offers"])
    _looks(router, offers, Depends(allow("offers:read")))
    _answers(router, offers, Depends(allow("offers:answer")))
    return router


def _looks(router: APIRouter, offers: Offers, read: Any) -> None:
    @router.get("", operation_id="listOffers", summary="Your offers", responses=said(200, 403, link=True))
    def list_offers(
        *,
        request: Request,
        response: Response,
        principal: Annotated[Principal, read],
        state: Annotated[list[State] | None, Query(description="Only those in one of these states.")] = None,
        since: Annotated[
            int | None,
            Query(ge=0, le=2**62, description="What has changed after this number, oldest change first."),
        ] = None,
        after: Annotated[str | None, Query(max_length=100, description="From the address of the next page.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    ) -> OfferPage:
        """Newest first; or, with `since`, what changed after that number: the way to follow without the stream.

        Each page gives the number to ask with next. No contact data: those come with the offer itself.
        """
        member = member_of(principal)
        asked: dict[str, Any] = {"limit": limit}
        if since is not None:
            found = offers.partner().changed(member, since=since, limit=limit)
            asked["since"] = found.latest
        else:
            found = offers.partner().offers(member, states=state or (), before=_place(after), limit=limit)
            asked |= {"state": state or [], "after": _mark(found) if found.more else ""}
        page = offers.page(found, request.url.path, asked)
        if page.next:
            response.headers["Link"] = f'<{page.next}>; rel="next"'
        return page

    @router.get(
        "/{offer_id}",
        operation_id="getOffer",
        summary="One offer, with contact data once it is accepted",
        response_model=OfferDetail,
        responses=said(200, 304, 403, 404, etag=True),
    )
    def get_offer(
        principal: Annotated[Principal, read], offer_id: OfferId, if_none_match: IfNoneMatch = None
    ) -> Response:
        """Contact data are for the member alone that accepted the lead; each look at them is put on its timeline."""
        member = member_of(principal)
        if if_none_match is not None:
            now = offers.partner().offer(member, offer_id)
            if f'"{now.version}"' in if_none_match:
                return Response(status_code=304, headers=etag({"version": now.version}))
        seen, contact = offers.partner().opened(member, offer_id, by=principal.id)
        if principal.person_id and seen.state == "offered":
            offers.opened(offer_id, member, principal.person_id)
        body = models.detail(seen, offers.rules(seen), contact).model_dump(mode="json")
        return JSONResponse(body, headers=etag(body))


def _answers(router: APIRouter, offers: Offers, may_answer: Any) -> None:
    def given(
        *,
        request: Request,
        offer_id: OfferId,
        principal: Annotated[Principal, may_answer],
        key: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Answer:
        version = int(if_match.strip('"')) if if_match and if_match != "*" else None
        return Answer(request, offer_id, principal, key, version)

    to = Annotated[Answer, Depends(given)]
    how: dict[str, Any] = {"response_model": Offer, "responses": said(200, 403, 404, 409, 412, etag=True)}

    @router.post("/{offer_id}/accept", operation_id="acceptOffer", summary="Take the lead", **how)
    def accept(answer: to) -> Response:
        """Only while it is offered and its time is not over. Given again, the answer is the same."""
        return offers.answer(answer, offers.desk().accept)

    @router.post("/{offer_id}/reject", operation_id="rejectOffer", summary="Turn the lead down", **how)
    def reject(answer: to, reason: Reason) -> Response:
        """It goes to the next member at once. The reason is one of the offer's `choices`."""
        return offers.answer(answer, offers.desk().reject, reason)

    @router.post("/{offer_id}/complete", operation_id="completeOffer", summary="The accepted lead became a job", **how)
    def complete(answer: to) -> Response:
        """It is done, and frees a place of your capacity."""
        return offers.answer(answer, offers.desk().complete)

    @router.post("/{offer_id}/lose", operation_id="loseOffer", summary="The accepted lead came to nothing", **how)
    def lose(answer: to, reason: Reason) -> Response:
        """It is done, and frees a place of your capacity."""
        return offers.answer(answer, offers.desk().lose, reason)

    @router.post("/{offer_id}/return", operation_id="returnOffer", summary="Give the accepted lead back", **how)
    def give_back(answer: to, reason: Reason) -> Response:
        """Within the programme's window. Within your share it goes to the next member, beyond it to a person."""
        return offers.answer(answer, offers.desk().give_back, reason)

    @router.post("/{offer_id}/extend", operation_id="extendOffer", summary="Keep the accepted lead for longer", **how)
    def extend(answer: to, reason: Reason) -> Response:
        """The time for the next step begins anew, as often as the programme allows."""
        return offers.answer(answer, offers.desk().extend, reason)

    @router.post("/{offer_id}/progress", operation_id="progressOffer", summary="A step was made on the lead", **how)
    def progress(answer: to) -> Response:
        """Such as a call or a visit: the time for the next step begins anew."""
        return offers.answer(answer, offers.desk().progress)


# --- the place in a list, as the address of its next page holds it


def _mark(page: Page) -> str:
    last = page.offers[-1]
    micros = round(last.offered_at.timestamp() * 1_000_000)
    return urlsafe_b64encode(f"{micros}.{last.id.hex}".encode()).decode().rstrip("=")


def _place(after: str | None) -> tuple[datetime, UUID] | None:
    if not after:
        return None
    try:
        text = urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode("ascii")
        found = re.fullmatch(r"(\d{1,17})\.([0-9a-f]{32})", text, re.ASCII)
        seconds, micros = divmod(int(found[1]), 1_000_000) if found else (-1, 0)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros), UUID(found[2] if found else "")
    except (ValueError, OverflowError, OSError) as exc:
        fix = "Take it from the `next` of a page, as it is."
        raise BadInput("it is no place in a list", field="query.after", fix=fix) from exc
