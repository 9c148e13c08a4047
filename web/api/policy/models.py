"""What managers send about versions of the policy, and what they are shown."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from config import policy_text
from routing.errors import BadInput
from routing.policy_diff import Difference
from routing.versions import Version
from web.api.words import Moment

#: No version has a higher number.
HIGHEST = 2**31 - 1
Replacing = Annotated[
    int | None,
    Field(ge=0, le=HIGHEST, description="The version it takes the place of, which must be in force; 0: of none."),
]
Anyway = Annotated[
    bool,
    Field(description="It is meant: a pool without members, or limits below what is held, keep nothing back then."),
]
Note = Annotated[str, Field(max_length=1000, description="Why, for the record.")]
_POLICY = (
    "pools:\n  - name: installers\n    market: main\n    rings: {unit: mi, radii: [5, 15]}\n"
    "default_tier: {capacity: 5}\n"
)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PolicyWish(_Body):
    """A policy: as YAML, which keeps its comments and tells lines, or as JSON."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"source": _POLICY}]})

    source: str | None = Field(None, description="The policy as YAML.")
    document: dict[str, Any] | None = Field(None, description="The policy as JSON.")

    def read(self) -> Mapping[str, Any]:
        """The document. Raises BadInput with line and column."""
        if (self.source is None) == (self.document is None):
            raise BadInput("it is given twice or not at all", field="body", fix="Send either source or document.")
        if self.source is None:
            return dict(self.document or {})
        return policy_text.read(self.source.removeprefix("\ufeff"), "source")


class DraftWish(PolicyWish):
    """A policy to keep: as YAML, which keeps its comments, or as JSON."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"source": _POLICY, "note": "two rings"}]}
    )

    note: Note = ""
    base: int | None = Field(
        None,
        ge=0,
        le=HIGHEST,
        description="The version it is written on; that one it replaces. Else: the one in force.",
    )


class PublishWish(_Body):
    """What publishing may be told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    replacing: Replacing = None
    anyway: Anyway = False


class ScheduleWish(_Body):
    """When to publish."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"at": "2030-01-07T08:00:00Z"}]})

    at: Moment = Field(description="With its time zone; a time to come.")
    replacing: Replacing = None
    anyway: Anyway = False


class RollbackWish(_Body):
    """What rolling back may be told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "too few offers"}]})

    note: Note = ""


class FindingView(BaseModel):
    """What somebody who knows the trade would ask about."""

    model_config = ConfigDict(extra="allow")

    severity: Literal["error", "warning", "note"] = Field(description="error: it cannot be published so.")
    code: str = Field(description="One word for programs, such as unreachable_rule.")
    path: str = Field("", description="The place in the document, such as rules[3].")
    line: int | None = Field(None, description="In the YAML, from 1; null for JSON.")
    column: int | None = None
    message: str
    fix: str
    witness: dict[str, Any] = Field({}, description="The facts of a lead that shows it.")


class CheckedView(BaseModel):
    """What the check found; the policy can be published, unless a finding is an error."""

    findings: list[FindingView] = Field(description="What matters most first; none: nothing to ask.")


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
    findings: list[FindingView] = Field(description="What the check said when it was kept or published.")


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
    trouble: str | None = Field(
        description="Why the version in force cannot be read, with the place, and which one goes on; null: it is read."
    )


class DiffView(BaseModel):
    """What differs between two versions."""

    one: int
    other: int
    differences: list[DifferenceView]


def told(one: Version) -> dict[str, Any]:
    """The fields of a VersionView."""
    names = [name for name in VersionView.model_fields if name not in {"signed", "names", "findings", "state"}]
    known = {name: getattr(one, name) for name in names}
    signed = [SignedView(name=by.name, wrote=by.wrote, at=by.at) for by in one.signed]
    return known | {
        "state": str(one.state),
        "names": list(one.names),
        "signed": signed,
        "findings": [dict(finding) for finding in one.findings],
    }


def view(one: Version) -> VersionView:
    """A version without its document."""
    return VersionView(**told(one))


def difference(one: Difference) -> DifferenceView:
    """One difference, with its line."""
    return DifferenceView(**one.to_json(), told=one.told)
