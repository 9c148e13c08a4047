"""Policy versions: drafts, scheduled and retired ones, and the one that is in force."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.policy import Tier
from routing.versions import (
    NeedsApproval,
    NotADraft,
    Overtaken,
    Signed,
    State,
    UnknownVersion,
    Version,
    VersionChanged,
    Writer,
    may_publish,
    people_needed,
)
from storage.postgres.audit import record
from storage.postgres.engine import transaction
from storage.postgres.members import ONE_AT_A_TIME
from storage.postgres.tables import NOW, markets, policies, policy_approvals, pools, tiers
from storage.postgres.values import clean, clean_text


@dataclass(frozen=True, slots=True)
class Text:
    """What a version says: its document, and the text it was read from, where it was."""

    document: Any
    source: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What of a policy other statements need: its tiers, and its pools as (name, market, mode)."""

    tiers: Sequence[Tier]
    default: Tier
    pools: Sequence[tuple[str, str, str]]


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
            published = _published(connection)
            if published and published[1] == document and (restores is None or restores == published[0]):
                return published[0]
            in_force = published[0] if published else None
            _not_overtaken(0, in_force, in_force if replacing is None else replacing or None, replacing)
            row = {"note": clean_text(note), "source": source, "base": in_force, "restores": restores}
            version = _add_version(connection, document, writer, row)
            for one in signed:
                _sign(connection, version, Writer(one.name, one.person_id), wrote=False)
            if people is not None and published:
                who = _signed(connection, [version]).get(version, [])
                may_publish(version, who, people_needed(people, document, published[1]))
            _put_in_force(connection, version, in_force, Effect(tiers, default, pools), writer, findings)
            return version

    def put_in_force(
        self,
        version: int,
        effect: Effect,
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
            row = _locked(connection, version)
            if row.state == State.PUBLISHED:
                return False
            if due and not connection.scalar(_IS_DUE, {"version": version}):
                return False
            _must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            published = _published(connection)
            in_force = published[0] if published else None
            _not_overtaken(version, in_force, row.base, replacing)
            needed = people_needed(people, row.document, published and published[1])
            may_publish(version, _signed(connection, [version]).get(version, []), needed)
            _put_in_force(connection, version, in_force, effect, by, findings)
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
            published = _published(connection)
            row = {"note": clean_text(note), "source": source, "findings": clean(findings)}
            row["base"] = base if base is not None else (published[0] if published else None)
            version = _add_version(connection, clean(document), by, row)
            record(connection, by.actor, "policy.drafted", version=version, base=row["base"], note=note)
            return _one(connection, version)

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
            row = _locked(connection, version)
            _must_be(row, version, edition, State.DRAFT)
            document = clean(document)
            values: dict[str, Any] = {
                "document": document,
                "source": source,
                "digest": digest(document),
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
            _sign(connection, version, by, wrote=True)
            record(connection, by.actor, "policy.edited", version=version, edition=row.edition + 1)
            return _one(connection, version)

    def approve(self, version: int, *, by: Writer, edition: int | None) -> Version:
        """Stand for what another person wrote (row Z6). Raises NeedsApproval for those who wrote it themselves."""
        if by.id is None:
            raise NeedsApproval("An approval is a person's: say whose, with --as ADDRESS, or log in.")
        with transaction(self._engine) as connection:
            row = _locked(connection, version)
            _must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            if any(one.person_id == by.id and one.wrote for one in _signed(connection, [version]).get(version, [])):
                raise NeedsApproval(f"{by.name} wrote version {version}: somebody else must approve it.")
            if _sign(connection, version, by, wrote=False):
                record(connection, by.actor, "policy.approved", version=version, edition=row.edition)
            return _one(connection, version)

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
        """Publish a draft at that time. `replacing`: it will take the place of that version, also one still to come."""
        with transaction(self._engine) as connection:
            row = _locked(connection, version)
            _must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            published = _published(connection)
            base = row.base if replacing is None else replacing or None
            in_force = published[0] if published else None
            if base != in_force and connection.scalar(_STATE, {"version": base}) != State.SCHEDULED:
                raise Overtaken(version, in_force, base)
            needed = people_needed(people, row.document, published and published[1])
            may_publish(version, _signed(connection, [version]).get(version, []), needed)
            change = sa.update(policies).where(policies.c.version == version)
            planned = {"state": State.SCHEDULED, "publish_at": at, "published_by": clean_text(by.name)}
            connection.execute(change.values(**planned, base=base, problem=""))
            record(connection, by.actor, "policy.scheduled", version=version, at=at, replacing=base)
            return _one(connection, version)

    def cancel(self, version: int, *, by: Writer, problem: str = "") -> Version:
        """Make a scheduled version a draft again; `problem` says why it could not be published."""
        with transaction(self._engine) as connection:
            row = _locked(connection, version)
            if row.state == State.DRAFT:
                return _one(connection, version)
            _must_be(row, version, None, State.SCHEDULED)
            change = sa.update(policies).where(policies.c.version == version)
            back = {"state": State.DRAFT, "publish_at": None, "published_by": ""}
            connection.execute(change.values(**back, problem=clean_text(problem)))
            record(connection, by.actor, "policy.cancelled", version=version, problem=problem)
            return _one(connection, version)

    def retire(self, version: int, *, by: Writer, edition: int | None = None) -> Version:
        """Give up a draft; it is kept. The version in force is retired by publishing another."""
        with transaction(self._engine) as connection:
            row = _locked(connection, version)
            if row.state == State.RETIRED:
                return _one(connection, version)
            _must_be(row, version, edition, State.DRAFT, State.SCHEDULED)
            change = sa.update(policies).where(policies.c.version == version)
            connection.execute(change.values(state=State.RETIRED, publish_at=None, retired_at=NOW))
            record(connection, by.actor, "policy.retired", version=version)
            return _one(connection, version)

    # --- reading

    def current(self) -> tuple[int, Any] | None:
        """The published version and its document; None before the first."""
        with transaction(self._engine) as connection:
            return _published(connection)

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
            query = sa.select(*_KNOWN).where(policies.c.state == State.DRAFT, policies.c.problem > "")
            return _versions(connection, connection.execute(query.order_by(policies.c.version)).all())

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
            return _one(connection, version)

    def all(self, *, limit: int = 100, before: int | None = None) -> list[Version]:
        """Versions, the highest number first; `before`: only lower ones."""
        lower = policies.c.version < before if before is not None else sa.true()
        with transaction(self._engine) as connection:
            query = sa.select(*_KNOWN).where(lower).order_by(policies.c.version.desc()).limit(limit)
            return _versions(connection, connection.execute(query).all())

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
        """Scheduled versions whose time has come, the earliest first."""
        with transaction(self._engine) as connection:
            return list(connection.scalars(_DUE))

    def uses(self, versions: Sequence[int]) -> dict[int, int]:
        """How many decisions each of these versions made (row E3)."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_USES, {"versions": list(versions)})
            return {row.version: row.uses for row in rows}


def digest(document: Any) -> str:
    """SHA-256 of a document's canonical JSON: the same for what the ledger gives back."""
    text = json.dumps(_plain(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    """The value with each whole number written as one, as the ledger may give it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _published(connection: sa.Connection) -> tuple[int, Any] | None:
    row = connection.execute(
        sa.select(policies.c.version, policies.c.document).where(policies.c.state == State.PUBLISHED)
    ).one_or_none()
    return (row.version, row.document) if row else None


def _add_version(connection: sa.Connection, document: Mapping[str, Any], writer: Writer, row: Mapping[str, Any]) -> int:
    newest = sa.select(sa.func.coalesce(sa.func.max(policies.c.version), 0) + 1).scalar_subquery()
    made = {
        "state": State.DRAFT,
        "document": document,
        "digest": digest(document),
        "author": clean_text(writer.name),
        "author_id": writer.id,
    }
    version: int = connection.execute(
        sa.insert(policies).values(version=newest, **made, **row).returning(policies.c.version)
    ).scalar_one()
    _sign(connection, version, writer, wrote=True)
    return version


def _sign(connection: sa.Connection, version: int, who: Writer, *, wrote: bool) -> bool:
    """Whether this person did not yet stand for the version."""
    if who.id is None:
        return False
    signed = insert(policy_approvals).values(version=version, person_id=who.id, name=clean_text(who.name), wrote=wrote)
    return bool(connection.execute(signed.on_conflict_do_nothing()).rowcount)


def _put_in_force(  # noqa: PLR0917 - one statement's worth of facts, and it is told nowhere else
    connection: sa.Connection,
    version: int,
    in_force: int | None,
    effect: Effect,
    by: Writer,
    findings: Sequence[Mapping[str, Any]],
) -> None:
    now = connection.scalar(sa.select(NOW))
    gone = sa.update(policies).where(policies.c.state == State.PUBLISHED)
    connection.execute(gone.values(state=State.RETIRED, retired_at=now))
    made = sa.update(policies).where(policies.c.version == version)
    connection.execute(
        made.values(
            state=State.PUBLISHED,
            published_at=now,
            published_by=clean_text(by.name),
            publish_at=None,
            replaced=in_force,
            findings=clean(findings),
            problem="",
        )
    )
    _rewrite(connection, [*effect.tiers, replace(effect.default, name="")], effect.pools)
    note = connection.scalar(sa.select(policies.c.note).where(policies.c.version == version))
    record(connection, by.actor, "policy.published", version=version, replaced=in_force, note=note)


def _rewrite(connection: sa.Connection, new_tiers: Sequence[Tier], new_pools: Sequence[tuple[str, str, str]]) -> None:
    connection.execute(sa.delete(tiers))
    connection.execute(
        sa.insert(tiers),
        [{"name": t.name, "rank": t.rank, "capacity": t.capacity, "weight": t.weight} for t in new_tiers],
    )
    connection.execute(sa.delete(pools))
    names = sorted({market for _, market, _ in new_pools})
    if names:
        connection.execute(insert(markets).on_conflict_do_nothing(), [{"name": name} for name in names])
        connection.execute(
            sa.insert(pools), [{"name": name, "market": market, "mode": str(mode)} for name, market, mode in new_pools]
        )
    connection.execute(sa.update(markets).values(roster_version=markets.c.roster_version + 1))


def _not_overtaken(version: int, in_force: int | None, base: int | None, replacing: int | None) -> None:
    expected = base if replacing is None else replacing or None
    if expected != in_force:
        raise Overtaken(version, in_force, expected)


def _locked(connection: sa.Connection, version: int) -> sa.Row[Any]:
    columns: list[Any] = [policies.c[name] for name in ("state", "edition", "base", "note", "document")]
    row = connection.execute(sa.select(*columns).where(policies.c.version == version).with_for_update()).one_or_none()
    if row is None:
        raise _unknown(version)
    return row


def _must_be(row: sa.Row[Any], version: int, edition: int | None, *states: State) -> None:
    if row.state not in states:
        asked = " or ".join(states)
        raise NotADraft(f"Version {version} is {row.state}; this is for a version that is {asked}.")
    if edition is not None and row.edition != edition:
        raise VersionChanged(f"Version {version} has changed since you saw it; it is in edition {row.edition} now.")


def _unknown(version: int) -> UnknownVersion:
    return UnknownVersion(f"There is no version {version} of the policy; `fairturn policy history` lists them.")


def _one(connection: sa.Connection, version: int) -> Version:
    rows = connection.execute(sa.select(*_KNOWN).where(policies.c.version == version)).all()
    if not rows:
        raise _unknown(version)
    return _versions(connection, rows)[0]


def _versions(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[Version]:
    signed = _signed(connection, [row.version for row in rows])
    return [
        Version(**{**row._mapping, "state": State(row.state)}, signed=tuple(signed.get(row.version, ())))  # noqa: SLF001 - SQLAlchemy's own name for it
        for row in rows
    ]


def _signed(connection: sa.Connection, versions: Sequence[int]) -> dict[int, list[Signed]]:
    query = sa.select(policy_approvals).where(policy_approvals.c.version.in_(versions))
    found: dict[int, list[Signed]] = {}
    for row in connection.execute(query.order_by(policy_approvals.c.at)):
        found.setdefault(row.version, []).append(Signed(row.person_id, row.name, row.wrote, row.at))
    return found


_KNOWN = [policies.c[name] for name in Version.__dataclass_fields__ if name != "signed"]
#: Versions are numbered one after the other.
_NUMBERS = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:policies'))")
_STATE = sa.text("SELECT state FROM policies WHERE version = :version")
_STAMP = sa.text("SELECT version, xmin::text AS mark FROM policies WHERE state = 'published'")
_IS_DUE = sa.text(
    "SELECT state = 'scheduled' AND publish_at <= clock_timestamp() FROM policies WHERE version = :version"
)
_DUE = sa.text(
    "SELECT version FROM policies WHERE state = 'scheduled' AND publish_at <= clock_timestamp() ORDER BY publish_at"
)
_USES = sa.text("""
    SELECT v.version, (SELECT count(*) FROM decisions d WHERE d.policy_version = v.version) AS uses
    FROM unnest(CAST(:versions AS int[])) AS v (version)
""")
