"""Leads looked for: the same filters for the screen, the file and the API, and the same number of rows in each."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.errors import BadInput
from storage.postgres.engine import transaction
from storage.postgres.export import MILE_M, iso, miles, rows, stream
from storage.postgres.tables import LEAD_STATES

#: Of one page, at most.
PAGE = 500
#: What is told of a lead, in this order.
NAMES = (
    "lead_id",
    "source_id",
    "salesforce_id",
    "received_at",
    "state",
    "reason",
    "attempt",
    "priority",
    "pool",
    "country",
    "source",
    "geo_precision",
    "member",
    "offered_at",
    "distance_miles",
    "nearest_miles",
)
STATES = tuple(state.strip("' ") for state in LEAD_STATES.split(","))


@dataclass(frozen=True, slots=True)
class Filters:
    """Which leads; what is not named is not asked for. Times are when Salesforce committed the lead."""

    state: str | None = None
    reason: str | None = None
    pool: str | None = None
    country: str | None = None
    source: str | None = None
    rule: str | None = None  # of the policy, that sent it at any attempt
    policy: int | None = None  # under this version it was decided at any attempt
    member: str | None = None  # was offered it, by the member's key
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in STATES:
            raise BadInput(f"there is no state {self.state!r}", field="state", fix=f"Give one of {', '.join(STATES)}.")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise BadInput("the time ends before it begins", field="until", fix="Give a moment after `since`.")

    def used(self) -> dict[str, Any]:
        """Those that were given, in plain values."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the leads found, and the cursor behind the last; None: there are no more."""

    leads: list[dict[str, Any]]
    next: str | None


class Find:
    """Looks for leads; nothing personal is shown."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def count(self, asked: Filters) -> int:
        """How many leads there are."""
        with stream(self._engine) as connection:
            query = sa.text(f"SELECT count(*) FROM leads l WHERE {_where(asked)}")  # noqa: S608 - words of ours
            return int(connection.execute(query, _values(asked)).scalar_one())

    def page(self, asked: Filters, *, after: str | None = None, limit: int = 100) -> Page:
        """The next leads, the oldest first."""
        at, lead = _cursor(after)
        limit = max(1, min(limit, PAGE))
        values = _values(asked) | {"after_at": at, "after_id": lead, "limit": limit}
        with transaction(self._engine) as connection:
            found = connection.execute(_select(asked, after=after is not None, limited=True), values).all()
        last = found[-1] if len(found) == limit else None
        return Page(
            [_record(row) for row in found], None if last is None else f"{last.received_at.isoformat()}/{last.id}"
        )

    def all(self, asked: Filters) -> Generator[dict[str, Any], None, None]:
        """Every lead, the oldest first, in one snapshot."""
        with stream(self._engine) as connection:
            found: Iterator[Any] = rows(
                connection, _select(asked, after=False, limited=False).bindparams(**_values(asked))
            )
            for row in found:
                yield _record(row)


_FILTERS: Mapping[str, str] = {
    "state": "l.state = :state",
    "reason": "l.reason = :reason",
    "pool": "l.pool = :pool",
    "country": "l.country = :country",
    "source": "l.source = :source",
    "rule": "EXISTS (SELECT FROM decisions d WHERE d.lead_id = l.id AND d.rule = :rule)",
    "policy": "EXISTS (SELECT FROM decisions d WHERE d.lead_id = l.id AND d.policy_version = :policy)",
    "member": """EXISTS (SELECT FROM offers o JOIN members m ON m.id = o.member_id
                 WHERE o.lead_id = l.id AND m.key = :member AND o.state <> 'void')""",
    "since": "l.received_at >= :since",
    "until": "l.received_at < :until",
}


def _where(asked: Filters) -> str:
    return " AND ".join(["true", *(_FILTERS[name] for name in _values(asked))])


def _values(asked: Filters) -> dict[str, Any]:
    given = {one.name: getattr(asked, one.name) for one in fields(asked)}
    return {name: value for name, value in given.items() if value is not None}


def _select(asked: Filters, *, after: bool, limited: bool) -> sa.TextClause:
    behind = " AND (l.received_at, l.id) > (CAST(:after_at AS timestamptz), :after_id)" if after else ""
    return sa.text(f"""
        SELECT l.*, o.member, o.offered_at, o.distance_m AS offer_m
        FROM leads l
        LEFT JOIN LATERAL (
            SELECT m.key AS member, o.offered_at, o.distance_m FROM offers o JOIN members m ON m.id = o.member_id
            WHERE o.lead_id = l.id AND o.state IN ('offered', 'accepted', 'completed', 'lost')
            ORDER BY o.attempt DESC LIMIT 1
        ) o ON true
        WHERE {_where(asked)}{behind}
        ORDER BY l.received_at, l.id {"LIMIT :limit" if limited else ""}
    """)  # noqa: S608 - words of ours


def _cursor(after: str | None) -> tuple[str | None, int]:
    if after is None:
        return None, 0
    at, _, lead = after.rpartition("/")
    try:
        return datetime.fromisoformat(at).isoformat(), int(lead)
    except ValueError as exc:
        raise BadInput("it is none of ours", field="cursor", fix="Take it from the answer before.") from exc


def _record(row: Any) -> dict[str, Any]:
    values = (
        str(row.id),
        row.source_id,
        row.salesforce_id,
        iso(row.received_at),
        row.state,
        row.reason,
        row.attempt,
        row.priority,
        row.pool,
        row.country,
        row.source,
        row.geo_precision,
        row.member,
        iso(row.offered_at),
        None if row.offer_m is None else round(row.offer_m / MILE_M, 5),
        miles(row.nearest_m),
    )
    return dict(zip(NAMES, values, strict=True))
