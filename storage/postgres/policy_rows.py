"""Rows of policy versions, within a transaction of somebody else's: read, numbered, signed, put in force."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.policy import Tier
from routing.versions import (
    NotADraft,
    Overtaken,
    Signed,
    State,
    UnknownVersion,
    Version,
    VersionChanged,
    Writer,
)
from storage.postgres.audit import record
from storage.postgres.tables import NOW, markets, policies, policy_approvals, pools, tiers
from storage.postgres.values import clean, clean_text


@dataclass(frozen=True, slots=True)
class Effect:
    """What of a policy other statements need: its tiers, and its pools as (name, market, mode)."""

    tiers: Sequence[Tier]
    default: Tier
    pools: Sequence[tuple[str, str, str]]


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


def published(connection: sa.Connection) -> tuple[int, Any] | None:
    row = connection.execute(
        sa.select(policies.c.version, policies.c.document).where(policies.c.state == State.PUBLISHED)
    ).one_or_none()
    return (row.version, row.document) if row else None


def add_version(connection: sa.Connection, document: Mapping[str, Any], writer: Writer, row: Mapping[str, Any]) -> int:
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
    sign(connection, version, writer, wrote=True)
    return version


def sign(connection: sa.Connection, version: int, who: Writer, *, wrote: bool) -> bool:
    """Whether this person did not yet stand for the version."""
    if who.id is None:
        return False
    signed = insert(policy_approvals).values(version=version, person_id=who.id, name=clean_text(who.name), wrote=wrote)
    return bool(connection.execute(signed.on_conflict_do_nothing()).rowcount)


def put_in_force(  # noqa: PLR0917 - one statement's worth of facts, and it is told nowhere else
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


def not_overtaken(version: int, in_force: int | None, base: int | None, replacing: int | None) -> None:
    expected = base if replacing is None else replacing or None
    if expected != in_force:
        raise Overtaken(version, in_force, expected)


def locked(connection: sa.Connection, version: int) -> sa.Row[Any]:
    columns: list[Any] = [policies.c[name] for name in ("state", "edition", "base", "note", "document")]
    row = connection.execute(sa.select(*columns).where(policies.c.version == version).with_for_update()).one_or_none()
    if row is None:
        raise _unknown(version)
    return row


def must_be(row: sa.Row[Any], version: int, edition: int | None, *states: State) -> None:
    if row.state not in states:
        asked = " or ".join("a draft" if state is State.DRAFT else str(state) for state in states)
        raise NotADraft(f"Version {version} is {row.state}; this is for a version that is {asked}.")
    if edition is not None and row.edition != edition:
        raise VersionChanged(f"Version {version} has changed since you saw it; it is in edition {row.edition} now.")


def _unknown(version: int) -> UnknownVersion:
    return UnknownVersion(f"There is no version {version} of the policy; `fairturn policy history` lists them.")


def one_of(connection: sa.Connection, version: int) -> Version:
    rows = connection.execute(sa.select(*KNOWN).where(policies.c.version == version)).all()
    if not rows:
        raise _unknown(version)
    return versions_of(connection, rows)[0]


def versions_of(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[Version]:
    found = signed(connection, [row.version for row in rows])
    return [
        Version(**{**row._mapping, "state": State(row.state)}, signed=tuple(found.get(row.version, ())))  # noqa: SLF001 - SQLAlchemy's own name for it
        for row in rows
    ]


def signed(connection: sa.Connection, versions: Sequence[int]) -> dict[int, list[Signed]]:
    query = sa.select(policy_approvals).where(policy_approvals.c.version.in_(versions))
    found: dict[int, list[Signed]] = {}
    for row in connection.execute(query.order_by(policy_approvals.c.at)):
        found.setdefault(row.version, []).append(Signed(row.person_id, row.name, row.wrote, row.at))
    return found


KNOWN = [policies.c[name] for name in Version.__dataclass_fields__ if name != "signed"]
