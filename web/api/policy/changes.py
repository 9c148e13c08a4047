"""Versions of the policy drafted, approved, published, scheduled, rolled back: each done once for each key."""
# ruff: noqa: FAST003 - the version's number is taken by `given`, for every change

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from config.publisher import Publisher, still_to_come
from routing.access import Principal
from routing.versions import Version, Writer
from web.api.partner.once import IdempotencyKey
from web.api.policy.models import DraftWish, PublishWish, RollbackWish, ScheduleWish, VersionView, view
from web.api.policy.press import IfMatch, Number, Press, answer, edition
from web.api.said import said

_PUBLISH, _ROLL_BACK = PublishWish(), RollbackWish()


@dataclass(frozen=True, slots=True)
class Change:
    """What every change of a version comes with."""

    request: Request
    principal: Principal
    key: str | None
    version: int
    edition: int | None


def drafts(router: APIRouter, press: Press, manager: Any) -> None:
    """Drafts, written and written anew."""

    @router.post(
        "/versions",
        operation_id="draftPolicy",
        summary="Keep a policy as a draft",
        status_code=201,
        responses=said(201, 403, 404, 409, etag=True),
    )
    def draft(
        request: Request, principal: Annotated[Principal, manager], wish: DraftWish, key: IdempotencyKey = None
    ) -> VersionView:
        """Checked as before publishing; what is wrong is told with line and column."""

        def do() -> BaseModel:
            by = press.writer(principal)
            return view(press.publisher().draft(wish.read(), by=by, note=wish.note, base=wish.base))

        made: VersionView = answer(press.once(request, principal, key, do, asked=wish, status=201))
        return made

    @router.put(
        "/versions/{version}",
        operation_id="editPolicyDraft",
        summary="Write a draft anew",
        responses=said(200, 403, 404, 409, 412, etag=True),
    )
    def edit(
        wish: DraftWish, version: Number, principal: Annotated[Principal, manager], if_match: IfMatch = None
    ) -> VersionView:
        """What was approved before must be approved again. With `base`, it is written on that version now."""
        edited = press.publisher().edit(
            version,
            wish.read(),
            by=press.writer(principal),
            edition=edition(if_match),
            note=wish.note or None,
            base=wish.base,
        )
        made: VersionView = answer(JSONResponse(view(edited).model_dump(mode="json")))
        return made


def changes(router: APIRouter, press: Press, manager: Any) -> None:
    """What becomes of a version."""

    def given(
        request: Request,
        version: Number,
        principal: Annotated[Principal, manager],
        if_match: IfMatch = None,
        key: IdempotencyKey = None,
    ) -> Change:
        return Change(request, principal, key, version, edition(if_match))

    def done(to: Change, verb: Callable[[Publisher, Writer], Version], wish: BaseModel | None = None) -> VersionView:
        def do() -> BaseModel:
            return view(verb(press.publisher(), press.writer(to.principal)))

        made: VersionView = answer(press.once(to.request, to.principal, to.key, do, asked=wish))
        return made

    answers = said(200, 403, 404, 409, 412, etag=True)
    Given = Annotated[Change, Depends(given)]  # noqa: N806 - a type

    @router.post(
        "/versions/{version}/approve", operation_id="approvePolicy", summary="Stand for a draft", responses=answers
    )
    def approve(to: Given) -> VersionView:
        """For another person than its author; where two people publish, without it nothing is."""
        return done(to, lambda press, by: press.approve(to.version, by=by, edition=to.edition))

    @router.post(
        "/versions/{version}/publish", operation_id="publishPolicy", summary="Put a draft in force", responses=answers
    )
    def publish(to: Given, wish: PublishWish = _PUBLISH) -> VersionView:
        """It takes the place of the version it was written on: 409 when another is in force by now, which is named."""
        return done(
            to,
            lambda press, by: press.publish(
                to.version, by=by, replacing=wish.replacing, edition=to.edition, anyway=wish.anyway
            ),
            wish,
        )

    @router.post(
        "/versions/{version}/schedule",
        operation_id="schedulePolicy",
        summary="Publish a draft at a time",
        responses=answers,
    )
    def schedule(to: Given, wish: ScheduleWish) -> VersionView:
        """What cannot be published when it is due is a draft again, and says why."""
        return done(
            to,
            lambda press, by: press.schedule(
                to.version,
                still_to_come(wish.at, datetime.now(UTC)),
                by=by,
                replacing=wish.replacing,
                edition=to.edition,
                anyway=wish.anyway,
            ),
            wish,
        )

    @router.post(
        "/versions/{version}/cancel",
        operation_id="cancelPolicy",
        summary="Do not publish what is scheduled",
        responses=answers,
    )
    def cancel(to: Given) -> VersionView:
        """It is a draft again."""
        return done(to, lambda press, by: press.cancel(to.version, by=by, edition=to.edition))

    @router.post(
        "/versions/{version}/retire", operation_id="retirePolicy", summary="Give up a draft", responses=answers
    )
    def retire(to: Given) -> VersionView:
        """It is kept, and can be seen. The version in force is retired by publishing another."""
        return done(to, lambda press, by: press.retire(to.version, by=by, edition=to.edition))

    @router.post(
        "/versions/{version}/rollback",
        operation_id="rollBackPolicy",
        summary="Put an earlier version in force again",
        responses=answers,
    )
    def rollback(to: Given, wish: RollbackWish = _ROLL_BACK) -> VersionView:
        """As a new version, for the next lead; offers that are out keep their deadlines."""
        return done(to, lambda press, by: press.rollback(to.version, by=by, note=wish.note, edition=to.edition), wish)
