"""History as a simulation takes it: everything of a stretch of time, read in one snapshot, changing nothing."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.errors import BadInput
from routing.given import ruled_of
from routing.lane import Lane
from routing.lead import Lead, Point, Precision, Reason
from routing.limits import read_uses
from routing.offer import Kind, OfferState
from routing.policy import Policy
from routing.ports import Snapshot
from routing.simulation.ledger import NOT_KEPT
from routing.simulation.past import (
    MemberFacts,
    Past,
    PastCorrection,
    PastDecision,
    PastLead,
    PastOffer,
    PastPolicy,
    PastRoster,
    us,
)
from routing.turns import Correction, Effect
from storage.postgres.bases import base_of
from storage.postgres.books import Books, turns
from storage.postgres.engine import guarded
from storage.postgres.history import History
from storage.postgres.past_edits import with_edits

#: Reasons for which others took a lead out, or asked for a person's look: nothing of it follows from the policy.
BY_OTHERS = (Reason.OWNED, Reason.RESCINDED, Reason.DELETED, Reason.CONVERTED, Reason.BY_HAND, Reason.ERROR)


class PastReader:
    """Reads stretches of history."""

    def __init__(self, engine: sa.Engine, policy: Callable[[int], Policy], *, full: bool = True) -> None:
        self._engine = engine
        self._policy = policy
        self._history = History(engine)
        self._full = full

    def read(self, since: datetime, until: datetime, progress: Callable[[str], object] = lambda _: None) -> Past:
        """Everything from one moment to another, with how things stood at the first.

        Raises BadInput when no lead came in between the two, and none was there.
        """
        values = {"since": since, "until": until, "others": [str(reason) for reason in BY_OTHERS]}
        with _snapshot(self._engine) as conn:
            progress("leads")
            leads = _leads(conn, values)
            if not leads:
                raise BadInput(
                    f"no lead came in between {since:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M} UTC",
                    field="--from",
                    fix=_first_and_last(conn),
                )
            values["leads"] = [one.lead.id for one in leads]
            progress("offers")
            offers = [_offer(row) for row in conn.execute(_OFFERS, values)]
            progress("decisions")
            decisions = [_decision(row) for row in _rows(conn, _DECISIONS, values)]
            before = [_earlier(row) for row in _rows(conn, _BEFORE, values)]
            corrections = [_correction(row) for row in conn.execute(_CORRECTIONS, values)]
            progress("changes")
            leads = with_edits(conn, leads, values, self._policy)
            chances = [(us(row.asked_at), row.lead_id, row.member_id) for row in conn.execute(_CHANCES, values)]
            members = {row.id: MemberFacts(*row) for row in conn.execute(_MEMBERS)}
            progress("standings")
            markets = list(conn.execute(_MARKETS).scalars())
            start = {market: _start(conn, market, since) for market in markets}
            versions = [tuple(row) for row in conn.execute(_VERSIONS, values)]
            published = [tuple(row) for row in conn.execute(_POLICIES, values)]
        rosters, notes = self._rosters(versions, decisions, progress)
        return Past(
            us(since),
            us(until),
            leads,
            rosters,
            self._policies(published, decisions),
            members,
            decisions,
            before,
            offers,
            corrections,
            chances,
            start,
            notes,
        )

    def _rosters(
        self,
        versions: Sequence[Any],
        decisions: Sequence[PastDecision],
        progress: Callable[[str], object],
    ) -> tuple[list[PastRoster], list[str]]:
        """Every roster that counted, from when decisions show that it did."""
        by_market: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for market, version, at in versions:
            by_market[market].append((version, us(at)))
        made: list[PastRoster] = []
        for market, known in by_market.items():
            mine = [(d.roster_version, d.at) for d in decisions if d.market == market]
            for version, at in _in_force(known, mine):
                progress(f"roster {version} of {market}")
                made.append(PastRoster(at, self._history.roster_at(market, version, full=self._full)))
        return sorted(made, key=lambda one: one.at), []

    def _policies(self, published: Sequence[Any], decisions: Sequence[PastDecision]) -> list[PastPolicy]:
        mine = [(d.policy_version, d.at) for d in decisions]
        known = [(version, us(at)) for version, at in published]
        return [PastPolicy(at, self._policy(version)) for version, at in _in_force(known, mine)]


def _in_force(known: Sequence[tuple[int, int]], used: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(version, from when) of each: not before the last decision under an earlier one, not after its own first."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for version, at in used:
        first[version] = min(first.get(version, at), at)
        last[version] = max(last.get(version, at), at)
    found, before = list[tuple[int, int]](), 0
    for version, at in known:
        begins = max(at, before + 1 if before else at)
        if version in first:
            begins = min(begins, first[version])
        found.append((version, begins))
        before = max(before, last.get(version, 0))
    return found


@contextmanager
def _snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One moment of the ledger, that nobody hurries; nothing can be written by it."""
    with guarded(), engine.connect() as connection:
        connection.execute(_READ_ONLY)
        connection.execute(_NO_HURRY)
        yield connection
        connection.rollback()


def _rows(conn: sa.Connection, statement: sa.TextClause, values: Mapping[str, Any]) -> Iterator[Any]:
    options = {"stream_results": True, "max_row_buffer": 1000}
    with conn.execute(statement, dict(values), execution_options=options) as result:
        yield from result


def _leads(conn: sa.Connection, values: Mapping[str, Any]) -> list[PastLead]:
    left: defaultdict[int, list[tuple[int, Reason]]] = defaultdict(list)
    for row in conn.execute(_LEFT, values):
        left[row.lead_id].append((us(row.at), Reason(row.reason)))
    return [_lead(row, tuple(left.get(row.id, ()))) for row in conn.execute(_LEADS, values).mappings()]


def _lead(row: sa.RowMapping, left: tuple[tuple[int, Reason], ...]) -> PastLead:
    lead = Lead(
        id=row["id"],
        received_at=row["received_at"],
        country=row["country"],
        place=Point(row["lat"], row["lon"]),
        precision=Precision(row["geo_precision"]) if row["geo_precision"] else None,
        priority=row["priority"],
        lane=Lane(row["lane"]),
        facts=facts_of(row),
    )
    return PastLead(lead, row["source_id"] or row["salesforce_id"], row["postal_code"], row["region"], left)


def facts_of(row: sa.RowMapping) -> dict[str, object]:
    """What rules may ask of a lead, as storage/postgres/ruled.py tells it."""
    return {f"lead.{name}": value for name, value in row["attributes"].items()} | {
        "lead.region": row["region"],
        "lead.city": row["city"],
        "lead.postal_code": row["postal_code"],
        "lead.source": row["source"],
        "lead.owner": row["owner_id"] or "",
    }


def _offer(row: Any) -> PastOffer:
    return PastOffer(
        row.id,
        row.lead_id,
        row.member_id,
        row.market,
        row.attempt,
        row.slot,
        Kind(row.kind),
        OfferState(row.state),
        row.reason or "",
        us(row.offered_at),
        us(row.expires_at),
        None if row.accepted_at is None else us(row.accepted_at),
        None if row.ended_at is None else us(row.ended_at),
        row.distance_m,
        None if row.work_by is None else us(row.work_by),
        row.units,
        row.by_rule,
    )


def _decision(row: Any) -> PastDecision:
    *values, at = row
    made = dict(zip(_FIELDS, values, strict=True))
    return PastDecision(at=us(at), **made)


def _earlier(row: Any) -> PastDecision:
    *values, ruled = row
    return replace(_decision(values), ruled=ruled_of(ruled or {}))


def _correction(row: Any) -> PastCorrection:
    deltas = dict(zip(row.member, row.delta, strict=True))
    made = Correction(row.id, row.market, row.rotation, Effect(row.effect), row.reason, deltas, row.offer_id, row.actor)
    return PastCorrection(us(row.at), made)


def _start(conn: sa.Connection, market: str, since: datetime) -> Snapshot:
    """The accounts of a market as they stood at a moment."""
    last = conn.execute(_LAST, {"market": market, "since": since}).one_or_none()
    base = base_of(conn, market)
    if base is not None and since < base.at:
        raise BadInput(
            f"what was decided before {base.at:%Y-%m-%d %H:%M:%S} was removed for its age",
            field="--from",
            fix="Give a later one.",
        )
    books = base.books if base is not None else Books(market)
    for turn in turns(conn, books, (last.generation, last.seq)) if last is not None else ():
        books.take(turn)
    return Snapshot(
        generation=0,
        seq=0,
        open_offers={},
        standings=books.accounts(),
        ticks={rotation: book.tick for rotation, book in books.rotations.items()},
        cursors={rotation: book.cursor for rotation, book in books.rotations.items()},
        uses=_uses(conn, market, since),
    )


def _uses(conn: sa.Connection, market: str, since: datetime) -> dict[str, dict[int, int]]:
    """What was used of limits at a moment, by the offers that were made before it."""
    found: dict[str, dict[int, int]] = {}
    for row in conn.execute(_USES, {"market": market, "since": since, "lost": [str(s) for s in NOT_KEPT]}):
        for one in read_uses(row.uses):
            if not (one.kept and row.lost):
                book = found.setdefault(one.counter, {})
                book[one.bucket] = book.get(one.bucket, 0) + row.units
    return found


def _first_and_last(conn: sa.Connection) -> str:
    row = conn.execute(sa.text("SELECT min(received_at) AS first, max(received_at) AS last FROM leads")).one()
    if row.first is None:
        return "The ledger has no leads yet."
    return f"Leads came in from {row.first:%Y-%m-%d %H:%M} to {row.last:%Y-%m-%d %H:%M} UTC."


_FIELDS = (
    "market", "generation", "seq", "lead", "attempt", "policy_version", "roster_version", "pool", "rotation", "mode",
    "chosen", "reason", "nearest_m", "rings_m", "ring", "distance_m", "member", "weight", "capacity", "gate", "open",
    "standing", "served", "turn",
)  # fmt: skip
_SEEN = """
    SELECT d.market, d.generation, d.seq, d.lead_id, d.attempt, d.policy_version, d.roster_version, d.pool, d.rotation,
           d.mode, d.chosen, d.reason, d.nearest_m, d.rings_m, d.ring, d.distance_m, d.member, d.weight, d.capacity,
           d.gate, d.open, d.standing, d.served, d.turn, d.at
    FROM decisions d
"""
_DECISIONS = sa.text(_SEEN + " WHERE d.at >= :since AND d.at < :until ORDER BY d.market, d.generation, d.seq")
_BEFORE = sa.text("""
    SELECT DISTINCT ON (d.lead_id) d.market, d.generation, d.seq, d.lead_id, d.attempt, d.policy_version,
           d.roster_version, d.pool, d.rotation, d.mode, d.chosen, d.reason, d.nearest_m, d.rings_m, d.ring,
           CAST('{}' AS real[]),
           CAST('{}' AS int[]), CAST('{}' AS int[]), CAST('{}' AS int[]), CAST('{}' AS smallint[]),
           CAST('{}' AS int[]), CAST('{}' AS bigint[]), CAST('{}' AS bigint[]), d.turn, d.at,
           d.inputs -> 'ruled' AS ruled
    FROM decisions d
    WHERE d.lead_id = ANY(CAST(:leads AS bigint[])) AND d.at < :since
    ORDER BY d.lead_id, d.generation DESC, d.seq DESC
""")
# Whoever came in within the time, and of those before whoever has changed since, or can still come to somebody.
_LEADS = sa.text("""
    SELECT id, received_at, country, lat, lon, geo_precision, priority, lane, salesforce_id, source_id, postal_code,
           region, city, source, owner_id, attributes
    FROM leads
    WHERE lat IS NOT NULL AND received_at < :until
      AND (received_at >= :since OR updated_at >= :since OR state IN ('new', 'waiting', 'offered', 'accepted'))
    ORDER BY received_at, id
""")
_LEFT = sa.text("""
    SELECT t.lead_id, t.at, t.detail ->> 'reason' AS reason FROM timeline t JOIN leads l ON l.id = t.lead_id
    WHERE t.what IN ('withdrawn', 'review') AND t.detail ->> 'reason' = ANY(CAST(:others AS text[]))
      AND l.received_at < :until AND l.updated_at >= :since AND t.at < :until
    ORDER BY t.at, t.id
""")
_OFFERS = sa.text("""
    SELECT id, lead_id, member_id, market, attempt, slot, kind, state, reason, offered_at, expires_at, accepted_at,
           ended_at, distance_m, work_by, units, kind = 'manual' AND EXISTS (
               SELECT FROM timeline t WHERE t.lead_id = offers.lead_id AND t.what = 'offered'
                  AND t.detail ->> 'kind' = 'owner' AND t.detail ->> 'offer' = CAST(offers.id AS text)) AS by_rule
    FROM offers WHERE lead_id = ANY(CAST(:leads AS bigint[])) AND state <> 'void' AND offered_at < :until
    ORDER BY offered_at, id
""")
_CORRECTIONS = sa.text("""
    SELECT id, market, rotation, effect, reason, member, delta, offer_id, actor, at FROM corrections
    WHERE at >= :since AND at < :until ORDER BY market, generation, seq
""")
_CHANCES = sa.text("""
    SELECT asked_at, lead_id, member_id FROM chances
    WHERE lead_id = ANY(CAST(:leads AS bigint[])) AND asked_at < :until ORDER BY asked_at
""")
_MEMBERS = sa.text("""
    SELECT id, key, name, market, tier, coalesce(attributes ->> 'timezone', ''), auto_accept FROM members ORDER BY id
""")
_MARKETS = sa.text("SELECT name FROM markets ORDER BY name")
# The versions that counted at some moment within the time, in order.
_VERSIONS = sa.text("""
    SELECT market, version, at FROM roster_versions r
    WHERE at < :until AND (at >= :since OR version = (
        SELECT coalesce(max(version) FILTER (WHERE o.at <= :since), min(version)) FROM roster_versions o
        WHERE o.market = r.market))
    ORDER BY market, version
""")
_POLICIES = sa.text("""
    SELECT version, published_at FROM policies p
    WHERE published_at < :until AND (published_at >= :since OR published_at = (
        SELECT coalesce(max(published_at) FILTER (WHERE o.published_at <= :since), min(published_at)) FROM policies o))
    ORDER BY published_at, version
""")
_LAST = sa.text("""
    SELECT generation, seq FROM (
        (SELECT generation, seq FROM decisions WHERE market = :market AND at < :since
         ORDER BY generation DESC, seq DESC LIMIT 1)
        UNION ALL
        (SELECT generation, seq FROM corrections WHERE market = :market AND at < :since
         ORDER BY generation DESC, seq DESC LIMIT 1)
    ) made ORDER BY generation DESC, seq DESC LIMIT 1
""")
# No window is longer than a month, or a year where it rolls.
_USES = sa.text("""
    SELECT d.units, d.uses, o.ended_at < :since AND o.state = ANY(CAST(:lost AS text[])) AS lost
    FROM decisions d JOIN offers o ON o.id = d.id
    WHERE d.market = :market AND d.at < :since AND d.at > CAST(:since AS timestamptz) - interval '370 days'
      AND d.uses <> '[]'
""")
_READ_ONLY = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_NO_HURRY = sa.text("""
    SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)
""")
