"""Versions of the policy, for managers: seen, compared, drafted, approved, published, scheduled, rolled back."""
# ruff: noqa: FAST003 - the version's number is taken by `given`, for every change

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from config import policy as policy_file
from config import policy_text
from config.publisher import Publisher
from routing.access import Principal, Scope
from routing.errors import BadInput
from routing.policy_diff import Difference, differences
from routing.versions import Version, Writer
from storage.postgres.people import People
from web.api.partner.once import IdempotencyKey, Once
from web.api.partner.said import said

#: No version has a higher number.
HIGHEST = 2**31 - 1
Number = Annotated[int, Path(ge=1, le=HIGHEST, description="The version's number.")]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        pattern=r'^(\*|"\d{1,9}")$',
        description="The ETag of the version as you saw it. When it has changed since, nothing happens: 412.",
        examples=['"1"'],
    ),
]
Replacing = Annotated[
    int | None,
    Field(ge=0, le=HIGHEST, description="The version it takes the place of, which must be in force; 0: of none."),
]
Note = Annotated[str, Field(max_length=1000, description="Why, for the record.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DraftWish(_Body):
    """A policy to keep: as YAML, which keeps its comments, or as JSON."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "source": "pools:\n  - name: installers\n    market: main\n    rings: {unit: mi, radii: [5, 15]}\n"
                    "default_tier: {capacity: 5}\n",
                    "note": "two rings",
                }
            ]
        },
    )

    source: str | None = Field(None, description="The policy as YAML.")
    document: dict[str, Any] | None = Field(None, description="The policy as JSON.")
    note: Note = ""
    base: int | None = Field(
        None,
        ge=0,
        le=HIGHEST,
        description="The version it is written on; that one it replaces. Else: the one in force.",
    )

    def read(self) -> Mapping[str, Any]:
        """The document. Raises BadInput with line and column."""
        if (self.source is None) == (self.document is None):
            raise BadInput("it is given twice or not at all", field="body", fix="Send either source or document.")
        return policy_text.read(self.source, "source") if self.source is not None else dict(self.document or {})


class PublishWish(_Body):
    """What publishing may be told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    replacing: Replacing = None


class ScheduleWish(_Body):
    """When to publish."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"at": "2030-01-07T08:00:00Z"}]})

    at: AwareDatetime = Field(description="With its time zone.")
    replacing: Replacing = None


class RollbackWish(_Body):
    """What rolling back may be told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "too few offers"}]})

    note: Note = ""


class SignedView(BaseModel):
    """Somebody who stands for a version."""

    name: str
    wrote: bool = Field(description="False: has read and approved what another wrote.")
    at: datetime


class VersionView(BaseModel):
    """One version of the policy."""

    version: int
    state: Literal["draft", "scheduled", "published", "retired"]
    edition: int = Field(description="Raised by each change of a draft. It is the ETag, and what If-Match names.")
    digest: str = Field(description="SHA-256 of the document; empty for versions of an older program.")
    author: str
    names: list[str] = Field(description="Everybody who stands for it, the author first.")
    signed: list[SignedView]
    note: str
    base: int | None = Field(description="The version in force when it was written; that one it replaces.")
    replaced: int | None = Field(description="The version that was in force before it.")
    restores: int | None = Field(description="The earlier version that it says again.")
    created_at: datetime
    publish_at: datetime | None
    published_at: datetime | None
    published_by: str
    retired_at: datetime | None
    problem: str = Field(description="Why it could not be published when it was due.")
    findings: list[dict[str, Any]] = Field(description="What the check said when it was kept or published.")


class WholeView(VersionView):
    """A version with what it says."""

    document: dict[str, Any]
    source: str = Field(description="As YAML: as its author wrote it, comments and all, where that is known.")


class DifferenceView(BaseModel):
    """One part that is not the same."""

    path: str = Field(description="Named things by their names: pools[installers].reassignments.")
    kind: Literal["added", "removed", "changed", "moved"]
    before: Any
    after: Any
    place: int | None = Field(description="Where an added or removed thing stands among its like, from 1.")
    told: str = Field(description="In one line.")


class EntryView(VersionView):
    """A version in the history."""

    decisions: int = Field(description="How many decisions used it.")
    changes: list[DifferenceView] = Field(description="What it changed, or would change.")


class HistoryView(BaseModel):
    """Versions, the highest number first."""

    versions: list[EntryView]
    before: int | None = Field(description="Ask with this for the ones before; null: there are none.")


class DiffView(BaseModel):
    """What differs between two versions."""

    one: int
    other: int
    differences: list[DifferenceView]


@dataclass(frozen=True, slots=True)
class Press:
    """What the routes need."""

    publisher: Callable[[], Publisher]
    people: Callable[[], People]
    once: Once

    def writer(self, principal: Principal) -> Writer:
        """Who asks: a person by name, whatever else by its kind."""
        person = self.people().get(principal.person_id) if principal.person_id else None
        if person is None:
            return Writer(f"{principal.kind}:{principal.id}")
        return Writer(person.name, person.id, person.manages)


@dataclass(frozen=True, slots=True)
class Change:
    """What every change of a version comes with."""

    request: Request
    principal: Principal
    key: str | None
    version: int
    edition: int | None


def routes(press: Press, allow: Callable[..., Callable[..., Principal]]) -> APIRouter:
    """`/policy/...`."""
    router = APIRouter(prefix="/policy", tags=["policy"])
    manager = Depends(allow(Scope.MANAGE))
    _looks(router, press, manager)
    _drafts(router, press, manager)
    _changes(router, press, manager)
    return router


def _looks(router: APIRouter, press: Press, manager: Any) -> None:
    @router.get("/schema.json", operation_id="getPolicySchema", summary="The JSON Schema of a policy")
    def get_schema() -> dict[str, Any]:
        """For editors: the same as `fairturn policy schema` prints."""
        return policy_file.json_schema()

    @router.get(
        "/versions",
        operation_id="listPolicyVersions",
        summary="Who changed the policy, when, what, and which decisions used it",
        responses=said(200, 403),
        dependencies=[manager],
    )
    def list_versions(
        before: Annotated[int | None, Query(ge=1, le=HIGHEST, description="Only lower numbers.")] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> HistoryView:
        """Drafts and scheduled versions are among them."""
        entries = press.publisher().history(limit=limit, before=before)
        shown = [
            EntryView(**_told(one.version), decisions=one.decisions, changes=[_difference(d) for d in one.changes])
            for one in entries
        ]
        lowest = entries[-1].version.version if len(entries) == limit else 1
        return HistoryView(versions=shown, before=lowest if lowest > 1 else None)

    @router.get(
        "/versions/{version}",
        operation_id="getPolicyVersion",
        summary="One version, with what it says",
        responses=said(200, 403, 404, etag=True),
        dependencies=[manager],
    )
    def get_version(version: Number, response: Response) -> WholeView:
        """The ETag is what a change of a draft sends in If-Match."""
        publisher = press.publisher()
        known = publisher.policies.one(version)
        response.headers["ETag"] = f'"{known.edition}"'
        return WholeView(**_told(known), document=dict(publisher.document(version)), source=publisher.text(version))

    @router.get(
        "/versions/{version}/diff",
        operation_id="diffPolicyVersion",
        summary="What a version says differently",
        responses=said(200, 403, 404),
        dependencies=[manager],
    )
    def diff_version(
        version: Number,
        since: Annotated[
            int | None, Query(ge=1, le=HIGHEST, description="Than this one; else the one in force.")
        ] = None,
    ) -> DiffView:
        """By name and path; an empty list: they say the same."""
        publisher = press.publisher()
        one = since or publisher.policies.in_force() or 0
        found = differences(dict(publisher.document(one)), dict(publisher.document(version)))
        return DiffView(one=one, other=version, differences=[_difference(d) for d in found])


def _drafts(router: APIRouter, press: Press, manager: Any) -> None:
    @router.post(
        "/versions",
        operation_id="draftPolicy",
        summary="Keep a policy as a draft",
        status_code=201,
        responses=said(201, 403, 409, etag=True),
    )
    def draft(
        request: Request, principal: Annotated[Principal, manager], wish: DraftWish, key: IdempotencyKey = None
    ) -> VersionView:
        """Checked as before publishing; what is wrong is told with line and column."""

        def do() -> BaseModel:
            by = press.writer(principal)
            return _view(press.publisher().draft(wish.read(), by=by, note=wish.note, base=wish.base))

        answer: VersionView = _answer(press.once(request, principal, key, do, asked=wish, status=201))
        return answer

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
        made = press.publisher().edit(
            version,
            wish.read(),
            by=press.writer(principal),
            edition=_edition(if_match),
            note=wish.note or None,
            base=wish.base,
        )
        answer: VersionView = _answer(JSONResponse(_view(made).model_dump(mode="json")))
        return answer


def _changes(router: APIRouter, press: Press, manager: Any) -> None:
    def given(
        request: Request,
        version: Number,
        principal: Annotated[Principal, manager],
        if_match: IfMatch = None,
        key: IdempotencyKey = None,
    ) -> Change:
        return Change(request, principal, key, version, _edition(if_match))

    def done(to: Change, verb: Callable[[Publisher, Writer], Version], wish: BaseModel | None = None) -> VersionView:
        def do() -> BaseModel:
            return _view(verb(press.publisher(), press.writer(to.principal)))

        answer: VersionView = _answer(press.once(to.request, to.principal, to.key, do, asked=wish))
        return answer

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
    def publish(to: Given, wish: PublishWish) -> VersionView:
        """It takes the place of the version it was written on: 409 when another is in force by now, which is named."""
        return done(
            to,
            lambda press, by: press.publish(to.version, by=by, replacing=wish.replacing, edition=to.edition),
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
        at = wish.at.astimezone(UTC)
        return done(
            to,
            lambda press, by: press.schedule(to.version, at, by=by, replacing=wish.replacing, edition=to.edition),
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
        return done(to, lambda press, by: press.cancel(to.version, by=by))

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
    def rollback(to: Given, wish: RollbackWish) -> VersionView:
        """As a new version, for the next lead; offers that are out keep their deadlines."""
        return done(to, lambda press, by: press.rollback(to.version, by=by, note=wish.note), wish)


def _edition(if_match: str | None) -> int | None:
    return int(if_match.strip('"')) if if_match and if_match != "*" else None


def _answer(made: Response) -> Any:
    """The response as it is; its ETag is the version's edition, also when it is given once more."""
    if made.status_code < 400 and isinstance(made, JSONResponse):
        body = json.loads(bytes(made.body))
        made.headers["ETag"] = f'"{body["edition"]}"'
    return made


def _told(one: Version) -> dict[str, Any]:
    names = [name for name in VersionView.model_fields if name not in {"signed", "names", "findings", "state"}]
    known = {name: getattr(one, name) for name in names}
    signed = [SignedView(name=by.name, wrote=by.wrote, at=by.at) for by in one.signed]
    return known | {
        "state": str(one.state),
        "names": list(one.names),
        "signed": signed,
        "findings": [dict(finding) for finding in one.findings],
    }


def _view(one: Version) -> VersionView:
    return VersionView(**_told(one))


def _difference(one: Difference) -> DifferenceView:
    return DifferenceView(**one.to_json(), told=one.told)
