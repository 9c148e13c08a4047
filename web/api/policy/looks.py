"""Versions of the policy as managers see and compare them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from config import policy as policy_file
from config.policy_effect import changes
from web.api.policy.models import (
    HIGHEST,
    CheckedView,
    DiffView,
    EntryView,
    FindingView,
    HistoryView,
    PolicyWish,
    WholeView,
    difference,
    told,
)
from web.api.policy.press import Number, Press
from web.api.said import said


def looks(router: APIRouter, press: Press, manager: Any) -> None:
    """What changes nothing."""

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
            EntryView(**told(one.version), decisions=one.decisions, changes=[difference(d) for d in one.changes])
            for one in entries
        ]
        lowest = entries[-1].version.version if len(entries) == limit else 1
        return HistoryView(versions=shown, before=lowest if lowest > 1 else None, trouble=press.trouble())

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
        return WholeView(**told(known), document=dict(publisher.document(version)), source=publisher.text(version))

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
        found = changes(publisher.document(one), publisher.document(version))
        return DiffView(one=one, other=version, differences=[difference(d) for d in found])

    @router.post(
        "/check",
        operation_id="checkPolicy",
        summary="What a policy would be asked about; nothing is kept",
        responses=said(200, 403),
        dependencies=[manager],
    )
    def check(wish: PolicyWish) -> CheckedView:
        """As a draft is checked. What cannot be read at all is a 422, with line and column for YAML."""
        publisher = press.publisher()
        document = wish.read()
        found = publisher.check(document, publisher.parse(document, 0))
        return CheckedView(findings=[FindingView.model_validate(dict(one)) for one in found])
