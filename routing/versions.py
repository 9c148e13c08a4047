"""Versions of the policy: who wrote, approved and published what, and what stands in the way of publishing it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from routing.errors import Refused


class State(StrEnum):
    """What a version is; exactly one is in force."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PUBLISHED = "published"
    RETIRED = "retired"  # it was in force, or was given up as a draft


@dataclass(frozen=True, slots=True)
class Writer:
    """Who does something to a version: a person, or the command line and programs, which stand for nobody."""

    name: str
    id: UUID | None = None
    manages: frozenset[str] = frozenset()  # markets and pools; empty: everything

    @property
    def actor(self) -> str:
        """The name in the audit: of a person the id alone."""
        return f"person:{self.id}" if self.id else self.name


@dataclass(frozen=True, slots=True)
class Signed:
    """A person who stands for a version."""

    person_id: UUID
    name: str
    wrote: bool  # else: read and approved what another wrote
    at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the policy, without its document."""

    version: int
    state: State
    edition: int
    digest: str
    author: str
    note: str
    base: int | None
    replaced: int | None
    restores: int | None
    created_at: datetime
    publish_at: datetime | None
    published_at: datetime | None
    published_by: str
    retired_at: datetime | None
    problem: str
    findings: Sequence[Mapping[str, Any]] = ()
    signed: tuple[Signed, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who stands for it: its author first, then who approved it."""
        approved = [one.name for one in self.signed if not one.wrote]
        wrote = [one.name for one in self.signed if one.wrote] or [self.author]
        return tuple(dict.fromkeys(name for name in (*wrote, *approved) if name))


class UnknownVersion(Refused):
    """There is no such version of the policy."""


class VersionChanged(Refused):
    """The version has changed since you saw it: read it again."""


class NotADraft(Refused):
    """Only a draft can be changed."""


class Overtaken(Refused):
    """Another version has come into force since this one was written.

    Look at the difference, and write the draft anew on top of it, or say by `replacing` that it goes first.
    """

    def __init__(self, version: int, in_force: int | None, base: int | None, *, planned: bool = False) -> None:
        if planned:
            super().__init__(
                f"Version {version} takes the place of version {base or 0}; by then version {in_force} is in force, "
                f"which is scheduled before it. Schedule it with `--replacing {in_force}`, or first "
                f"`fairturn policy cancel {in_force}`.",
                version=version,
                in_force=in_force,
            )
            self.in_force = in_force
            return
        what = f"Version {version} was written while" if version else "It was to be published while"
        written, now = (f"version {one} was in force" if one else "none was in force" for one in (base, in_force))
        super().__init__(
            f"{what} {written}; now {now.replace('was', 'is')}. Look at the difference "
            f"(`fairturn policy diff {in_force or ''} {version or 'FILE'}`), then edit the draft, or publish with "
            f"`--replacing {in_force or 0}`.",
            version=version,
            in_force=in_force,
        )
        self.in_force = in_force


class NeedsApproval(Refused):
    """Two people publish here: another one than its author must approve the version."""


class HardlyMeant(Refused):
    """The check found what is seldom meant, such as a pool without members.

    Mend it, or say by `anyway` that it is meant.
    """


class NotYours(Refused):
    """The change touches what others are in charge of."""


def people_needed(setting: int, *documents: Mapping[str, Any] | None) -> int:
    """How many people must stand for a version (row Z6): two where it, or the one it replaces, is sensitive."""
    sensitive = any(isinstance(one, Mapping) and one.get("sensitive") is True for one in documents)
    return max(setting, 2 if sensitive else 1)


def may_publish(version: int, signed: Collection[Signed], needed: int) -> None:
    """Raise NeedsApproval unless enough different people stand for the version, an approving one among them."""
    if needed <= 1:
        return
    wrote = sorted({one.name for one in signed if one.wrote})
    approved = sorted({one.name for one in signed if not one.wrote})
    if not wrote:
        raise NeedsApproval(
            f"Version {version} has no author: where two people publish, say who writes it, with --as ADDRESS."
        )
    if not approved or len({one.person_id for one in signed}) < needed:
        have = f"{', '.join(wrote)} wrote it" + (f", {', '.join(approved)} approved it" if approved else "")
        raise NeedsApproval(
            f"Version {version} needs {needed} people to stand for it: {have}. Another manager approves it with "
            f"`fairturn policy approve {version} --as ADDRESS`."
        )
