"""Policy versions: drafts, scheduled and retired ones, and the one that is in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.policy import Tier
from routing.versions import NeedsApproval, Overtaken, Signed, State, Version, Writer, may_publish, people_needed
from storage.postgres import policy_rows as kept
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.members import ONE_AT_A_TIME
from storage.postgres.tables import NOW, policies, policy_approvals
from storage.postgres.values import clean, clean_text


@dataclass(frozen=True, slots=True)
class Text:
    """What a version says: its document, and the text it was read from, where it was."""

    document: Any
    source: str | None
    digest: str


class Policies:
    """The policy's versions, and what statements need of the published one."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # --- publishing

    def publish(
        self,
        document: Mapping[str, Any],
        tiers: Sequence[Tier],
        default: Tier,
        pools: Sequence[tuple[str, str, str]],
        *,
        actor: str | Writer,
        note: str = "",
        source: str | None = None,
        replacing: int | None = None,
        restores: int | None = None,
        signed: Sequence[Signed] = (),
        people: int | None = None,
        findings: Sequence[Mapping[str, Any]] = (),
    ) -> int:
        """Make this document the published policy in one step; its version. The document in force keeps its version.

        `pools` are (name, market, mode). Every roster version is raised, so that capacities and weights count anew.
        `replacing`: only if that version is in force (0: none). `signed`: who stood for the document before. `people`:
        who must stand for it; None, or nothing being in force: nobody, as the house itself does it.
        Raises Overtaken, and NeedsApproval where more people must stand for it than do.
        """
        document, writer = clean(document), actor if isinstance(actor, Writer) else Writer(actor)
        with transaction(self._engine) as connection:
            connection.execute(ONE_AT_A_TIME)
            connection.execute(_NUMBERS)
            published = kept.published(connection)
            if published and published[1] == document and (restores is None or restores == published[0]):
                return published[0]
            in_force = published[0] if published else None
            kept.not_overtaken(0, in_force, in_force if replacing is None else replacing or None, replacing)
            row = {"note": clean_text(note), "source": source, "base": in_force, "restores": restores}
            version = kept.add_version(connection, document, writer, row)
            for one in signed:
                kept.sign(connection, version, Writer(one.name, one.person_id), wrote=False)
            if people is not None and published:
                who = kept.signed(connection, [version]).get(version, [])
                may_publish(version, who, people_needed(people, document, published[1]))
            kept.put_in_force(connection, version, in_force, kept.Effect(tiers, default, pools), writer, findings)
            return version

    def put_in_force(
        self,
        version: int,
        effect: kept.Effect,
        *,
        by: Writer,
        edition: int,
        people: int = 1,
        replacing: int | None = None,
        findings: Sequence[Mapping[str, Any]] = (),
        due: bool = False,
    ) -> bool:
        """Publish a draft or a scheduled version as it was in this edition; False when it is in force already.

        It takes the place of the version that it was written on, or of the one named by `replacing` (0: of none).
        `due`: only if it is scheduled, and its time has come.
        Raises UnknownVersion, VersionChanged, NotADraft, NeedsApproval, Overtaken.
        """
        with transaction(self._engine) as connection:
            connection.execute(ONE_AT_A_TIME)
            connection.execute(_NUMBERS)
            row = kept.locked(connection, version)
            if row.state == State.PUBLISHED:
                return False
            if due and not connection.scalar(_IS_DUE, {"version": version}):
                return False
            kept.must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            published = kept.published(connection)
            in_force = published[0] if published else None
            kept.not_overtaken(version, in_force, row.base, replacing)
            needed = people_needed(people, row.document, published and published[1])
            may_publish(version, kept.signed(connection, [version]).get(version, []), needed)
            kept.put_in_force(connection, version, in_force, effect, by, findings)
            return True

    # --- drafts

    def draft(
        self,
        document: Mapping[str, Any],
        *,
        by: Writer,
        source: str | None = None,
        note: str = "",
        base: int | None = None,
        findings: Sequence[Mapping[str, Any]] = (),
    ) -> Version:
        """Keep a new draft, written on the version in force, or on `base`."""
        with transaction(self._engine) as connection:
            connection.execute(_NUMBERS)
            published = kept.published(connection)
            row = {"note": clean_text(note), "source": source, "findings": clean(findings)}
            row["base"] = base if base is not None else (published[0] if published else None)
            version = kept.add_version(connection, clean(document), by, row)
            record(connection, by.actor, "policy.drafted", version=version, base=row["base"], note=note)
            return kept.one_of(connection, version)

    def edit(
        self,
        version: int,
        document: Mapping[str, Any],
        *,
        by: Writer,
        edition: int | None,
        source: str | None = None,
        note: str | None = None,
        base: int | None = None,
        findings: Sequence[Mapping[str, Any]] = (),
    ) -> Version:
        """Write a draft anew; approvals of what it said before are gone. Raises VersionChanged, NotADraft.

        `base`: it is now written on that version.
        """
        with transaction(self._engine) as connection:
            row = kept.locked(connection, version)
            kept.must_be(row, version, edition, State.DRAFT)
            document = clean(document)
            values: dict[str, Any] = {
                "document": document,
                "source": source,
                "digest": kept.digest(document),
                "edition": row.edition + 1,
                "problem": "",
                "findings": clean(findings),
                "base": row.base if base is None else base or None,
                "note": row.note if note is None else clean_text(note),
            }
            connection.execute(sa.update(policies).where(policies.c.version == version).values(**values))
            connection.execute(
                sa.delete(policy_approvals).where(
                    policy_approvals.c.version == version, sa.not_(policy_approvals.c.wrote)
                )
            )
            kept.sign(connection, version, by, wrote=True)
            record(connection, by.actor, "policy.edited", version=version, edition=row.edition + 1)
            return kept.one_of(connection, version)

    def approve(self, version: int, *, by: Writer, edition: int | None) -> Version:
        """Stand for what another person wrote (row Z6). Raises NeedsApproval for those who wrote it themselves."""
        if by.id is None:
            raise NeedsApproval("An approval is a person's: say whose, with --as ADDRESS, or log in.")
        with transaction(self._engine) as connection:
            row = kept.locked(connection, version)
            kept.must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            if any(one.person_id == by.id and one.wrote for one in kept.signed(connection, [version]).get(version, [])):
                raise NeedsApproval(f"{by.name} wrote version {version}: somebody else must approve it.")
            if kept.sign(connection, version, by, wrote=False):
                record(connection, by.actor, "policy.approved", version=version, edition=row.edition)
            return kept.one_of(connection, version)

    def schedule(
        self,
        version: int,
        at: datetime,
        *,
        by: Writer,
        edition: int | None,
        people: int = 1,
        replacing: int | None = None,
    ) -> Version:
        """Publish a draft at that time. `replacing`: it will take the place of that version, also one still to come.

        Raises Overtaken where another version will be in force by then.
        """
        with transaction(self._engine) as connection:
            connection.execute(_NUMBERS)
            row = kept.locked(connection, version)
            kept.must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            published = kept.published(connection)
            base = row.base if replacing is None else replacing or None
            planned = connection.scalar(_PLANNED_BEFORE, {"version": version, "at": at})
            before = planned or (published[0] if published else None)
            if base != before:
                raise Overtaken(version, before, base, planned=planned is not None)
            needed = people_needed(people, row.document, published and published[1])
            may_publish(version, kept.signed(connection, [version]).get(version, []), needed)
            change = sa.update(policies).where(policies.c.version == version)
            wanted = {"state": State.SCHEDULED, "publish_at": at, "published_by": clean_text(by.name)}
            connection.execute(change.values(**wanted, base=base, problem=""))
            record(connection, by.actor, "policy.scheduled", version=version, at=at, replacing=base)
            return kept.one_of(connection, version)

    def cancel(self, version: int, *, by: Writer, problem: str = "") -> Version:
        """Make a scheduled version a draft again; `problem` says why it could not be published."""
        with transaction(self._engine) as connection:
            row = kept.locked(connection, version)
            if row.state == State.DRAFT:
                return kept.one_of(connection, version)
            kept.must_be(row, version, None, State.SCHEDULED)
            change = sa.update(policies).where(policies.c.version == version)
            back = {"state": State.DRAFT, "publish_at": None, "published_by": ""}
            connection.execute(change.values(**back, problem=clean_text(problem)))
            record(connection, by.actor, "policy.cancelled", version=version, problem=problem)
            return kept.one_of(connection, version)

    def retire(self, version: int, *, by: Writer, edition: int | None = None) -> Version:
        """Give up a draft; it is kept. The version in force is retired by publishing another."""
        with transaction(self._engine) as connection:
            row = kept.locked(connection, version)
            if row.state == State.RETIRED:
                return kept.one_of(connection, version)
            kept.must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            change = sa.update(policies).where(policies.c.version == version)
            connection.execute(change.values(state=State.RETIRED, publish_at=None, retired_at=NOW))
            record(connection, by.actor, "policy.retired", version=version)
            return kept.one_of(connection, version)

    # --- reading

    def current(self) -> tuple[int, Any] | None:
        """The published version and its document; None before the first."""
        with transaction(self._engine) as connection:
            return kept.published(connection)

    def in_force(self) -> int | None:
        """The number of the published version; None before the first."""
        with transaction(self._engine) as connection:
            return connection.scalar(sa.select(policies.c.version).where(policies.c.state == State.PUBLISHED))

    def stamp(self) -> tuple[int, str] | None:
        """The number of the published version, with a mark that changes whenever its row does."""
        with transaction(self._engine) as connection:
            row = connection.execute(_STAMP).one_or_none()
            return (row.version, row.mark) if row else None

    def set_back(self) -> list[Version]:
        """Drafts that were scheduled and could not be published when they were due."""
        with transaction(self._engine) as connection:
            query = sa.select(*kept.KNOWN).where(policies.c.state == State.DRAFT, policies.c.problem > "")
            return kept.versions_of(connection, connection.execute(query.order_by(policies.c.version)).all())

    def get(self, version: int) -> Any:
        """The document of any version; None when there is no such version."""
        with transaction(self._engine) as connection:
            return connection.scalar(sa.select(policies.c.document).where(policies.c.version == version))

    def text(self, version: int) -> Text | None:
        """What a version says, with the text it was read from."""
        columns = (policies.c.document, policies.c.source, policies.c.digest)
        with transaction(self._engine) as connection:
            row = connection.execute(sa.select(*columns).where(policies.c.version == version)).one_or_none()
            return Text(row.document, row.source, row.digest) if row else None

    def one(self, version: int) -> Version:
        """What is known of a version. Raises UnknownVersion."""
        with transaction(self._engine) as connection:
            return kept.one_of(connection, version)

    def all(self, *, limit: int = 100, before: int | None = None) -> list[Version]:
        """Versions, the highest number first; `before`: only lower ones."""
        lower = policies.c.version < before if before is not None else sa.true()
        with transaction(self._engine) as connection:
            query = sa.select(*kept.KNOWN).where(lower).order_by(policies.c.version.desc()).limit(limit)
            return kept.versions_of(connection, connection.execute(query).all())

    def in_force_before(self, version: int) -> list[int]:
        """Every version that was ever in force besides this one, the latest first."""
        query = (
            sa.select(policies.c.version)
            .where(policies.c.published_at.is_not(None), policies.c.version != version)
            .order_by(policies.c.published_at.desc(), policies.c.version.desc())
        )
        with transaction(self._engine) as connection:
            return list(connection.scalars(query))

    def due(self) -> list[int]:
        """Scheduled versions whose time has come, the earliest first; of one minute, in the order of their bases."""
        with transaction(self._engine) as connection:
            left = {row.version: row.base for row in connection.execute(_DUE)}
        found: list[int] = []
        while left:
            found.append(next((version for version, base in left.items() if base not in left), next(iter(left))))
            del left[found[-1]]
        return found

    def overtaken(self) -> list[Version]:
        """Scheduled versions that will not take the place of the one that is in force when they are due."""
        with transaction(self._engine) as connection:
            before = connection.scalar(sa.select(policies.c.version).where(policies.c.state == State.PUBLISHED))
            query = sa.select(*kept.KNOWN).where(policies.c.state == State.SCHEDULED).order_by(policies.c.publish_at)
            planned = kept.versions_of(connection, connection.execute(query).all())
        left, found = {one.version: one for one in planned}, []
        while left:
            following = next((one for one in left.values() if one.base not in left), next(iter(left.values())))
            if following.base == before:
                before = following.version
            else:
                found.append(following)
            del left[following.version]
        return found

    def uses(self, versions: Sequence[int]) -> dict[int, int]:
        """How many decisions each of these versions made (row E3)."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_USES, {"versions": list(versions)})
            return {row.version: row.uses for row in rows}


#: Versions are numbered one after the other.
_NUMBERS = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:policies'))")
_PLANNED_BEFORE = sa.text("""
    SELECT version FROM policies WHERE state = 'scheduled' AND version <> :version AND publish_at <= :at
    ORDER BY publish_at DESC, version DESC LIMIT 1
""")
_STAMP = sa.text("SELECT version, xmin::text AS mark FROM policies WHERE state = 'published'")
_IS_DUE = sa.text(
    "SELECT state = 'scheduled' AND publish_at <= clock_timestamp() FROM policies WHERE version = :version"
)
_DUE = sa.text(
    "SELECT version, base FROM policies WHERE state = 'scheduled' AND publish_at <= clock_timestamp() "
    "ORDER BY publish_at, version"
)
_USES = sa.text("""
    SELECT v.version, (SELECT count(*) FROM decisions d WHERE d.policy_version = v.version) AS uses
    FROM unnest(CAST(:versions AS int[])) AS v (version)
""")
