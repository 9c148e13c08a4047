"""Versions of the policy put to use: read, checked, approved, published, rolled back; each step in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from config import policy as policy_file
from config import policy_bundle, policy_text
from config.policy_bundle import Bundle
from config.policy_effect import changes
from config.policy_units import refuse_what_is_others
from routing.errors import BadInput, FairturnError, TryLater
from routing.policy import Policy
from routing.policy_check import SELDOM_MEANT
from routing.policy_diff import Difference, differences
from routing.versions import (
    HardlyMeant,
    NotADraft,
    NotYours,
    Signed,
    State,
    UnknownVersion,
    Version,
    VersionChanged,
    Writer,
)
from storage.postgres.policies import Policies, Text
from storage.postgres.policy_rows import Effect, digest

log = structlog.get_logger()

#: Documents and what they say, as a pair.
Read = tuple[Mapping[str, Any], Policy]


class Check(Protocol):
    """Looks a policy through before it is published: its findings; raises BadInput for what must not be published."""

    def __call__(self, document: Mapping[str, Any], policy: Policy, /) -> Sequence[Mapping[str, Any]]: ...


class Contents(Protocol):
    """Keeps what is too large for a document, once, by its SHA-256."""

    def get(self, digest: str, /) -> bytes: ...
    def put(self, content: bytes, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One version in the history: what it changed, and how many decisions used it (row E3)."""

    version: Version
    changes: tuple[Difference, ...]
    decisions: int


@dataclass(frozen=True, slots=True)
class Publisher:
    """What people do with versions. `parse` knows the contents of tables and areas; `people` publish together."""

    policies: Policies
    parse: Callable[[Mapping[str, Any], int], Policy]
    check: Check
    contents: Contents  # of tables and areas, by digest
    people: int  # who must stand for a version, at least
    wake: Callable[[], object]  # waiting leads are planned anew

    # --- drafts

    def draft(self, document: Mapping[str, Any], *, by: Writer, note: str = "", base: int | None = None) -> Version:
        """Keep a sound document as a draft, written on the version in force, or on `base`.

        Raises BadInput with the place, UnknownVersion.
        """
        self._known(base)
        findings = self.check(document, self.parse(document, 0))
        return self.policies.draft(document, by=by, source=_source(document), note=note, base=base, findings=findings)

    def edit(
        self,
        version: int,
        document: Mapping[str, Any],
        *,
        by: Writer,
        edition: int | None = None,
        note: str | None = None,
        base: int | None = None,
    ) -> Version:
        """Write a draft anew; `base`: on top of that version. Raises BadInput, VersionChanged, NotADraft, NotYours."""
        self._may_drop(by, self.policies.one(version))
        self._known(base)
        findings = self.check(document, self.parse(document, 0))
        return self.policies.edit(
            version,
            document,
            by=by,
            edition=edition,
            source=_source(document),
            note=note,
            base=base,
            findings=findings,
        )

    def approve(self, version: int, *, by: Writer, edition: int | None = None) -> Version:
        """Stand for what another wrote, as far as one is in charge of what it changes."""
        known = self.policies.one(version)
        self._in_charge(by, known.base, self.read(version))
        return self.policies.approve(version, by=by, edition=known.edition if edition is None else edition)

    def cancel(self, version: int, *, by: Writer, edition: int | None = None) -> Version:
        """Do not publish what is scheduled; it is a draft again. Raises NotYours, VersionChanged."""
        known = self._as_seen(version, edition)
        if known.state is State.SCHEDULED and by.manages:
            self._in_charge(by, known.base, self.read(version))
        return self.policies.cancel(version, by=by)

    def retire(self, version: int, *, by: Writer, edition: int | None = None) -> Version:
        """Give up a draft. Raises NotYours for what others wrote about others' units."""
        self._may_drop(by, self.policies.one(version))
        return self.policies.retire(version, by=by, edition=edition)

    def _may_drop(self, by: Writer, known: Version) -> None:
        """Raise NotYours where a manager of some units would undo what is neither theirs nor by them."""
        wrote = any(one.wrote and one.person_id == by.id for one in known.signed)
        if by.manages and known.state in {State.DRAFT, State.SCHEDULED} and not (wrote and known.state is State.DRAFT):
            self._in_charge(by, known.base, self.read(known.version))

    def _as_seen(self, version: int, edition: int | None) -> Version:
        """What is known of a version. Raises VersionChanged when it is not in this edition."""
        known = self.policies.one(version)
        if edition is not None and known.edition != edition:
            raise VersionChanged(
                f"Version {version} has changed since you saw it; it is in edition {known.edition} now."
            )
        return known

    def _known(self, base: int | None) -> None:
        """Raise UnknownVersion when a draft is to be written on a version that there is not."""
        if base:
            self.policies.one(base)

    # --- publishing

    def publish(
        self,
        version: int,
        *,
        by: Writer,
        replacing: int | None = None,
        edition: int | None = None,
        anyway: bool = False,
        due: bool = False,
    ) -> Version:
        """Put a draft in force, in place of the version it was written on, or of the one that `replacing` names.

        Raises BadInput where it is not sound, HardlyMeant unless `anyway`, Overtaken, NeedsApproval, NotYours,
        NotADraft, VersionChanged.
        """
        known = self.policies.one(version)
        read = self.read(version)
        self._in_charge(by, known.base if replacing is None else replacing or None, read)
        findings = self._looked_through(read, anyway=anyway or due)
        done = self.policies.put_in_force(
            version,
            _effect(read[1]),
            by=by,
            edition=known.edition if edition is None else edition,
            people=self.people,
            replacing=replacing,
            findings=findings,
            due=due,
        )
        if done:
            self.wake()
        return self.policies.one(version)

    def publish_document(
        self,
        document: Mapping[str, Any],
        *,
        by: Writer,
        note: str = "",
        replacing: int | None = None,
        anyway: bool = False,
    ) -> Version:
        """Put a document in force in one step. Where several people must stand for it, make a draft of it first."""
        read = (document, self.parse(document, 0))
        findings = self._looked_through(read, anyway=anyway)
        return self._at_once(read, by=by, note=note, replacing=replacing, findings=findings)

    def rollback(self, to: int, *, by: Writer, note: str = "", edition: int | None = None) -> Version:
        """Put the document of an earlier version in force again, as a new version: the next lead is routed by it.

        Offers that are out keep their deadlines. Those who stood for it then stand for it now, beside whoever rolls
        back. Raises UnknownVersion, NotADraft for one that never was in force, NotYours.
        """
        known = self._as_seen(to, edition)
        if known.published_at is None:
            raise NotADraft(f"Version {to} never was in force: publish it, with `fairturn policy publish {to}`.")
        in_force = self.policies.in_force()
        return self._at_once(
            self.read(to),
            by=by,
            note=note or f"back to version {to}",
            replacing=in_force,
            restores=to,
            signed=[one for one in known.signed if one.person_id != by.id],
        )

    def schedule(
        self,
        version: int,
        at: datetime,
        *,
        by: Writer,
        replacing: int | None = None,
        edition: int | None = None,
        anyway: bool = False,
    ) -> Version:
        """Have a draft published at that time. Raises BadInput, HardlyMeant, Overtaken, NeedsApproval, NotYours."""
        known, read = self.policies.one(version), self.read(version)
        self._looked_through(read, anyway=anyway)
        base = known.base if replacing is None else replacing or None
        if by.manages and base != self.policies.in_force():
            raise NotYours("Only a manager of everything schedules a version on top of one that is not in force yet.")
        self._in_charge(by, base, read)
        edition = known.edition if edition is None else edition
        return self.policies.schedule(version, at, by=by, edition=edition, people=self.people, replacing=replacing)

    def _looked_through(self, read: Read, *, anyway: bool) -> Sequence[Mapping[str, Any]]:
        """The findings; raises HardlyMeant for what the version in force has not, and what is seldom meant."""
        findings = self.check(*read)
        in_force = self.policies.in_force()
        if anyway or in_force is None:
            return findings
        had = {(one["code"], one["path"]) for one in self.policies.one(in_force).findings}
        told = [one for one in findings if one["code"] in SELDOM_MEANT and (one["code"], one["path"]) not in had]
        if told:
            said = "; ".join(f"{one['path'] or 'policy'}: {one['message']} ({one['code']})" for one in told[:3])
            more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
            raise HardlyMeant(f"Nothing is published. {said}{more}. Mend it, or say `anyway` where it is meant.")
        return findings

    def overtaken(self) -> list[Version]:
        """Scheduled versions that will be refused when they are due, as another will be in force by then."""
        return self.policies.overtaken()

    def publish_due(self) -> list[int]:
        """Publish what is due, each at most once; what cannot be published is a draft again, and says why."""
        return [version for version in self.policies.due() if self._publish_due(version)]

    def _publish_due(self, version: int) -> bool:
        known = self.policies.one(version)
        by = Writer(known.published_by or known.author or "fairturn")
        try:
            return self.publish(version, by=by, due=True).published_at is not None
        except TryLater:
            raise  # the relay comes again
        except (VersionChanged, NotADraft):
            return False  # somebody else was there first
        except FairturnError as exc:
            return self._set_back(version, str(exc))
        except Exception as exc:  # noqa: BLE001 - whatever a document does to its reader, the relay goes on
            return self._set_back(version, f"{type(exc).__name__} while it was read")

    def _set_back(self, version: int, problem: str) -> bool:
        log.error("policy.not_published", version=version, because=problem)
        self.policies.cancel(version, by=Writer("fairturn"), problem=problem)
        return False

    def _at_once(
        self,
        read: Read,
        *,
        by: Writer,
        note: str,
        replacing: int | None,
        restores: int | None = None,
        signed: Sequence[Signed] = (),
        findings: Sequence[Mapping[str, Any]] = (),
    ) -> Version:
        in_force = self.policies.in_force()
        replaced = in_force if replacing is None else replacing or None
        self._in_charge(by, replaced, read)
        effect = _effect(read[1])
        version = self.policies.publish(
            read[0],
            effect.tiers,
            effect.default,
            effect.pools,
            actor=by,
            note=note,
            source=_source(read[0]),
            replacing=(replaced or 0) if by.manages else replacing,
            restores=restores,
            signed=signed,
            people=self.people,
            findings=findings,
        )
        if in_force is not None and version != in_force:
            self.wake()
        return self.policies.one(version)

    def _in_charge(self, by: Writer, replaced: int | None, after: Read) -> None:
        """Raise NotYours when a manager of some units changes more than those."""
        if not by.manages:
            return
        if replaced is None:
            raise NotYours("The first policy is for a manager of everything to publish.")
        refuse_what_is_others(self.read(replaced), after, by.manages)

    # --- reading

    def document(self, version: int | None = None) -> Mapping[str, Any]:
        """What a version says, or the one in force; with its lines, where it was read from a text.

        Of a row that was changed by hand it is what was published, as routing has it too. Raises UnknownVersion.
        """
        number = self.policies.in_force() if version is None else version
        text = self.policies.text(number) if number is not None else None
        if text is None:
            raise UnknownVersion(f"There is no version {number} of the policy; `fairturn policy history` lists them.")
        written = _written(text, f"version {number}")
        if written is not None:
            return written
        if not isinstance(text.document, Mapping):
            raise BadInput("it is no document", field=f"version {number}", fix="Publish a whole policy.")
        return text.document

    def text(self, version: int | None = None) -> str:
        """What a version says as YAML: as its author wrote it, comments and all, where that is known."""
        document = self.document(version)
        return _source(document) or policy_file.dump(document)

    def export(self, version: int | None = None) -> Bundle:
        """A version, or the one in force, with all that it names. Raises UnknownVersion."""
        number = self.policies.in_force() if version is None else version
        document = self.document(number)
        known = self.policies.one(number or 0)
        names = {"version": known.version, "author": known.author, "note": known.note}
        return policy_bundle.bundle(document, self.contents.get, names)

    def take_in(self, found: Bundle) -> Mapping[str, Any]:
        """Keep the contents of an exported policy; the document that can be drafted or published now."""
        for content in found.contents.values():
            self.contents.put(content)
        return found.document

    def read(self, version: int) -> Read:
        """A version's document, and what it makes. Raises BadInput with the place."""
        document = self.document(version)
        return document, self.parse(document, version)

    def changes(self, version: Version) -> list[Difference]:
        """What a version changed, or would change."""
        before = version.base if version.published_at is None else version.replaced
        earlier = self.policies.get(before) if before else {}
        return changes(earlier, self.policies.get(version.version))

    def history(self, *, limit: int = 50, before: int | None = None) -> list[Entry]:
        """Versions with who, when, what changed, and how many decisions each made; the highest number first."""
        known = self.policies.all(limit=limit, before=before)
        uses = self.policies.uses([one.version for one in known])
        return [Entry(one, tuple(self.changes(one)), uses.get(one.version, 0)) for one in known]


def still_to_come(at: datetime, now: datetime) -> datetime:
    """The time, in UTC. Raises BadInput for one that is past, but for the minute that is going on."""
    if at < now - timedelta(minutes=1):
        fix = "Give a time to come, or publish it now."
        raise BadInput(f"{at.isoformat()} is past", field="at", fix=fix)
    return at.astimezone(UTC)


def _written(text: Text, name: str) -> policy_text.Written | None:
    """The document by the text that it was read from, where that still says the same, or what was published."""
    if not text.source:
        return None
    try:
        written = policy_text.read(text.source, name)
    except BadInput:
        return None
    published = text.digest and digest(written) == text.digest
    return written if published or not differences(dict(written), text.document) else None


def _source(document: Mapping[str, Any]) -> str | None:
    return document.source or None if isinstance(document, policy_text.Written) else None


def _effect(policy: Policy) -> Effect:
    pools = [(pool.name, pool.market, str(pool.mode)) for pool in policy.pools]
    return Effect(list(policy.tiers.values()), policy.default_tier, pools)
